"""What reconstructions are held against: predictions without a model, other people's slices, and blur."""

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import cdist

from vq_lib.scores.images import in_parts, scores, spread, unit

BLURS = (1, 2, 3)  # standard deviations in pixels


def thumbnails(images, size=64, rows=None):
    """Means over patches: uint8 (N, H, W, C) → float32 (N, h, w, C) in [0, 1], about `size` patches to a side.

    Small images keep their size; what no whole patch fits into, at the right and below, is left out. With `rows`, of
    these only. A part is read at a time, for images that may not fit into memory.
    """
    _, height, width, channels = images.shape
    step = max(height // size, 1)
    h, w = height // step, width // step

    def part(chosen):
        blocks = images[chosen][:, : h * step, : w * step].reshape(-1, h, step, w, step, channels)
        return blocks.mean(axis=(2, 4), dtype=np.float32) / 255

    return in_parts(part, np.arange(len(images)) if rows is None else rows)


def nearest(queries, references, groups=None, moved=False):
    """Index of and Euclidean distance to the nearest reference of each query: (n, …), (m, …) → (n,), (n,).

    Args:
        groups: (n,) and (m,), whose they are: the nearest of others, at an infinite distance where there is none.
        moved: whether a query, (n, h, w, C), is looked up as its mirror image too, and both moved by up to one pixel
            along each axis, so that a copy is found that was mirrored or moved.
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
    for picture in (images, images[:, :, ::-1]):
        padded = np.pad(picture, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
        for row, column in np.ndindex(3, 3):
            yield padded[:, row : row + height, column : column + width]


def mean_image(images, rows):
    """The mean of some images in [0, 1], float32 (H, W, C), read a part at a time."""
    parts = (images[rows[start : start + 256]].sum(axis=0, dtype=np.float64) for start in range(0, len(rows), 256))
    return (sum(parts, np.zeros(images.shape[1:])) / len(rows) / 255).astype(np.float32)


def position_means(images, position, train, rows):
    """The mean training image of the own position of `rows`: float32 (n, H, W, C) in [0, 1].

    Args:
        images: uint8 (N, H, W, C), perhaps on disk. position: (N,). train, rows: indices into both.
    """
    average = {}
    for place in np.unique(position[rows]):
        there = train[position[train] == place]
        # A position that no training person has falls back to the mean of all of them.
        average[place] = mean_image(images, there if there.size else train)
    return np.stack([average[place] for place in position[rows]])


def predictions(images, position, train, test):
    """Scores of what uses no model on the slices `test`: `{name: {ssim, ssim_foreground, psnr: (n,)}}`.

    A black image, the mean training image, that of the slice's own position, and the training slice nearest by
    thumbnails. Args: as for `position_means`.
    """
    inputs = np.asarray(images[test])
    index, _ = nearest(thumbnails(inputs), thumbnails(images, rows=train))
    return {
        "zeros": scores(inputs, np.zeros_like(inputs)),
        "mean_image": scores(inputs, np.broadcast_to(mean_image(images, train), inputs.shape)),
        "position_mean": scores(inputs, position_means(images, position, train, test)),
        "nearest_training": scores(inputs, np.asarray(images[train[index]])),
    }


def blurred(images, sigma):
    """Images after a Gaussian blur of `sigma` pixels: float32 (N, H, W, C) in [0, 1]."""
    return in_parts(lambda some: gaussian_filter(unit(some), (0, sigma, sigma, 0)), images)


def another_person(people, position):
    """For each slice, the index of the next person's slice nearest to its position: (n,), (n,) → (n,) int.

    "Next" by name; a person who is alone is followed by themselves.
    """
    names, whose = np.unique(people, return_inverse=True)
    chosen = []
    for following, place in zip((whose + 1) % len(names), position, strict=True):
        theirs = np.flatnonzero(whose == following)
        chosen.append(theirs[np.abs(position[theirs] - place).argmin()])
    return np.array(chosen)


def most_unlike(images, people, position):
    """Indices of the two images, of 500 at most, that differ most: of two people, where there are, and one position."""
    rows = spread(np.arange(len(images)), 500)
    small = thumbnails(images, rows=rows).reshape(len(rows), -1)
    alike, here = (some[rows][:, None] == some[rows] for some in (people, position))
    distance = np.where(here & ~alike if (here & ~alike).any() else here, cdist(small, small), -1)
    return rows[list(np.unravel_index(distance.argmax(), distance.shape))]
