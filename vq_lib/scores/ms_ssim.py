"""Multi-scale structural similarity, and how alike images are among themselves."""

import numpy as np
from scipy.ndimage import correlate1d

from vq_lib.scores.images import in_parts, unit
from vq_lib.scores.intervals import dyadic

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang, Simoncelli and Bovik (2003), finest scale first
WINDOW = 11  # side of the Gaussian window, in pixels


def scales(side):
    """How many scales MS-SSIM has at this image side: three up to 128 pixels, five above, fewer where none fits."""
    return max(min(3 if side <= 128 else 5, int(np.log2(side / WINDOW)) + 1), 1)


def ms_ssim(inputs, outputs):
    r"""Multi-scale structural similarity of each image with its partner (Wang, Simoncelli and Bovik 2003, equation 7).

    MS-SSIM = l_M^{w_M} \prod_j cs_j^{w_j}: contrast and structure at every scale, luminance at the coarsest alone, each
    scale half as large as the one before. With all five `scales` this is TensorFlow's; with fewer, the first weights
    are scaled to sum to one.

    Args:
        inputs, outputs: (N, H, W, C), uint8 or floats in [0, 1].

    Returns:
        float64, (N,).
    """
    if np.shape(inputs) != np.shape(outputs):
        raise ValueError(f"inputs {np.shape(inputs)} and outputs {np.shape(outputs)} differ in shape")
    weights = np.array(WEIGHTS[: scales(min(np.shape(inputs)[1:3]))])
    *finer, coarsest = weights / weights.sum()

    def part(x, y):
        x, y, product = unit(x, "inputs").astype(np.float64), unit(y, "outputs").astype(np.float64), 1
        for weight in finer:
            product = product * np.maximum(_terms(x, y)[1].mean(axis=(1, 2)), 0) ** weight
            x, y = _halved(x), _halved(y)
        luminance, contrast = _terms(x, y)
        return (product * np.maximum((luminance * contrast).mean(axis=(1, 2)), 0) ** coarsest).mean(axis=-1)

    return in_parts(part, inputs, outputs, size=32)


def _terms(x, y):
    """The luminance and the contrast-structure term of SSIM at every place where the window fits."""
    half = WINDOW // 2
    window = np.exp(-(np.arange(-half, half + 1) ** 2) / (2 * 1.5**2))

    def blurred(z):
        z = correlate1d(correlate1d(z, window / window.sum(), axis=1), window / window.sum(), axis=2)
        return z[:, half : z.shape[1] - half, half : z.shape[2] - half]

    c1, c2 = 0.01**2, 0.03**2
    mean_x, mean_y = blurred(x), blurred(y)
    product, squares = 2 * mean_x * mean_y, mean_x**2 + mean_y**2
    contrast = (2 * blurred(x * y) - product + c2) / (blurred(x * x + y * y) - squares + c2)
    return (product + c1) / (squares + c1), contrast


def _halved(z):
    """Means over 2x2 pixels; an odd last row or column counts twice."""
    z = np.pad(z, ((0, 0), (0, z.shape[1] % 2), (0, z.shape[2] % 2), (0, 0)), mode="symmetric")
    n, height, width, channels = z.shape
    return z.reshape(n, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))


def pair_similarity(images, groups=None, pairs=200, seed=0):
    """Mean MS-SSIM of random pairs of images: how alike they are among themselves. Lower is more diverse.

    Args:
        images: (N, H, W, C), uint8 or floats in [0, 1].
        groups: (N,) whom an image is of; the two of a pair then differ in it. None: every image is of its own.

    Returns:
        `{"mean", "low", "high"}`, see `intervals.dyadic`.
    """
    groups = np.arange(len(images)) if groups is None else np.unique(groups, return_inverse=True)[1]
    if np.unique(groups).size < 2:
        raise ValueError("a pair needs images of two different groups")
    rng, chosen = np.random.default_rng(seed), np.empty((0, 2), np.int64)
    while len(chosen) < pairs:
        drawn = rng.integers(0, len(images), (4 * pairs, 2))
        chosen = np.concatenate([chosen, drawn[groups[drawn[:, 0]] != groups[drawn[:, 1]]]])
    first, second = chosen[:pairs].T
    return dyadic(ms_ssim(np.asarray(images[first]), np.asarray(images[second])), groups[first], groups[second])
