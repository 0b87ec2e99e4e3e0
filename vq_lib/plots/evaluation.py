"""Figures of notebook 04: how good it all is."""

import numpy as np

from vq_lib import plots as figures
from vq_lib.plots import COLOURS
from vq_lib.plots.names import NAMES, rated

STANDS = {**NAMES, "slice": "the slice", "another_person": "another person, same position"}


def on_one_axis(baselines, vqvae, rate):
    """SSIM and foreground SSIM of this model and all baselines on one axis each."""
    figure, both = figures.new(9, 3.2, columns=2, sharey=True)
    rungs = [(_with_rate(name, value), value) for name, value in baselines.items()]
    for axes, score, title in zip(both, ("ssim", "ssim_foreground"), ("SSIM", "Foreground SSIM"), strict=True):
        values = [value[score] for _, value in rungs]
        bars = axes.barh([name for name, _ in rungs], values, color=COLOURS["baseline"], height=0.65)
        axes.bar_label(bars, fmt=" %.3f", fontsize=9)
        own = vqvae[score]
        errors = [[own["mean"] - own["low"]], [own["high"] - own["mean"]]]
        name, colour = f"this VQ-VAE, {rated(rate)} bpp", COLOURS["model"]
        bar = axes.barh([name], [own["mean"]], xerr=errors, color=colour, height=0.65)
        axes.bar_label(bar, labels=[f" {own['mean']:.3f}"], fontsize=9)
        axes.set(title=title, xlim=(0, 1.15), xticks=np.arange(0, 1.01, 0.2))
        axes.grid(axis="y", visible=False)
    both[0].invert_yaxis()
    return figure


def _with_rate(name, value):
    rate = value.get("bits_per_pixel_payload")
    return NAMES[name] if rate is None else f"{NAMES[name]}, {rated(rate)} bpp"


def by_position(positions, scores, reference):
    """SSIM and foreground SSIM over the slice position: mean and spread over people, and the mean image's.

    The axis shows this model's range, so that a dip can be seen; a mean image far below it is named in words.

    Args:
        positions: (n,) int. scores, reference: `{"ssim", "ssim_foreground": (n,)}`, this model's and the mean image's.
    """
    figure, both = figures.new(9, 3, columns=2)
    places = np.unique(positions)
    for axes, name, title in zip(both, ("ssim", "ssim_foreground"), ("SSIM", "Foreground SSIM"), strict=True):
        rows = [scores[name][positions == place] for place in places]
        mean = [np.nanmean(values) for values in rows]
        low, high = zip(*(np.nanpercentile(values, [10, 90]) for values in rows), strict=True)
        axes.fill_between(places, low, high, color=COLOURS["model"], alpha=0.2, lw=0, label="80% of people")
        axes.plot(places, mean, color=COLOURS["model"], label="this VQ-VAE, mean")
        base = [np.nanmean(reference[name][positions == place]) for place in places]
        reach = max(np.nanmax(high) - np.nanmin(low), 1e-3)
        bottom, top = np.nanmin(low) - 0.35 * reach, np.nanmax(high) + 0.15 * reach
        axes.set(title=title, xlabel="slice position", ylim=(bottom, min(top, 1)))
        if max(base) > bottom:
            axes.plot(places, base, color=COLOURS["baseline"], ls="--", label="position's mean image")
        else:
            axes.text(0.02, 0.03, f"below: the position's mean image, {min(base):.2f} to {max(base):.2f}", fontsize=8,
                      transform=axes.transAxes, color="#55606e")  # fmt: skip
    handles, labels = both[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)
    return figure


def _tile(images, columns):
    n, height, width, channels = images.shape
    grid = images.reshape(n // columns, columns, height, width, channels).transpose(0, 2, 1, 3, 4)
    return grid.reshape(n // columns * height, columns * width, channels).squeeze()


def conditioned(rows):
    """Rows of images, `{name: (n, H, W, C)}`, each named at its left."""
    count = len(next(iter(rows.values())))
    figure, axes = figures.new(1.1 * count + 0.6, 1.15 * len(rows), rows=len(rows), columns=count, squeeze=False)
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        for axis, image in zip(line, images, strict=True):
            figures.image(axis, image)
        line[0].set_ylabel(name, fontsize=8)
    return figure


def _named(name):
    return f"blurred, σ = {name[5:]} px" if name.startswith("blur_") else STANDS.get(name, name)


def scale(points, vqvae):
    """What a value of SSIM and of foreground SSIM means: each point of `{name: scores}` on one axis, named."""
    figure, both = figures.new(9, 3.6, rows=2)
    for axes, score, title in zip(both, ("ssim", "ssim_foreground"), ("SSIM", "Foreground SSIM"), strict=True):
        own = vqvae[score]
        marks = [(values[score], _named(name), COLOURS["baseline"]) for name, values in points.items()]
        marks = sorted([*marks, (own["mean"], "this VQ-VAE", COLOURS["model"])])
        axes.plot([0, 1], [0, 0], color="#444444", lw=1)
        axes.axvspan(own["low"], own["high"], 0.44, 0.56, color=COLOURS["model"], alpha=0.3, lw=0)
        last = {1: [-1.0] * 3, -1: [-1.0] * 3}
        for number, (value, name, colour) in enumerate(marks):
            side = 1 if number % 2 else -1
            level = next((i for i, x in enumerate(last[side]) if value - x > 0.012 * len(name) + 0.01), 2)
            last[side][level] = value
            height = side * (0.35 + 0.42 * level)
            axes.plot([value, value], [0, height * 0.9], color=colour, lw=1)
            axes.plot([value], [0], "o", color=colour, ms=5)
            axes.text(value, height, f"{name} {value:.2f}", ha="right" if value > 0.12 else "left", fontsize=8,
                      va="bottom" if side > 0 else "top", color="#1c2430",
                      bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6})  # fmt: skip
        axes.set(xlim=(0, 1), ylim=(-1.7, 1.7), yticks=[], xticks=np.arange(0, 1.01, 0.1))
        axes.set_title(title, loc="left")
        axes.spines["left"].set_visible(False)
        axes.grid(axis="y", visible=False)
    return figure


def strip(pictures):
    """Pictures side by side, each under its scores, the first the one that all are compared with.

    Args:
        pictures: `{name: ((H, W, C) in [0, 1], {"ssim", "ssim_foreground"})}`, see `evaluation.compared`.
    """
    columns = -(-len(pictures) // 2)
    figure, axes = figures.new(9.2, 9.2 / columns * 2 + 0.85, rows=2, columns=columns, squeeze=False)
    for axis in axes.flat[len(pictures) :]:
        axis.set_axis_off()
    for axis, (name, (picture, judged)) in zip(axes.flat, pictures.items(), strict=False):
        figures.image(axis, picture, 1)
        found = f"\nSSIM {judged['ssim']:.3f}, foreground {judged['ssim_foreground']:.3f}"
        axis.set_title(_named(name) + ("" if name == "slice" else found), fontsize=8.5,
                       color=COLOURS["model"] if name == "this VQ-VAE" else "black")  # fmt: skip
    return figure


def extremes(inputs, outputs, titles):
    """Slices over their reconstructions and error maps, one a column, the errors on one scale.

    Args:
        inputs: uint8 (n, H, W, C). outputs: in [0, 1], of the same shape. titles: n texts.
    """
    n, error = len(inputs), np.abs(inputs / 255.0 - outputs).mean(axis=-1)
    limit = max(float(np.quantile(error, 0.999)), 1e-3)
    figure, axes = figures.new(9.2, 26 / n + 0.7, rows=3, columns=n, squeeze=False)
    for i in range(n):
        figures.image(axes[0, i], inputs[i] / 255.0, 1)
        figures.image(axes[1, i], outputs[i], 1)
        axes[2, i].imshow(error[i], cmap="inferno", vmin=0, vmax=limit)
        figures.bare(axes[2, i])
        axes[0, i].set_title(titles[i], fontsize=8)
        axes[2, i].set_xlabel(f"mean {error[i].mean():.4f}", fontsize=8)
    for row, name in enumerate(("slice", "reconstruction", f"error (0 to {limit:.2f})")):
        axes[row, 0].set_ylabel(name, fontsize=8)
    return figure


CODEC_COLOURS = {"jpeg": "#8A8A8A", "webp": "#E69F00", "avif": "#CC79A7"}


def rate_distortion(rows):
    """SSIM and foreground SSIM over bits per pixel: codecs' curves with and without container, this model's points."""
    figure, both = figures.new(9, 3.9, columns=2, sharex=True)
    own = [row for row in rows if row["codec"] not in NAMES]
    reach = max(max(row["bits_per_pixel"] for row in own) * 2.2, 0.9)
    for axes, score, title in zip(both, ("ssim", "ssim_foreground"), ("SSIM", "Foreground SSIM"), strict=True):
        for codec in [name for name in NAMES if any(row["codec"] == name for row in rows)]:
            curve = [row for row in rows if row["codec"] == codec]
            values, colour = [row[score] for row in curve], CODEC_COLOURS[codec]
            payload, whole = ([row[rate] for row in curve] for rate in ("bits_per_pixel_payload", "bits_per_pixel"))
            axes.plot(payload, values, color=colour, marker=".", label=NAMES[codec])
            axes.plot(whole, values, color=colour, ls=":", lw=1.2)
        axes.plot([row["bits_per_pixel"] for row in own], [row[score] for row in own], color=COLOURS["model"], lw=1)
        for row, marker in zip(own, "o*", strict=False):
            axes.plot(row["bits_per_pixel"], row[score], marker, color=COLOURS["model"], ms=11 if marker == "*" else 7,
                      label=f"this VQ-VAE, {row['codec']}", ls="")  # fmt: skip
        lowest = min(row[score] for row in rows if row["bits_per_pixel_payload"] <= reach)
        axes.set(title=title, xlabel="bits per pixel", xlim=(0, reach), ylim=(max(lowest - 0.03, 0), 1))
    both[0].plot([], [], color="#666666", ls=":", lw=1.2, label="with the container's bytes")
    handles, labels = both[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)
    return figure
