"""The prior and the pixels as TensorFlow Probability's distributions, against sums over everything that can happen."""

import itertools
import sys

import keras
import numpy as np
import pytest
from scipy.special import expit
from test_prior import shake

from vq_lib.errors import UserError
from vq_lib.models import build, likelihood

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="TensorFlow Probability's distributions run on TensorFlow alone"
)


def every_grid(shape, size):
    return np.array(list(itertools.product(range(size), repeat=int(np.prod(shape)))), np.int32).reshape(-1, *shape)


def small(kind="gated", **options):
    return shake(build.KINDS[kind]((2, 2), 3, filters=4, blocks=1, kernel=3, **options))


def test_probabilities_of_all_grids_sum_to_one_and_samples_follow_them():
    model = small()
    grid, every = likelihood.code_grid(model), every_grid((2, 2), 3)
    assert grid.event_shape == (2, 2) and grid.batch_shape == () and grid.dtype.name == "int32"
    p = np.exp(np.asarray(grid.log_prob(every)))
    assert p.sum() == pytest.approx(1, abs=1e-5)
    drawn = np.asarray(grid.sample(4000, seed=(1, 2)))
    assert drawn.shape == (4000, 2, 2)
    frequency = np.bincount(drawn.reshape(4000, 4) @ [27, 9, 3, 1], minlength=81) / 4000
    assert np.abs(frequency - p).max() < 5 * np.sqrt(p.max() / 4000)
    np.testing.assert_array_equal(grid.sample(3, seed=(5, 6)), grid.sample(3, seed=(5, 6)))


def test_shapes_are_those_of_tensorflow_probability():
    grid = likelihood.code_grid(small("pixelcnn", labels=["a", "b"], slices=3), [[0, 1], [1, 2]])
    assert grid.batch_shape == (2,) and grid.event_shape == (2, 2)
    drawn = grid.sample((4, 5), seed=(0, 1))
    assert drawn.shape == (4, 5, 2, 2, 2) and grid.log_prob(drawn).shape == (4, 5, 2)
    assert grid.log_prob(np.zeros((2, 2), int)).shape == (2,) and grid.sample(seed=(0, 1)).shape == (2, 2, 2)
    alone = likelihood.code_grid(small("pixelcnn", labels=["a", "b"], slices=3), [1, 2])
    np.testing.assert_allclose(alone.log_prob(np.ones((2, 2), int)), grid.log_prob(np.ones((2, 2), int))[1], rtol=1e-5)
    with pytest.raises(ValueError, match="condition"):
        likelihood.code_grid(small(), [0, 1])


def by_hand(x, outputs, scales):
    """Mass of each grey level, from the logistic's own formula in float64."""
    mean, scale = outputs.astype(float) * 255, scales[np.minimum((outputs * 16).astype(int), 15)].astype(float)
    upper = np.where(x == 255, 1.0, expit((x + 0.5 - mean) / scale))
    lower = np.where(x == 0, 0.0, expit((x - 0.5 - mean) / scale))
    return 0.999 * (upper - lower) + 0.001 / 256


def test_pixels_by_a_direct_sum():
    rng = np.random.default_rng(0)
    outputs = rng.random((2, 3, 3, 1)).astype(np.float32)
    outputs[0, 0, 0], outputs[1, 0, 0] = 0, 1
    scales = rng.uniform(0.5, 9, 16).astype(np.float32)
    levels = [np.full(outputs.shape, level) for level in range(256)]
    np.testing.assert_allclose(sum(by_hand(x, outputs, scales) for x in levels), 1, atol=1e-9)
    found = likelihood.pixels(outputs, scales)
    assert found.batch_shape == (2,) and found.event_shape == (3, 3, 1)
    x = rng.integers(0, 256, outputs.shape)
    x[0, 0, 0], x[1, 0, 0] = 0, 255
    expected = -np.log2(by_hand(x, outputs, scales)).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(likelihood.bits_of_pixels(x.astype(np.uint8), outputs, scales), expected, rtol=1e-4)


def test_the_bound_holds_against_the_sum_over_all_codes():
    """-log2 p(x) ≤ -log2 p(z) - log2 p(x | z) for the best z of a tiny model whose every grid can be summed."""
    model, rng = small("snail"), np.random.default_rng(1)
    decoded = rng.random((3, 2, 2)).astype(np.float32)  # what each code decodes to, in a patch of 2 x 2 pixels
    every, scales = every_grid((2, 2), 3), np.full(16, 6, np.float32)
    outputs = decoded[every].transpose(0, 1, 3, 2, 4).reshape(-1, 4, 4, 1)
    x = np.round(outputs[40] * 255 + rng.normal(0, 9, (4, 4, 1))).clip(0, 255).astype(np.uint8)
    fits = -likelihood.bits_of_pixels(np.repeat(x[None], len(every), 0), outputs, scales)
    p = np.asarray(likelihood.code_grid(model).log_prob(every)) / np.log(2)
    exact = -np.log2(np.exp2(p + fits).sum())
    bounds = -(p + fits)
    assert (bounds >= exact - 1e-4).all() and bounds.min() - exact < 0.1
    assert bounds.argmin() == 40


def test_scales_are_those_of_the_noise():
    rng = np.random.default_rng(0)
    outputs = rng.uniform(0.2, 0.8, (4, 64, 64, 1)).astype(np.float32)
    true = np.where(outputs < 0.5, 2.0, 8.0)
    noisy = outputs * 255 + rng.logistic(0, true)
    scales = likelihood.fit_scales(np.round(noisy).clip(0, 255).astype(np.uint8), outputs)
    np.testing.assert_allclose(scales[4:7], 2, rtol=0.2)
    np.testing.assert_allclose(scales[9:12], 8, rtol=0.2)
    assert scales[0] == scales[3] and scales[15] == scales[12], "bands without pixels follow their neighbours"


def test_without_tensorflow_probability_it_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_probability", None)
    with pytest.raises(UserError, match="tensorflow-probability"):
        likelihood.probability()
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(UserError, match="KERAS_BACKEND=tensorflow"):
        likelihood.probability()
