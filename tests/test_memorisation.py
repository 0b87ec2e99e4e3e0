"""The test of memorisation against planted copies, unseen people, and matches counted by hand."""

import numpy as np
import pytest

from vq_lib.data import cohort
from vq_lib.scores import baselines, ladder, memorisation


@pytest.fixture(scope="module")
def people():
    """Ninety training people and thirty unseen ones, four slices each, as thumbnails."""
    slices = cohort.make({"train": 90, "test": 30}, slices=4, size=32, progress=False)
    rows = {split: slices.where(split) for split in ("train", "test")}
    return {split: baselines.thumbnails(slices.images[found]) for split, found in rows.items()}


def test_all_planted_copies_are_found_and_unseen_people_are_let_go(people):
    _, held_out = baselines.nearest(people["test"], people["train"])
    noise = np.random.default_rng(0).normal(0, 0.01, people["train"][::30].shape)
    _, distance = baselines.nearest((people["train"][::30] + noise).astype(np.float32), people["train"])
    assert memorisation.flagged(distance, held_out).all()
    assert memorisation.flagged(held_out, held_out).mean() <= memorisation.QUANTILE
    # People that did not set the threshold: at most as many as chance allows at the stated rate.
    _, first = baselines.nearest(people["test"][:60], people["train"])
    _, second = baselines.nearest(people["test"][60:], people["train"])
    assert memorisation.flagged(second, first).sum() <= 3


@pytest.mark.parametrize("n", [1, 99, 100, 544])
def test_no_more_slices_of_either_group_are_flagged_than_stated(n):
    values, others = np.random.default_rng(n).random(n), np.random.default_rng(0).random(300) + 0.1
    assert memorisation.flagged(values, values).sum() <= 0.01 * n
    assert memorisation.flagged(values, values, others).sum() <= 0.01 * n
    assert memorisation.flagged(others, values, others).sum() <= 3
    assert memorisation.flagged([-1.0], values, others).all()
    # One training person has no others: their distances are infinite and set no threshold.
    assert memorisation.threshold(values, np.full(5, np.inf)) == memorisation.threshold(values)


@pytest.mark.parametrize("n", [16, 100, 640])
def test_chance_is_what_one_more_slice_has(n):
    """Of values drawn alike, one more lies below the threshold of n in `chance` / 2 of the cases, found by drawing."""
    drawn = np.random.default_rng(n).random((4000, n + 1))
    hits = np.mean([memorisation.flagged(row[:1], row[1:])[0] for row in drawn])
    assert hits == pytest.approx(memorisation.chance(n) / 2, abs=0.008)


def test_nobody_is_held_against_themselves():
    """Each training person among the others alone: by pixels and by codes as a plain loop over the others has it."""
    rng = np.random.default_rng(0)
    images, codes = rng.random((12, 9)).astype(np.float32), rng.integers(0, 3, (12, 3, 3))
    names = np.repeat(["a", "b", "c"], 4)
    index, distance = baselines.nearest(images, images, (names, names))
    _, share = memorisation.code_distances(codes, codes, -1, (names, names))
    for i, name in enumerate(names):
        rest = np.flatnonzero(names != name)
        apart = np.linalg.norm(images[rest] - images[i], axis=1)
        assert index[i] == rest[apart.argmin()] and distance[i] == pytest.approx(apart.min(), rel=1e-5)
        assert share[i] == memorisation.code_distances(codes[[i]], codes[rest], -1)[1][0]
    _, alone = baselines.nearest(images[:4], images[:4], (names[:4], names[:4]))
    assert np.isinf(alone).all()


def test_code_distances_by_hand():
    black = 7
    query = np.array([[[7, 7, 1, 2], [3, 7, 4, 5]]])
    references = np.array([
        [[7, 7, 1, 2], [3, 7, 4, 6]],  # one of five informative cells differs; four in a row are equal
        [[7, 9, 1, 2], [3, 7, 4, 5]],  # one more cell is informative, and differs; all five of the query are equal
        [[7, 7, 7, 7], [7, 7, 7, 7]],  # black
    ])  # fmt: skip
    index, distance = memorisation.code_distances(query, references, black)
    run = memorisation.longest_runs(query, references, black)
    assert index.tolist() == [1] and distance == pytest.approx([1 / 6]) and run.tolist() == [5]
    index, distance = memorisation.code_distances(query, references[[0, 2]], black)
    run = memorisation.longest_runs(query, references[[0, 2]], black)
    assert index.tolist() == [0] and distance == pytest.approx([1 / 5]) and run.tolist() == [4]
    _, distance = memorisation.code_distances(query, references[2:], black)
    run = memorisation.longest_runs(query, references[2:], black)
    assert distance.tolist() == [1] and run.tolist() == [0]


def test_code_distances_of_random_grids_are_those_of_a_plain_loop():
    rng = np.random.default_rng(0)
    queries, references = rng.integers(0, 3, (6, 5, 5)), rng.integers(0, 3, (20, 5, 5))
    index, distance = memorisation.code_distances(queries, references, 0)
    run = memorisation.longest_runs(queries, references, 0)
    for i, query in enumerate(queries.reshape(6, -1)):
        shares, runs = [], []
        for reference in references.reshape(20, -1):
            counted = (query != 0) | (reference != 0)
            shares.append((query != reference)[counted].mean())
            length = 0
            for a, b in zip(query, reference, strict=True):
                length = length if a == 0 else (length + 1) * (a == b)
                runs.append(length)
        assert distance[i] == pytest.approx(min(shares)) and shares[index[i]] == pytest.approx(min(shares))
        assert run[i] == max(runs)


def test_background_code_is_the_usual_one_of_black_cells():
    codes, black = np.array([[[4, 4], [1, 2]]]), np.array([[[True, True], [True, False]]])
    assert memorisation.background_code(codes, black) == 4
    assert memorisation.background_code(codes, np.zeros_like(black)) == -1


def test_failures_are_farther_than_any_held_out_slice():
    held_out, people = np.array([1.0, 2.0, 3.0, 9.0]), np.array(["a", "a", "b", "b"])
    which, about = memorisation.failures([0.5, 9.0, 9.1, 20.0], held_out, people)
    assert which.tolist() == [False, False, True, True] and about["limit"] == 9 and about["count"] == 2
    # Of b's slices both lie farther than a's farthest, of a's none farther than b's.
    assert about["left_out_fraction"] == pytest.approx((1.0 + 0.0) / 2) and not about["beyond_chance"]
    assert memorisation.failures(held_out, held_out, people)[1]["fraction"] == 0
    rng = np.random.default_rng(0)
    held_out, people = rng.random(200), np.repeat(np.arange(20), 10)
    _, about = memorisation.failures(np.full(50, 2.0), held_out, people)
    assert about["beyond_chance"] and "50 of 50 samples (100.0%) failed: they lie farther" in about["sentence"]
    _, about = memorisation.failures(np.r_[rng.random(49), 2.0], held_out, people)
    assert not about["beyond_chance"] and "1 of 50 samples (2.0%) failed: it lies farther" in about["sentence"]
    assert memorisation.failures([1.0], held_out, np.zeros(200))[1]["left_out_fraction"] is None


def test_membership_is_an_area_under_the_curve():
    from scipy.stats import mannwhitneyu

    rng = np.random.default_rng(0)
    train, unseen = rng.normal(0, 1, 40).round(1), rng.normal(1, 1, 15).round(1)
    found = memorisation.membership(train, unseen)
    assert found["mean"] == pytest.approx(mannwhitneyu(unseen, train).statistic / (40 * 15))
    assert 0.5 < found["low"] < found["mean"] < found["high"] < 1
    assert memorisation.membership([1, 2], [3, 4]) == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert memorisation.membership([1, 1], [1, 1])["mean"] == 0.5


def test_verdict_names_the_worst_temperature_and_what_the_likelihood_tells():
    none, rows = np.zeros(100, bool), [{"temperature": 0.7, "count": 64, "memorised": 10 / 64},
                                       {"temperature": 1.0, "count": 64, "memorised": 0.0}]  # fmt: skip
    kind, sentence = memorisation.verdict(none, 0, 3.0, 3.1, heated=rows)
    assert kind == "copies at another temperature" and "0.7 gives the most such samples: 15.6%" in sentence
    rows[0]["memorised"] = 5 / 64  # p = 0.0092, above 0.01 shared out among two temperatures
    assert memorisation.verdict(none, 0, 3.0, 3.1, heated=rows)[0] == "none"
    assert memorisation.verdict(none, 0, 3.0, 3.1, heated=rows[:1])[0] == "copies at another temperature"
    rows[0]["memorised"] = 1 / 64
    assert memorisation.verdict(none, 0, 3.0, 3.1, heated=rows)[0] == "none"
    known = {"test": {"mean": 0.8, "low": 0.7, "high": 0.9}}
    kind, sentence = memorisation.verdict(np.arange(100) < 1, 0, 3.0, 3.4, known)
    assert kind == "learned by heart" and "from test people with an AUC of 0.80 (0.70–0.90)" in sentence
    assert "1 of 100 samples lies suspiciously near" in sentence and "up to 2.0% do" in sentence


def test_verdict_follows_its_rule():
    none, some = np.zeros(100, bool), np.arange(100) < 9
    assert memorisation.verdict(none, 0, 3.0, 3.1)[0] == "none"
    assert memorisation.verdict(np.arange(100) < 4, 0, 3.0, 3.1)[0] == "none"  # chance at 2% would do that
    assert memorisation.verdict(none, 0, 3.0, 3.4)[0] == "learned by heart"
    assert memorisation.verdict(some, 0, 3.0, 3.1)[0] == "copies"
    assert memorisation.verdict(some, 0, 3.0, 3.1, rate=memorisation.chance(16))[0] == "none"  # 12% would be
    for bits in (3.149, 3.151):  # the rule is that of the ladder
        heart = memorisation.verdict(none, 0, 3.0, bits)[0] == "learned by heart"
        assert heart == ladder.overfitted({"train": 3.0, "test": bits})
    kind, sentence = memorisation.verdict(none, 1, 3.0, 3.1)
    assert kind == "copies" and "1 sample is a training slice" in sentence
