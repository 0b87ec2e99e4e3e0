"""Figures of the comparison page.

A report is a dict: `name`; `ssim`, `ssim_foreground`: `{"mean", "low", "high"}`; `rates`: bits per pixel, of codes of
fixed length and, where there is a prior, by its code length; `codecs`: `[(name, bits per pixel, SSIM, foreground)]`;
`vqvae`, `prior`: histories (DataFrames) or None.
"""

import itertools

import numpy as np
from matplotlib.ticker import LogLocator

from vq_lib.plots.evaluation import SCORES, ends
from vq_lib.plots.names import NAMES
from vq_lib.plots.style import COLOURS, CYCLE, WIDTH, epochs, legend_below, new, panels

LOOKS: list[dict] = [{"color": colour, "ls": style} for style in ("-", "--", ":", "-.") for colour in CYCLE]
CODECS = {"jpeg": "s", "webp": "^", "avif": "D", "jxl": "v"}  # a mark each


def rate_distortion(groups, reports, systems):
    """Quality over rate, a row of axes for each data set: only within one are scores comparable.

    `groups`: `[(data, [report])]` of all `reports`; `systems`, published: `{data: [(name, bits per pixel, SSIM)]}`.
    """
    figure, rows = new(WIDTH, 3 * len(groups) + 0.8, len(groups), 2, sharex="row", squeeze=False)
    looks = {report["name"]: look for report, look in zip(reports, itertools.cycle(LOOKS), strict=False)}
    for name, look in looks.items():
        rows[0, 0].plot([], [], label=name, **look)
    for (data, group), both in zip(groups, rows, strict=True):
        marks = {tuple(mark) for report in group for mark in report["codecs"]}  # one may be the nearest to many rates
        for place, (axes, (score, title)) in enumerate(zip(both, SCORES.items(), strict=True)):
            for codec, rate, *values in sorted(marks):
                axes.plot(rate, values[place], CODECS[codec], mfc="none", ms=5, color=COLOURS["baseline"], zorder=3)
            for report in group:
                mean, look = report[score]["mean"], looks[report["name"]]
                axes.plot(report["rates"], [mean] * len(report["rates"]), **look)
                for rate, (marker, size) in zip(report["rates"], (("o", 6), ("*", 11)), strict=False):
                    axes.plot([rate] * 2, ends(report[score]), color=look["color"], lw=1)
                    axes.plot(rate, mean, marker, ms=size, color=look["color"])
            axes.set_title(f"{data}: {title}", fontsize=10)
            axes.set(xlabel="bits per pixel", xlim=(0, None))
        for name, rate, ssim in systems.get(data, []):
            both[0].plot(rate, ssim, "x", color="#333333")
            both[0].annotate(name, (rate, ssim), (-3, -5), textcoords="offset points", fontsize=7, va="top")
    for codec in [name for name in CODECS if any(name == mark[0] for report in reports for mark in report["codecs"])]:
        rows[0, 0].plot([], [], CODECS[codec], mfc="none", color=COLOURS["baseline"], label=NAMES[codec])
    legend_below(figure)
    return figure


def training(reports, level):
    """Validation SSIM over minutes, `level` dashed, and the prior's bits over epochs; None without any history."""
    if all(report["vqvae"] is None and report["prior"] is None for report in reports):
        return None
    figure, (*both, bits) = panels(3.4, ["Validation SSIM", "Foreground SSIM", "Prior, validation bits per code"])
    last = max((report["prior"]["epoch"].max() for report in reports if report["prior"] is not None), default=1)
    for axes in both:
        axes.set(xlabel="minutes", xscale="log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))  # 0.5, 2, 10 rather than powers
        axes.xaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
    for report, look in zip(reports, itertools.cycle(LOOKS), strict=False):
        look, history, prior = {**look, "marker": ".", "ms": 4}, report["vqvae"], report["prior"]
        both[0].plot([], [], label=report["name"], **look)
        for axes, score in zip(both, SCORES, strict=True):
            if history is not None:
                axes.plot(history["seconds"] / 60, history[f"val_{score}"], **look)
        if prior is not None:
            bits.plot(prior["epoch"], prior["val_loss"] / np.log(2), **look)
    both[0].axhline(level, color="#666666", ls="--", lw=0.8)
    epochs(bits, last)
    legend_below(figure)
    return figure
