"""Baselines and codecs against direct calculations."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.distance import cdist
from skimage.metrics import structural_similarity

from vq_lib.data import Slices
from vq_lib.scores import baselines, generation


def slices(size=32, seed=0):
    """Three people a split, two positions each: a bright square whose side depends on the position."""
    rng = np.random.default_rng(seed)
    n = 18
    position = np.tile([0, 1], 9)
    images = np.zeros((n, size, size, 1), np.uint8)
    for i in range(n):
        side = 8 + 8 * position[i]
        images[i, 4 : 4 + side, 4 : 4 + side] = rng.integers(100, 256, (side, side, 1))
    person = np.repeat([f"p{i}" for i in range(9)], 2)
    split = np.repeat(["train", "validation", "test"], 6)
    return Slices(images, person, position, np.repeat("", n), split, np.repeat("", n))


def test_predictions_by_hand():
    data = slices()
    found = baselines.predictions(data)
    train, test = data.images[:6, ..., 0] / 255, data.images[12:, ..., 0] / 255
    means = [train[data.position[:6] == p].mean(axis=0) for p in (0, 1)]
    options = {"data_range": 1.0, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    by_hand = np.mean([structural_similarity(x, means[i % 2], **options) for i, x in enumerate(test)])
    assert found["position_mean"]["ssim"] == pytest.approx(by_hand, abs=1e-5)
    by_hand = np.mean([structural_similarity(x, train.mean(axis=0), **options) for x in test])
    assert found["mean_image"]["ssim"] == pytest.approx(by_hand, abs=1e-5)
    by_hand = np.mean([-10 * np.log10(np.square(x).mean()) for x in test])
    assert found["zeros"]["psnr"] == pytest.approx(by_hand, abs=1e-4)
    nearest = cdist(test.reshape(6, -1), train.reshape(6, -1)).argmin(axis=1)
    by_hand = np.mean([structural_similarity(x, train[j], **options) for x, j in zip(test, nearest, strict=True)])
    assert found["nearest_training"]["ssim"] == pytest.approx(by_hand, abs=1e-5)


def test_nearest_is_scipys_and_a_copy_has_distance_zero():
    rng = np.random.default_rng(0)
    references = rng.random((300, 40), dtype=np.float32)
    queries = np.concatenate([rng.random((270, 40), dtype=np.float32), references[[7, 3]]])
    index, distance = baselines.nearest(queries, references)
    table = cdist(queries, references)
    np.testing.assert_array_equal(index, table.argmin(axis=1))
    np.testing.assert_allclose(distance, table.min(axis=1), rtol=1e-5)
    assert index[-2:].tolist() == [7, 3] and distance[-2:].tolist() == [0, 0]


def test_thumbnails_are_patch_means():
    image = np.random.default_rng(0).integers(0, 256, (2, 128, 128, 1)).astype(np.uint8)
    found = baselines.thumbnails(image).reshape(2, 64, 64)
    assert found[1, 3, 5] == pytest.approx(image[1, 6:8, 10:12].mean() / 255, abs=1e-6)


@pytest.mark.parametrize("side", [16, 20, 200, 224])
def test_sides_that_no_patch_divides(side):
    """What is left over at the right and below is left out, also of the classifier's features."""
    image = np.random.default_rng(0).integers(0, 256, (2, side, side, 1)).astype(np.uint8)
    step = max(side // 64, 1)
    found = baselines.thumbnails(image).reshape(2, side // step, side // step)
    last = image[0, :, :, 0][(side // step - 1) * step :, :step][:step]
    assert found[0, -1, 0] == pytest.approx(last.mean() / 255, abs=1e-6)
    assert np.isfinite(generation.features(image)).all()


@pytest.mark.parametrize("codec", baselines.CODECS)
def test_a_codec_is_what_pillow_writes(codec):
    Image.init()
    if codec.upper() not in Image.SAVE:
        pytest.skip(f"this Pillow cannot write {codec}")
    image = slices(64).images[15]
    size, payload, decoded = baselines.compress(image, codec, 60)
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0]).save(buffer, codec.upper(), quality=60)
    assert size == len(buffer.getvalue()) and 0 < payload < size
    np.testing.assert_array_equal(decoded[..., 0], np.asarray(Image.open(buffer).convert("L")))


def test_the_setting_is_the_one_nearest_the_rate():
    images = slices(64).images[12:]
    pixels = 64 * 64

    def rate(quality):
        return np.mean([baselines.compress(image, "jpeg", quality)[1] for image in images]) * 8 / pixels

    rates = np.array([rate(quality) for quality in range(1, 96)])
    wanted = float(rates[39]) + 1e-6
    quality = baselines.setting(images, "jpeg", wanted)
    assert abs(rates[quality - 1] - wanted) == pytest.approx(np.abs(rates - wanted).min(), abs=1e-9)
    assert baselines.setting(images, "jpeg", 0.0) == 1
    assert baselines.setting(images, "jpeg", 99.0) == 95


def test_a_lead_is_the_paired_difference():
    """A model that is the codec itself, with 0.1 added to one person's SSIM, leads by that person's share."""
    images = slices(64).images[12:]
    people = np.repeat(["a", "b", "c"], 2)
    each = baselines.at_quality(images, "jpeg", baselines.setting(images, "jpeg", 1.0))
    assert (each["bits_per_pixel_payload"] < each["bits_per_pixel"]).all()
    own = {name: each[name].copy() for name in ("ssim", "ssim_foreground", "psnr")}
    own["ssim"][people == "b"] += 0.1
    found = baselines.codecs(images, 1.0, own, people)["jpeg"]
    assert found["lead"]["ssim"]["mean"] == pytest.approx(0.1 / 3)
    assert found["lead"]["ssim"]["low"] == pytest.approx(0) and found["lead"]["ssim"]["high"] <= 0.1 + 1e-9
    assert found["lead"]["psnr"] == pytest.approx({"mean": 0, "low": 0, "high": 0})
    assert found["ssim"] == pytest.approx(each["ssim"].mean())
    assert found["bits_per_pixel_payload"] == pytest.approx(each["bits_per_pixel_payload"].mean())
