"""Figures of generated slices: how real they are, what the temperature does, and what they were copied from."""

import numpy as np

from vq_lib import figures
from vq_lib.figures import COLOURS
from vq_lib.figures.evaluation import _tile

KINDS = {"real": ("test people", "test"), "reconstructed": ("their reconstructions", "validation"),
         "generated": ("samples", "other")}  # fmt: skip


def two_sample(aucs):
    """The AUC of each comparison with its interval, beside 0.5, where nothing tells the two sets apart."""
    figure, axes = figures.new(8, 0.5 * len(aucs) + 0.9)
    for row, auc in enumerate(aucs.values()):
        colour = COLOURS["model" if row == 0 else "baseline"]
        axes.plot([auc["low"], auc["high"]], [row, row], color=colour, lw=3, solid_capstyle="butt", alpha=0.5)
        axes.plot(auc["mean"], row, "o", color=colour)
        axes.annotate(f"{auc['mean']:.2f}", (auc["mean"], row), (0, 6), textcoords="offset points", ha="center",
                      fontsize=9)  # fmt: skip
    axes.axvline(0.5, color=COLOURS["warning"], ls="--", lw=1)
    axes.set(xlim=(0, 1.02), ylim=(len(aucs) - 0.4, -0.6), yticks=range(len(aucs)), yticklabels=list(aucs))
    axes.set_xlabel("area under the ROC curve: 0.5 cannot be told apart, 1 always")
    return figure


def anatomy(measures):
    """Distributions of tissue shares and ventricle size: `{kind: {measure: (n,)}}`, as cumulative curves."""
    names = list(measures["real"])
    figure, axes = figures.new(9.2, 2.7, columns=len(names), sharey=True)
    for axis, name in zip(axes, names, strict=True):
        for kind, found in measures.items():
            label, colour = KINDS[kind]
            values = np.sort(found[name])
            axis.plot(values, np.arange(1, len(values) + 1) / len(values), color=COLOURS[colour], label=label,
                      ls="--" if kind == "reconstructed" else "-")  # fmt: skip
        axis.set(title=name, xlabel="share of the head", ylim=(0, 1))
    axes[0].set_ylabel("share of slices below")
    axes[-1].legend(fontsize=7.5, loc="lower right")
    return figure


def temperature(rows, real):
    """Two-sample AUC, MS-SSIM of pairs, suspected copies and ventricle size over the temperature.

    Args:
        rows: as `evaluation.temperatures` returns them. real: the same of real slices: `pair_ms_ssim`, `ventricles`.
    """
    figure, axes = figures.new(9.2, 2.6, columns=4)
    x = [row["temperature"] for row in rows]
    line = {"color": COLOURS["model"], "marker": "o"}
    axes[0].fill_between(x, [row["auc_low"] for row in rows], [row["auc_high"] for row in rows], alpha=0.2, lw=0)
    axes[0].plot(x, [row["auc"] for row in rows], **line)
    axes[0].set(title="Two-sample AUC", ylim=(0.4, 1.02))
    axes[0].axhline(0.5, color=COLOURS["test"], ls="--")
    axes[1].plot(x, [row["pair_ms_ssim"] for row in rows], **line)
    axes[1].axhline(real["pair_ms_ssim"], color=COLOURS["test"], ls="--")
    axes[1].set(title="MS-SSIM of pairs")
    axes[2].plot(x, [100 * row["memorised"] for row in rows], **line)
    axes[2].axhline(2, color=COLOURS["warning"], ls="--")
    axes[2].set(title="Suspected copies, %", ylim=(0, None))
    axes[3].plot(x, [100 * row["ventricles"] for row in rows], **line)
    axes[3].axhline(100 * real["ventricles"], color=COLOURS["test"], ls="--")
    axes[3].set(title="Ventricles, % of head", ylim=(0, None))
    for axis in axes:
        axis.set(xlabel="temperature", xticks=x)
        axis.tick_params(labelsize=8)
    return figure


def by_temperature(shown, columns=8):
    """The first samples of each temperature, a row each: `{temperature: images}`; the noise is the same in a column."""
    columns = min(columns, *(len(images) for images in shown.values()))
    figure, axes = figures.new(1.1 * columns + 0.5, 1.15 * len(shown), rows=len(shown), squeeze=False)
    for axis, (value, images) in zip(axes[:, 0], shown.items(), strict=True):
        figures.image(axis, _tile(images[:columns], columns))
        axis.set_ylabel(f"T = {value:g}", fontsize=9)
    return figure


def completions(real, images):
    """Rows: a test slice with the half that was taken away shaded, then what the model drew, then the whole slice."""
    count, tries = images.shape[:2]
    figure, axes = figures.new(
        1.15 * (tries + 2) + 0.1, 1.2 * count + 0.25, rows=count, columns=tries + 2, squeeze=False
    )
    half = images.shape[2] // 2
    for line, slice_, drawn in zip(axes, real, images, strict=True):
        masked = slice_.astype(float)
        masked[half:] = 90
        for axis, picture in zip(line, (masked, *drawn, slice_), strict=True):
            figures.image(axis, picture)
    axes[0, 0].set_title("given", fontsize=9)
    axes[0, 1].set_title("drawn", fontsize=9)
    axes[0, -1].set_title("the slice itself", fontsize=9)
    return figure


def panel(images, columns=8):
    """Numbered pictures of which a reader is to say whether they are real."""
    rows = -(-len(images) // columns)
    figure, axes = figures.new(1.15 * columns, 1.3 * rows, rows=rows, columns=columns, squeeze=False)
    for number, axis in enumerate(axes.flat):
        if number < len(images):
            figures.image(axis, images[number])
            axis.set_title(str(number + 1), fontsize=9, pad=2)
        else:
            axis.set_axis_off()
    return figure


def distances(near, held_pixels, held_codes, limits):
    """Distance to the nearest training slice, by pixels and by codes: samples beside held-out people."""
    figure, both = figures.new(9, 2.9, columns=2)
    pairs = ((near["pixel_distance"], held_pixels, limits["pixels"], "Euclidean distance at 64 pixels"),
             (near["code_distance"], held_codes, limits["codes"], "share of differing codes"))  # fmt: skip
    for axes, (samples, held_out, limit, name) in zip(both, pairs, strict=True):
        bins = np.linspace(0, max(samples.max(), held_out.max()) * 1.02, 40)
        for values, label, colour in ((held_out, "held-out people", "test"), (samples, "samples", "other")):
            weights = np.full(len(values), 100 / len(values))
            axes.hist(values, bins, weights=weights, histtype="stepfilled", alpha=0.55, color=COLOURS[colour],
                      label=label)  # fmt: skip
        axes.axvline(limit, color=COLOURS["warning"], ls="--", lw=1.2, label="threshold")
        axes.set(xlabel=name, ylabel="% of slices")
    both[0].legend(fontsize=8)
    return figure
