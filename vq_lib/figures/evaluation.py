"""Figures of notebook 04: how good it all is."""

import numpy as np

from vq_lib import figures
from vq_lib.figures import COLOURS

NAMES = {
    "zeros": "all black",
    "mean_image": "mean image",
    "position_mean": "mean image of the position",
    "nearest_training": "nearest training slice",
    "jpeg": "JPEG",
    "webp": "WebP",
    "avif": "AVIF",
}


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
        name, colour = f"this VQ-VAE, {rate:.2f} bpp", COLOURS["model"]
        bar = axes.barh([name], [own["mean"]], xerr=errors, color=colour, height=0.65)
        axes.bar_label(bar, labels=[f" {own['mean']:.3f}"], fontsize=9)
        axes.set(title=title, xlim=(0, 1.15), xticks=np.arange(0, 1.01, 0.2))
        axes.grid(axis="y", visible=False)
    both[0].invert_yaxis()
    return figure


def _with_rate(name, value):
    rate = value.get("bits_per_pixel")
    return NAMES[name] if rate is None else f"{NAMES[name]}, {rate:.2f} bpp"


def by_position(positions, scores, reference):
    """SSIM and foreground SSIM over the slice position: mean and spread over people, and the mean image's."""
    figure, both = figures.new(9, 3, columns=2)
    places = np.unique(positions)
    for axes, name, title in zip(both, ("ssim", "ssim_foreground"), ("SSIM", "Foreground SSIM"), strict=True):
        rows = [scores[name][positions == place] for place in places]
        mean = [np.nanmean(values) for values in rows]
        low, high = zip(*(np.nanpercentile(values, [10, 90]) for values in rows), strict=True)
        axes.fill_between(places, low, high, color=COLOURS["model"], alpha=0.2, lw=0, label="80% of people")
        axes.plot(places, mean, color=COLOURS["model"], label="this VQ-VAE, mean")
        base = [np.nanmean(reference[name][positions == place]) for place in places]
        axes.plot(places, base, color=COLOURS["baseline"], ls="--", label="position's mean image")
        axes.set(title=title, xlabel="slice position", ylim=(0, 1))
    both[1].legend(loc="lower left", fontsize=8)
    return figure


def gallery(left, right, titles, columns=6):
    """Two blocks of images side by side, for example real slices and samples."""
    rows = min(len(left), len(right)) // columns
    figure, axes = figures.new(9.2, 9.2 * rows / (2 * columns + 0.6) + 0.5, columns=2)
    for axis, images, title in zip(axes, (left, right), titles, strict=True):
        figures.image(axis, _tile(images[: rows * columns], columns))
        axis.set_title(title)
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


def nearest(samples, training, distances):
    """Samples over their nearest training slices and the difference of the two."""
    n = len(samples)
    figure, axes = figures.new(1.15 * n + 0.3, 4, rows=3, columns=n, squeeze=False)
    for i in range(n):
        figures.image(axes[0, i], samples[i])
        figures.image(axes[1, i], training[i])
        difference = np.abs(samples[i].astype(float) - training[i]).mean(axis=-1)
        axes[2, i].imshow(difference, cmap="inferno", vmin=0, vmax=128)
        axes[2, i].set_xlabel(f"{distances[i]:.1f}", fontsize=8)
    for axis in axes.flat:
        figures.bare(axis)
    for row, name in enumerate(("sample", "nearest", "difference")):
        axes[row, 0].set_ylabel(name, fontsize=9)
    return figure


def distances(samples, held_out):
    """Distance to the nearest training slice: samples beside slices of held-out people."""
    figure, axes = figures.new(6.5, 2.8)
    bins = np.linspace(0, max(samples.max(), held_out.max()) * 1.02, 40)
    for values, label, colour in ((held_out, "test people", "test"), (samples, "samples", "other")):
        axes.hist(values, bins, density=True, histtype="stepfilled", alpha=0.55, color=COLOURS[colour], label=label)
    axes.set(xlabel="distance to the nearest training slice", yticks=[])
    axes.legend()
    return figure
