"""How generated images compare with real ones: a two-sample classifier, diversity, and anatomy."""

import numpy as np
import scipy.fft
from scipy import ndimage

from vq_lib.scores import metrics

RINGS = 24  # of the power spectrum
FOLDS, REPEATS = 5, 5  # of the cross-validation
SHRINKAGE = 0.1  # of the classifier's covariance towards the identity


def features(images):
    """What the two-sample classifier sees: (N, H, W, C) → float64 (N, d).

    Grey levels and gradient strength in 8x8 cells, and the logarithm of the power spectrum over `RINGS` rings of
    equal width: where things lie, how sharp they are there, and how much detail of each size the whole image has. (In
    an image of 24 pixels or less some rings are empty, and hold the same for all.)
    """
    parts = []
    for start in range(0, len(images), 256):
        grey = metrics.unit(images[start : start + 256], "images").mean(axis=-1)
        side = grey.shape[1]
        gradient = np.hypot(*np.gradient(grey, axis=(1, 2)))
        power = np.abs(scipy.fft.rfft2(grey)) ** 2
        frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)) * 2  # 1 is a wave of two pixels
        ring = np.minimum(frequency * RINGS, RINGS).astype(int).ravel()
        rings = np.stack([np.bincount(ring, p, RINGS + 1) for p in power.reshape(len(power), -1)])
        rings = np.log(rings / np.maximum(np.bincount(ring), 1) + 1e-6)[:, :RINGS]
        parts.append(np.hstack([_cells(grey), _cells(gradient), rings]))
    return np.concatenate(parts).astype(np.float64)


def _cells(images, count=8):
    step = images.shape[1] // count
    cut = images[:, : step * count, : step * count]
    return cut.reshape(len(cut), count, step, count, step).mean(axis=(2, 4)).reshape(len(cut), -1)


def two_sample_auc(first, second, first_groups, second_groups, draws=1000, seed=0):
    """How well a classifier tells two sets of images apart: the area under its ROC curve; 0.5 is not at all.

    Fisher's linear discriminant with a shrunken covariance on the standardised features, cross-validated five-fold
    and five times: all images of a group, such as a person, are in one fold, so that nobody's slices are learned and
    then tested. A classifier two-sample test (Lopez-Paz and Oquab 2017, arXiv 1610.06545) with the AUC as its
    statistic.

    Args:
        first, second: features, (n, d) and (m, d).
        first_groups, second_groups: (n,) and (m,), what must stay together.

    Returns:
        `{"mean", "low", "high"}`: the AUC, and a 95% bootstrap interval over groups of both sets. The interval says how
        much the tested images vary; the classifiers are not trained again.
    """
    rng = np.random.default_rng(seed)
    x = np.concatenate([first, second])
    is_second = np.repeat([False, True], [len(first), len(second)])
    groups, counts = np.empty(len(x), np.int64), []
    for rows, names in ((~is_second, first_groups), (is_second, second_groups)):
        _, groups[rows] = np.unique(names, return_inverse=True)
        counts.append(groups[rows].max() + 1)
    if min(counts) < 2:
        raise ValueError("each set needs images of two groups at least")
    wins, pairs = np.zeros(counts), np.zeros(counts)  # of a group of the first set against one of the second
    for fold in range(FOLDS * REPEATS):
        if fold % FOLDS == 0:
            of_group = [rng.permutation(count) % min(FOLDS, *counts) for count in counts]
            folds = np.where(is_second, of_group[1][groups % counts[1]], of_group[0][groups % counts[0]])
        mine = folds == fold % FOLDS
        if not mine.any():
            continue
        scores = _discriminant(x[~mine], is_second[~mine], x[mine])
        a, b = scores[~is_second[mine]], scores[is_second[mine]]
        place = np.ix_(groups[mine & ~is_second], groups[mine & is_second])
        better = (b[None, :] > a[:, None]) + 0.5 * (b[None, :] == a[:, None])
        np.add.at(wins, place, better)
        np.add.at(pairs, place, 1.0)
    drawn = []
    for _ in range(draws):
        weights = [np.bincount(rng.integers(0, count, count), minlength=count) for count in counts]
        total = weights[0] @ pairs @ weights[1]
        if total:
            drawn.append(weights[0] @ wins @ weights[1] / total)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return {"mean": float(wins.sum() / pairs.sum()), "low": float(low), "high": float(high)}


def _discriminant(x, labels, new):
    """Scores of `new` along Fisher's direction S⁻¹(μ₁ - μ₀), S the shrunken within-class covariance."""
    means, spread = x.mean(axis=0), x.std(axis=0)
    spread = np.where(spread > 1e-9, spread, 1.0)
    x, new = (x - means) / spread, (new - means) / spread
    centres = [x[labels == value].mean(axis=0) for value in (False, True)]
    within = x - np.where(labels[:, None], centres[1], centres[0])
    covariance = (1 - SHRINKAGE) * within.T @ within / len(x) + SHRINKAGE * np.eye(x.shape[1])
    return new @ np.linalg.solve(covariance, centres[1] - centres[0])


TISSUES = ("cerebrospinal fluid", "grey matter", "white matter")


def tissue_thresholds(images):
    """The two grey levels that part cerebrospinal fluid, grey and white matter best (Otsu 1979), from heads' pixels."""
    from skimage.filters import threshold_multiotsu

    inside = heads(images)
    levels = np.concatenate([image[head] for image, head in zip(_grey(images), inside, strict=True)])
    if np.unique(levels).size < 3:
        return 85.0, 170.0
    return tuple(float(level) for level in threshold_multiotsu(levels, 3))


def heads(images):
    """Where the head is: bool (N, H, W). The largest piece brighter than `metrics.FOREGROUND`, its holes filled."""
    found = np.zeros(np.shape(images)[:3], bool)
    for mask, image in zip(found, _grey(images), strict=True):
        pieces, count = ndimage.label(image > metrics.FOREGROUND * 255)
        if count:
            largest = np.bincount(pieces.ravel())[1:].argmax() + 1
            mask[:] = ndimage.binary_fill_holes(pieces == largest)
    return found


def tissues(images, thresholds):
    """Tissue of every pixel by its grey level: 0 outside the head, 1 fluid, 2 grey, 3 white matter; uint8 (N, H, W)."""

    def found(some):
        return np.where(heads(some), 1 + np.digitize(_grey(some), thresholds), 0).astype(np.uint8)

    return metrics.in_parts(found, np.asarray(images))


def anatomy(classes):
    """Measures of heads from their tissue classes (N, H, W): `{name: (N,) shares of the head}`, 0 without one.

    The ventricles are the fluid that lies further from the head's outline than 0.35 of the deepest point: the fluid
    around the brain lies nearer.
    """
    sizes = np.maximum((classes > 0).sum(axis=(1, 2)), 1).astype(np.float64)
    measures = {name: (classes == k).sum(axis=(1, 2)) / sizes for k, name in enumerate(TISSUES, 1)}
    deep = np.zeros(len(classes))
    for i, image in enumerate(classes):
        depth = ndimage.distance_transform_edt(image > 0)
        deep[i] = ((image == 1) & (depth > 0.35 * depth.max())).sum()
    measures["ventricles"] = deep / sizes
    return measures


def _grey(images):
    images = np.asarray(images)
    if images.dtype != np.uint8:
        images = np.round(metrics.unit(images, "images") * 255)
    return images.mean(axis=-1)
