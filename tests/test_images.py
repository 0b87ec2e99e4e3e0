"""SSIM, PSNR and MS-SSIM against scikit-image, TensorFlow and hand calculations."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from vq_lib.data import cohort
from vq_lib.scores import images


def pair(n=4, size=32, seed=0):
    rng = np.random.default_rng(seed)
    inputs = np.zeros((n, size, size, 1), np.uint8)
    inputs[:, 8:24, 8:24] = rng.integers(20, 256, (n, 16, 16, 1))
    return inputs, np.clip(inputs / 255 + rng.normal(0, 0.1, inputs.shape), 0, 1).astype(np.float32)


def test_ssim_is_scikit_images_and_foreground_its_map_under_the_mask():
    inputs, outputs = pair()
    plain, foreground = images.ssim(inputs, outputs)
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
    plain, foreground = images.ssim(inputs, inputs)
    np.testing.assert_allclose(plain, 1, atol=1e-6)
    assert np.isnan(foreground[0]) and foreground[1:] == pytest.approx(1, abs=1e-6)


def test_scores_by_class_are_means_of_the_map():
    rng = np.random.default_rng(0)
    inputs = rng.integers(0, 256, (2, 24, 24, 1)).astype(np.uint8)
    outputs = np.clip(inputs / 255 + rng.normal(0, 0.1, inputs.shape), 0, 1).astype(np.float32)
    classes = (inputs[..., 0] / 255 > images.FOREGROUND).astype(int)
    _, found = images.ssim_by_class(inputs, outputs, classes, 3)
    np.testing.assert_allclose(found[:, 1], images.ssim(inputs, outputs)[1], atol=1e-6)
    assert np.isnan(found[:, 2]).all()
    share = classes.mean(axis=(1, 2))
    whole = found[:, 0] * (1 - share) + found[:, 1] * share
    np.testing.assert_allclose(whole, images.ssim_by_class(inputs, outputs, np.zeros_like(classes), 1)[1][:, 0])


def test_psnr_is_scikit_images_and_capped():
    inputs, outputs = pair()
    expected = [
        peak_signal_noise_ratio((x / 255).astype(np.float32), y, data_range=1)
        for x, y in zip(inputs, outputs, strict=True)
    ]
    np.testing.assert_allclose(images.psnr(inputs, outputs), expected, atol=1e-4)
    assert images.psnr(inputs, inputs).tolist() == [100] * 4


def test_a_wrong_data_range_is_refused():
    inputs, outputs = pair()
    with pytest.raises(ValueError, match=r"must be uint8 or lie in \[0, 1\]"):
        images.ssim(inputs, outputs - 0.5)
    with pytest.raises(ValueError, match=r"must be uint8 or lie in \[0, 1\]"):
        images.ssim(inputs, np.where(outputs > 0.9, np.nan, outputs))
    with pytest.raises(ValueError, match="differ in shape"):
        images.ssim(inputs, outputs[:, :16])


def test_in_parts_is_the_whole():
    sizes, (first, second) = [], np.random.default_rng(0).random((2, 7, 4))

    def added(a, b):
        sizes.append(len(a))
        return a + b

    np.testing.assert_array_equal(images.in_parts(added, first, second, size=3), first + second)
    assert sizes == [3, 3, 1]
    assert images.levels(np.zeros((0, 8, 8, 1), np.float32)).shape == (0, 8, 8, 1)
    with pytest.raises(ValueError, match="one with one"):
        images.in_parts(added, first, second[:5])


def test_a_summary_has_every_score_that_there_is_and_none_above_what_can_be():
    inputs, outputs = pair()
    found = images.summary(images.scores(inputs, outputs), np.array(["a", "a", "b", "b"]))
    assert set(found) == {"ssim", "ssim_foreground", "psnr"}
    assert found["ssim"]["mean"] == pytest.approx(images.ssim(inputs, outputs)[0].mean())
    few = images.summary({"ssim": np.array([0.5, 0.95]), "ssim_foreground": np.full(2, np.nan)}, ["a", "b"])
    assert few["ssim"]["high"] == 1 and few["ssim"]["low"] < 0 and "ssim_foreground" not in few


def brains(size, count=3):
    """Slices of synthetic people, and the same a little blurred and darker."""
    some = cohort.make({"test": count}, slices=1, size=size, progress=False).images
    return some, (gaussian_filter(some / 255.0, (0, 1.5, 1.5, 0)) * 0.9).astype(np.float32)


@pytest.mark.parametrize("size", [176, 190, 256])
def test_ms_ssim_is_tensorflows_at_its_five_scales(size):
    tensorflow = pytest.importorskip("tensorflow")
    inputs, outputs = brains(size)
    expected = tensorflow.image.ssim_multiscale(inputs.astype(np.float32) / 255, outputs, 1.0).numpy()
    assert images.scales(size) == 5 and 0.5 < expected.mean() < 0.99
    np.testing.assert_allclose(images.ms_ssim(inputs, outputs), expected, atol=1e-5)


def test_ms_ssim_with_fewer_scales_scales_its_weights():
    tensorflow = pytest.importorskip("tensorflow")
    inputs, outputs = brains(64)
    weights = np.array(images.WEIGHTS[:3]) / sum(images.WEIGHTS[:3])
    expected = tensorflow.image.ssim_multiscale(inputs.astype(np.float32) / 255, outputs, 1.0, weights.tolist()).numpy()
    np.testing.assert_allclose(images.ms_ssim(inputs, outputs), expected, atol=1e-5)
    assert [images.scales(side) for side in (8, 16, 32, 64, 128, 129, 176, 256)] == [1, 1, 2, 3, 3, 4, 5, 5]
    np.testing.assert_allclose(images.ms_ssim(inputs, inputs), 1)


def test_equal_images_are_wholly_similar_and_pairs_are_of_two_people():
    some, _ = brains(64, 2)
    same = images.pair_similarity(np.repeat(some[:1], 3, axis=0), pairs=5)
    assert same == pytest.approx({"mean": 1, "low": 1, "high": 1})
    two = np.repeat(some, 4, axis=0)
    expected = images.ms_ssim(some[:1], some[1:])[0]
    assert images.pair_similarity(two, np.repeat(["a", "b"], 4), pairs=20)["mean"] == pytest.approx(expected)
    with pytest.raises(ValueError, match="two different groups"):
        images.pair_similarity(two, np.zeros(8))
