"""Codecs against Pillow, and the comparison at one rate against hand calculations."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from vq_lib.scores import codecs
from vq_lib.scores.images import means, scores


def pictures(n=6, size=64, seed=0):
    """Smooth blobs on black with a little noise."""
    rng = np.random.default_rng(seed)
    blobs = gaussian_filter(rng.random((n, size, size)), (0, 4, 4))
    blobs = (blobs - blobs.min()) / np.ptp(blobs) * 220 + rng.normal(0, 6, blobs.shape)
    blobs[:, :8] = blobs[:, -8:] = 0
    return np.clip(blobs, 0, 255).astype(np.uint8)[..., None]


@pytest.mark.parametrize("codec", [name for name in codecs.SETTINGS if name != "jxl"])
def test_a_codec_is_what_pillow_writes_at_its_best_setting(codec):
    if codec not in codecs.available():
        pytest.skip(f"this Pillow cannot write {codec}")
    image = pictures()[0]
    size, payload, decoded = codecs.compress(image, codec, 60)
    buffer = io.BytesIO()
    best = {"jpeg": {"optimize": True}, "webp": {"method": 6}, "avif": {"speed": 0, "advanced": {"tune": "ssim"}}}
    Image.fromarray(image[..., 0]).save(buffer, codec.upper(), quality=60, **best[codec])
    assert size == len(buffer.getvalue()) and 0 < payload < size
    np.testing.assert_array_equal(decoded[..., 0], np.asarray(Image.open(buffer).convert("L")))
    plain = io.BytesIO()
    Image.fromarray(image[..., 0]).save(plain, codec.upper(), quality=60)
    assert plain.getvalue() != buffer.getvalue(), "the setting does nothing"


def test_avif_at_its_best_beats_avif_as_pillow_sets_it_at_the_same_rate(monkeypatch):
    """By SSIM and bits together: where the best setting spends no more, it scores higher."""
    if "avif" not in codecs.available():
        pytest.skip("this Pillow cannot write AVIF")
    images = pictures(3, 96)
    best = means(codecs.Codecs(images, names=["avif"]).at("avif", 30))
    monkeypatch.setitem(codecs.SETTINGS, "avif", {})
    plain = codecs.Codecs(images, names=["avif"])
    at_rate = plain.at_rate(best["bits_per_pixel_payload"], {}, np.arange(3))["avif"]
    assert best["ssim"] > at_rate["ssim"] + 0.002


def test_a_codec_stands_exactly_at_the_rate_between_two_qualities():
    images = pictures()
    people = np.repeat(["a", "b", "c"], 2)
    found = codecs.Codecs(images, names=["jpeg", "webp"])
    for name in ("jpeg", "webp"):
        rates = np.array([found.at(name, q)["bits_per_pixel_payload"].mean() for q in (40, 41)])
        wanted = float(0.75 * rates[0] + 0.25 * rates[1])
        entry = found.at_rate(wanted, {}, people)[name]
        assert entry["quality"] == [40, 41] and entry["slices"] == 6
        assert entry["bits_per_pixel_payload"] == pytest.approx(wanted)
        for score in ("ssim", "ssim_foreground", "psnr"):
            low, high = (np.nanmean(found.at(name, q)[score]) for q in (40, 41))
            assert entry[score] == pytest.approx(0.75 * low + 0.25 * high)


def test_a_rate_out_of_reach_has_no_codec():
    found = codecs.Codecs(pictures(), names=["jpeg"])
    assert found.at_rate(0.0001, {}, np.arange(6)) == {"jpeg": None}
    assert found.at_rate(99.0, {}, np.arange(6)) == {"jpeg": None}


def test_a_lead_is_the_paired_difference():
    """A model that is the codec itself, with 0.1 added to one person's SSIM, leads by that person's share."""
    images, people = pictures(), np.repeat(["a", "b", "c"], 2)
    found = codecs.Codecs(images, names=["jpeg"])
    each = found.at("jpeg", 50)
    own = {name: each[name].copy() for name in ("ssim", "ssim_foreground", "psnr")}
    own["ssim"][people == "b"] += 0.1
    entry = found.at_rate(each["bits_per_pixel_payload"].mean(), own, people)["jpeg"]
    assert entry["lead"]["ssim"]["mean"] == pytest.approx(0.1 / 3)
    assert entry["lead"]["ssim"]["low"] < 0 < entry["lead"]["ssim"]["high"]
    assert entry["lead"]["psnr"] == pytest.approx({"mean": 0, "low": 0, "high": 0}, abs=1e-9)
    assert entry["bits_per_pixel_payload"] < entry["bits_per_pixel"]


def test_curves_rise_and_are_on_some_of_the_slices(monkeypatch):
    images, calls = pictures(9), []
    monkeypatch.setattr(codecs, "scores", lambda a, b: calls.append(len(a)) or scores(a, b))
    found = codecs.Codecs(images, slices=4, names=["webp"])
    curve = found.curves()
    assert found.rows["webp"].tolist() == [0, 3, 5, 8] and set(calls) == {4}
    assert curve["quality"].tolist() == list(codecs.QUALITIES)
    assert curve["bits_per_pixel_payload"].is_monotonic_increasing and curve["ssim"].is_monotonic_increasing
    assert (curve["bits_per_pixel_payload"] < curve["bits_per_pixel"]).all()
    count = len(calls)
    found.curves()
    assert len(calls) == count, "nothing is compressed twice"


def test_lossless_is_what_pillow_writes():
    images = pictures(2, 32)
    found = codecs.lossless(images)
    buffer = io.BytesIO()
    Image.fromarray(images[1, ..., 0]).save(buffer, "PNG", optimize=True)
    assert found["png"][1] == buffer.tell() * 8 / 32**2
    buffer = io.BytesIO()
    Image.fromarray(images[1, ..., 0]).save(buffer, "WEBP", lossless=True, quality=100, method=6)
    assert found["webp"][1] == buffer.tell() * 8 / 32**2
