"""Figures of notebook 02: how the VQ-VAE learned and what it does to a slice."""

import numpy as np

from vq_lib import figures
from vq_lib.figures import COLOURS


def curves(history):
    """Loss, validation SSIM and codebook use over epochs, from the columns of `history.csv`."""
    figure, (loss, quality, codes) = figures.new(9, 3, columns=3)
    epochs = history["epoch"]
    marker = "o" if len(epochs) < 3 else None  # a line through one point is invisible
    loss.plot(epochs, history["loss"], color=COLOURS["train"], marker=marker, label="training")
    loss.plot(epochs, history["val_loss"], color=COLOURS["validation"], marker=marker, label="validation")
    loss.set(title="Loss", yscale="log")
    quality.plot(epochs, history["val_ssim"], color=COLOURS["validation"], marker=marker, label="whole slice")
    foreground = history["val_ssim_foreground"]
    quality.plot(epochs, foreground, color=COLOURS["validation"], ls="--", marker=marker, label="foreground")
    quality.set(title="Validation SSIM", ylim=(None, 1))
    codes.plot(epochs, history["val_perplexity"], color=COLOURS["validation"], marker=marker, label="perplexity")
    codes.set(title="Codes in use (validation)", ylim=(0, None))
    share = codes.twinx()
    used = 100 * history["val_usage"]
    share.plot(epochs, used, color=COLOURS["baseline"], ls=":", marker=marker, label="used at all, %")
    share.set(ylim=(0, 105))
    share.grid(False)
    codes.legend([codes.lines[0], share.lines[0]], ["perplexity (left)", "used at all, % (right)"], loc="lower right")
    for axes in (loss, quality, codes):
        axes.set_xlabel("epoch")
        axes.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
        axes.xaxis.get_major_locator().set_params(integer=True)
    loss.legend()
    quality.legend(loc="lower right")
    return figure


def panels(inputs, codes, outputs, titles, size):
    """Input, codes, reconstruction and error of some slices, one a column; the errors share one scale."""
    n = len(inputs)
    inputs, error = inputs / 255.0, np.abs(inputs / 255.0 - outputs).mean(axis=-1)
    limit = max(float(np.quantile(error, 0.999)), 1e-3)
    figure, axes = figures.new(1.5 * n + 0.4, 6.2, rows=4, columns=n, squeeze=False)
    for i in range(n):
        figures.image(axes[0, i], inputs[i], 1)
        axes[1, i].imshow(codes[i], cmap="nipy_spectral", vmin=0, vmax=size - 1)
        figures.image(axes[2, i], outputs[i], 1)
        axes[3, i].imshow(error[i], cmap="inferno", vmin=0, vmax=limit)
        axes[0, i].set_title(titles[i], fontsize=8)
    for axis in axes.flat:
        figures.bare(axis)
    for row, name in enumerate(("input", "codes", "reconstruction", f"error (0 to {limit:.2f})")):
        axes[row, 0].set_ylabel(name, fontsize=9)
    return figure


def usage(codes, size, foreground):
    """How often each code is chosen, in order of rank: over all cells and over those that hold brain."""
    figure, axes = figures.new(7, 3)
    for chosen, label, colour in ((codes, "all cells", "baseline"), (codes[foreground], "foreground cells", "test")):
        share = np.sort(np.bincount(chosen.ravel(), minlength=size) / chosen.size)[::-1]
        axes.plot(np.arange(1, size + 1), np.where(share > 0, share, np.nan), color=COLOURS[colour], label=label)
    axes.axhline(1 / size, color=COLOURS["warning"], lw=1, ls="--", label="even use")
    axes.set(yscale="log", xlabel="codes by rank", ylabel="share of cells", xlim=(1, size))
    axes.legend()
    return figure
