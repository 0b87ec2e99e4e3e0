"""Scores against scikit-image and hand calculations."""

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from vq_lib.layers.autoencoder import encoder, receptive_field
from vq_lib.scores import metrics


def pair(n=4, size=32, seed=0):
    rng = np.random.default_rng(seed)
    inputs = np.zeros((n, size, size, 1), np.uint8)
    inputs[:, 8:24, 8:24] = rng.integers(20, 256, (n, 16, 16, 1))
    return inputs, np.clip(inputs / 255 + rng.normal(0, 0.1, inputs.shape), 0, 1).astype(np.float32)


def test_ssim_is_scikit_images_and_foreground_its_map_under_the_mask():
    inputs, outputs = pair()
    plain, foreground = metrics.ssim(inputs, outputs)
    for i in range(len(inputs)):
        x, y = (inputs[i, ..., 0] / 255).astype(np.float32), outputs[i, ..., 0]
        score, full = structural_similarity(
            x, y, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
        )
        assert plain[i] == pytest.approx(score, abs=1e-6)
        assert foreground[i] == pytest.approx(full[x > 0.05].mean(), abs=1e-6)


def test_ssim_of_equal_images_is_one_and_of_an_image_without_foreground_is_nan():
    inputs, _ = pair()
    inputs[0] = 3
    plain, foreground = metrics.ssim(inputs, inputs)
    np.testing.assert_allclose(plain, 1, atol=1e-6)
    assert np.isnan(foreground[0]) and foreground[1:] == pytest.approx(1, abs=1e-6)


def test_psnr_is_scikit_images_and_capped():
    inputs, outputs = pair()
    expected = [
        peak_signal_noise_ratio((x / 255).astype(np.float32), y, data_range=1)
        for x, y in zip(inputs, outputs, strict=True)
    ]
    np.testing.assert_allclose(metrics.psnr(inputs, outputs), expected, atol=1e-4)
    assert metrics.psnr(inputs, inputs).tolist() == [100] * 4


def test_a_wrong_data_range_is_refused():
    inputs, outputs = pair()
    with pytest.raises(ValueError, match=r"must be uint8 or lie in \[0, 1\]"):
        metrics.ssim(inputs, outputs - 0.5)
    with pytest.raises(ValueError, match="differ in shape"):
        metrics.ssim(inputs, outputs[:, :16])


def test_in_parts_is_the_whole():
    sizes, (first, second) = [], np.random.default_rng(0).random((2, 7, 4))

    def added(a, b):
        sizes.append(len(a))
        return a + b

    np.testing.assert_array_equal(metrics.in_parts(added, first, second, size=3), first + second)
    assert sizes == [3, 3, 1]
    assert metrics.levels(np.zeros((0, 8, 8, 1), np.float32)).shape == (0, 8, 8, 1)
    with pytest.raises(ValueError, match="one with one"):
        metrics.in_parts(added, first, second[:5])


def test_interval_draws_people_not_slices():
    # Two people of 50 equal slices each: the only bootstrap means are 0, 0.5 and 1.
    values, people = np.repeat([0.0, 1.0], 50), np.repeat(["a", "b"], 50)
    assert metrics.interval(values, people) == {"mean": 0.5, "low": 0.0, "high": 1.0}
    # A person weighs as much as they have slices, and a NaN is no slice.
    mean = metrics.interval([1, 1, 1, 0, np.nan], ["a", "a", "a", "b", "b"])["mean"]
    assert mean == pytest.approx(0.75)


def test_interval_covers_a_known_mean():
    rng = np.random.default_rng(0)
    people = np.arange(40)
    inside = 0
    for trial in range(100):
        found = metrics.interval(rng.normal(2, 1, 40), people, draws=300, seed=trial)
        inside += found["low"] <= 2 <= found["high"]
    assert 85 <= inside <= 100


def test_perplexity_and_usage_by_hand():
    assert metrics.perplexity([0, 1, 2, 3], 8) == pytest.approx(4)
    assert metrics.perplexity([5, 5, 5], 8) == pytest.approx(1)
    assert metrics.perplexity([0, 0, 0, 1], 8) == pytest.approx(np.exp(-0.75 * np.log(0.75) - 0.25 * np.log(0.25)))
    assert metrics.usage([[0, 1], [1, 1]], 8) == 0.25


def test_perplexity_cap_is_reached_by_the_best_histogram_and_by_no_other():
    cap, size, cells = metrics.perplexity_cap(0.5, 5), 5, 800
    best = np.concatenate([np.zeros(cells // 2, int), np.repeat(np.arange(1, 5), cells // 8)])
    assert metrics.perplexity(best, size) == pytest.approx(cap)
    rng = np.random.default_rng(0)
    for _ in range(50):
        other = np.concatenate([np.zeros(cells // 2, int), rng.choice(5, cells // 2, p=rng.dirichlet(np.ones(5)))])
        assert metrics.perplexity(other, size) <= cap + 1e-9
    assert metrics.perplexity_cap(0.1, 5) == 5 and metrics.perplexity_cap(1.0, 5) == 1


def test_foreground_cells_by_hand():
    image = np.zeros((1, 8, 8, 1), np.uint8)
    image[0, 5, 2] = 13  # just above 0.05 * 255 = 12.75
    image[0, 0, 0] = 12
    assert np.argwhere(metrics.foreground_cells(image, (2, 2))).tolist() == [[0, 1, 0]]


def test_black_cells_are_those_whose_code_cannot_change():
    """A pixel is lit everywhere in turn: the cells whose encoder output moves are those that are not black."""
    blocks = [
        {"layer": "conv", "filters": 3, "kernel": 4, "stride": 2, "repeat": 1, "hidden": None},
        {"layer": "conv", "filters": 3, "kernel": 3, "stride": 2, "repeat": 1, "hidden": None},
        {"layer": "residual", "filters": 3, "kernel": 3, "stride": 1, "repeat": 1, "hidden": 3},
    ]
    net = encoder(blocks, (32, 32, 1), 2, "silu")
    for weight in net.weights:  # positive weights: nothing cancels
        weight.assign(np.full(weight.shape, 0.1))
    images = np.zeros((33, 32, 32, 1), np.uint8)
    for i in range(32):
        images[i + 1, i, (7 * i) % 32] = 255
    outputs = np.asarray(net(images))
    moved = (np.abs(outputs - outputs[:1]) > 1e-6).any(axis=-1)
    np.testing.assert_array_equal(~metrics.black_cells(images, (8, 8), receptive_field(blocks)), moved)


def brains(size, count=3):
    """Slices of synthetic people, and the same a little blurred and darker."""
    from scipy.ndimage import gaussian_filter

    from vq_lib.data import cohort

    images = cohort.make({"test": count}, slices=1, size=size, progress=False).images
    return images, (gaussian_filter(images / 255.0, (0, 1.5, 1.5, 0)) * 0.9).astype(np.float32)


@pytest.mark.parametrize("size", [176, 190, 256])
def test_ms_ssim_is_tensorflows_at_its_five_scales(size):
    tensorflow = pytest.importorskip("tensorflow")
    inputs, outputs = brains(size)
    expected = tensorflow.image.ssim_multiscale(inputs.astype(np.float32) / 255, outputs, 1.0).numpy()
    assert metrics.scales(size) == 5 and 0.5 < expected.mean() < 0.99
    np.testing.assert_allclose(metrics.ms_ssim(inputs, outputs), expected, atol=1e-5)


def test_ms_ssim_with_fewer_scales_scales_its_weights():
    tensorflow = pytest.importorskip("tensorflow")
    inputs, outputs = brains(64)
    weights = np.array(metrics.MS_WEIGHTS[:3]) / sum(metrics.MS_WEIGHTS[:3])
    expected = tensorflow.image.ssim_multiscale(inputs.astype(np.float32) / 255, outputs, 1.0, weights.tolist()).numpy()
    np.testing.assert_allclose(metrics.ms_ssim(inputs, outputs), expected, atol=1e-5)
    assert [metrics.scales(side) for side in (8, 16, 32, 64, 128, 129, 176, 256)] == [1, 1, 2, 3, 3, 4, 5, 5]
    np.testing.assert_allclose(metrics.ms_ssim(inputs, inputs), 1)
