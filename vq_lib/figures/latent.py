"""Figures of the latent space: what each code looks like, where it is used, and what lies between two people."""

import numpy as np

from vq_lib import figures


def codebook(patches, counts):
    """Every code as it is decoded in its places, from the most to the least used; unused ones are grey."""
    order = np.argsort(-counts, kind="stable")
    columns = int(np.ceil(np.sqrt(len(order) * 2)))
    rows, side = -(-len(order) // columns), patches.shape[1] + 1
    sheet = np.full((rows * side + 1, columns * side + 1), 0.35)
    for place, code in enumerate(order):
        top, left = place // columns * side + 1, place % columns * side + 1
        sheet[top : top + side - 1, left : left + side - 1] = np.nan_to_num(patches[code], nan=0.35)
    figure, axes = figures.new(9, 9 * rows / columns + 0.1)
    figures.image(axes, sheet, 1)
    return figure


def usage(latent, tissues, shown=96):
    """Where codes are used: share of each code's cells by tissue, and codes over the slice position."""
    order = np.argsort(-latent["counts"], kind="stable")
    order = order[latent["counts"][order] > 0]
    few = order[: min(shown, len(order))]
    figure, (tissue, position, spread) = figures.new(9.2, 3.1, columns=3, width_ratios=(1.4, 1.4, 1))
    colours = ("#333333", "#56B4E9", "#E69F00", "#009E73")
    share = latent["by_tissue"][:, few] / np.maximum(latent["by_tissue"][:, few].sum(axis=0), 1)
    share = share[:, np.lexsort((-share.max(axis=0), share.argmax(axis=0)))]
    tissue.stackplot(np.arange(1, len(few) + 1), share, colors=colours, labels=tissues, step="mid", lw=0)
    tissue.set(title="Tissue under each code", xlabel="codes, by tissue", ylim=(0, 1), xlim=(1, max(len(few), 2)))
    tissue.legend(fontsize=7, loc="lower left", facecolor="white", frameon=True, framealpha=0.85)
    places = latent["positions"]
    picture = position.imshow(np.log10(latent["by_position"][:, few].T + 1), cmap="magma", aspect="auto",
                              extent=(places[0] - 0.5, places[-1] + 0.5, len(few) + 0.5, 0.5))  # fmt: skip
    figure.colorbar(picture, ax=position, label="log10 (1 + cells)")
    position.set(title="Codes over the head", xlabel="slice position", ylabel="codes by rank")
    position.grid(False)
    spread.barh(tissues, [_perplexity(row) for row in latent["by_tissue"]], color=colours, height=0.65)
    spread.set(title="Perplexity in each", xlabel="codes in even use")
    spread.grid(axis="y", visible=False)
    spread.invert_yaxis()
    return figure


def _perplexity(counts):
    share = counts[counts > 0] / max(counts.sum(), 1)
    return float(np.exp(-(share * np.log(share)).sum())) if share.size else 0.0


def walk(pictures):
    """Between two people's slices: through the latent space above, and mixed pixel by pixel below."""
    steps = pictures.shape[1]
    figure, axes = figures.new(1.25 * steps + 0.3, 2.7, rows=2, columns=steps, squeeze=False)
    for line, images, name in zip(axes, pictures, ("latents", "pixels"), strict=True):
        for axis, image in zip(line, images, strict=True):
            figures.image(axis, image, 1)
        line[0].set_ylabel(name, fontsize=9)
    for axis, share in zip(axes[0], np.linspace(0, 1, steps), strict=True):
        axis.set_title(f"{share:.0%}", fontsize=8)
    return figure
