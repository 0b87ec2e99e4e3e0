"""Figures of the priors: what they see, what they know, and where the bits go."""

from collections import defaultdict

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.patches import Rectangle

from vq_lib.plots.names import named
from vq_lib.plots.style import COLOURS, WIDTH, epochs, image, new

MARKS = {"train": ("|", "training people"), "validation": ("x", "validation people"), "test": ("o", "test people")}
SHADES = defaultdict(
    lambda: COLOURS["warning"], pixelcnn=COLOURS["model"], gated=COLOURS["test"], snail=COLOURS["other"]
)
KINDS = ListedColormap(["#f2f2f2", COLOURS["warning"], COLOURS["model"]])  # the future, past that is not seen, seen


def fields(influences, cell):
    """What one cell sees, in each prior or under each mask: past that it sees blue, past that it does not orange.

    Args:
        influences: `{prior or title: float (h, w)}`: see `influence`, or a masked kernel, 0 where it is masked.
        cell: its (row, column), framed in red; of a kernel, the middle.
    """
    figure, panels = new(WIDTH / 3 * len(influences), 2.9, columns=len(influences), squeeze=False)
    for axes, (name, influence) in zip(panels[0], influences.items(), strict=True):
        (height, width), seen = influence.shape, influence != 0
        past = np.arange(influence.size).reshape(influence.shape) < cell[0] * width + cell[1]
        image(axes, np.where(seen, 2, 1 * past), cmap=KINDS, vmax=2)
        axes.hlines(np.arange(1, height) - 0.5, -0.5, width - 0.5, color="white", lw=0.5)
        axes.vlines(np.arange(1, width) - 0.5, -0.5, height - 0.5, color="white", lw=0.5)
        axes.add_patch(_frame(cell))
        axes.set_title(f"{named(name)}: {seen[past].sum()} of {past.sum()} past cells", fontsize=9)
    return figure


def _frame(cell):
    return Rectangle((cell[1] - 0.5, cell[0] - 0.5), 1, 1, fill=False, color="#d00000", lw=2.5, zorder=3)


def amounts(influence, cell):
    """How much each earlier cell matters to the prediction of `cell` (row, column), framed in red; grey cells do not.

    `influence`: float (h, w), mean change of the logits, see `influence.influence`.
    """
    figure, axes = new(5.4, 4.2)
    size = np.log10(np.where(influence > 0, influence, np.nan))
    picture = image(axes, size, cmap="viridis", vmin=None, vmax=None)
    figure.colorbar(picture, label="log10 of the mean change of the logits")
    axes.set_facecolor("#f2f2f2")
    axes.add_patch(_frame(cell))
    return figure


def curves(histories, position_unigram):
    """Bits per code over epochs, beside the baseline that matters.

    `histories`: `{prior: DataFrame}` with `epoch`, `loss` and `val_loss`, in nats per code; the baseline is in bits.
    """
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
    """Bits per code: baselines and priors on test people, and enlarged beside them each prior on all three splits.

    Args:
        baselines: `{name: bits}` of ever better tables of frequencies.
        models: `{prior: {"train", "validation", "test"}}`, in bits per code.
    """
    figure, (axes, near) = new(WIDTH, 2 + 0.4 * len(models), columns=2, width_ratios=(3, 2), sharey=True)
    names = [name.replace("_", " ").replace("markov", "Markov") for name in baselines] + [*map(named, models)]
    values = [*baselines.values(), *(split["test"] for split in models.values())]
    colours = [COLOURS["baseline"]] * len(baselines) + [*(SHADES[name] for name in models)]
    axes.bar_label(axes.barh(names, values, color=colours, height=0.65), fmt=" %.2f")
    for marker, who in MARKS.values():
        near.plot([], [], marker, color=COLOURS["baseline"], ms=9, mew=2, label=who)
    for place, (name, split) in enumerate(models.items(), len(baselines)):
        near.hlines(place, min(split.values()), max(split.values()), color=SHADES[name], lw=1)
        for group, (marker, _) in MARKS.items():
            near.plot(split[group], place, marker, color=SHADES[name], ms=9, mew=2)
    near.legend(loc="upper center", title="the priors, enlarged")  # the baselines' rows are empty here
    axes.set(xlabel="bits per code of test people (lower is better)", xlim=(0, max(values) * 1.12))
    axes.invert_yaxis()
    near.set_xlabel("bits per code")
    near.margins(x=0.12)
    near.tick_params(left=False)
    near.spines["left"].set_visible(False)
    for panel in (axes, near):
        panel.grid(axis="y", visible=False)
    return figure


def bits_by_cell(unigram, models):
    """The mean code length of each cell (above), and what each prior saves there over the position unigram (below).

    `unigram`: code lengths (n, h, w) under the position unigram, in bits; `models`: `{prior: the same}`.
    """
    maps = {"position unigram": unigram.mean(axis=0), **{named(key): cost.mean(axis=0) for key, cost in models.items()}}
    gains = [maps["position unigram"] - cost for cost in maps.values()]
    top, reach = np.max([*maps.values()]), np.abs(gains).max() or 1
    figure, panels = new(WIDTH, 3.6, 2, len(maps), squeeze=False)
    figure.set_layout_engine("compressed")  # the maps are square, and stand close
    for above, below, (name, cost), gain in zip(*panels, maps.items(), gains, strict=True):
        spent = image(above, cost, cmap="magma", vmax=top)
        saved = image(below, gain, cmap="PuOr", vmin=-reach, vmax=reach)
        above.set_title(f"{name}: {cost.mean():.2f}", fontsize=9)
    panels[1, 0].set_visible(False)
    figure.colorbar(spent, ax=panels[0], label="bits per code", shrink=0.85)
    figure.colorbar(saved, ax=panels[1], label="bits per code saved", shrink=0.85)
    return figure
