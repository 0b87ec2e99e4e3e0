"""The structural term against scikit-image."""

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from vq_lib.layers.ssim import ssim_map


@pytest.mark.parametrize("channels", [1, 3])
def test_map_is_scikit_images_inside(channels):
    rng = np.random.default_rng(0)
    x = rng.random((2, 24, 30, channels)).astype(np.float32)
    y = np.clip(x + 0.1 * rng.normal(size=x.shape), 0, 1).astype(np.float32)
    found = np.asarray(ssim_map(x, y))
    for n in range(2):
        for c in range(channels):
            _, full = structural_similarity(x[n, ..., c], y[n, ..., c], data_range=1.0, gaussian_weights=True,
                                            sigma=1.5, use_sample_covariance=False, full=True)  # fmt: skip
            np.testing.assert_allclose(found[n, c], full[5:-5, 5:-5], atol=1e-5)


def test_equal_images_score_one_and_black_against_white_nearly_nothing():
    x = np.random.default_rng(1).random((1, 16, 16, 1)).astype(np.float32)
    np.testing.assert_allclose(ssim_map(x, x), 1, atol=1e-5)
    # Without variance only the means count: C1 / (1 + C1), by hand.
    np.testing.assert_allclose(ssim_map(np.zeros_like(x), np.ones_like(x)), 1e-4 / 1.0001, rtol=1e-4)
