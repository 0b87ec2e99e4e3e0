"""The test of memorisation against planted copies, unseen people, and matches counted by hand."""

import numpy as np
import pandas as pd
import pytest

from vq_lib.data import cohort
from vq_lib.scores import baselines, bits, memorisation


def flagged(distances, *groups):
    return np.asarray(distances) < memorisation.threshold(*groups)


@pytest.fixture(scope="module")
def made():
    """Ninety training people and thirty unseen ones, four slices each."""
    return cohort.make({"train": 90, "test": 30}, slices=4, size=32, progress=False)


@pytest.fixture(scope="module")
def people(made):
    """Their thumbnails."""
    return {split: baselines.thumbnails(made.images[made.where(split)]) for split in ("train", "test")}


def test_all_planted_copies_are_found_and_unseen_people_are_let_go(people):
    _, held_out = baselines.nearest(people["test"], people["train"])
    noise = np.random.default_rng(0).normal(0, 0.01, people["train"][::30].shape)
    _, distance = baselines.nearest((people["train"][::30] + noise).astype(np.float32), people["train"])
    assert flagged(distance, held_out).all()
    assert flagged(held_out, held_out).mean() <= memorisation.QUANTILE
    # People that did not set the threshold: at most as many as chance allows at the stated rate.
    _, first = baselines.nearest(people["test"][:60], people["train"])
    _, second = baselines.nearest(people["test"][60:], people["train"])
    assert flagged(second, first).sum() <= 3


@pytest.mark.parametrize("known", [True, False])
def test_copies_are_found_however_they_were_made(made, known):
    """Samples that are training slices, mirrored, moved, or as they are; a perfect decoder, and codes drawn by chance.

    Where two scans of one person count as two people's, no training person sets a threshold; copies are found still.
    """
    rng, train, test = np.random.default_rng(0), made.where("train")[:160], made.where("test")[:48]
    again = np.clip(made.images[train] + rng.normal(0, 2, made.images[train].shape), 0, 255).astype(np.uint8)
    references = baselines.thumbnails(np.concatenate([made.images[train], again]))
    codes = rng.integers(0, 64, (len(references), 8, 8))
    person = np.concatenate([made.person[train]] * 2)

    def near(images, groups=None):
        return memorisation.neighbours(images, rng.integers(0, 64, (len(images), 8, 8)), references, codes, -1, groups)

    held = near(made.images[test])
    own = near(made.images[train], (person[: len(train)], person))
    if not known:
        own[["pixel_distance", "code_distance"]] = np.inf
    first = made.images[train[:64]]
    for copies in (first, first[:, :, ::-1], np.roll(first, (1, 1), (1, 2)), np.roll(first[:, :, ::-1], -1, 2)):
        found = memorisation.suspects(near(copies), held, own)
        assert found["suspect"].mean() > 0.95 and (found["index"] % len(train) == np.arange(64)).mean() > 0.9
    assert memorisation.suspects(held, held, own)["suspect"].mean() <= 0.02


def test_suspects_are_below_either_threshold():
    near = pd.DataFrame({"pixel_distance": [5.0, 3.0, 9.0, 5.0], "code_distance": [0.7, 0.8, 0.9, 0.3],
                         "pixel_index": np.arange(4), "code_index": np.arange(4) + 10})  # fmt: skip
    held = pd.DataFrame({"pixel_distance": np.linspace(4, 6, 50), "code_distance": np.linspace(0.5, 1, 50)})
    found = memorisation.suspects(near, held)
    assert found["suspect"].tolist() == [False, True, False, True]
    np.testing.assert_array_equal(found[["pixels", "codes"]].min(axis=1) < 1, found["suspect"])
    assert found["index"][1] == 1 and found["index"][3] == 13


@pytest.mark.parametrize("n", [1, 99, 100, 544])
def test_no_more_slices_of_either_group_are_flagged_than_stated(n):
    values, others = np.random.default_rng(n).random(n), np.random.default_rng(0).random(300) + 0.1
    assert flagged(values, values).sum() <= 0.01 * n
    assert flagged(values, values, others).sum() <= 0.01 * n
    assert flagged(others, values, others).sum() <= 3
    assert flagged([-1.0], values, others).all()
    # One training person has no others: their distances are infinite and set no threshold.
    assert memorisation.threshold(values, np.full(5, np.inf)) == memorisation.threshold(values)


@pytest.mark.parametrize("n", [16, 100, 640])
def test_chance_is_what_one_more_slice_has(n):
    """Of values drawn alike, one more lies below the threshold of n in `chance` / 2 of the cases, found by drawing."""
    drawn = np.random.default_rng(n).random((4000, n + 1))
    hits = np.mean([flagged(row[:1], row[1:])[0] for row in drawn])
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
        [[7, 7, 1, 2], [3, 7, 4, 6]],  # one of five informative cells differs
        [[7, 9, 1, 2], [3, 7, 4, 5]],  # one more cell is informative, and differs
        [[7, 7, 7, 7], [7, 7, 7, 7]],  # black
    ])  # fmt: skip
    index, distance = memorisation.code_distances(query, references, black)
    assert index.tolist() == [1] and distance == pytest.approx([1 / 6])
    index, distance = memorisation.code_distances(query, references[[0, 2]], black)
    assert index.tolist() == [0] and distance == pytest.approx([1 / 5])
    _, distance = memorisation.code_distances(query, references[2:], black)
    assert distance.tolist() == [1]
    assert memorisation.code_distances(references, query, black)[1].tolist() == pytest.approx([1 / 5, 1 / 6, 1])
    _, distance = memorisation.code_distances(references[2:], references[2:], black)
    assert distance.tolist() == [1], "two black grids say nothing"
    assert memorisation.code_distances(query, query, black)[1].tolist() == [0]


def test_code_distances_of_random_grids_are_those_of_a_plain_loop():
    rng = np.random.default_rng(0)
    queries, references = rng.integers(0, 3, (6, 5, 5)), rng.integers(0, 3, (20, 5, 5))
    index, distance = memorisation.code_distances(queries, references, 0)
    for i, query in enumerate(queries.reshape(6, -1)):
        shares = []
        for reference in references.reshape(20, -1):
            counted = (query != 0) | (reference != 0)
            shares.append((query != reference)[counted].mean())
        assert distance[i] == pytest.approx(min(shares)) and shares[index[i]] == pytest.approx(min(shares))


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
    assert about["beyond_chance"] and about["count"] == 50 and about["fraction"] == 1
    _, about = memorisation.failures(np.r_[rng.random(49), 2.0], held_out, people)
    assert not about["beyond_chance"] and about["count"] == 1 and about["fraction"] == 0.02
    assert memorisation.failures([1.0], held_out, np.zeros(200))[1]["left_out_fraction"] is None


@pytest.mark.parametrize("knows", [True, False])
def test_membership_is_found_where_training_people_have_shorter_codes(knows):
    """People differ in how hard they are, by prior and table alike; the prior may know its own a little better."""
    rng = np.random.default_rng(0)
    people = {
        split: np.repeat(np.arange(count), 4) for split, count in (("train", 40), ("validation", 12), ("test", 17))
    }
    prior, table = {}, {}
    for split, names in people.items():
        hard = rng.normal(0, 0.5, names.max() + 1)[names]
        table[split] = 4 + hard + rng.normal(0, 0.05, names.size)
        prior[split] = 3 + hard + rng.normal(0, 0.05, names.size) - 0.3 * (knows and split == "train")
    found = memorisation.membership(prior, table, people)
    assert list(found) == ["validation", "test"]
    assert any(group["beyond_table"]["low"] > 0.5 for group in found.values()) is knows
    for group in found.values():
        assert group["table"]["low"] < 0.5 < group["table"]["high"]
        assert group["beyond_table"]["mean"] > 0.95 if knows else group["beyond_table"]["low"] < 0.5
    alone = {split: names if split != "test" else np.zeros_like(names) for split, names in people.items()}
    assert list(memorisation.membership(prior, table, alone)) == ["validation"]


def test_a_table_that_counts_the_training_people_would_hide_them():
    """A prior that knows each training grid exactly: against a table that was fitted on them, and one that was not."""
    rng = np.random.default_rng(0)
    codes = {
        split: rng.integers(0, 6, (count, 5, 5)) for split, count in (("train", 40), ("validation", 20), ("test", 20))
    }
    people = {split: np.arange(len(grids)) for split, grids in codes.items()}
    table = bits.PositionUnigram(codes["train"], codes["validation"], 6)
    fitted = {split: table.lengths(grids).mean(axis=(1, 2)) for split, grids in codes.items()}
    left_out = {**fitted, "train": table.left_out(people["train"]).mean(axis=(1, 2))}
    prior = {split: fitted[split].copy() for split in codes}
    honest, hiding = (memorisation.membership(prior, some, people)["test"] for some in (left_out, fitted))
    assert hiding["beyond_table"]["mean"] == 0.5, "what prior and table both remember cancels"
    assert honest["beyond_table"]["mean"] > 0.95 and 0.3 < honest["table"]["mean"] < 0.7


def test_verdict_follows_its_rule():
    none, some = np.zeros(100, bool), np.arange(100) < 9

    def kind(suspect, exact, test=3.1, rate=0.02):
        return memorisation.verdict(suspect, exact, {"train": 3.0, "test": test}, rate)

    assert kind(none, 0) == "none" == kind(np.arange(100) < 4, 0)  # chance at 2% would do that
    assert kind(none, 0, 3.4) == "learned by heart"
    assert kind(some, 0) == "copies" == kind(none, 1)
    assert kind(some, 0, rate=memorisation.chance(16)) == "none"  # 12% would be
    for test in (3.149, 3.151):  # the rule is that of the bits
        assert (kind(none, 0, test) == "learned by heart") == bits.overfitted({"train": 3.0, "test": test})
