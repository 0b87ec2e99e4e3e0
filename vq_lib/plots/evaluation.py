"""Figures of how good reconstructions are: beside baselines, over the rate, and over the slice position."""

import numpy as np
import pandas as pd

from vq_lib.plots.names import named, rated
from vq_lib.plots.style import COLOURS, legend_below, panels

SCORES = {"ssim": "SSIM", "ssim_foreground": "Foreground SSIM"}
CODEC_COLOURS = {"jpeg": "#8A8A8A", "webp": "#E69F00", "avif": "#CC79A7", "jxl": "#56B4E9"}


def ends(score):
    """`[low, high]` of a `{"mean", "low", "high"}`, the mean itself where there is no interval."""
    return [score["mean"] if score[end] is None else score[end] for end in ("low", "high")]


def on_one_axis(baselines, vqvae, rate):
    """SSIM and foreground SSIM of this model, with intervals, and of all baselines, None left out, on one axis each.

    `baselines`: `{name: {"ssim", "ssim_foreground", and of codecs "bits_per_pixel_payload"}}`; `rate`: bits per pixel.
    """
    known = {name: value for name, value in baselines.items() if value is not None}
    prices = {named(name): value.get("bits_per_pixel_payload") for name, value in known.items()} | {"this VQ-VAE": rate}
    names = [name if price is None else f"{name}, {rated(price)} bpp" for name, price in prices.items()]
    figure, both = panels(1 + 0.28 * len(names), list(SCORES.values()), sharey=True)
    for axes, score in zip(both, SCORES, strict=True):
        values, errors = [*(value[score] for value in known.values()), vqvae[score]["mean"]], np.zeros((2, len(names)))
        errors[:, -1] = np.abs(np.array(ends(vqvae[score])) - values[-1])
        colours = [COLOURS["baseline"]] * len(known) + [COLOURS["model"]]
        axes.bar_label(axes.barh(names, values, xerr=errors, color=colours, height=0.65), fmt=" %.3f", fontsize=9)
        axes.set(xlim=(0, 1.15), xticks=np.arange(0, 1.01, 0.2))
        axes.grid(axis="y", visible=False)
    both[0].invert_yaxis()
    return figure


def rate_distortion(codecs, rates, scores):
    """SSIM and foreground SSIM over bits per pixel: codecs' curves with and without container, this model's points.

    `codecs`: a frame as of `Codecs.curves`; `rates`, this model's: `{"fixed_length", "prior"}` or one of these;
    `scores`: its `{"ssim", "ssim_foreground"}`, the same at both.
    """
    figure, both = panels(3.3, list(SCORES.values()), sharex=True)
    reach = max(max(rates.values()) * 2.2, 0.9)
    for axes, score in zip(both, SCORES, strict=True):
        for codec, curve in codecs.groupby("codec", sort=False):
            look = {"color": CODEC_COLOURS.get(codec, COLOURS["warning"])}
            axes.plot(curve["bits_per_pixel_payload"], curve[score], marker=".", label=named(codec), **look)
            axes.plot(curve["bits_per_pixel"], curve[score], ls=":", lw=1.2, **look)
        axes.plot(list(rates.values()), [scores[score]] * len(rates), color=COLOURS["model"], lw=1)
        for (name, rate), (marker, size) in zip(rates.items(), (("o", 7), ("*", 11)), strict=False):
            label = f"this VQ-VAE, {named(name)}"
            axes.plot(rate, scores[score], marker, color=COLOURS["model"], ms=size, label=label)
        near = codecs[score][codecs["bits_per_pixel_payload"] <= reach]
        axes.set(xlabel="bits per pixel", xlim=(0, reach), ylim=(max(min([scores[score], *near]) - 0.03, 0), 1))
    both[0].plot([], [], color="#666666", ls=":", lw=1.2, label="with the container's bytes")
    legend_below(figure, 3)
    return figure


def by_position(positions, scores, reference):
    """SSIM and foreground SSIM, (n,), over the slice position: mean and spread over people, and the mean image's.

    The axes show this model's range, so that a dip can be seen; a mean image below it stands in the legend alone.
    """
    figure, both = panels(3, list(SCORES.values()))
    for axes, name in zip(both, SCORES, strict=True):
        own, base = (pd.Series(values[name]).groupby(positions) for values in (scores, reference))
        low, high, base = own.quantile(0.1), own.quantile(0.9), base.mean()
        axes.fill_between(low.index, low, high, color=COLOURS["model"], alpha=0.2, lw=0, label="80% of people")
        axes.plot(own.mean(), color=COLOURS["model"], label="this VQ-VAE")
        axes.plot(base, color=COLOURS["baseline"], ls="--", label=f"mean image, {base.min():.2f}–{base.max():.2f}")
        reach = max(high.max() - low.min(), 1e-3)
        axes.set(xlabel="slice position", ylim=(low.min() - 0.35 * reach, min(high.max() + 0.15 * reach, 1)))
        axes.locator_params(axis="x", integer=True)
        legend_below(axes, 2)
    return figure
