"""Figures of the latent space: what each code looks like, where it is used, and what lies between two people."""

import numpy as np

from vq_lib import plots as figures


def codebook(patches, counts):
    """Every code as it is decoded in its places, from the most to the least used; unused ones are grey.

    Args:
        patches: (K, h, h) in [0, 1], NaN for an unused code. counts: (K,).
    """
    order = np.argsort(-counts, kind="stable")
    columns = _columns(len(order))
    rows, side = -(-len(order) // columns), patches.shape[1] + 1
    sheet = np.full((rows * side + 1, columns * side + 1), 0.35)
    if left := rows * columns - len(order):  # no code's place: paper, so that only unused codes are grey
        sheet[-side:, -left * side :] = 1
    for place, code in enumerate(order):
        top, left = place // columns * side + 1, place % columns * side + 1
        sheet[top : top + side - 1, left : left + side - 1] = np.nan_to_num(patches[code], nan=0.35)
    figure, axes = figures.new(9, 9 * rows / columns + 0.1)
    figures.image(axes, sheet, 1)
    return figure


def _columns(count):
    """Columns of a sheet about twice as wide as high, without empty places where `count` has a fit divisor."""
    wanted = np.sqrt(2 * count)
    fit = [n for n in range(1, count + 1) if count % n == 0 and wanted / 2 <= n <= wanted * 2]
    return min(fit, key=lambda n: (round(abs(np.log(n / wanted)), 6), -n), default=int(np.ceil(wanted)))


SHOWN = 96  # codes in `usage`: more are too thin to see


def usage(latent, tissues):
    """Where the `SHOWN` most used codes stand: their cells by tissue and by slice position, and perplexity by tissue.

    Args:
        latent: `evaluation.latent`'s. tissues: names of its classes.
    """
    order = np.argsort(-latent["counts"], kind="stable")
    few = order[: min(SHOWN, np.count_nonzero(latent["counts"]))]
    figure, (tissue, position, spread) = figures.new(9.2, 3.5, columns=3, width_ratios=(1.4, 1.4, 1))
    colours = ("#333333", "#56B4E9", "#E69F00", "#009E73", "#CC79A7")[: len(tissues)]
    share = latent["by_tissue"][:, few] / np.maximum(latent["by_tissue"][:, few].sum(axis=0), 1)
    share = share[:, np.lexsort((-share.max(axis=0), share.argmax(axis=0)))]
    tissue.stackplot(np.arange(1, len(few) + 1), share, colors=colours, labels=tissues, step="mid", lw=0)
    tissue.set(title="Tissue under each code", xlabel="codes, by tissue", ylabel="share of the code's cells",
               ylim=(0, 1), xlim=(1, max(len(few), 2)))  # fmt: skip
    tissue.xaxis.get_major_locator().set_params(integer=True)
    handles, labels = tissue.get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=8, loc="outside lower left", ncols=len(labels))
    places, cells = latent["positions"], latent["by_position"][:, few].T
    share = cells / np.maximum(cells.sum(axis=1, keepdims=True), 1)
    share = share[np.argsort(share @ places)] * len(places)  # 1 is an even use; from low in the head to high
    picture = position.imshow(share, cmap="magma", aspect="auto", vmin=0, vmax=max(np.quantile(share, 0.995), 2),
                              extent=(places[0] - 0.5, places[-1] + 0.5, len(few) + 0.5, 0.5))  # fmt: skip
    figure.colorbar(picture, ax=position, label="use (1: even)")
    position.set(title="Where in the head", xlabel="slice position", ylabel="codes, by their mean position")
    position.grid(False)
    spread.barh(tissues, [_perplexity(row) for row in latent["by_tissue"]], color=colours, height=0.65)
    spread.set(title="Perplexity by tissue", xlabel="codes in even use", yticks=[])  # colours are named by the legend
    spread.grid(axis="y", visible=False)
    spread.invert_yaxis()
    return figure


def _perplexity(counts):
    share = counts[counts > 0] / max(counts.sum(), 1)
    return float(np.exp(-(share * np.log(share)).sum())) if share.size else 0.0


def walk(pictures):
    """Between two people's slices: through the latent space above, and mixed pixel by pixel below.

    Args:
        pictures: (2, steps, H, W, C) in [0, 1].
    """
    steps = pictures.shape[1]
    figure, axes = figures.new(1.25 * steps + 0.3, 2.7, rows=2, columns=steps, squeeze=False)
    for line, images, name in zip(axes, pictures, ("latents", "pixels"), strict=True):
        for axis, image in zip(line, images, strict=True):
            figures.image(axis, image, 1)
        line[0].set_ylabel(name, fontsize=9)
    for axis, share in zip(axes[0], np.linspace(0, 1, steps), strict=True):
        axis.set_title(f"{share:.0%}", fontsize=8)
    return figure
