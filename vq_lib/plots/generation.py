"""Figures of generated slices: how real they are, what the temperature does, and what they were copied from."""

import numpy as np

from vq_lib.plots.evaluation import ends
from vq_lib.plots.style import COLOURS, WIDTH, legend_below, new, panels, strips

KINDS = {"training": ("training people", "train"), "real": ("test people", "test"), "generated": ("samples", "other")}


def columns(side):
    """How many slices of this side fit beside each other without being shrunk: 3 to 9."""
    return int(np.clip(880 // side, 3, 9))


def gallery(blocks):
    """Blocks of images one above the other, `{title: (n, H, W, C)}`, for example real slices and samples; full rows."""
    across = min(columns(next(iter(blocks.values())).shape[1]), *map(len, blocks.values()))
    rows = [(title if start == 0 else "", images[start : start + across])
            for title, images in blocks.items() for start in range(0, len(images) - across + 1, across)]  # fmt: skip
    return strips(rows, side=WIDTH)


def blind(images):
    """Numbered pictures (n, H, W, C) of which a reader is to say whether they are real."""
    across = min(columns(images.shape[1]), len(images))
    rows = [("", images[start : start + across]) for start in range(0, len(images), across)]
    return strips(rows, [str(number + 1) for number in range(len(images))], side=WIDTH)


def nearest(samples, training, titles, marked):
    """Samples over their nearest training slices, uint8 (n, H, W, C), and the difference; `marked` ones are orange."""
    difference = np.abs(samples.astype(float) - training).mean(axis=-1) / 255
    rows = [("sample", samples), ("nearest", training), ("difference", difference)]
    figure = strips(rows, titles, looks={"difference": {"cmap": "inferno", "vmax": 0.5}})
    for axes, orange in zip(figure.axes, marked, strict=False):
        axes.title.set_color(COLOURS["warning"] if orange else "black")
    return figure


def two_sample(aucs):
    """The AUC of each comparison, `{name: {"mean", "low", "high"}}`, beside 0.5, where nothing tells two sets apart."""
    figure, axes = new(WIDTH, 0.36 * len(aucs) + 0.8)
    for row, auc in enumerate(aucs.values()):
        colour, (low, high) = COLOURS["baseline" if row else "model"], ends(auc)
        axes.plot([low, high], [row, row], color=colour, lw=3, solid_capstyle="butt", alpha=0.5)
        axes.plot(auc["mean"], row, "o", color=colour)
        axes.text(1.05, row, f"{auc['mean']:.2f}" + f" ({low:.2f}–{high:.2f})" * (low < high), va="center", fontsize=9)
    axes.axvline(0.5, color=COLOURS["warning"], ls="--", lw=1)
    axes.set(xlim=(0, 1.02), ylim=(len(aucs) - 0.4, -0.6), yticks=range(len(aucs)), yticklabels=list(aucs))
    axes.set_xlabel("area under the ROC curve (AUC)")
    return figure


def distributions(measures):
    """Cumulative distributions of people beside samples, `{kind of KINDS: {what, the axis' name: (n,)}}`."""
    names = list(next(iter(measures.values())))
    figure, row = panels(2.6, [""] * len(names), sharey=True)
    for axes, name in zip(row, names, strict=True):
        for kind, (label, colour) in KINDS.items():
            axes.ecdf(measures[kind][name], color=COLOURS[colour], label=label)
        axes.set(xlabel=name, ylim=(0, 1))
    row[0].set_ylabel("share of slices below")
    legend_below(figure, 5)
    return figure


def temperature(rows, dashed):
    """Measures of samples over temperature, a frame's columns over its index; `dashed`: `{column: value}` of people."""
    figure, row = panels(2.6, list(rows))
    for axes, name in zip(row, rows, strict=True):
        axes.axhline(dashed[name], color=COLOURS["test"], ls="--")
        axes.plot(rows[name], color=COLOURS["model"], marker="o")
        axes.set(xlabel="temperature", xticks=rows.index)
        axes.tick_params(labelsize=8)
    return figure


def completions(real, drawn):
    """A slice, uint8 (n, H, W, C), the lower half shaded; what was drawn, (n, tries, H, W, C); the whole slice."""
    upper = real.copy()
    upper[:, real.shape[1] // 2 :] = 90
    rows = [("", [half, *tries, whole]) for half, tries, whole in zip(upper, drawn, real, strict=True)]
    return strips(rows, ["upper half", "drawn", *[""] * (drawn.shape[1] - 1), "the slice itself"])
