"""The two-sample test against planted differences, and where slices should be."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import mannwhitneyu

from vq_lib.data import cohort
from vq_lib.scores import realism


@pytest.fixture(scope="module")
def people():
    """A hundred synthetic people of four slices each."""
    return cohort.make({"test": 100}, slices=4, size=64, progress=False)


def halves(person):
    names = np.random.default_rng(0).permutation(np.unique(person))
    return np.isin(person, names[: len(names) // 2])


def mirrored_third(images):
    """The right third of the picture is the left one, mirrored."""
    images, third = images.copy(), images.shape[2] // 3
    images[:, :, -third:] = images[:, :, :third][:, :, ::-1]
    return images


PLANTED = {
    "blur": lambda images: gaussian_filter(images, (0, 0.5, 0.5, 0)),
    "noise": lambda images: images + np.random.default_rng(1).normal(0, 4, images.shape),
    "a mirrored third": mirrored_third,
    "16 levels": lambda images: images // 16 * 16 + 8 * (images > 0),
    "one person again and again": lambda images: np.repeat(images[:4], len(images) // 4, axis=0),
}


@pytest.mark.parametrize("change", PLANTED)
def test_a_planted_difference_is_found_by_the_network(people, change):
    half = halves(people.person)
    other = np.clip(PLANTED[change](people.images[~half].astype(np.float64)), 0, 255).round().astype(np.uint8)
    whose = None if change.startswith("one") else people.person[~half]  # samples, of which nobody knows who they are
    found = realism.two_sample_auc(people.images[half], other, people.person[half], whose, seeds=1)
    assert found["mean"] > 0.8 and 0.5 < found["low"] <= found["mean"] <= found["high"]


def test_two_halves_of_the_same_people_are_not_told_apart_by_the_network(people):
    half = halves(people.person)
    groups = people.person[half], people.person[~half]
    found = realism.two_sample_auc(people.images[half], people.images[~half], *groups, seeds=2)
    assert 0.35 < found["mean"] < 0.65 and found["low"] < 0.5 < found["high"]
    assert found == realism.two_sample_auc(people.images[half], people.images[~half], *groups, seeds=2)


def discriminant(learned, labels, tested, seed):
    """Fisher's linear discriminant, shrunken: what takes no time, where the network itself is not the question."""
    x, new = (np.asarray(some, np.float64).reshape(len(some), -1) for some in (learned, tested))
    scale = x.std(axis=0) + 1e-9
    groups = [x[labels == value] / scale for value in (False, True)]
    within = np.concatenate([some - some.mean(axis=0) for some in groups])
    covariance = within.T @ within / len(x) + 0.1 * np.eye(x.shape[1])
    return new / scale @ np.linalg.solve(covariance, groups[1].mean(axis=0) - groups[0].mean(axis=0))


def test_a_person_is_never_on_both_sides():
    """Every slice carries its person's number as a feature: it must not help."""
    x, person = np.eye(40).repeat(4, axis=0) * 100, np.repeat(np.arange(40), 4)
    groups = x[:80], x[80:], person[:80], person[80:]
    assert realism.two_sample_auc(*groups, classify=discriminant, seeds=12)["mean"] < 0.6


def test_identical_sets_of_the_same_people_are_not_told_apart():
    """With halves of each set apart, an image's twin would be learned under the other name: an AUC near 0."""
    rng, person = np.random.default_rng(0), np.repeat(np.arange(40), 4)
    seen = rng.normal(0, 1, (160, 6)) + rng.normal(0, 1, (40, 6))[person]
    found = realism.two_sample_auc(seen, seen, person, person, discriminant, seeds=10)
    assert found == pytest.approx({"mean": 0.5, "low": 0.5, "high": 0.5}, abs=1e-6)
    almost = realism.two_sample_auc(seen, seen + rng.normal(0, 1e-3, seen.shape), person, person, discriminant)
    assert 0.4 < almost["mean"] < 0.6
    moved = realism.two_sample_auc(seen, seen + 4, person, person, discriminant)
    assert moved["low"] > 0.9, "the same people on both sides: what differs is found all the same"
    first, second = person != 0, person != 39  # all but one person of each in both sets
    part = realism.two_sample_auc(seen[first], seen[second], person[first], person[second], discriminant)
    assert 0.4 < part["mean"] < 0.6


def test_auc_by_hand():
    """One feature: whichever half is left out, the discriminant rises with it, so that the larger value wins."""
    rng = np.random.default_rng(0)
    first, second = rng.normal(0, 1, (60, 1)), rng.normal(2, 1, (50, 1))
    found = realism.two_sample_auc(first, second, np.arange(60), classify=discriminant, seeds=40)
    assert found["mean"] == pytest.approx(mannwhitneyu(second, first).statistic.item() / 3000, abs=0.02)
    same = realism.two_sample_auc(np.zeros((4, 2)), np.zeros((4, 2)), np.arange(4), classify=discriminant)
    assert same == {"mean": 0.5, "low": 0.5, "high": 0.5}
    with pytest.raises(ValueError, match="two people"):
        realism.two_sample_auc(first, second, np.zeros(60), classify=discriminant)


def test_against_training_people_has_a_floor_of_equal_size():
    rng, person = np.random.default_rng(0), np.repeat(np.arange(40), 4)
    seen = rng.normal(0, 1, (160, 6)) + rng.normal(0, 1, (40, 6))[person]
    new = seen[rng.choice(160, 60, replace=False)] + rng.normal(0, 0.01, (60, 6))
    found = realism.against_people(seen, person, new, discriminant, seeds=6)
    assert found["people"] == 40 and found["images"] == 60
    assert found["floor"]["low"] < 0.5 < found["floor"]["high"] and found["auc"]["mean"] < 0.75
    assert realism.against_people(seen, person, new + 3, discriminant)["auc"]["low"] > 0.9
    assert realism.against_people(seen, person, new, discriminant) == realism.against_people(
        seen, person, new, discriminant
    )
    few = person <= 2
    assert realism.against_people(seen[few], person[few], new)["auc"] is None, "three people have no two halves"


@pytest.mark.parametrize("which", ["17 people against single images", "40 people against samples", "floor"])
def test_intervals_hold_one_half_where_nothing_differs(which):
    """Halves share what they learn from, so that an interval of the tested alone would hold it too seldom."""

    def found(trial):
        rng = np.random.default_rng([3, trial])
        people = 17 if which.startswith("17") else 40
        person = np.repeat(np.arange(people), 8)
        first = rng.normal(0, 1, (people, 5))[person] + rng.normal(0, 1, (person.size, 5))
        second = rng.normal(0, np.sqrt(2), (60 if people == 17 else 160, 5))
        if people == 17:
            return realism.two_sample_auc(first, second, person, classify=discriminant, seed=trial)
        kind = "floor" if which == "floor" else "auc"
        return realism.against_people(first, person, second, discriminant, seed=trial)[kind]

    trials = [found(trial) for trial in range(150)]
    assert 0.91 <= np.mean([one["low"] <= 0.5 <= one["high"] for one in trials])


def test_samples_are_where_they_were_asked_to_be():
    references, wanted = np.tile(np.arange(8), 4), np.array([0, 3, 7, -1])
    assert realism.position_agreement(np.array([0, 3, 7, 5]), wanted, references, 8) == (1, 1 / 8)
    assert realism.position_agreement(np.array([4, 7, 3, 5]), wanted, references, 8)[0] == 0
    near = realism.position_agreement(np.array([2, 3, 4, 5]), wanted, references, 32)
    assert near == (1, pytest.approx(np.mean([4, 7, 4]) / 8))


def test_a_blind_panel_mixes_and_remembers():
    real, new = np.zeros((20, 4, 4, 1), np.uint8), np.full((30, 4, 4, 1), 255, np.uint8)
    mixed, is_new = realism.blind_panel(real, new)
    assert len(mixed) == 24 and is_new.sum() == 12 and 0 < is_new[:12].sum() < 12
    np.testing.assert_array_equal(mixed[:, 0, 0, 0] == 255, is_new)
    np.testing.assert_array_equal(realism.blind_panel(real, new)[1], is_new)
    assert len(realism.blind_panel(real[:2], new)[0]) == 4
