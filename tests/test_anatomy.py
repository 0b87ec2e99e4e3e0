"""Tissues and their shares on hand-made heads."""

import numpy as np
import pytest

from vq_lib.data import cohort
from vq_lib.scores import anatomy, images


def disc(size, radius, centre=None):
    row, column = np.indices((size, size)) - np.array(centre or ((size - 1) / 2,) * 2)[:, None, None]
    return np.hypot(row, column) <= radius


def test_shares_of_a_drawn_head():
    """Fluid ring, grey ring, white core with a ventricle in its middle, and a bright speck outside the head."""
    image = np.zeros((64, 64), np.uint8)
    for radius, level in ((28, 40), (25, 120), (18, 220), (5, 30)):
        image[disc(64, radius)] = level
    image[1, 1] = 255
    areas = {radius: disc(64, radius).sum() for radius in (28, 25, 18, 5)}
    some = np.stack([image, np.zeros_like(image)])[..., None]
    levels = anatomy.thresholds(some[:1])
    assert 40 <= levels[0] < 120 <= levels[1] < 220
    classes = anatomy.tissues(some, levels)
    assert classes[0, 1, 1] == 0 and (classes[0] > 0).sum() == areas[28]
    found = anatomy.shares(classes)
    assert found["ventricles"][0] == pytest.approx(areas[5] / areas[28])
    assert found["white matter"][0] == pytest.approx((areas[18] - areas[5]) / areas[28])
    assert found["cerebrospinal fluid"][0] == pytest.approx((areas[28] - areas[25] + areas[5]) / areas[28])
    assert (found.iloc[1] == 0).all()


def test_the_rule_finds_the_wide_ventricles_of_the_cohort():
    people = cohort.make({"test": 40}, slices=4, size=64, progress=False)
    found = anatomy.shares(anatomy.tissues(people.images, anatomy.thresholds(people.images)))["ventricles"]
    assert found[people.label == "atrophy"].mean() > 1.3 * found[people.label == "control"].mean()


def test_what_is_lit_outside_the_masks_is_skull():
    rng = np.random.default_rng(0)
    inputs, masks = rng.integers(0, 30, (3, 16, 16, 1)).astype(np.uint8), np.zeros((3, 16, 16), np.uint8)
    masks[:, 8:] = 2
    found, lit = anatomy.with_skull(masks, inputs), inputs[..., 0] / 255 > images.FOREGROUND
    assert (found[:, 8:] == 2).all()
    np.testing.assert_array_equal(found[:, :8], np.where(lit[:, :8], len(anatomy.CLASSES), 0))


def test_dice_by_hand():
    first, second = np.array([[[1, 1, 2, 3]]]), np.array([[[1, 2, 2, 3]]])
    assert anatomy.dice(first, second) == pytest.approx(dict(zip(anatomy.TISSUES, (2 / 3, 2 / 3, 1), strict=True)))


def test_tissues_are_scored_apart():
    rng = np.random.default_rng(0)
    inputs = rng.integers(0, 256, (4, 24, 24, 1)).astype(np.uint8)
    outputs, classes = (inputs / 255).astype(np.float32), np.zeros((4, 24, 24), np.uint8)
    classes[:, 8:16], classes[:, 16:] = 1, 3
    outputs[:, 16:] = 0
    found = anatomy.by_tissue(inputs, outputs, classes, np.array(list("aabb")))
    assert found.index.tolist() == ["background", "cerebrospinal fluid", "white matter"]
    assert found["share"].tolist() == pytest.approx([1 / 3] * 3)
    assert found["absolute_error"].tolist() == pytest.approx([0, 0, inputs[:, 16:].mean() / 255])
    assert found["ssim"]["cerebrospinal fluid"]["mean"] > found["ssim"]["white matter"]["mean"] + 0.3


def test_ventricles_that_do_not_meet_are_counted_and_specks_are_not():
    head = np.where(disc(64, 28), 2, 0).astype(np.uint8)
    apart, joined, speck = head.copy(), head.copy(), head.copy()
    apart[disc(64, 4, (32, 25))] = apart[disc(64, 4, (32, 39))] = 1
    joined[disc(64, 4, (32, 25))] = joined[disc(64, 4, (32, 39))] = joined[32, 25:39] = 1
    speck[32, 32] = 1  # a pixel of 2,400
    assert list(anatomy.shares(np.stack([head, apart, joined, speck]))["ventricle pieces"]) == [0, 2, 1, 0]


def test_asymmetry_is_that_of_the_halves():
    whole, upper = disc(64, 20), np.arange(64)[:, None] < 32
    even, moved = np.where(whole, 200, 0), np.where(disc(64, 20, (35.5, 31.5)), 200, 0)
    halves = np.where(whole, np.where(upper, 200, 100), 0)  # (2 - 1) / (2 + 1), and a little less where moved
    some = np.stack([even, moved, halves, np.zeros_like(even)]).astype(np.uint8)[..., None]
    np.testing.assert_allclose(anatomy.asymmetry(some, 1), [0, 0, 1 / 3, 0], atol=0.05)
    np.testing.assert_allclose(anatomy.asymmetry(some, 2), 0, atol=0.03)
    assert anatomy.midline(some[2:3]) == 2
