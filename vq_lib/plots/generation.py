"""Figures of generated slices: how real they are, what the temperature does, and what they were copied from."""

import numpy as np

from vq_lib import plots as figures
from vq_lib.plots import COLOURS
from vq_lib.plots.evaluation import _tile

KINDS = {"training": ("training people", "train"), "real": ("test people", "test"),
         "reconstructed": ("their reconstructions", "validation"), "generated": ("samples", "other")}  # fmt: skip


WIDTH = 9.2  # inches; in the report such a figure is about 900 pixels wide


def columns(side):
    """How many slices of this side fit beside each other without being shrunk: 3 to 6."""
    return int(np.clip(880 // side, 3, 6))


def gallery(blocks):
    """Blocks of images one above the other, `{title: images}`, for example real slices and samples."""
    across = min(columns(next(iter(blocks.values())).shape[1]), *map(len, blocks.values()))
    rows = [len(images) // across for images in blocks.values()]
    height = WIDTH / across * sum(rows) + 0.35 * len(rows)
    figure, axes = figures.new(WIDTH, height, rows=len(rows), squeeze=False, height_ratios=rows)
    for axis, (title, images), count in zip(axes[:, 0], blocks.items(), rows, strict=True):
        figures.image(axis, _tile(images[: count * across], across))
        axis.set_title(title)
    return figure


def neighbours(samples, training, titles, marked, difference=True, across=7):
    """Samples over their nearest training slices and the difference of the two, in as many bands as it takes.

    Args:
        samples, training: uint8 (n, H, W, C). titles: (n,) str. marked: bool (n,), which titles are orange.
    """
    across, each = min(across, len(samples)), 3 if difference else 2
    bands = -(-len(samples) // across)
    height = bands * (each * (WIDTH - 0.2) / max(across, 4) + 0.35) + 0.5 * difference
    figure, axes = figures.new(WIDTH, height, rows=each * bands, columns=across, squeeze=False)
    names, shown = ("sample", "nearest", "difference"), None
    for number in range(bands * across):
        band, column = divmod(number, across)
        lines = axes[each * band : each * (band + 1), column]
        if number >= len(samples):
            for axis in lines:
                axis.set_axis_off()
            continue
        figures.image(lines[0], samples[number])
        figures.image(lines[1], training[number])
        lines[0].set_title(titles[number], fontsize=8, color=COLOURS["warning"] if marked[number] else "#1c2430")
        if difference:
            apart = np.abs(samples[number].astype(float) - training[number]).mean(axis=-1)
            shown = lines[2].imshow(apart, cmap="inferno", vmin=0, vmax=128)
            figures.bare(lines[2])
        if column == 0:
            for axis, name in zip(lines, names, strict=False):
                axis.set_ylabel(name, fontsize=9)
    if shown is not None:
        figure.set_layout_engine("constrained", rect=(0, 0, 1, 0.98))  # the bar would push the titles over the edge
        bar = figure.colorbar(shown, ax=axes, orientation="horizontal", fraction=0.02, aspect=50, pad=0.01)
        bar.set_label("difference in grey levels, of 255", fontsize=8)
        bar.ax.tick_params(labelsize=8)
    return figure


def two_sample(aucs):
    """The AUC of each comparison with its interval, beside 0.5, where nothing tells the two sets apart."""
    figure, axes = figures.new(8, 0.5 * len(aucs) + 0.9)
    for row, auc in enumerate(aucs.values()):
        colour = COLOURS["model" if row == 0 else "baseline"]
        axes.plot([auc["low"], auc["high"]], [row, row], color=colour, lw=3, solid_capstyle="butt", alpha=0.5)
        axes.plot(auc["mean"], row, "o", color=colour)
        axes.text(1.05, row, f"{auc['mean']:.2f} ({auc['low']:.2f}–{auc['high']:.2f})", va="center", fontsize=9)
    axes.axvline(0.5, color=COLOURS["warning"], ls="--", lw=1)
    axes.set(xlim=(0, 1.02), ylim=(len(aucs) - 0.4, -0.6), yticks=range(len(aucs)), yticklabels=list(aucs))
    axes.set_xlabel("area under the ROC curve (AUC)")
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
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8)  # inside it covers curves
    return figure


def temperature(rows, real, chance):
    """Two-sample AUC, MS-SSIM of pairs, suspected copies and ventricle size over the temperature.

    Args:
        rows: as `evaluation.temperatures` returns them. real: the same of real slices: `pair_ms_ssim`, `ventricles`.
        chance: the share of suspected copies that chance allows.
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
    axes[2].axhline(100 * chance, color=COLOURS["warning"], ls="--")
    axes[2].set_title("Suspected copies, %")
    axes[3].plot(x, [100 * row["ventricles"] for row in rows], **line)
    axes[3].axhline(100 * real["ventricles"], color=COLOURS["test"], ls="--")
    axes[3].set_title("Ventricles, % of head")
    for axis in axes[2:]:  # only now: a limit that is set before the dashed line is drawn may cut it off
        axis.set_ylim(0, 1.08 * axis.get_ylim()[1])
    for axis in axes:
        axis.set(xlabel="temperature", xticks=x)
        axis.tick_params(labelsize=8)
    return figure


def by_temperature(shown):
    """The first samples of each temperature, a row each: `{temperature: images}`; the noise is the same in a column."""
    across = min(columns(next(iter(shown.values())).shape[1]), *map(len, shown.values()))
    figure, axes = figures.new(WIDTH + 0.4, WIDTH / across * len(shown), rows=len(shown), squeeze=False)
    for axis, (value, images) in zip(axes[:, 0], shown.items(), strict=True):
        figures.image(axis, _tile(images[:across], across))
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


def panel(images):
    """Numbered pictures of which a reader is to say whether they are real."""
    across = min(columns(images.shape[1]), len(images))
    rows, side = -(-len(images) // across), WIDTH / across
    figure, axes = figures.new(WIDTH, (side + 0.15) * rows, rows=rows, columns=across, squeeze=False)
    for number, axis in enumerate(axes.flat):
        if number < len(images):
            figures.image(axis, images[number])
            axis.set_title(str(number + 1), fontsize=9, pad=2)
        else:
            axis.set_axis_off()
    return figure


def distances(near, held_out, own, limits):
    """Distance to the nearest training slice, by pixels and by codes: samples beside real people.

    Args:
        near: as `Reference.neighbours` returns it. held_out, own: `{"pixels", "codes"}`, the distances of test people,
            and of training people from the others. limits: the thresholds by the same names.
    """
    figure, both = figures.new(9, 2.9, columns=2)
    pairs = (("pixels", "pixel_distance", "Euclidean distance at 64 pixels"),
             ("codes", "code_distance", "share of differing codes"))  # fmt: skip
    for axes, (kind, key, name) in zip(both, pairs, strict=True):
        groups = ((own[kind][np.isfinite(own[kind])], "training people, from others", "train"),
                  (held_out[kind], "test people", "test"), (near[key], "samples", "other"))  # fmt: skip
        bins = np.linspace(0, max(values.max(initial=0) for values, _, _ in groups) * 1.02, 40)
        for values, label, colour in groups:
            weights = np.full(len(values), 100 / max(len(values), 1))
            filled = "step" if colour == "train" else "stepfilled"
            axes.hist(values, bins, weights=weights, histtype=filled, alpha=0.55, color=COLOURS[colour], label=label)
        limit = limits[kind]
        axes.axvline(limit, color=COLOURS["warning"], ls="--", lw=1.2, label="threshold")
        axes.set(xlabel=name, ylabel="% of slices")
    handles, labels = both[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8)
    return figure
