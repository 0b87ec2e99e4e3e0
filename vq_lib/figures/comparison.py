"""Figures of the comparison page; each takes `comparison.Report`s."""

import numpy as np

from vq_lib import figures
from vq_lib.figures import COLOURS

# Okabe and Ito (2008) again, one for each report in turn, with a line style for each round.
CYCLE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", ":", "-.")


def _look(number):
    return {"color": CYCLE[number % len(CYCLE)], "ls": STYLES[number // len(CYCLE) % len(STYLES)]}


def _plain(axes):
    """Label a logarithmic axis of minutes with 0.5, 2, 10 rather than powers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def rate_distortion(reports, systems):
    """Quality over rate: a report's two points, the codecs beside it, and published systems' own figures."""
    figure, both = figures.new(9.2, 4, columns=2, sharex=True)
    for axes, score, title in zip(both, ("ssim", "ssim_foreground"), ("SSIM", "Foreground SSIM"), strict=True):
        for number, report in enumerate(reports):
            look, value = _look(number), report.vqvae[score]
            for rate, marker in zip(report.rates, "o*", strict=False):
                axes.errorbar(rate, value["mean"], [[value["mean"] - value["low"]], [value["high"] - value["mean"]]],
                              fmt=marker, ms=11 if marker == "*" else 6, color=look["color"], lw=1)  # fmt: skip
            axes.plot(report.rates, [value["mean"]] * len(report.rates), label=report.name, **look)
            for codec in report.metrics.get("baselines", {}).values():
                if "bits_per_pixel" in codec:
                    axes.plot(codec["bits_per_pixel"], codec[score], ".", color=COLOURS["baseline"], ms=5)
        axes.set(title=title, xlabel="bits per pixel", xlim=(0, None))
    both[0].plot([], [], ".", color=COLOURS["baseline"], label="codecs")
    for system in systems:
        if "ssim" in system:
            rate = np.log2(system["codes"]) * (system["grid"] / system["size"]) ** 2
            both[0].plot(rate, system["ssim"], "x", color="#333333")
            both[0].annotate(system["name"], (rate, system["ssim"]), (5, -8), textcoords="offset points", fontsize=7)
    handles, labels = both[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8)
    return figure


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


def cost(reports):
    """Minutes of both trainings, and foreground SSIM over them."""
    figure, (bars, points) = figures.new(9.2, 0.34 * len(reports) + 2, columns=2)
    names = [report.name for report in reports]
    spent = {stage: np.array([report.provenance.get("seconds", {}).get(stage, 0) / 60 for report in reports])
             for stage in ("vqvae", "prior")}  # fmt: skip
    bars.barh(names, spent["vqvae"], color=COLOURS["train"], height=0.6, label="VQ-VAE")
    bars.barh(names, spent["prior"], left=spent["vqvae"], color=COLOURS["validation"], height=0.6, label="prior")
    bars.set(xlabel="minutes of training", ylim=(len(names) - 0.5, -0.5))
    bars.grid(axis="y", visible=False)
    bars.legend(fontsize=8)
    for number, report in enumerate(reports):
        total = sum(values[number] for values in spent.values())
        score, colour = report.vqvae["ssim_foreground"]["mean"], _look(number)["color"]
        points.plot(max(total, 0.01), score, "o", color=colour)
        points.annotate(report.name, (max(total, 0.01), score), (6, 4), textcoords="offset points", fontsize=7.5)
    points.set(xlabel="minutes of training", ylabel="foreground SSIM", xscale="log")
    points.margins(x=0.25, y=0.2)
    _plain(points)
    return figure


def sweep(found):
    """Foreground SSIM of every point of a sweep, the best above; None where the table has no such column."""
    if "ssim_foreground" not in found["header"]:
        return None
    column = found["header"].index("ssim_foreground")
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
