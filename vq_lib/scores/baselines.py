"""What reconstructions are held against: predictions without a model, other people's slices, and blur."""

import itertools

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import cdist
from skimage.measure import block_reduce

from vq_lib.scores.images import in_parts, scores, spread, unit

BLURS = (1, 2, 3)  # standard deviations in pixels


def thumbnails(images, size=64, rows=None):
    """Means over patches, about `size` to a side, of all or some `rows`: uint8 (N, H, W, C) → float32 (N, h, w, C).

    In [0, 1]; what no whole patch fits into is left out. A part is read at a time: images may not fit into memory.
    """
    step = max(images.shape[1] // size, 1)
    high, wide = (side // step * step for side in images.shape[1:3])
    options = {"block_size": (1, step, step, 1), "func": np.mean, "func_kwargs": {"dtype": np.float32}}
    rows = np.arange(len(images)) if rows is None else rows
    return in_parts(lambda some: block_reduce(images[some][:, :high, :wide], **options) / 255, rows)


def nearest(queries, references, groups=None, moved=False):
    """Index of and Euclidean distance to the nearest reference of each query: (n, …), (m, …) → (n,), (n,).

    `groups`: (n,) and (m,), whose they are: the nearest of others, at an infinite distance where there is none.
    `moved`: look each image up as its mirror image too, and both moved by up to one pixel along each axis.
    """
    references = references.reshape(len(references), -1)
    squares = np.square(references).sum(axis=1)
    index, distance = np.zeros(len(queries), np.int64), np.full(len(queries), np.inf)
    for start in range(0, len(queries), 256):
        part = slice(start, start + 256)
        for version in _versions(queries[part]) if moved else (queries[part],):
            flat = version.reshape(len(version), -1)
            d2 = squares - 2 * flat @ references.T
            if groups is not None:
                d2[groups[0][part, None] == groups[1]] = np.inf
            found = d2.argmin(axis=1)
            # Recomputed: the expanded square is too coarse for a copy's distance of zero.
            exact = np.where(np.isinf(d2.min(axis=1)), np.inf, np.linalg.norm(flat - references[found], axis=1))
            index[part] = np.where(exact < distance[part], found, index[part])
            distance[part] = np.minimum(exact, distance[part])
    return index, distance


def _versions(images):
    """Images and their mirror images, moved by -1, 0 and 1 pixels along both axes; the edge is repeated."""
    height, width = images.shape[1:3]
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    for step, row, column in itertools.product((1, -1), range(3), range(3)):
        yield padded[:, row : row + height, column : column + width][:, :, ::step]


def mean_image(images, rows):
    """The mean of some images in [0, 1], float32 (H, W, C), read a part at a time."""
    parts = in_parts(lambda some: images[some].sum(axis=0, dtype=np.float64, keepdims=True), rows)
    return (parts.sum(axis=0) / len(rows) / 255).astype(np.float32)


def position_means(images, position, train, rows):
    """The mean training image of each one's position, float32 (n, H, W, C) in [0, 1], for the slices `rows`.

    Of all training images where none has the position.
    """
    places, which = np.unique(position[rows], return_inverse=True)
    there = (train[position[train] == place] for place in places)
    return np.stack([mean_image(images, some if some.size else train) for some in there])[which]


def predictions(images, position, train, test):
    """Scores of what uses no model on the slices `test`: `{name: {ssim, ssim_foreground, psnr: (n,)}}`."""
    inputs = np.asarray(images[test])
    index, _ = nearest(thumbnails(inputs), thumbnails(images, rows=train))
    guesses = {
        "zeros": np.zeros_like(inputs),
        "mean_image": np.broadcast_to(mean_image(images, train), inputs.shape),
        "position_mean": position_means(images, position, train, test),
        "nearest_training": np.asarray(images[train[index]]),  # by thumbnails
    }
    return {name: scores(inputs, guess) for name, guess in guesses.items()}


def blurred(images, sigma):
    """Images after a Gaussian blur of `sigma` pixels: float32 (N, H, W, C) in [0, 1]."""
    return in_parts(lambda some: gaussian_filter(unit(some), (0, sigma, sigma, 0)), images)


def most_unlike(images, people, position):
    """Indices of the two images, of 500 at most, that differ most: of two people, where there are, and one position."""
    rows = spread(np.arange(len(images)), 500)
    small = thumbnails(images, rows=rows).reshape(len(rows), -1)
    alike, here = (some[rows][:, None] == some[rows] for some in (people, position))
    distance = np.where(here & ~alike if (here & ~alike).any() else here, cdist(small, small), -1)
    return rows[list(np.unravel_index(distance.argmax(), distance.shape))]
