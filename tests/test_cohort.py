"""The embedded cohort: the same people every time, no folds, and hard enough to be worth a model."""

import itertools

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from vq_lib.data import cohort
from vq_lib.scores.images import ssim

PEOPLE = {"train": 96, "validation": 12, "test": 16}


@pytest.fixture(scope="module")
def demo():
    return cohort.make(PEOPLE, slices=16, size=64, seed=0, progress=False)


def test_counts_names_and_labels(demo):
    assert demo.images.shape == (124 * 16, 64, 64, 1) and demo.images.dtype == np.uint8
    assert demo.counts() == {split: {"images": 16 * count, "people": count} for split, count in PEOPLE.items()}
    assert demo.person[0] == "synthetic-001" and demo.person[-1] == "synthetic-124"
    assert demo.position[:17].tolist() == [*range(16), 0]
    for split in PEOPLE:  # both labels equally often
        labels = demo.label[demo.where(split)]
        assert (labels == "atrophy").sum() == (labels == "control").sum()


def test_the_position_mean_is_a_poor_guess(demo):
    train, test = demo.where("train"), demo.where("test")
    mean = {k: demo.images[train][demo.position[train] == k].mean(axis=0) / 255 for k in range(16)}
    guess = np.stack([mean[k] for k in demo.position[test].tolist()])
    plain, foreground = ssim(demo.images[test], guess)
    assert 0.5 < plain.mean() <= 0.80
    assert 0.4 < foreground.mean() <= 0.60


def test_the_same_seed_gives_the_same_bytes_whoever_else_is_made(demo):
    few = cohort.make({"train": 1, "validation": 1, "test": 1}, slices=16, size=64, seed=0, progress=False)
    np.testing.assert_array_equal(few.images, demo.images[:48])
    other = cohort.make({"train": 1}, slices=16, size=64, seed=1, progress=False)
    assert np.abs(other.images.astype(int) - demo.images[:16]).mean() > 5


def test_background_is_exactly_black_and_brains_fill_the_frame(demo):
    images = demo.images[..., 0]
    edge = np.concatenate([images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]], axis=1)
    assert (edge == 0).mean() > 0.999
    assert 0.35 < (images > 0).mean() < 0.65
    assert (images == 255).mean() < 1e-3
    rows, columns = (np.average(np.arange(64), weights=images.mean(axis=0).sum(axis=axis)) for axis in (1, 0))
    assert abs(rows - 31.5) < 2 and abs(columns - 31.5) < 2


def test_atrophy_means_more_fluid(demo):
    """Dark pixels inside the middle of the head, counted without the code that made them."""
    middle = demo.images[:, 20:44, 22:42, 0].astype(float)
    fluid = ((middle > 0) & (middle < 0.35 * 255)).mean(axis=(1, 2))
    assert fluid[demo.label == "atrophy"].mean() > 1.5 * fluid[demo.label == "control"].mean()


def test_deformations_do_not_fold():
    """The Jacobian determinant by central differences, on a grid half as wide as the displacements' own."""
    axes = np.arange(-70, 70, 3.1), np.arange(-100, 70, 3.1), np.arange(-4, 40, 3.1)
    points, step, smallest = np.stack(np.meshgrid(*axes, indexing="ij")).reshape(3, -1), 0.05, []
    for number, label in itertools.product(range(3), ("control", "atrophy")):
        phi = cohort.deformation(np.random.default_rng([5, number]), label)
        slopes = [(phi(points + e) - phi(points - e)) / (2 * step) for e in step * np.eye(3)[:, :, None]]
        smallest.append(np.linalg.det(np.stack(slopes).transpose(2, 1, 0)).min())
    assert min(smallest) > 0


def test_steepness_bounds_the_slope_between_any_two_points():
    rng = np.random.default_rng(0)
    field = rng.normal(size=(6, 7, 8, 3))
    a, b = rng.uniform(0, 5, (2, 3, 2000))
    b = a + 0.02 * (b - a)
    rise = np.linalg.norm(cohort.interpolate(field, a) - cohort.interpolate(field, b), axis=0)
    slope = rise / (cohort.NODE * np.linalg.norm(a - b, axis=0))
    assert 0.3 * cohort.steepness(field) < slope.max() <= cohort.steepness(field)


def test_a_linear_displacement_has_its_own_steepness():
    """u(x) = 0.3 x has the Lipschitz constant 0.3."""
    grid = cohort.NODE * np.stack(np.meshgrid(*[np.arange(4.0)] * 3, indexing="ij"), axis=-1)
    assert cohort.steepness(0.3 * grid) == pytest.approx(0.3)


def test_interpolate_is_scipys(demo):
    rng = np.random.default_rng(0)
    volume = rng.normal(size=(5, 6, 7, 2)).astype(np.float32)
    at = rng.uniform(-1, 7, (3, 500))
    ours = cohort.interpolate(volume, at)
    for channel in range(2):
        expected = map_coordinates(volume[..., channel], at, order=1, mode="nearest")
        np.testing.assert_allclose(ours[channel], expected, atol=1e-4)


@pytest.mark.parametrize(("size", "slices"), [(32, 1), (128, 3)])
def test_other_sizes(size, slices):
    made = cohort.make({"test": 1}, slices=slices, size=size, seed=3, progress=False)
    assert made.images.shape == (slices, size, size, 1) and made.images.max() > 128
