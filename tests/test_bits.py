"""The baselines of a prior in bits per code, and what is left of a gap, by hand."""

import numpy as np
import pytest

from vq_lib.scores import bits

GRID = (6, 7)


def grids(n, seed, size=5):
    """Codes that depend on place and left neighbour."""
    rng = np.random.default_rng(seed)
    codes = np.zeros((n, *GRID), int)
    for row, column in np.ndindex(*GRID):
        fresh = (rng.integers(0, 2, n) + row) % size
        codes[:, row, column] = np.where(rng.random(n) < 0.5, codes[:, row, column - 1], fresh) if column else fresh
    return codes


def table_by_hand(train, codes, alpha):
    return np.stack([-np.log2(((train == grid).sum(0) + alpha) / (len(train) + 5 * alpha)) for grid in codes])


def test_baselines_get_shorter_one_by_one_and_match_a_hand_calculation():
    train, validation, test = grids(300, 0), grids(60, 1), grids(60, 2)
    found = bits.baselines(train, validation, test, 5)
    assert found["uniform"] == pytest.approx(np.log2(5))
    assert found["uniform"] > found["unigram"] > found["position_unigram"] > found["markov"]
    p = (np.bincount(train.ravel(), minlength=5) + 1) / (train.size + 5)
    assert found["unigram"] == pytest.approx(-np.log2(p[test]).mean())
    best = min(bits.ALPHAS, key=lambda alpha: table_by_hand(train, validation, alpha).mean())
    by_hand = table_by_hand(train, test, best)
    assert found["position_unigram"] == pytest.approx(by_hand.mean())
    np.testing.assert_allclose(bits.PositionUnigram(train, validation, 5).lengths(test), by_hand)


def test_overfitted_is_more_than_five_percent():
    assert bits.overfitted({"train": 2.0, "test": 2.11}) and not bits.overfitted({"train": 2.0, "test": 2.09})


def test_a_left_out_person_is_measured_by_the_others_alone():
    train, validation, people = grids(30, 0), grids(10, 1), np.repeat(["a", "b", "c"], 10)
    table = bits.PositionUnigram(train, validation, 5)
    found = table.left_out(people)
    alpha = min(bits.ALPHAS, key=lambda alpha: table_by_hand(train, validation, alpha).mean())
    for who in "abc":
        by_hand = table_by_hand(train[people != who], train[people == who], alpha)
        np.testing.assert_allclose(found[people == who], by_hand)
    assert found.mean() > table.lengths(train).mean()


def test_gap_tells_the_prior_from_the_groups():
    """Groups that are 10% harder for both: nothing is left. By hand, and the interval by a plain bootstrap."""
    rng = np.random.default_rng(0)
    people, others = np.repeat(np.arange(20), 3), np.repeat(np.arange(10), 2)
    seen = rng.uniform(3, 4, 60)
    found = bits.gap((seen, seen * 1.5, people), (seen[:20] * 1.1, seen[:20] * 1.65, others))
    assert found["beyond"]["mean"] == pytest.approx(0) and found["beyond"]["high"] == pytest.approx(0, abs=1e-9)
    assert found["gap"]["mean"] == pytest.approx(1.1 * seen[:20].mean() / seen.mean() - 1)
    assert found["groups"]["mean"] == pytest.approx(found["gap"]["mean"])

    nothing = dict.fromkeys(("mean", "low", "high"))  # a codebook of which one code is left
    found = bits.gap((np.zeros(60), seen, people), (np.zeros(20), seen[:20], others))
    assert found["gap"] == found["beyond"] == nothing and found["groups"]["mean"] is not None

    unseen = rng.uniform(3.5, 4.5, 20)
    found = bits.gap((seen, np.ones(60), people), (unseen, np.ones(20), others))
    assert found["groups"] == {"mean": 0.0, "low": 0.0, "high": 0.0} and found["gap"] == pytest.approx(found["beyond"])
    drawn = []
    for _ in range(2000):
        first = np.concatenate([seen[people == who] for who in rng.integers(0, 20, 20)])
        second = np.concatenate([unseen[others == who] for who in rng.integers(0, 10, 10)])
        drawn.append(second.mean() / first.mean() - 1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    assert found["gap"]["low"] == pytest.approx(low, abs=0.01) and found["gap"]["high"] == pytest.approx(high, abs=0.01)
    alone = bits.gap((seen, np.ones(60), people), (unseen, np.ones(20), np.zeros(20)))
    assert alone["gap"]["low"] is None and alone["gap"]["mean"] == found["gap"]["mean"]
