"""Figures of the latent space: what each code looks like, where it is used, and what lies between two people."""

import numpy as np

from vq_lib.plots.style import CYCLE, WIDTH, image, new, panels, strips

SHOWN = 96  # codes in `in_place`: more are too thin to see


def codebook(patches, counts):
    """Every code's patch, (K, s, s) in [0, 1], from the most to the least used; unused ones, NaN, are grey."""
    across = 2 ** round(np.log2(2 * len(counts)) / 2)  # about twice as wide as high
    rows, side = -(-len(counts) // across), patches.shape[1] + 1
    tiles = np.ones((rows * across, side, side))  # no code's place: paper, so that only unused codes are grey
    tiles[: len(counts)] = 0.35
    tiles[: len(counts), 1:, 1:] = np.nan_to_num(patches[np.argsort(-counts, kind="stable")], nan=0.35)
    figure, axes = new(WIDTH, WIDTH * rows / across + 0.1)
    image(axes, tiles.reshape(rows, across, side, side).swapaxes(1, 2).reshape(rows * side, across * side))
    return figure


def in_place(by_tissue, by_position, tissues, positions):
    """Where the `SHOWN` most used codes stand, by counts (T, K) of tissues, seven at most, and (P, K) of positions."""
    counts = by_position.sum(axis=0)
    few = np.argsort(-counts, kind="stable")[: min(SHOWN, np.count_nonzero(counts))]
    figure, (tissue, position) = panels(3.5, ["Tissue under each code", "Where in the head"])
    share = by_tissue[:, few] / np.maximum(by_tissue[:, few].sum(axis=0), 1)
    share = share[:, np.lexsort((-share.max(axis=0), share.argmax(axis=0)))]
    tissue.stackplot(np.arange(len(few)), share, colors=CYCLE[::-1], labels=tissues, step="mid", lw=0)
    tissue.set(xlabel="codes, by tissue", ylabel="share of the code's cells", xticks=[], ylim=(0, 1),
               xlim=(0, max(len(few) - 1, 1)))  # fmt: skip
    figure.legend(*tissue.get_legend_handles_labels(), loc="outside lower left", ncols=len(tissues))
    use = by_position[:, few].T / by_position[:, few].sum(axis=0)[:, None] * len(positions)
    use = use[np.argsort(use @ positions)]  # from low in the head to high
    picture = position.imshow(use, cmap="magma", aspect="auto", vmin=0, vmax=max(np.quantile(use, 0.995), 2),
                              extent=(positions[0] - 0.5, positions[-1] + 0.5, len(few), 0))  # fmt: skip
    figure.colorbar(picture, ax=position, label="use (1: even)")
    position.set(xlabel="slice position", ylabel="codes, by mean position", yticks=[])
    position.grid(False)
    return figure


def walk(pictures):
    """From a slice to another, (2, steps, H, W, C) in [0, 1]: through the latent space above, mixed by pixel below."""
    shares = np.linspace(0, 1, pictures.shape[1])
    return strips([("latents", pictures[0]), ("pixels", pictures[1])], [f"{share:.0%}" for share in shares])
