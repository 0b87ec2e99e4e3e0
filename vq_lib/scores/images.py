"""How near images come to their originals: SSIM, foreground SSIM, PSNR and MS-SSIM, one value an image."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy.ndimage import gaussian_filter
from skimage.measure import block_reduce
from skimage.metrics import structural_similarity

from vq_lib.scores.intervals import dyadic, interval

FOREGROUND = 0.05  # a pixel of the input brighter than this is foreground
SCORES = ("ssim", "ssim_foreground", "psnr")
PSNR_CAP = 100.0  # dB; the PSNR of equal images is infinite
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of MS-SSIM's scales, the finest first
REACH = 5  # pixels from the middle of its Gaussian window to the end


def unit(images, name="images"):
    """Images (N, H, W, C) as float32 in [0, 1]: uint8 is divided by 255; floats outside raise ValueError by `name`."""
    images = np.asarray(images)
    if images.ndim != 4:
        raise ValueError(f"{name} must have shape (N, H, W, C), not {images.shape}")
    if images.dtype == np.uint8:
        return images.astype(np.float32) / 255
    low, high = (images.min(), images.max()) if images.size else (0, 1)
    if not (low >= -1e-3 and high <= 1 + 1e-3):  # a NaN is refused too
        raise ValueError(f"{name} must be uint8 or lie in [0, 1], but reach from {low:.3g} to {high:.3g}")
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


def ssim_by_class(inputs, outputs, classes, count):
    """SSIM of each pair of images, (N,), and its map's mean over each of `count` classes, (N, H, W): (N, count) or NaN.

    scikit-image's own, so that readers can recompute it, with the settings of Wang et al. (2004): intensities in
    [0, 1], a Gaussian window with sigma = 1.5, population covariances. Its mean leaves out the borders, not so the map.
    """
    if np.shape(inputs) != np.shape(outputs):
        raise ValueError(f"inputs {np.shape(inputs)} and outputs {np.shape(outputs)} differ in shape")
    options = {"data_range": 1.0, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}

    def one(x, y, kinds):
        mean, similarity = structural_similarity(x, y, channel_axis=-1, full=True, **options)
        parts = [similarity[kinds == k] for k in range(count)]
        return [mean, *(part.mean() if part.size else np.nan for part in parts)]

    def part(x, y, kinds):
        return np.array(list(pool.map(one, unit(x, "inputs"), unit(y, "outputs"), kinds)), np.float64)

    with ThreadPoolExecutor(2) as pool:
        found = in_parts(part, inputs, outputs, classes).reshape(-1, 1 + count)
    return found[:, 0], found[:, 1:]


def ssim(inputs, outputs):
    """SSIM of images (N, H, W, C), uint8 or in [0, 1], with their inputs: plain and over the foreground, (N,) each.

    Foreground is where the *input* is brighter than `FOREGROUND`; NaN where it nowhere is.
    """
    lit = in_parts(lambda some: (unit(some, "inputs") > FOREGROUND).any(axis=-1), inputs)
    plain, by_class = ssim_by_class(inputs, outputs, lit, 2)
    return plain, by_class[:, 1]


def psnr(inputs, outputs):
    """Peak signal-to-noise ratio of each image in dB, 10 log10(1 / MSE), capped at `PSNR_CAP`; shape (N,)."""
    error = in_parts(lambda x, y: np.square(unit(x).astype(np.float64) - unit(y)).mean(axis=(1, 2, 3)), inputs, outputs)
    return np.minimum(-10 * np.log10(np.maximum(error, 1e-30)), PSNR_CAP)


def scores(inputs, outputs):
    """`ssim` and `psnr` of each image: `{ssim, ssim_foreground, psnr: (N,)}`, PSNR in dB."""
    return dict(zip(SCORES, (*ssim(inputs, outputs), psnr(inputs, outputs)), strict=True))


def means(values):
    """`{name: (N,)}` → `{name: mean}`, images without foreground left out of the foreground's mean."""
    return {name: float(np.nanmean(some)) for name, some in values.items()}


def summary(values, people):
    """`scores` that some image has → `{name: {"mean", "low", "high"}}` over people, none above what can be reached."""
    known = {name: some for name, some in values.items() if not np.isnan(some).all()}
    return {name: interval(some, people, highest=PSNR_CAP if name == "psnr" else 1.0) for name, some in known.items()}


def scales(side):
    """How many scales MS-SSIM has at this image side: three up to 128 pixels, five above, fewer where none fits."""
    return max(min(3 if side <= 128 else 5, int(np.log2(side / (2 * REACH + 1))) + 1), 1)


def ms_ssim(inputs, outputs):
    r"""Multi-scale SSIM of each image with its partner, float64 (N,) (Wang, Simoncelli and Bovik 2003, equation 7).

    MS-SSIM = l_M^{w_M} \prod_j cs_j^{w_j}: contrast and structure at every scale, luminance at the coarsest alone, each
    scale half as large as the one before. With all five `scales` this is TensorFlow's; with fewer, the first weights
    are scaled to sum to one.
    """
    weights = np.array(WEIGHTS[: scales(min(np.shape(inputs)[1:3]))])
    *finer, coarsest = weights / weights.sum()

    def part(x, y):
        both, product = np.stack([unit(x, "inputs"), unit(y, "outputs")]).astype(np.float64), 1
        for weight in finer:
            product = product * np.maximum(_terms(*both)[1].mean(axis=(1, 2)), 0) ** weight
            odd = [(0, side % 2) for side in both.shape[2:4]]  # an odd last row or column counts twice
            both = block_reduce(np.pad(both, [(0, 0), (0, 0), *odd, (0, 0)], "edge"), (1, 1, 2, 2, 1), np.mean)
        return (product * np.maximum(np.prod(_terms(*both), axis=0).mean(axis=(1, 2)), 0) ** coarsest).mean(axis=-1)

    return in_parts(part, inputs, outputs, size=32)


def _terms(x, y):
    """The luminance and the contrast-structure term of SSIM at every place where the window fits."""
    some = np.stack([x, y, x * y, x * x + y * y])
    some = gaussian_filter(some, 1.5, radius=REACH, axes=(2, 3))[:, :, REACH:-REACH, REACH:-REACH]
    c1, c2, product, squares = 0.01**2, 0.03**2, 2 * some[0] * some[1], some[0] ** 2 + some[1] ** 2
    return (product + c1) / (squares + c1), (2 * some[2] - product + c2) / (some[3] - squares + c2)


def pair_similarity(images, groups=None, pairs=200, seed=0):
    """Mean MS-SSIM of random pairs of two `groups` (None: each image is one), an interval; lower is more varied."""
    groups = np.arange(len(images)) if groups is None else np.unique(groups, return_inverse=True)[1]
    if np.unique(groups).size < 2:
        raise ValueError("a pair needs images of two different groups")
    rng, chosen = np.random.default_rng(seed), np.empty((0, 2), np.int64)
    while len(chosen) < pairs:
        drawn = rng.integers(0, len(images), (4 * pairs, 2))
        chosen = np.concatenate([chosen, drawn[groups[drawn[:, 0]] != groups[drawn[:, 1]]]])
    first, second = chosen[:pairs].T
    return dyadic(ms_ssim(np.asarray(images[first]), np.asarray(images[second])), groups[first], groups[second])
