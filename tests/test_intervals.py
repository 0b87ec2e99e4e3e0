"""Intervals over people: that they hold the truth as often as they say, and what they are by hand."""

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, norm, t, ttest_1samp

from vq_lib.scores import intervals


def hits(trials, draw, truth):
    """The share of simulated cohorts whose interval holds the truth."""
    found = [draw(np.random.default_rng([7, trial]), trial) for trial in range(trials)]
    return np.mean([one["low"] <= truth <= one["high"] for one in found])


@pytest.mark.parametrize("people", [5, 10, 17])
@pytest.mark.parametrize("shape", ["normal", "skewed"])
def test_the_interval_of_a_mean_covers_it_with_few_people(people, shape):
    """People of 8 to 32 slices: an effect of their own and noise in each slice; nominal 95%."""

    def draw(rng, trial):
        effect = rng.normal(0, 1, people) if shape == "normal" else (3 - rng.gamma(3, 1, people)) / np.sqrt(3)
        whose = np.repeat(np.arange(people), rng.integers(8, 33, people))
        return intervals.interval(effect[whose] + rng.normal(0, 1, whose.size), whose, draws=500, seed=trial)

    assert 0.93 <= hits(700, draw, 0) <= 0.97


@pytest.mark.parametrize("people", [5, 10, 17])
@pytest.mark.parametrize(("apart", "others"), [(0.3, 60), (1.0, 60), (2.0, 150)])
def test_the_interval_of_an_auc_covers_it_with_few_people(people, apart, others):
    """Against many people of the other group; with five, and near 1, the rule is on the safe side."""

    def draw(rng, _):
        return intervals.auc(rng.normal(0, 1, people), rng.normal(apart, 1, others))

    assert 0.93 <= hits(700, draw, norm.cdf(apart / np.sqrt(2)))


def test_a_person_weighs_as_much_as_they_have_slices_and_nan_is_no_slice():
    found = intervals.interval([1, 1, 1, 0, np.nan], ["a", "a", "a", "b", "b"])
    assert found["mean"] == pytest.approx(0.75)
    # More slices of the same people are no more people.
    few, many = (intervals.interval(np.tile([0.1, 0.4, 0.2, 0.9], n), np.tile(list("abcd"), n)) for n in (1, 50))
    assert few == pytest.approx(many)
    with pytest.raises(ValueError, match="no values"):
        intervals.interval([np.nan], ["a"])


def test_one_person_gives_no_interval_and_equal_people_one_of_no_width():
    assert intervals.interval([1, 2, 3], ["a"] * 3) == {"mean": 2.0, "low": None, "high": None}
    assert intervals.interval([2, 2, 2], list("abc")) == {"mean": 2.0, "low": 2.0, "high": 2.0}
    assert intervals.auc([1], [2, 3]) == {"mean": 1.0, "low": None, "high": None}
    assert intervals.interval([0.2, 0.9], list("ab"), highest=1.0)["high"] == 1.0


def test_of_two_people_it_is_students():
    low, high = ttest_1samp([0.2, 0.5], 0).confidence_interval(0.95)
    assert intervals.interval([0.2, 0.5], ["a", "b"]) == pytest.approx({"mean": 0.35, "low": low, "high": high})


def test_an_auc_is_mann_whitneys_and_never_certain():
    rng = np.random.default_rng(0)
    first, second = rng.normal(0, 1, 40).round(1), rng.normal(1, 1, 15).round(1)
    found = intervals.auc(first, second)
    assert found["mean"] == pytest.approx(mannwhitneyu(second, first).statistic / (40 * 15))
    assert 0.5 < found["low"] < found["mean"] < found["high"] < 1
    # Five people all on one side: shown by an AUC of 0.478 in 2.5% of the cases.
    apart = intervals.auc(np.zeros(5), np.ones(9))
    assert apart == pytest.approx({"mean": 1, "low": 0.478, "high": 1}, abs=1e-3) and 0.478**5 < 0.025
    assert intervals.auc(np.ones(9), np.zeros(5)) == pytest.approx({"mean": 0, "low": 0, "high": 0.522}, abs=1e-3)
    assert intervals.auc([1, 1], [1, 1]) == {"mean": 0.5, "low": 0.5, "high": 0.5}


def test_a_ratio_is_the_quotient_of_two_means():
    rng = np.random.default_rng(0)
    below, above = rng.uniform(3, 4, 40), rng.uniform(4, 5, 30)
    found = intervals.ratio(np.outer(np.ones(40), above), np.outer(below, np.ones(30)), "log")
    drawn = [rng.choice(above, 30).mean() / rng.choice(below, 40).mean() for _ in range(3000)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    assert found["mean"] == pytest.approx(above.mean() / below.mean())
    assert (found["low"], found["high"]) == pytest.approx((low, high), abs=0.008)


def test_the_same_people_on_both_sides_come_and_go_together():
    """A person whose rows win and whose columns lose alike moves nothing: no width, where two sets would have some."""
    effect = np.linspace(-0.2, 0.2, 8)
    wins = 0.5 + effect[:, None] - effect
    assert intervals.ratio(wins, np.ones((8, 8)), "logit", shared=True)["low"] == pytest.approx(0.5)
    assert intervals.ratio(wins, np.ones((8, 8)), "logit")["low"] < 0.45


def test_interval_of_pairs_covers_the_truth_and_allows_for_common_members():
    """Pairs of members with an effect each: a pair's value is the sum of its two. Truth 0, nominal 95%."""

    def draw(members, values_of):
        def one(rng, _):
            effect = rng.normal(size=members)
            first = rng.integers(0, members, 200)
            second = (first + rng.integers(1, members, 200)) % members
            return values_of(effect[first] + effect[second], first, second)

        return one

    def independent(values, *_):
        half = 1.96 * values.std() / np.sqrt(len(values))
        return {"low": values.mean() - half, "high": values.mean() + half}

    assert hits(300, draw(20, independent), 0) < 0.6
    for members in (5, 10, 17, 200):
        assert 0.92 <= hits(500, draw(members, intervals.dyadic), 0) <= 0.98


def test_interval_of_pairs_by_a_plain_loop():
    rng = np.random.default_rng(1)
    first, second = rng.integers(0, 6, 60), rng.integers(6, 12, 60)
    effect = rng.normal(size=12)
    values = effect[first] + effect[second] + 0.1 * rng.normal(size=60)
    left = [values[(first != i) & (second != i)].mean() for i in range(12)]
    single = np.square(values - values.mean()).sum() / 60**2
    half = t.ppf(0.975, 11) * np.sqrt(11 / 12 * np.square(left - np.mean(left)).sum() - single)
    found = intervals.dyadic(values, first, second)
    assert found == pytest.approx({"mean": values.mean(), "low": values.mean() - half, "high": values.mean() + half})
    assert intervals.dyadic(values[:2], np.array([0, 0]), np.array([1, 1]))["low"] is None


def test_a_difference_is_called_one_only_where_its_interval_leaves_out_zero():
    def around(mean, half):
        return {"mean": mean, "low": mean - half, "high": mean + half}

    assert intervals.difference(around(1.0, 0.3), around(0.5, 0.4)) == pytest.approx(around(0.5, 0.5))
    leaning = intervals.difference({"mean": 1.0, "low": 0.7, "high": 1.1}, {"mean": 0.0, "low": 0.0, "high": 0.4})
    assert leaning == pytest.approx({"mean": 1.0, "low": 0.5, "high": 1.1})
    words = [intervals.verdict(around(mean, 0.5)) for mean in (-0.6, -0.4, 0.4, 0.6)]
    assert words == ["less", "no difference seen", "no difference seen", "more"]
    alone = intervals.difference(around(1.0, 0.3), {"mean": 0.0, "low": None, "high": None})
    assert alone == {"mean": 1.0, "low": None, "high": None} and intervals.verdict(alone) == "no difference seen"
