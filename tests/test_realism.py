"""The two-sample classifier against planted differences, and where slices should be."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import mannwhitneyu

from vq_lib.data import cohort
from vq_lib.scores import realism


@pytest.fixture(scope="module")
def people():
    """Forty synthetic people of four slices each."""
    return cohort.make({"test": 40}, slices=4, size=64, progress=False)


@pytest.fixture(scope="module")
def seen(people):
    return realism.features(people.images)


def halves(person, seed):
    names = np.random.default_rng(seed).permutation(np.unique(person))
    return np.isin(person, names[: len(names) // 2])


def between_halves(features, person, seeds):
    means = []
    for seed in range(seeds):
        half = halves(person, seed)
        groups = person[half], person[~half]
        means.append(realism.two_sample_auc(features[half], features[~half], *groups, seed=seed)["mean"])
    return np.mean(means)


def test_two_halves_of_real_people_cannot_be_told_apart(people, seen):
    assert 0.45 <= between_halves(seen, people.person, 20) <= 0.55


def changed(images, change):
    images = images.astype(np.float64)
    return np.clip({
        "blur": lambda: gaussian_filter(images, (0, 0.7, 0.7, 0)),
        "noise": lambda: images + np.random.default_rng(0).normal(0, 4, images.shape),
        "shift": lambda: np.roll(images, 3, axis=1),
    }[change](), 0, 255).round().astype(np.uint8)  # fmt: skip


@pytest.mark.parametrize("change", ["blur", "noise", "shift"])
def test_a_planted_difference_is_found(people, seen, change):
    half = halves(people.person, 0)
    other = realism.features(changed(people.images[~half], change))
    found = realism.two_sample_auc(seen[half], other, people.person[half], people.person[~half])
    assert found["mean"] > 0.9 and found["low"] <= found["mean"] <= found["high"]
    # The same people on both sides: paired folds find it too.
    same = realism.two_sample_auc(seen, realism.features(changed(people.images, change)), *[people.person] * 2)
    assert same["mean"] > 0.9


def test_a_person_is_never_on_both_sides_of_a_fold(people):
    """Every slice carries its person's number as a feature: it must not help."""
    assert between_halves(np.eye(40).repeat(4, axis=0) * 100, people.person, 6) < 0.6


def test_identical_sets_of_the_same_people_are_not_told_apart(people, seen):
    """With folds of each set apart, an image's twin would be learned under the other name: an AUC near 0."""
    found = realism.two_sample_auc(seen, seen, people.person, people.person)
    assert found == pytest.approx({"mean": 0.5, "low": 0.5, "high": 0.5}, abs=1e-6)
    noise = np.random.default_rng(0).normal(0, 1e-3 * seen.std(axis=0), seen.shape)
    almost = realism.two_sample_auc(seen, seen + noise, people.person, people.person)
    assert 0.4 < almost["mean"] < 0.6
    # All but one person of each in both sets.
    first, second = people.person != people.person[0], people.person != people.person[-1]
    part = realism.two_sample_auc(seen[first], seen[second], people.person[first], people.person[second])
    assert 0.4 < part["mean"] < 0.6


def test_the_classifier_is_fishers_discriminant():
    """Leave the halves of two people each out in turn: the ranks along S⁻¹(μ₁ - μ₀), computed here."""
    rng = np.random.default_rng(3)
    first, second = rng.normal(0, 1, (80, 4)) * [1, 5, 2, 1], rng.normal(0.5, 1, (80, 4)) * [1, 5, 2, 1]
    person = np.repeat([0, 1], 40)
    found = realism.two_sample_auc(first, second, person, person + 2)["mean"]
    expected = []
    for mine in (0, 1):
        for theirs in (0, 1):  # which of each set's two people fall into one fold is the seed's
            kept = [first[person != mine], second[person != theirs]]
            whole = np.concatenate(kept)
            scale = whole.std(axis=0)
            within = np.concatenate([(some - some.mean(axis=0)) / scale for some in kept])
            covariance = 0.9 * within.T @ within / 80 + 0.1 * np.eye(4)
            direction = np.linalg.solve(covariance, (kept[1].mean(axis=0) - kept[0].mean(axis=0)) / scale) / scale
            a, b = first[person == mine] @ direction, second[person == theirs] @ direction
            expected.append((b > a[:, None]).sum())
    straight, crossed = expected[0] + expected[3], expected[1] + expected[2]
    assert any(found == pytest.approx((n * straight + (5 - n) * crossed) / (5 * 3200), abs=1e-9) for n in range(6))


def test_auc_by_hand():
    """One feature: whichever fold is left out, the discriminant rises with it, so that the larger value wins."""
    rng = np.random.default_rng(0)
    first, second = rng.normal(0, 1, (60, 1)), rng.normal(2, 1, (50, 1))
    found = realism.two_sample_auc(first, second, np.arange(60))
    assert found["mean"] == pytest.approx(mannwhitneyu(second, first).statistic.item() / 3000, abs=0.02)
    same = realism.two_sample_auc(np.zeros((4, 2)), np.zeros((4, 2)), np.arange(4))
    assert same == {"mean": 0.5, "low": 0.5, "high": 0.5}
    with pytest.raises(ValueError, match="two people"):
        realism.two_sample_auc(first, second, np.zeros(60))


def test_against_training_people_has_a_floor_of_equal_size(people, seen):
    rng = np.random.default_rng(0)
    new = seen[rng.choice(len(seen), 60, replace=False)] + rng.normal(0, 0.01, (60, seen.shape[1])) * seen.std(axis=0)
    found = realism.against_people(seen, people.person, new, splits=6)
    assert found["people"] == 40 and found["images"] == 60
    assert found["floor"]["low"] <= found["floor"]["mean"] <= found["floor"]["high"]
    assert 0.35 < found["floor"]["mean"] < 0.65 and found["auc"]["mean"] < 0.75
    bad = realism.features(changed(people.images[rng.choice(160, 60, replace=False)], "noise"))
    assert realism.against_people(seen, people.person, bad, splits=2)["auc"]["low"] > 0.9
    assert realism.against_people(seen, people.person, new, splits=2) == realism.against_people(
        seen, people.person, new, splits=2
    )
    few = people.person <= np.unique(people.person)[2]
    assert realism.against_people(seen[few], people.person[few], new)["auc"] is None, "three people have no two halves"


@pytest.mark.parametrize("which", ["17 people against single images", "halves of 40 people against samples"])
def test_intervals_hold_one_half_where_nothing_differs(which):
    """Folds share what they learn from, so that an interval of the tested alone held it in 75 to 86% of the cases."""

    def found(trial):
        rng = np.random.default_rng([3, trial])
        people = 17 if which.startswith("17") else 40
        person = np.repeat(np.arange(people), 8)
        first = rng.normal(0, 1, (people, 5))[person] + rng.normal(0, 1, (person.size, 5))
        second = rng.normal(0, np.sqrt(2), (60 if people == 17 else 160, 5))
        if people == 17:
            return realism.two_sample_auc(first, second, person, seed=trial)
        return realism.against_people(first, person, second, splits=4, seed=trial)["auc"]

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
