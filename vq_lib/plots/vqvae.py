"""Figures of notebook 02: how the VQ-VAE learned and what it does to a slice."""

import numpy as np

from vq_lib import plots as figures
from vq_lib.plots import COLOURS

LOSSES = {
    "mse": "The first term is as it stands above.",
    "clipped_mse": "Black and white pixels are charged on one side only, since the output is clipped to [0, 1]: a "
    "black pixel that is drawn below 0, or a white one above 1, counts as right (loss: clipped_mse).",
    "l1": "The first term is the mean absolute error instead, divided by the standard deviation (loss: l1).",
}


def loss_in_words(settings):
    """What a recipe makes of the loss that notebook 02 prints, and how it is minimised: a list of sentences.

    Args:
        settings: the section `vqvae` of a recipe.
    """
    found = [LOSSES[settings.loss], "There is no structural term: λ = 0."]
    if settings.structure:
        found[1] = f"The structural term has λ = {settings.structure:g}: the model trains on a part of its score."
    if settings.quantizer == "fsq":
        found.append("There is no third term: channels are rounded to fixed levels (finite scalar quantisation).")
    else:
        found.append(f"The third term has β = {settings.beta:g}.")
        found.append(
            f"The codebook follows running means with γ = {settings.decay:g}."
            if settings.codebook == "ema"
            else "The codebook learns by gradient, from a fourth term: the third without β, with sg around z_e instead."
        )
        if settings.distance == "cosine":
            found.append("Vectors and codes are scaled to length 1: the nearest code is the one at the least angle.")
        if settings.gradient == "rotation":
            found.append("The gradient is not handed straight through but turned with the vector (rotation trick).")
    rate = f"Adam's learning rate stays at {settings.learning_rate:g}."
    if settings.schedule == "cosine":
        rise = (
            f" rises to {settings.learning_rate:g} over the first {settings.warmup} batches, half of all at most, then"
        )
        rate = f"Adam's learning rate{rise if settings.warmup else f' starts at {settings.learning_rate:g} and'} falls "
        rate += "to 0 along half a cosine wave."
    found.append(rate)
    if settings.clip:
        found.append(f"A gradient whose norm, over all weights, exceeds {settings.clip:g} is scaled down to it.")
    return found


def start_in_words(settings):
    """How a codebook starts, and whether dead codes are restarted, in a sentence.

    Args:
        settings: the section `vqvae` of a recipe.
    """
    if settings.quantizer == "fsq":
        return "Here the codes are fixed points of a grid: none can move, and none can be restarted."
    start = {"kmeans": "by k-means on encoder outputs", "uniform": "at random, in a small cube around zero"}
    restart = "nothing revives codes that nobody chooses, which is how a codebook collapses."
    if settings.restart is not None:
        restart = f"codes chosen less than {settings.restart:g} times as often as the average one are restarted at "
        restart += "encoder outputs far from all codes."
    return f"Here the codebook starts {start[settings.start]}, and {restart}"


def brightness_ranks(images, codes, size):
    """Where each code stands between the darkest, 0, and the brightest, 1: float (size,), 0 for one that is not used.

    The codes that are used are ranked by the mean grey level of their cells.

    Args:
        images: uint8 (n, H, W, C). codes: int (n, h, w), below `size`. size: K, the number of codes.
    """
    n, height, width = codes.shape
    cells = images.reshape(n, height, images.shape[1] // height, width, -1).mean(axis=(2, 4), dtype=np.float32)
    counts = np.bincount(codes.ravel(), minlength=size)
    means = np.bincount(codes.ravel(), cells.ravel(), size) / np.maximum(counts, 1)
    used, ranks = np.flatnonzero(counts), np.zeros(size)
    ranks[used[np.argsort(means[used], kind="stable")]] = np.linspace(0, 1, len(used))
    return ranks


def curves(history, size):
    """Loss, validation SSIM and codebook use over epochs.

    Args:
        history: the columns of `history.csv`, `{name: (epochs,)}`. size: K, the number of codes.
    """
    figure, (loss, quality, codes) = figures.new(9, 3.3, columns=3)
    epochs = history["epoch"]
    marker = "o" if len(epochs) < 3 else None  # a line through one point is invisible

    def line(axes, values, label, style="-", colour="validation"):
        axes.plot(epochs, values, color=COLOURS[colour], ls=style, marker=marker, label=label)

    line(loss, history["loss"], "training", colour="train")
    line(loss, history["val_loss"], "validation")
    loss.set(title="Loss", yscale="log")
    line(quality, history["val_ssim"], "whole slice")
    line(quality, history["val_ssim_foreground"], "foreground", "--")
    quality.set(title="Validation SSIM", ylim=(None, 1))
    line(codes, history["val_perplexity"], "perplexity")
    line(codes, size * history["val_usage"], "used at all", ":")
    codes.set(title=f"Codes in use, of {size}", ylim=(0, None))
    for axes in (loss, quality, codes):
        axes.set_xlabel("epoch")
        axes.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, fontsize=9)  # inside it covers curves
    return figure


def panels(inputs, codes, outputs, titles, ranks):
    """Input, codes, reconstruction and error of some slices, one a column; the errors share one scale.

    Args:
        inputs: uint8 (n, H, W, C). codes: int (n, h, w). outputs: floats in [0, 1], as `inputs`.
        titles: n texts. ranks: float (K,), see `brightness_ranks`.
    """
    n = len(inputs)
    inputs, error = inputs / 255.0, np.abs(inputs / 255.0 - outputs).mean(axis=-1)
    limit = max(float(np.quantile(error, 0.999)), 1e-3)
    figure, axes = figures.new(1.5 * n + 0.4, 6.2, rows=4, columns=n, squeeze=False)
    for i in range(n):
        figures.image(axes[0, i], inputs[i], 1)
        axes[1, i].imshow(ranks[codes[i]], cmap="viridis", vmin=0, vmax=1)
        figures.image(axes[2, i], outputs[i], 1)
        axes[3, i].imshow(error[i], cmap="inferno", vmin=0, vmax=limit)
        axes[0, i].set_title(titles[i], fontsize=8)
    for axis in axes.flat:
        figures.bare(axis)
    for row, name in enumerate(("input", "codes", "reconstruction", f"error (0 to {limit:.2f})")):
        axes[row, 0].set_ylabel(name, fontsize=9)
    return figure


def usage(codes, size, foreground):
    """How often each code is chosen, in order of rank: over all cells and over those that hold brain.

    Args:
        codes: int (n, h, w), below `size`. foreground: bool, as `codes`.
    """
    figure, axes = figures.new(7, 3)
    for chosen, label, colour in ((codes, "all cells", "baseline"), (codes[foreground], "foreground cells", "test")):
        share = np.sort(np.bincount(chosen.ravel(), minlength=size) / chosen.size)[::-1]
        axes.plot(np.arange(1, size + 1), np.where(share > 0, share, np.nan), color=COLOURS[colour], label=label)
    axes.axhline(1 / size, color=COLOURS["warning"], lw=1, ls="--", label="even use")
    axes.set(yscale="log", xlabel="codes by rank", ylabel="share of cells", xlim=(1, size))
    axes.legend()
    return figure
