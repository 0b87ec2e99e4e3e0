"""Predictions without a model against direct calculations."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from skimage.metrics import structural_similarity

from vq_lib.data import cohort
from vq_lib.scores import baselines, images


def squares(size=32, seed=0):
    """Images and positions of six training and six test slices: a bright square whose side depends on the position."""
    rng, position = np.random.default_rng(seed), np.tile([0, 1], 6)
    found = np.zeros((12, size, size, 1), np.uint8)
    for image, side in zip(found, 8 + 8 * position, strict=True):
        image[4 : 4 + side, 4 : 4 + side] = rng.integers(100, 256, (side, side, 1))
    return found, position, np.arange(6), np.arange(6, 12)


def test_predictions_by_hand():
    some, position, train_rows, test_rows = squares()
    found = {name: images.means(each) for name, each in
             baselines.predictions(some, position, train_rows, test_rows).items()}  # fmt: skip
    train, test = some[:6, ..., 0] / 255, some[6:, ..., 0] / 255
    means = [train[position[:6] == p].mean(axis=0) for p in (0, 1)]
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


def test_a_position_that_nobody_has_is_guessed_by_the_mean_of_all():
    some, position, train, test = squares()
    position = np.where(np.arange(12) == 11, 9, position)
    found = baselines.position_means(some, position, train, test)
    np.testing.assert_allclose(found[-1], some[:6].mean(axis=0) / 255, atol=1e-6)


def test_nearest_is_scipys_and_a_copy_has_distance_zero():
    rng = np.random.default_rng(0)
    references = rng.random((300, 40), dtype=np.float32)
    queries = np.concatenate([rng.random((270, 40), dtype=np.float32), references[[7, 3]]])
    index, distance = baselines.nearest(queries, references)
    table = cdist(queries, references)
    np.testing.assert_array_equal(index, table.argmin(axis=1))
    np.testing.assert_allclose(distance, table.min(axis=1), rtol=1e-5)
    assert index[-2:].tolist() == [7, 3] and distance[-2:].tolist() == [0, 0]


@pytest.mark.parametrize("moved", [False, True])
def test_a_copy_that_was_mirrored_or_moved_is_found(moved):
    rng = np.random.default_rng(0)
    references = np.zeros((30, 16, 16, 1), np.float32)
    references[:, 3:13, 3:13] = rng.random((30, 10, 10, 1))
    copies = np.stack([references[4, :, ::-1], np.roll(references[5], (1, -1), (0, 1)),
                       np.roll(references[6, :, ::-1], -1, 0), references[7]])  # fmt: skip
    index, distance = baselines.nearest(copies, references, moved=moved)
    assert distance[3] == 0 and index[3] == 7
    if moved:
        assert index.tolist() == [4, 5, 6, 7] and (distance == 0).all()
    else:
        assert (distance[:3] > 1).all()


def test_thumbnails_are_patch_means():
    image = np.random.default_rng(0).integers(0, 256, (2, 128, 128, 1)).astype(np.uint8)
    found = baselines.thumbnails(image)
    assert found.shape == (2, 64, 64, 1)
    assert found[1, 3, 5, 0] == pytest.approx(image[1, 6:8, 10:12].mean() / 255, abs=1e-6)


@pytest.mark.parametrize("side", [16, 20, 200, 224])
def test_sides_that_no_patch_divides(side):
    """What is left over at the right and below is left out."""
    image = np.random.default_rng(0).integers(0, 256, (2, side, side, 1)).astype(np.uint8)
    step = max(side // 64, 1)
    found = baselines.thumbnails(image)[..., 0]
    last = image[0, :, :, 0][(side // step - 1) * step :, :step][:step]
    assert found.shape == (2, side // step, side // step) and found[0, -1, 0] == pytest.approx(last.mean() / 255)


def people(count=3, positions=4):
    slices = cohort.make({"test": count}, slices=positions, size=32, progress=False)
    return slices.images, slices.person, slices.position


def test_the_most_unlike_are_two_people_at_one_position():
    some, person, position = people(count=4)
    pixels = some.reshape(len(some), -1).astype(float)
    distance = cdist(pixels, pixels)
    distance[position[:, None] != position] = -1
    a, b = np.unravel_index(distance.argmax(), distance.shape)
    found = baselines.most_unlike(some, person, position)
    assert set(found) == {a, b} and len(set(person[found])) == 2
    one = person == person[0]
    assert set(baselines.most_unlike(some[one], person[one], position[one])) <= set(range(4))
    nowhere = baselines.most_unlike(some, person, np.full(len(some), -1))
    assert len(set(person[nowhere])) == 2


def test_blur_costs_more_the_wider_it_is():
    some, _, _ = people()
    scores = [images.ssim(some, baselines.blurred(some, sigma))[0].mean() for sigma in baselines.BLURS]
    assert scores == sorted(scores, reverse=True) and scores[0] < 1
