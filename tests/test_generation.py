"""The two-sample classifier, pair similarity and anatomy against planted differences and hand-made heads."""

import numpy as np
import pytest

from vq_lib.data import cohort
from vq_lib.scores import generation, metrics


@pytest.fixture(scope="module")
def people():
    """Forty synthetic people of four slices each."""
    return cohort.make({"test": 40}, slices=4, size=64, progress=False)


@pytest.fixture(scope="module")
def seen(people):
    return generation.features(people.images)


def halves(person, seed):
    names = np.random.default_rng(seed).permutation(np.unique(person))
    return np.isin(person, names[: len(names) // 2])


def test_two_halves_of_real_people_cannot_be_told_apart(people, seen):
    means = []
    for seed in range(30):
        half = halves(people.person, seed)
        groups = people.person[half], people.person[~half]
        means.append(generation.two_sample_auc(seen[half], seen[~half], *groups, draws=1, seed=seed)["mean"])
    assert 0.45 <= np.mean(means) <= 0.55


@pytest.mark.parametrize("change", ["blur", "noise", "shift"])
def test_a_planted_difference_is_found(people, seen, change):
    from scipy.ndimage import gaussian_filter

    images = people.images.astype(np.float64)
    changed = {
        "blur": lambda: gaussian_filter(images, (0, 0.7, 0.7, 0)),
        "noise": lambda: images + np.random.default_rng(0).normal(0, 4, images.shape),
        "shift": lambda: np.roll(images, 3, axis=1),
    }[change]()
    half = halves(people.person, 0)
    other = generation.features(np.clip(changed, 0, 255)[~half].round().astype(np.uint8))
    found = generation.two_sample_auc(seen[half], other, people.person[half], people.person[~half], draws=100)
    assert found["mean"] > 0.9 and found["low"] <= found["mean"] <= found["high"]


def test_a_person_is_never_on_both_sides_of_a_fold(people, seen):
    """Every slice carries its person's number as a feature: it must not help."""
    marked = np.eye(40).repeat(4, axis=0) * 100
    means = []
    for seed in range(10):
        half = halves(people.person, seed)
        groups = people.person[half], people.person[~half]
        means.append(generation.two_sample_auc(marked[half], marked[~half], *groups, draws=1, seed=seed)["mean"])
    assert np.mean(means) < 0.6


def test_auc_by_hand():
    """One feature: whichever fold is left out, the discriminant rises with it, so that the larger value wins."""
    from scipy.stats import mannwhitneyu

    rng = np.random.default_rng(0)
    first, second = rng.normal(0, 1, (60, 1)), rng.normal(2, 1, (50, 1))
    found = generation.two_sample_auc(first, second, np.arange(60), np.arange(50), draws=9)
    assert found["mean"] == pytest.approx(mannwhitneyu(second, first).statistic.item() / 3000, abs=0.02)
    same = generation.two_sample_auc(np.zeros((4, 2)), np.zeros((4, 2)), np.arange(4), np.arange(4), draws=9)
    assert same == {"mean": 0.5, "low": 0.5, "high": 0.5}
    with pytest.raises(ValueError, match="two groups"):
        generation.two_sample_auc(first, second, np.zeros(60), np.arange(50))


def test_equal_images_are_wholly_similar_and_pairs_are_of_two_people(people):
    same = metrics.pair_similarity(np.repeat(people.images[:1], 3, axis=0), pairs=5)
    assert same == pytest.approx({"mean": 1, "low": 1, "high": 1})
    two = np.concatenate([np.repeat(people.images[:1], 4, 0), np.repeat(people.images[80:81], 4, 0)])
    expected = metrics.ms_ssim(people.images[:1], people.images[80:81])[0]
    assert metrics.pair_similarity(two, np.repeat(["a", "b"], 4), pairs=20)["mean"] == pytest.approx(expected)
    with pytest.raises(ValueError, match="two different groups"):
        metrics.pair_similarity(two, np.zeros(8))


def test_interval_of_pairs_covers_the_truth_and_allows_for_common_members():
    """Pairs of 20 members with an effect each: a pair's value is the sum of its two. Truth 0, hit in about 95%."""
    rng, hits, alone = np.random.default_rng(0), 0, 0
    for _ in range(300):
        effect = rng.normal(size=20)
        first = rng.integers(0, 20, 200)
        second = (first + rng.integers(1, 20, 200)) % 20
        values = effect[first] + effect[second]
        found = metrics.dyadic_interval(values, first, second)
        hits += found["low"] <= 0 <= found["high"]
        alone += abs(values.mean()) <= 1.96 * values.std() / np.sqrt(200)
    assert 0.88 <= hits / 300 <= 0.98 and alone / 300 < 0.6


def test_interval_of_pairs_by_a_plain_loop():
    rng = np.random.default_rng(1)
    values, first, second = rng.normal(size=30), rng.integers(0, 6, 30), rng.integers(6, 12, 30)
    rest, total = values - values.mean(), 0.0
    for p in range(30):
        for q in range(30):
            total += rest[p] * rest[q] * bool({first[p], second[p]} & {first[q], second[q]})
    half = 1.96 * np.sqrt(max(total, (rest**2).sum())) / 30
    found = metrics.dyadic_interval(values, first, second)
    assert found == pytest.approx({"mean": values.mean(), "low": values.mean() - half, "high": values.mean() + half})


def test_a_difference_is_called_one_only_where_its_interval_leaves_out_zero():
    def spread(mean, half):
        return {"mean": mean, "low": mean - half, "high": mean + half}

    assert metrics.difference(spread(1.0, 0.3), spread(0.5, 0.4)) == pytest.approx(spread(0.5, 0.5))
    words = [metrics.verdict(spread(mean, 0.5)) for mean in (-0.6, -0.4, 0.4, 0.6)]
    assert words == ["less", "cannot be told apart", "cannot be told apart", "more"]


def disc(size, radius, centre=None):
    row, column = np.indices((size, size)) - np.array(centre or ((size - 1) / 2,) * 2)[:, None, None]
    return np.hypot(row, column) <= radius


def test_anatomy_of_a_drawn_head():
    """Fluid ring, grey ring, white core with a ventricle in its middle, and a bright speck outside the head."""
    image = np.zeros((64, 64), np.uint8)
    for radius, level in ((28, 40), (25, 120), (18, 220), (5, 30)):
        image[disc(64, radius)] = level
    image[1, 1] = 255
    areas = {radius: disc(64, radius).sum() for radius in (28, 25, 18, 5)}
    images = np.stack([image, np.zeros_like(image)])[..., None]
    thresholds = generation.tissue_thresholds(images[:1])
    assert 40 <= thresholds[0] < 120 <= thresholds[1] < 220
    classes = generation.tissues(images, thresholds)
    assert classes[0, 1, 1] == 0 and (classes[0] > 0).sum() == areas[28]
    found = generation.anatomy(classes)
    assert found["ventricles"][0] == pytest.approx(areas[5] / areas[28])
    assert found["white matter"][0] == pytest.approx((areas[18] - areas[5]) / areas[28])
    assert found["cerebrospinal fluid"][0] == pytest.approx((areas[28] - areas[25] + areas[5]) / areas[28])
    assert all(values[1] == 0 for values in found.values())


def test_the_rule_finds_the_wide_ventricles_of_the_cohort(people):
    classes = generation.tissues(people.images, generation.tissue_thresholds(people.images))
    found = generation.anatomy(classes)["ventricles"]
    assert found[people.label == "atrophy"].mean() > 1.3 * found[people.label == "control"].mean()
