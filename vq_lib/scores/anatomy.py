"""Tissues by grey level, and the shares of the head that they take up."""

import numpy as np
import pandas as pd
from scipy import ndimage
from skimage.filters import threshold_multiotsu

from vq_lib.scores.baselines import thumbnails
from vq_lib.scores.images import FOREGROUND, in_parts, ssim_by_class, unit
from vq_lib.scores.intervals import interval

TISSUES = ("cerebrospinal fluid", "grey matter", "white matter")
CLASSES = ("background", *TISSUES)
SKULL = "skull and scalp"  # masks know the brain alone: what is lit around it is a class of its own


def _grey(images):
    images = np.asarray(images)
    return (images if images.dtype == np.uint8 else np.round(unit(images) * 255)).mean(axis=-1)


def heads(images):
    """Where the head is: bool (N, H, W). The largest piece brighter than `FOREGROUND`, its holes filled."""
    found = np.zeros(np.shape(images)[:3], bool)
    for mask, image in zip(found, _grey(images), strict=True):
        pieces, count = ndimage.label(image > FOREGROUND * 255)
        if count:
            mask[:] = ndimage.binary_fill_holes(pieces == np.bincount(pieces.ravel())[1:].argmax() + 1)
    return found


def thresholds(images):
    """The two grey levels that part cerebrospinal fluid, grey and white matter best (Otsu 1979), from heads' pixels."""
    inside = _grey(images)[heads(images)]
    return tuple(map(float, threshold_multiotsu(inside, 3))) if np.unique(inside).size >= 3 else (85.0, 170.0)


def tissues(images, levels):
    """Tissue of every pixel by two grey levels, see `thresholds`: indices of `CLASSES`, uint8 (N, H, W)."""
    return in_parts(lambda some: (heads(some) * (1 + np.digitize(_grey(some), levels))).astype(np.uint8), images)


def with_skull(masks, images):
    """Masks (N, H, W) of `CLASSES` with a class more, `SKULL`, where an image is lit and its mask is background."""
    lit = in_parts(lambda some: unit(some).max(axis=-1) > FOREGROUND, images)
    return np.where((masks == 0) & lit, len(CLASSES), masks).astype(np.uint8)


def dice(first, second):
    """How well two divisions into `CLASSES` agree, `{tissue: 2 |A ∩ B| / (|A| + |B|)}`."""
    parts = {name: (first == k, second == k) for k, name in enumerate(TISSUES, 1)}
    return {name: float(2 * (a & b).sum() / (a.sum() + b.sum())) for name, (a, b) in parts.items()}


def shares(classes):
    """Shares of the head by tissue classes (N, H, W), a frame, 0 without one; ventricles are fluid deep in it. Their
    pieces, which do not touch, are counted; those below a thousandth of the head are left out.
    """
    depths = [ndimage.distance_transform_edt(image > 0) for image in classes]
    parts = {name: classes == k for k, name in enumerate(TISSUES, 1)}
    # The fluid around the brain lies nearer to the head's outline than 0.35 of the deepest point.
    parts["ventricles"] = parts[TISSUES[0]] & [depth > 0.35 * depth.max() for depth in depths]
    size = np.maximum((classes > 0).sum(axis=(1, 2)), 1)
    found = {name: part.sum(axis=(1, 2)) / size for name, part in parts.items()}
    labels = [ndimage.label(part, np.ones((3, 3)))[0] for part in parts["ventricles"]]
    found["ventricle pieces"] = [
        int((np.bincount(part.ravel())[1:] > head / 1000).sum()) for part, head in zip(labels, size, strict=True)
    ]
    return pd.DataFrame(found)


def asymmetry(images, axis):
    """How far each slice is from its mirror image b' across `axis`, Σ|b − b'| / Σ(b + b'): 0 alike, 1 nowhere lit at
    once; b are blurred thumbnails, and b' is moved to where it fits best. (N, H, W, C) → (N,)
    """
    b = ndimage.gaussian_filter(thumbnails(images).mean(axis=-1), (0, 1, 1))
    moved = [np.roll(np.flip(b, axis), by, axis) for by in range(-8, 9)]
    return np.min([np.abs(b - m).sum(axis=(1, 2)) for m in moved], axis=0) / np.maximum(2 * b.sum(axis=(1, 2)), 1e-9)


def midline(images):
    """The axis, 1 or 2, across which slices are the more symmetric: where left and right are."""
    return min((1, 2), key=lambda axis: np.median(asymmetry(images, axis)))


def by_tissue(inputs, outputs, classes, people, names=CLASSES):
    """Where reconstructions fail: a frame of `share`, `ssim` and `absolute_error` of each class that occurs."""
    _, similarity = ssim_by_class(inputs, outputs, classes, len(names))
    error = in_parts(lambda x, y: np.abs(unit(x) - unit(y)).mean(axis=-1), inputs, outputs)
    return pd.DataFrame.from_dict({
        name: {"share": float((classes == k).mean()), "ssim": interval(similarity[:, k], people),
               "absolute_error": float(error[classes == k].mean())}
        for k, name in enumerate(names) if (classes == k).any()
    }, orient="index")  # fmt: skip
