"""How a codebook is used: perplexity and what it could be, and what each code stands for.

Codes are whole numbers from 0 to K - 1, int (n, h, w): n slices, a grid of h by w cells.
"""

import numpy as np
from scipy.ndimage import maximum_filter
from scipy.stats import entropy
from skimage.measure import block_reduce

from vq_lib.scores.images import FOREGROUND, spread


def perplexity(codes, num_codes):
    """exp of the entropy of the codes' frequencies: how many codes are in use as if evenly; 1 to K."""
    return float(np.exp(entropy(np.bincount(np.ravel(codes), minlength=num_codes))))


def usage(codes, num_codes):
    """Share of the K codes that occur at all."""
    return float(np.unique(codes).size / num_codes)


def foreground_cells(images, grid):
    """Cells of the code grid whose patch of pixels has any input above `FOREGROUND`: bool, (n, h, w)."""
    images = np.asarray(images)
    lit = (images > FOREGROUND * (255 if images.dtype == np.uint8 else 1)).any(axis=-1)
    return block_reduce(lit, (1, lit.shape[1] // grid[0], lit.shape[2] // grid[1]), np.max)


def black_cells(images, grid, receptive_field):
    """Cells of the grid (h, w) whose receptive field, inside uint8 images, is all zero: one code would do; (n, h, w).

    `receptive_field`: (low, high), in pixels from the first pixel of a cell's own patch to the first and the last that
    its code can see. At the border, where layers see their padding, the codes may still differ.
    """
    (low, high), (_, height, width, _) = receptive_field, np.shape(images)
    size, rows, columns = high - low + 1, height // grid[0], width // grid[1]
    lit, origin = np.any(np.asarray(images) > 0, axis=-1), -(low + size // 2)  # the filter's window is centred
    reach = maximum_filter(lit, size=(1, size, size), origin=(0, origin, origin), mode="constant")
    return ~reach[:, ::rows, ::columns]


def perplexity_cap(black_share, num_codes):
    """The highest perplexity of K codes when a share b of the cells have one code: the others share the rest evenly."""
    b = max(float(black_share), 1 / num_codes)
    return float(np.exp(entropy([b, 1 - b])) * max(num_codes - 1, 1) ** (1 - b))


def summary(codes, images, num_codes, receptive_field=None):
    """`{codebook_usage, perplexity, perplexity_foreground, perplexity_cap}` of uint8 images' codes, where known."""
    found = {"codebook_usage": usage(codes, num_codes), "perplexity": perplexity(codes, num_codes)}
    if (lit := codes[foreground_cells(images, codes.shape[1:])]).size:
        found["perplexity_foreground"] = perplexity(lit, num_codes)
    if receptive_field is not None:
        black = black_cells(images, codes.shape[1:], receptive_field)
        found["perplexity_cap"] = perplexity_cap(black.mean(), num_codes)
    return found


def patches(codes, outputs, num_codes, places=32):
    """Each code as it is decoded among its neighbours: the mean of `outputs` around up to `places` cells that hold it.

    Float32 (K, 3p, 3p), p pixels a cell, its own in the middle; NaN for a code that does not occur.
    """
    p = outputs.shape[1] // codes.shape[1]
    padded = np.pad(outputs.mean(axis=-1), ((0, 0), (p, p), (p, p)))
    found = np.full((num_codes, 3 * p, 3 * p), np.nan, np.float32)
    for code in np.unique(codes):
        cells = spread(np.argwhere(codes == code), places)
        found[code] = np.mean([padded[n, p * i : p * (i + 3), p * j : p * (j + 3)] for n, i, j in cells], axis=0)
    return found


def counts_by(codes, kinds, count, num_codes):
    """How often each code stands in each of `count` kinds of cell, (n, h, w) or (n, 1, 1): int (count, K)."""
    together = np.broadcast_to(kinds, codes.shape).ravel() * num_codes + codes.ravel()
    return np.bincount(together, minlength=count * num_codes).reshape(count, num_codes)


def middles(classes, grid):
    """The class of the pixel in the middle of each cell: (n, H, W) → int (n, h, w)."""
    rows, columns = classes.shape[1] // grid[0], classes.shape[2] // grid[1]
    return classes[:, rows // 2 :: rows, columns // 2 :: columns].astype(int)
