"""How a codebook is used: perplexity and what it could be, and what each code stands for.

Codes are whole numbers from 0 to K - 1, int (n, h, w): n slices, a grid of h by w cells.
"""

import numpy as np
from scipy.ndimage import maximum_filter

from vq_lib.scores.images import FOREGROUND, spread


def perplexity(codes, num_codes):
    """exp of the entropy of the codes' frequencies: how many codes are in use as if evenly; 1 to K."""
    frequency = np.bincount(np.ravel(codes), minlength=num_codes) / np.size(codes)
    frequency = frequency[frequency > 0]
    return float(np.exp(-(frequency * np.log(frequency)).sum()))


def usage(codes, num_codes):
    """Share of the K codes that occur at all."""
    return float(np.unique(codes).size / num_codes)


def foreground_cells(images, grid):
    """Cells of the code grid whose patch of pixels has any input above `FOREGROUND`: bool, (n, h, w)."""
    images = np.asarray(images)
    (n, height, width, channels), (h, w) = images.shape, grid
    limit = FOREGROUND * 255 if images.dtype == np.uint8 else FOREGROUND
    return (images.reshape(n, h, height // h, w, width // w, channels) > limit).any(axis=(2, 4, 5))


def black_cells(images, grid, receptive_field):
    """Cells whose receptive field, as far as it lies inside the image, is all zero: one code would do; (n, h, w).

    No other pixel can change their codes. Those at the border may still have others than the rest, since layers see
    their padding there.

    Args:
        images: uint8, (n, H, W, C). grid: (h, w) of the codes.
        receptive_field: (low, high), in pixels from the first pixel of a cell's own patch to the first and the last
            pixel that its code can see.
    """
    (low, high), (_, height, width, _) = receptive_field, np.shape(images)
    size, rows, columns = high - low + 1, height // grid[0], width // grid[1]
    lit, origin = np.any(np.asarray(images) > 0, axis=-1), -(low + size // 2)  # the filter's window is centred
    reach = maximum_filter(lit, size=(1, size, size), origin=(0, origin, origin), mode="constant")
    return ~reach[:, ::rows, ::columns]


def perplexity_cap(black_share, num_codes):
    """The highest perplexity of K codes when a share b of the cells have one code and the others share the rest evenly.

    exp(-b ln b - (1-b) ln((1-b)/(K-1))), or K where b < 1/K.
    """
    b = float(black_share)
    if b <= 1 / num_codes:
        return float(num_codes)
    return float(np.exp(-b * np.log(b) - (1 - b) * np.log((1 - b) / (num_codes - 1)))) if b < 1 else 1.0


def summary(codes, images, num_codes, receptive_field=None):
    """`{codebook_usage, perplexity, perplexity_foreground, perplexity_cap}` of the codes of images, uint8 (n, H, W, C).

    Without foreground its perplexity is left out, and the cap without a receptive field, see `black_cells`.
    """
    found = {"codebook_usage": usage(codes, num_codes), "perplexity": perplexity(codes, num_codes)}
    lit = codes[foreground_cells(images, codes.shape[1:])]
    if lit.size:
        found["perplexity_foreground"] = perplexity(lit, num_codes)
    if receptive_field is not None:
        black = black_cells(images, codes.shape[1:], receptive_field)
        found["perplexity_cap"] = perplexity_cap(black.mean(), num_codes)
    return found


def patches(codes, outputs, num_codes, places=32):
    """Each code as it is decoded among its neighbours: the mean of `outputs` around up to `places` cells that hold it.

    Args:
        codes: (n, h, w). outputs: their reconstructions, (n, H, W, C).

    Returns:
        float32 (K, 3p, 3p), p = H / h pixels a cell, the code's own in the middle; NaN for a code that does not occur.
    """
    p = outputs.shape[1] // codes.shape[1]
    padded, found = np.pad(outputs.mean(axis=-1), ((0, 0), (p, p), (p, p))), []
    for code in range(num_codes):
        cells = np.argwhere(codes == code)
        cut = [padded[n, p * i : p * (i + 3), p * j : p * (j + 3)] for n, i, j in spread(cells, places)]
        found.append(np.mean(cut, axis=0) if cut else np.full((3 * p, 3 * p), np.nan))
    return np.array(found, np.float32)


def counts_by(codes, kinds, count, num_codes):
    """How often each code stands in each kind of cell, int (count, K).

    Args:
        kinds: below `count`, (n, h, w), such as `middles` of tissues, or (n, 1, 1) for a kind a slice.
    """
    together = np.broadcast_to(kinds, codes.shape).ravel() * num_codes + codes.ravel()
    return np.bincount(together, minlength=count * num_codes).reshape(count, num_codes)


def middles(classes, grid):
    """The class of the pixel in the middle of each cell: (n, H, W) → int (n, h, w)."""
    rows, columns = classes.shape[1] // grid[0], classes.shape[2] // grid[1]
    return classes[:, rows // 2 :: rows, columns // 2 :: columns].astype(int)
