"""Figures of the comparison page; each takes `comparison.Report`s."""

import numpy as np

from vq_lib import plots as figures
from vq_lib.plots import COLOURS
from vq_lib.plots.names import NAMES

# Okabe and Ito (2008) again, one for each report in turn, with a line style for each round.
CYCLE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
CODECS = {"jpeg": "s", "webp": "^", "avif": "D"}  # a mark each
STYLES = ("-", "--", ":", "-.")


def _look(number):
    return {"color": CYCLE[number % len(CYCLE)], "ls": STYLES[number // len(CYCLE) % len(STYLES)]}


def _plain(axes):
    """Label a logarithmic axis of minutes with 0.5, 2, 10 rather than powers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def rate_distortion(groups, reports, systems):
    """Quality over rate, a row of axes for each data set.

    Args:
        groups: as `comparison.groups` returns them. reports: all of them, in the order of their colours.
        systems: what published systems reported, `{data: [(name, bits per pixel, SSIM)]}`.
    """
    figure, rows = figures.new(9.2, 3 * len(groups) + 0.8, rows=len(groups), columns=2, sharex="row", squeeze=False)
    for (data, group), both in zip(groups, rows, strict=True):
        for axes, score, title in zip(both, ("ssim", "ssim_foreground"), ("SSIM", "foreground SSIM"), strict=True):
            _codecs(axes, group, score)
            for report in group:
                _two_rates(axes, report, score, _look(reports.index(report)))
            axes.set_title(f"{data}: {title}", fontsize=10)
            axes.set(xlabel="bits per pixel", xlim=(0, None))
        for name, rate, ssim in systems.get(data, []):
            both[0].plot(rate, ssim, "x", color="#333333")
            both[0].annotate(name, (rate, ssim), (-3, -5), textcoords="offset points", fontsize=7, va="top")
    for number, report in enumerate(reports):
        rows[0, 0].plot([], [], label=report.name, **_look(number))
    for codec, marker in CODECS.items():
        rows[0, 0].plot([], [], marker, mfc="none", color=COLOURS["baseline"], label=NAMES[codec])
    figure.legend(loc="outside lower center", ncols=4, fontsize=8)
    return figure


def _codecs(axes, group, score):
    """The codecs on a group's slices, a mark for each setting, though it may be the nearest to several rates."""
    found = {
        (name, codec["bits_per_pixel_payload"], codec[score])
        for report in group for codecs in report.metrics.get("codecs", {}).values() for name, codec in codecs.items()
        if name in CODECS
    }  # fmt: skip
    for name, rate, value in sorted(found):
        axes.plot(rate, value, CODECS[name], mfc="none", ms=5, color=COLOURS["baseline"], zorder=3)


def _two_rates(axes, report, score, look):
    """A report's points at its fixed and its prior's rate, joined."""
    value = report.vqvae[score]
    for rate, marker in zip(report.rates, "o*", strict=False):
        axes.errorbar(rate, value["mean"], [[value["mean"] - value["low"]], [value["high"] - value["mean"]]],
                      fmt=marker, ms=11 if marker == "*" else 6, color=look["color"], lw=1)  # fmt: skip
    axes.plot(report.rates, [value["mean"]] * len(report.rates), **look)


def training(reports, level):
    """Validation SSIM over minutes, `level` dashed, and the prior's bits over epochs; None without any history."""
    if not any(any(report.histories.values()) for report in reports):
        return None
    figure, (ssim, foreground, bits) = figures.new(9.2, 3.4, columns=3)
    for number, report in enumerate(reports):
        look, vqvae, prior = _look(number), report.histories["vqvae"], report.histories["prior"]
        if vqvae:
            spent = np.array(vqvae["seconds"]) / 60
            for axes, name in ((ssim, "val_ssim"), (foreground, "val_ssim_foreground")):
                axes.plot(spent, vqvae[name], marker=".", ms=4, **look)
        if prior:
            bits.plot(prior["epoch"], np.array(prior["val_loss"]) / np.log(2), marker=".", ms=4, **look)
        if vqvae or prior:
            ssim.plot([], [], label=report.name, **look)
    for axes, name in ((ssim, "SSIM"), (foreground, "foreground SSIM")):
        axes.set(title=f"Validation {name}", xlabel="minutes", xscale="log")
        _plain(axes)
    ssim.axhline(level, color="#666666", ls="--", lw=0.8)
    bits.set(title="Prior, validation bits per code", xlabel="epoch")
    bits.xaxis.get_major_locator().set_params(integer=True)
    handles, labels = ssim.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8)
    return figure


def cost(reports, minutes):
    """Minutes of all trainings, and parameters, of each report: stacked bars.

    Args:
        minutes: of each report, as `comparison.trainings` returns them.
    """
    figure, both = figures.new(9.2, 0.34 * len(reports) + 1.6, columns=2, sharey=True)
    names, shades = [report.name for report in reports], [COLOURS[key] for key in ("train", "validation", "baseline")]
    parameters = [{"VQ-VAE": sum(report.vqvae["parameters"].values()) / 1e6,
                   "prior": report.prior.get("parameters", 0) / 1e6} for report in reports]  # fmt: skip
    for axes, parts, title in zip(both, (minutes, parameters), ("minutes of training", "million parameters"),
                                  strict=True):  # fmt: skip
        start = np.zeros(len(names))
        for part, colour in zip(parts[0], shades, strict=False):
            values = np.array([row[part] for row in parts])
            if values.any():
                axes.barh(names, values, left=start, color=colour, height=0.6, label=part)
            start += values
        axes.set(xlabel=title, ylim=(len(names) - 0.5, -0.5))
        axes.grid(axis="y", visible=False)
    handles, labels = both[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)
    return figure


def sweep(found):
    """Foreground SSIM of every point of a sweep, the best above."""
    column = found["header"].index("foreground SSIM")
    rows = sorted(((float(row[column]), row[0]) for row in found["rows"]), reverse=True)
    values, names = zip(*rows, strict=True)
    figure, axes = figures.new(8.5, 0.28 * len(rows) + 0.8)
    reference = float(found["rows"][0][column])
    colours = [COLOURS["model"] if name == found["rows"][0][0] else COLOURS["baseline"] for name in names]
    bars = axes.barh(names, values, color=colours, height=0.65)
    axes.bar_label(bars, fmt=" %.3f", fontsize=8)
    axes.axvline(reference, color=COLOURS["model"], ls="--", lw=1)
    least = min(values)
    axes.set(xlabel="foreground SSIM, validation people", ylim=(len(rows) - 0.5, -0.5),
             xlim=(max(least - 0.3 * (max(values) - least) - 0.01, 0), max(values) + 0.02))  # fmt: skip
    axes.grid(axis="y", visible=False)
    return figure
