"""Structural similarity as a term of a loss."""

import numpy as np
from keras import ops


def gaussian_window(side, sigma=1.5, radius=5):
    """The matrix G (side - 2·radius, side) with which G X Gᵀ is the Gaussian-weighted mean around each inner pixel."""
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    rows = side - 2 * radius
    matrix = np.zeros((rows, side), np.float32)
    for row in range(rows):
        matrix[row, row : row + 2 * radius + 1] = taps / taps.sum()
    return matrix


def ssim_map(x, y):
    """The map of structural similarity (Wang et al. 2004, equation 13) of two batches of images in [0, 1].

    With Gaussian means μ, variances σ² and covariance σ_xy in a window of σ = 1.5 pixels,

        SSIM = (2 μ_x μ_y + C₁)(2 σ_xy + C₂) / ((μ_x² + μ_y² + C₁)(σ_x² + σ_y² + C₂)),  C₁ = 0.01², C₂ = 0.03².

    The window is separable, so that each mean is two matrix products, which are fast on every device.

    Shapes: (B, H, W, C) floats, twice → (B, C, H - 10, W - 10) float32, pixels whose window lies inside the image.
    """
    x, y = (ops.transpose(ops.cast(image, "float32"), (0, 3, 1, 2)) for image in (x, y))
    down = ops.convert_to_tensor(gaussian_window(x.shape[2]))
    across = ops.convert_to_tensor(gaussian_window(x.shape[3]).T)
    moments = ops.matmul(ops.matmul(down, ops.stack([x, y, x * x + y * y, x * y])), across)
    mean_x, mean_y, square, product = moments[0], moments[1], moments[2], moments[3]
    means = mean_x * mean_y
    squares = mean_x * mean_x + mean_y * mean_y
    variances = ops.maximum(square - squares, 0)  # where it is flat and bright, rounding may leave less than nothing
    return ((2 * means + 1e-4) * (2 * (product - means) + 9e-4)) / ((squares + 1e-4) * (variances + 9e-4))
