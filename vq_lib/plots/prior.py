"""Figures of the priors: what they see, what they know, and where the bits go."""

from collections import defaultdict

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.patches import Rectangle

from vq_lib.plots.names import named
from vq_lib.plots.style import COLOURS, WIDTH, epochs, image, new, panels

MARKS = {"train": ("|", "training people"), "validation": ("x", "validation people"), "test": ("o", "test people")}
SHADES = defaultdict(lambda: "#D55E00", pixelcnn="#0072B2", gated="#009E73", snail="#CC79A7")
KINDS = ListedColormap(["#f2f2f2", COLOURS["warning"], COLOURS["model"]])  # the future, past that is not seen, seen


def influence(logits, codes, cell, num_codes, batch=64, seed=0):
    """How much the logits of one cell change when another cell's code does, whatever the architecture: float (h, w).

    Each of `codes`, (h, w), is replaced in turn by another, and the grid run again: what has no influence on `cell`,
    (row, column), gives zero. `logits`: int32 (n, h, w) → NumPy (n, h, w, K); let it call a Keras model rather than
    `predict`: what that compiles, and so the rounding, depends on what the model was asked before.
    """
    codes, size, largest, parts = codes.astype(np.int32), codes.size, 0.0, []
    other = (codes.ravel() + np.random.default_rng(seed).integers(1, num_codes, size)) % num_codes
    changed = np.where(np.eye(size, dtype=bool), other, codes.ravel()).reshape(size, *codes.shape).astype(np.int32)
    for start in range(0, size, batch):
        some = changed[start : start + batch]
        # Beside the same number of unchanged grids: a batch of another size may round differently.
        base = logits(np.repeat(codes[None], len(some), axis=0))[:, cell[0], cell[1]]
        parts.append(np.abs(logits(some)[:, cell[0], cell[1]] - base).mean(axis=-1))
        largest = max(largest, float(np.abs(base).max()))
    change = np.concatenate(parts).reshape(codes.shape)
    return np.where(change > 1e-6 * largest, change, 0)  # less is rounding


def _mark(axes, cell):
    axes.add_patch(Rectangle((cell[1] - 0.5, cell[0] - 0.5), 1, 1, fill=False, color="#d00000", lw=2.5, zorder=3))


def fields(influences, cell):
    """What one cell, (row, column), sees by each `influence` or masked kernel, (h, w): blue; unseen past: orange."""
    figure, row = panels(2.9, list(influences), width=WIDTH / 3 * len(influences))
    for axes, (name, influence) in zip(row, influences.items(), strict=True):
        (height, width), seen = influence.shape, influence != 0
        past = np.arange(influence.size).reshape(influence.shape) < cell[0] * width + cell[1]
        image(axes, np.where(seen, 2, 1 * past), cmap=KINDS, vmax=2)
        axes.hlines(np.arange(1, height) - 0.5, -0.5, width - 0.5, color="white", lw=0.5)
        axes.vlines(np.arange(1, width) - 0.5, -0.5, height - 0.5, color="white", lw=0.5)
        _mark(axes, cell)
        axes.set_title(f"{named(name)}: {seen[past].sum()} of {past.sum()} past cells", fontsize=9)
    return figure


def amounts(influence, cell):
    """How much each earlier cell matters, by `influence`, to `cell` (row, column), framed in red; grey cells do not."""
    figure, axes = new(5.4, 4.2)
    picture = image(axes, np.log10(np.where(influence > 0, influence, np.nan)), cmap="viridis", vmin=None, vmax=None)
    figure.colorbar(picture, label="log10 of the mean change of the logits")
    axes.set_facecolor("#f2f2f2")
    _mark(axes, cell)
    return figure


def curves(histories, position_unigram):
    """Bits per code over epochs, of `{prior: history}` in nats, beside the baseline that matters, in bits."""
    figure, axes = new(8.5, 2.6)
    look = epochs(axes, max(np.max(history["epoch"]) for history in histories.values()))
    for name, history in histories.items():
        for column, style, what in (("loss", ":", "training"), ("val_loss", "-", "validation")):
            bits = np.asarray(history[column]) / np.log(2)
            axes.plot(history["epoch"], bits, color=SHADES[name], ls=style, label=f"{named(name)}, {what}", **look)
    axes.axhline(position_unigram, color=COLOURS["baseline"], ls="--", label="position unigram, validation")
    axes.set_ylabel("bits per code")
    figure.legend(loc="outside right upper")  # inside it would cover curves
    return figure


def bits(baselines, models):
    """Bits per code of test people, `{table: bits}`, and of priors, `{prior: {split: bits}}`, enlarged on all."""
    figure, (axes, near) = new(WIDTH, 2 + 0.4 * len(models), columns=2, width_ratios=(3, 2), sharey=True)
    values = {name.replace("_", " ").replace("markov", "Markov"): value for name, value in baselines.items()}
    values |= {named(name): split["test"] for name, split in models.items()}
    colours = [COLOURS["baseline"]] * len(baselines) + [SHADES[name] for name in models]
    axes.bar_label(axes.barh([*values], [*values.values()], color=colours, height=0.65), fmt=" %.2f")
    for group, (marker, who) in MARKS.items():
        near.plot([], [], marker, color=COLOURS["baseline"], ms=9, mew=2, label=who)
        for place, (name, split) in enumerate(models.items(), len(baselines)):
            near.plot(split[group], place, marker, color=SHADES[name], ms=9, mew=2)
    for place, (name, split) in enumerate(models.items(), len(baselines)):
        near.hlines(place, min(split.values()), max(split.values()), color=SHADES[name], lw=1)
    near.legend(loc="upper center", title="the priors, enlarged")  # the baselines' rows are empty here
    axes.set(xlabel="bits per code of test people (lower is better)", xlim=(0, max(values.values()) * 1.12))
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    near.grid(axis="y", visible=False)
    near.set_xlabel("bits per code")
    near.margins(x=0.12)
    near.tick_params(left=False)
    near.spines["left"].set_visible(False)
    return figure


def bits_by_cell(unigram, models):
    """The mean of code lengths (n, h, w) in each cell, and below it what each prior saves over the position unigram."""
    maps = {"position unigram": unigram.mean(axis=0), **{named(key): cost.mean(axis=0) for key, cost in models.items()}}
    gains = [maps["position unigram"] - cost for cost in maps.values()]
    top, reach = np.max([*maps.values()]), np.abs(gains).max() or 1
    figure, both = new(WIDTH, 3.6, 2, len(maps), squeeze=False)
    figure.set_layout_engine("compressed")  # the maps are square, and stand close
    for above, below, (name, cost), gain in zip(*both, maps.items(), gains, strict=True):
        spent = image(above, cost, cmap="magma", vmax=top)
        saved = image(below, gain, cmap="PuOr", vmin=-reach, vmax=reach)
        above.set_title(f"{name}: {cost.mean():.2f}", fontsize=9)
    both[1, 0].set_visible(False)
    figure.colorbar(spent, ax=both[0], label="bits per code", shrink=0.85)
    figure.colorbar(saved, ax=both[1], label="bits per code saved", shrink=0.85)
    return figure
