"""Finite scalar quantisation against its paper's equations in NumPy."""

import numpy as np
import pytest
from keras import ops
from layer_checks import check_layer, gradients

from vq_lib import recipe
from vq_lib.layers.fsq import FiniteScalarQuantizer
from vq_lib.models import saved
from vq_lib.models.build import vqvae_from

LEVELS = [8, 5, 2]


def test_layer_contract():
    check_layer(FiniteScalarQuantizer, {"levels": LEVELS}, (2, 4, 4, 3))


def test_every_code_stands_for_one_point_of_the_lattice():
    layer = FiniteScalarQuantizer(LEVELS)
    points = np.asarray(layer.decode(np.arange(80)))
    axes = [(np.arange(level) - level // 2) / (level // 2) for level in LEVELS]
    # Channel 0 turns fastest.
    expected = np.array([[a, b, c] for c in axes[2] for b in axes[1] for a in axes[0]])
    np.testing.assert_allclose(points, expected, atol=1e-6)


def test_output_is_the_rounded_value_and_its_code_decodes_to_it():
    layer = FiniteScalarQuantizer(LEVELS)
    z = np.random.default_rng(0).normal(0, 3, (2, 6, 6, 3)).astype(np.float32)
    count = np.array(LEVELS)
    half, offset = (count - 1) * 1.001 / 2, np.where(count % 2, 0, 0.5)
    expected = np.round(half * np.tanh(z + np.arctanh(offset / half)) - offset) / (count // 2)
    np.testing.assert_allclose(layer(z), expected, atol=1e-5)
    np.testing.assert_allclose(layer.decode(layer.encode(z)), expected, atol=1e-5)
    # However far the inputs reach, no level beyond the ends is used, and both ends are.
    assert [np.unique(expected[..., i]).size for i in range(3)] == LEVELS


def test_many_levels_are_no_more_than_they_are():
    layer = FiniteScalarQuantizer([4096])
    codes = ops.convert_to_numpy(layer.encode(np.array([[-50.0], [50.0]], np.float32)))
    assert codes.tolist() == [0, 4095]


def test_gradient_is_that_of_the_bound():
    layer = FiniteScalarQuantizer([5])
    z = np.array([[0.3], [-2.0]], np.float32)
    (slope,) = gradients(lambda z: ops.sum(layer(z)), z)
    half = 4 * 1.001 / 2
    np.testing.assert_allclose(slope, half / np.cosh(z) ** 2 / 2, rtol=1e-4)


BLOCKS = {
    "encoder": [{"layer": "conv", "filters": 4, "kernel": 4, "stride": 4}],
    "decoder": [{"layer": "transpose", "filters": 4, "kernel": 4, "stride": 4}],
    "quantizer": "fsq",
}


def test_a_model_of_more_levels_than_any_weight_has_numbers_can_be_loaded(tmp_path):
    model = vqvae_from({**BLOCKS, "levels": [4096], "codes": 4096, "code_dim": 1}, (64, 64, 1), 0.05)
    model.save(tmp_path / "vqvae.keras")
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 1)).astype(np.uint8)
    again = saved.load(tmp_path / "vqvae.keras", "VQ-VAE")
    np.testing.assert_array_equal(again.encode(images), model.encode(images))


def test_recipe_and_model():
    for wrong in ({"levels": [8, 8]}, {}, {"levels": [8, 8], "quantizer": "vq"}):
        with pytest.raises(ValueError, match="levels"):
            recipe.VQVAE(**{**BLOCKS, **wrong})
    settings = recipe.VQVAE(**BLOCKS, levels=[8, 8, 4], codes=256, code_dim=3)
    model = vqvae_from(settings, (64, 64, 1), 0.05)
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 1)).astype(np.uint8)
    codes = model.encode(images)
    assert codes.shape == (2, 16, 16) and 0 <= codes.min() and codes.max() < 256
    np.testing.assert_allclose(model.decode(codes), np.asarray(model(images)), atol=1e-5)
