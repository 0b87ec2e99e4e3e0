"""Structural similarity as a term of a loss."""

import numpy as np
from keras import ops
from scipy.linalg import convolution_matrix

TAPS = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)  # a Gaussian of σ = 1.5 pixels, cut at 5


def ssim_map(x, y):
    """The map of structural similarity (Wang et al. 2004, equation 13) of two batches of images in [0, 1].

    With Gaussian means μ, variances σ² and covariance σ_xy in a window of σ = 1.5 pixels,

        SSIM = (2 μ_x μ_y + C₁)(2 σ_xy + C₂) / ((μ_x² + μ_y² + C₁)(σ_x² + σ_y² + C₂)),  C₁ = 0.01², C₂ = 0.03².

    The window is separable, so that each mean is two matrix products, G X Gᵀ, which are fast on every device.

    Shapes: (B, H, W, C) floats, twice → (B, C, H - 10, W - 10) float32, pixels whose window lies inside the image.
    """
    x, y = (ops.transpose(ops.cast(image, "float32"), (0, 3, 1, 2)) for image in (x, y))
    down, across = (convolution_matrix(TAPS / TAPS.sum(), n - 10).astype(np.float32) for n in x.shape[2:])
    moments = ops.stack([x, y, x * x + y * y, x * y])
    averages = ops.matmul(ops.matmul(down.T, moments), across)
    mean_x, mean_y, square, product = (averages[i] for i in range(4))
    means, squares = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
    variances = ops.maximum(square - squares, 0)  # where it is flat and bright, rounding may leave less than nothing
    return ((2 * means + 1e-4) * (2 * (product - means) + 9e-4)) / ((squares + 1e-4) * (variances + 9e-4))
