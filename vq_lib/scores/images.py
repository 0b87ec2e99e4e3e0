"""How near images come to their originals: SSIM, foreground SSIM and PSNR, one value an image."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from skimage.metrics import structural_similarity

from vq_lib.scores.intervals import interval

FOREGROUND = 0.05  # a pixel of the input brighter than this is foreground
SCORES = ("ssim", "ssim_foreground", "psnr")
PSNR_CAP = 100.0  # dB; the PSNR of equal images is infinite


def unit(images, name="images"):
    """Images as float32 in [0, 1]: uint8 grey levels are divided by 255, floats are checked; (N, H, W, C) stays.

    Raises:
        ValueError: the shape has not four axes, or floats lie outside [0, 1] by more than rounding; it says `name`.
    """
    images = np.asarray(images)
    if images.ndim != 4:
        raise ValueError(f"{name} must have shape (N, H, W, C), not {images.shape}")
    if images.dtype == np.uint8:
        return images.astype(np.float32) / 255
    if images.size and not (images.min() >= -1e-3 and images.max() <= 1 + 1e-3):  # a NaN is refused too
        raise ValueError(
            f"{name} must be uint8 or lie in [0, 1], but reach from {images.min():.3g} to {images.max():.3g}"
        )
    return images.astype(np.float32)


def in_parts(function, *arrays, size=256):
    """`function` of `size` rows of each of `arrays` at a time, put together: what it needs on its way stays small."""
    count = len(arrays[0])
    if any(len(array) != count for array in arrays):
        raise ValueError(f"{[len(array) for array in arrays]} images cannot be compared one with one")
    return np.concatenate([function(*(a[i : i + size] for a in arrays)) for i in range(0, max(count, 1), size)])


def spread(rows, count):
    """At most `count` of `rows`, evenly spaced."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int))]


def levels(images):
    """The nearest grey levels, uint8, of images with intensities in [0, 1], (N, H, W, C)."""
    return in_parts(lambda some: np.round(some * 255).astype(np.uint8), images)


def _ssim_maps(inputs, outputs, value, *others):
    """`value(input, mean, map, *others)` of every pair of images: float64 (N, …).

    scikit-image's own SSIM, so that a score is what readers can recompute, with the settings of Wang et al. (2004):
    intensities in [0, 1], a Gaussian window with sigma = 1.5, population covariances.
    """
    if np.shape(inputs) != np.shape(outputs):
        raise ValueError(f"inputs {np.shape(inputs)} and outputs {np.shape(outputs)} differ in shape")
    options = {"data_range": 1.0, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}

    def one(x, y, *rest):
        return value(x, *structural_similarity(x, y, channel_axis=-1, full=True, **options), *rest)

    def part(x, y, *rest):
        return np.array(list(pool.map(one, unit(x, "inputs"), unit(y, "outputs"), *rest)), np.float64)

    with ThreadPoolExecutor(2) as pool:
        return in_parts(part, inputs, outputs, *others)


def _masked_mean(similarity, mask):
    return similarity[mask].mean() if mask.any() else np.nan


def ssim(inputs, outputs):
    """SSIM of images (N, H, W, C), uint8 or in [0, 1], with their inputs: plain and over the foreground, (N,) each.

    The plain score is scikit-image's mean (its borders cropped); the foreground score is the mean of the uncropped SSIM
    map where the *input* is brighter than `FOREGROUND`, NaN for an image without foreground.
    """

    def value(x, mean, similarity):
        return mean, _masked_mean(similarity, (x > FOREGROUND).any(axis=-1))

    plain, foreground = _ssim_maps(inputs, outputs, value).reshape(-1, 2).T
    return plain, foreground


def ssim_by_class(inputs, outputs, classes, count):
    """Mean of each image's SSIM map over the pixels of each class: float64 (N, count), NaN where there are none.

    Args:
        inputs, outputs: as for `ssim`. classes: int (N, H, W), below `count`.
    """

    def value(_, mean, similarity, mask):
        return [_masked_mean(similarity, mask == k) for k in range(count)]

    return _ssim_maps(inputs, outputs, value, classes).reshape(-1, count)


def psnr(inputs, outputs):
    """Peak signal-to-noise ratio of each image in dB, 10 log10(1 / MSE), capped at `PSNR_CAP`; shape (N,)."""

    def part(x, y):
        return np.square(unit(x, "inputs").astype(np.float64) - unit(y, "outputs")).mean(axis=(1, 2, 3))

    return np.minimum(-10 * np.log10(np.maximum(in_parts(part, inputs, outputs), 1e-30)), PSNR_CAP)


def scores(inputs, outputs):
    """`ssim` and `psnr` of each image: `{ssim, ssim_foreground, psnr: (N,)}`, PSNR in dB."""
    return dict(zip(SCORES, (*ssim(inputs, outputs), psnr(inputs, outputs)), strict=True))


def means(values):
    """`{name: (N,)}` → `{name: mean}`, images without foreground left out of the foreground's mean."""
    return {name: float(np.nanmean(some)) for name, some in values.items()}


def summary(values, people):
    """`scores` → `{name: {"mean", "low", "high"}}` over people, see `interval`; no end lies above what can be reached.

    A score that no image has, such as foreground SSIM of black ones, is left out.
    """
    known = {name: some for name, some in values.items() if not np.isnan(some).all()}
    return {name: interval(some, people, highest=PSNR_CAP if name == "psnr" else 1.0) for name, some in known.items()}
