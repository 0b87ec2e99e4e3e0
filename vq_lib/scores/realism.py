"""Whether generated images can be told from real ones: a classifier two-sample test, and where slices should be."""

import numpy as np

from vq_lib.scores.intervals import ratio

SEEDS = 3  # ways to deal people and samples into those that a classifier learns from, and those that it is tested on
OVERLAP = 2.0  # see `ratio`: as many images are learned from as are tested, on each of two sides


def two_sample_auc(first, second, first_people, second_people=None, classify=None, seeds=SEEDS, seed=0):
    """How well a classifier tells two sets of images apart: the area under its ROC curve; 0.5 is not at all.

    A classifier two-sample test (Lopez-Paz and Oquab 2017, arXiv 1610.06545) with the AUC as its statistic: it learns
    from one half of each set and is tested on the other, anew for each of `seeds`. All images of a person are in one
    half, so that nobody's slices are learned and then tested. The interval is one over the people of both sets, two at
    least, see `ratio`; None: every image of `second` is of its own. Where somebody is in both sets, their images share
    halves, and the interval lets them come and go together. `classify`: (images, labels, tested images, seed) → scores
    of these, (n,), higher where they rather are of `second`; None: that of `scores.classifier`.
    """
    shared = second_people is not None and np.intersect1d(first_people, second_people).size > 0
    sets = [first_people, np.arange(len(second)) if second_people is None else second_people]
    names = [np.unique(np.concatenate(sets))] * 2 if shared else [np.unique(some) for some in sets]
    numbers = [np.searchsorted(all_names, some) for all_names, some in zip(names, sets, strict=True)]
    wins, pairs = sum(_compare((first, second), numbers, [len(some) for some in names], shared, classify, [seed, k])
                      for k in range(seeds))  # fmt: skip
    return ratio(wins, pairs, "logit", shared, OVERLAP)


def _compare(sets, numbers, shape, shared, classify, seed):
    """How often an image of each person of the second set is ranked above one of each of the first, and of how many:
    (2, n, m), of the half that is tested.
    """
    if classify is None:
        from vq_lib.scores.classifier import classify
    is_second, rng = np.repeat([False, True], [len(some) for some in sets]), np.random.default_rng(seed)
    person = np.concatenate([numbers[0], numbers[1] + (0 if shared else shape[0])])
    kind = np.array([np.bincount(person[is_second == value], minlength=person.max() + 1) > 0 for value in (0, 1)])
    if kind.sum(axis=1).min() < 2:
        raise ValueError("each set needs images of two people at least")
    half = np.empty(kind.shape[1], int)  # people of one set, of the other and of both, each spread over the halves
    half[np.lexsort((rng.random(kind.shape[1]), *kind))] = (np.arange(kind.shape[1]) + rng.integers(2)) % 2
    tested, found = half[person] == 1, np.zeros((2, *shape))
    if all(np.unique(is_second[rows]).size == 2 for rows in (tested, ~tested)):  # else: few people, all in both sets
        parts = [[some[rows] for some, rows in zip(sets, np.split(chosen, [len(sets[0])]), strict=True)]
                 for chosen in (~tested, tested)]  # fmt: skip
        learned, new = map(np.concatenate, parts)
        scores = classify(learned, is_second[~tested], new, int(rng.integers(2**31)))
        a, b = scores[~is_second[tested], None], scores[is_second[tested]]
        place = np.ix_(*(number[tested[is_second == value]] for value, number in enumerate(numbers)))
        np.add.at(found[0], place, (b > a) + 0.5 * (b == a))
        np.add.at(found[1], place, 1.0)
    return found


def against_people(real, people, generated, classify=None, seeds=SEEDS, seed=0):
    """Samples against slices of the people whom they imitate, and these people against each other, at equal size.

    For each of `seeds` the people are split into two groups. A classifier as of `two_sample_auc` has to tell samples
    from slices of one group, and slices of the other group from these: the floor, what it finds between sets that
    differ in nothing but the people. From the images of all: `{"auc", "floor", "people", "images"}`, intervals over
    people and samples, and numbers of each set; of fewer than four people, who have no two groups, "auc" and "floor"
    are None.
    """
    names, index = np.unique(people, return_inverse=True)
    if len(names) < 4:
        return {"auc": None, "floor": None, "people": len(names), "images": len(generated)}
    auc, floor = np.zeros((2, len(names), len(generated))), np.zeros((2, len(names), len(names)))
    for split in range(seeds):
        rng = np.random.default_rng([seed, split])
        in_first = (rng.permutation(len(names)) < len(names) // 2)[index]
        rows = np.flatnonzero(in_first), np.flatnonzero(~in_first), np.arange(len(generated))
        count = min(map(len, rows))
        one, other, new = (np.sort(rng.choice(some, count, replace=False)) for some in rows)
        auc += _compare((real[one], generated[new]), (index[one], new), auc.shape[1:], False, classify, rng)
        floor += _compare((real[one], real[other]), (index[one], index[other]), floor.shape[1:], False, classify, rng)
    return {"auc": ratio(auc[0], auc[1], "logit", overlap=OVERLAP),
            "floor": ratio(floor[0], floor[1], "logit", True, OVERLAP),
            "people": len(names), "images": count}  # fmt: skip


def position_agreement(places, wanted, references, positions):
    """How often the nearest training slices' `places` lie within 3/32 of the volume from those `wanted`, and by chance.

    (n,) each, -1 for anywhere; `references`: places of all training slices, of which there are `positions`.
    """
    places, wanted = (some[wanted >= 0] for some in (places, wanted))
    shares = [(np.abs(found - wanted) <= 3 * positions / 32).mean() for found in (places, references[:, None])]
    return float(shares[0]), float(shares[1])


def blind_panel(real, generated, count=12, seed=0):
    """As many real as generated images, up to `count` each, in random order, and which are which (True: generated)."""
    rng, count = np.random.default_rng(seed), min(count, len(real), len(generated))
    chosen = [images[rng.choice(len(images), count, replace=False)] for images in (real, generated)]
    order = rng.permutation(2 * count)
    return np.concatenate(chosen)[order], np.repeat([False, True], count)[order]
