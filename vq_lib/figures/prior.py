"""Figures of notebook 03: what the prior knows, and what it sees."""

import numpy as np

from vq_lib import figures
from vq_lib.figures import COLOURS


def curves(history, position_unigram):
    """Bits per code over epochs, beside the baseline that matters."""
    figure, axes = figures.new(6.5, 3)
    epochs = history["epoch"]
    marker = "o" if len(epochs) < 3 else None  # a line through one point is invisible
    for name, label, colour in (("loss", "training (with dropout)", "train"), ("val_loss", "validation", "validation")):
        axes.plot(epochs, history[name] / np.log(2), color=COLOURS[colour], marker=marker, label=label)
    axes.axhline(position_unigram, color=COLOURS["baseline"], ls="--", label="position unigram, test")
    axes.set(xlabel="epoch", ylabel="bits per code", xlim=(epochs[0] - 0.5, epochs[-1] + 0.5))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend()
    return figure


def ladder(baselines, name, bits):
    """Bits per code: the baselines on test people, and the prior on all three splits."""
    figure, axes = figures.new(7, 2.6)
    rungs = [*((rung.replace("_", " "), value) for rung, value in baselines.items()), (name, bits["test"])]
    names, values = zip(*rungs, strict=True)
    colours = [COLOURS["baseline"]] * len(baselines) + [COLOURS["model"]]
    bars = axes.barh(names, values, color=colours, height=0.65)
    axes.bar_label(bars, fmt=" %.2f")
    for split, marker in (("train", "|"), ("validation", "x")):
        axes.plot(bits[split], len(baselines), marker, color=COLOURS["validation"], ms=9, mew=2, ls="", label=split)
    axes.invert_yaxis()
    axes.set(xlabel="bits per code (lower is better)", xlim=(0, max(values) * 1.12))
    axes.grid(axis="y", visible=False)
    axes.legend(title="prior on", loc="lower right", ncols=2)
    return figure


def seen(prior, codes, cell, batch=64, seed=0):
    """How much the logits of one cell change when another cell's code changes: float (h, w).

    Each cell of `codes` (h, w) is replaced in turn by another code and the whole grid is run again: what has no
    influence gives exactly zero, whatever the architecture.
    """
    height, width = codes.shape
    rng = np.random.default_rng(seed)
    changed = np.repeat(codes[None], height * width, axis=0)
    place = np.arange(height * width)
    other = (codes.ravel() + rng.integers(1, prior.codes, height * width)) % prior.codes
    changed[place, place // width, place % width] = other
    row, column = cell

    def logits(grids):
        return np.asarray(prior.predict_on_batch(grids.astype(np.int32)))[:, row, column]

    parts = []
    for i in range(0, len(changed), batch):
        part = changed[i : i + batch]
        # Beside the same number of unchanged grids: a batch of another size may round differently.
        parts.append(np.abs(logits(part) - logits(np.repeat(codes[None], len(part), axis=0))).mean(axis=-1))
    return np.concatenate(parts).reshape(height, width)


def receptive_field(influence, cell):
    """What one cell sees: the influence of every other, the cell itself outlined; the past ends at the stepped line."""
    height, width = influence.shape
    row, column = cell
    figure, (axes, binary) = figures.new(8, 3.6, columns=2)
    shown = np.where(influence > 0, influence, np.nan)
    picture = axes.imshow(np.log10(shown), cmap="viridis")
    figure.colorbar(picture, ax=axes, label="log10 mean change of the logits", location="left", shrink=0.8)
    past = np.arange(height * width).reshape(height, width) < row * width + column
    kinds = np.where(influence > 0, 2, np.where(past, 1, 0))
    from matplotlib.colors import ListedColormap

    binary.imshow(kinds, cmap=ListedColormap(["#f2f2f2", COLOURS["warning"], COLOURS["model"]]), vmin=0, vmax=2)
    for axis in (axes, binary):
        figures.bare(axis)
        axis.add_patch(_square(column, row))
    axes.set_title("How much it matters")
    binary.set_title("Seen (blue), past but unseen (orange), future (grey)", fontsize=9)
    return figure


def _square(column, row):
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.5, row - 0.5), 1, 1, fill=True, color="#d00000", lw=1)


def bits_map(lengths):
    """The mean code length of each cell over the test slices: where the prior is unsure."""
    figure, axes = figures.new(4.2, 3.4)
    picture = axes.imshow(lengths.mean(axis=0), cmap="magma", vmin=0)
    figures.bare(axes)
    figure.colorbar(picture, ax=axes, label="bits per code", shrink=0.85)
    return figure
