"""Whether generated images can be told from real ones: a two-sample classifier, and where slices should be."""

import numpy as np
import scipy.fft
from skimage.measure import block_reduce
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from vq_lib.scores.images import in_parts, unit
from vq_lib.scores.intervals import ratio

RINGS, CELLS = 24, 8  # of the power spectrum; parts of the image to a side
FOLDS, REPEATS = 5, 5  # of the cross-validation
OVERLAP = FOLDS / (FOLDS - 1)  # see `ratio`: all people for those that a fold's classifier was trained on
SHRINKAGE = 0.1  # of the classifier's covariance towards the identity


def features(images):
    """What the two-sample classifier sees: (N, H, W, C) → float64 (N, d).

    Grey levels and gradient strength in 8x8 cells, and the logarithm of the power spectrum over `RINGS` rings of equal
    width: where things lie, how sharp they are there, and how much detail of each size the whole image has.
    """
    side = images.shape[1]
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)) * 2  # 1 is a wave of two pixels
    ring, step = np.minimum(frequency * RINGS, RINGS).astype(int).ravel(), side // CELLS

    def part(some):
        grey = unit(some).mean(axis=-1)
        both = np.stack([grey, np.hypot(*np.gradient(grey, axis=(1, 2)))], axis=1)
        cells = block_reduce(both[..., : step * CELLS, : step * CELLS], (1, 1, step, step), np.mean)
        power = np.abs(scipy.fft.rfft2(grey)).reshape(len(grey), -1) ** 2
        rings = np.stack([np.bincount(ring, one, RINGS + 1) for one in power]) / np.maximum(np.bincount(ring), 1)
        return np.hstack([cells.reshape(len(grey), -1), np.log(rings[:, :RINGS] + 1e-6)])

    return in_parts(part, images)


def two_sample_auc(first, second, first_people, second_people=None, seed=0):
    """How well a classifier tells two sets of `features` apart: the area under its ROC curve; 0.5 is not at all.

    Fisher's linear discriminant with a shrunken covariance on the standardised features, cross-validated five-fold and
    five times: all images of a person are in one fold, so that nobody's slices are learned and then tested. A
    classifier two-sample test (Lopez-Paz and Oquab 2017, arXiv 1610.06545) with the AUC as its statistic, and an
    interval over the people of both sets, two at least, see `ratio`; None: every image of `second` is of its own. Where
    somebody is in both sets, their images share folds, and the interval lets them come and go together.
    """
    shared = second_people is not None and np.intersect1d(first_people, second_people).size > 0
    sets = [first_people, np.arange(len(second)) if second_people is None else second_people]
    names = [np.unique(np.concatenate(sets))] * 2 if shared else [np.unique(some) for some in sets]
    numbers = [np.searchsorted(all_names, some) for all_names, some in zip(names, sets, strict=True)]
    wins, pairs = _compare((first, second), numbers, [len(some) for some in names], shared, REPEATS, seed)
    return ratio(wins, pairs, "logit", shared, OVERLAP)


@threadpool_limits.wrap(limits=1)  # systems of 152 equations: more threads cost more than they give
def _compare(sets, numbers, shape, shared, repeats, seed):
    """How often an image of each person of the second set is ranked above one of each of the first, and of how many."""
    x, is_second = np.concatenate(sets), np.repeat([False, True], [len(some) for some in sets])
    person = np.concatenate([numbers[0], numbers[1] + (0 if shared else shape[0])])
    kind = np.array([np.bincount(person[is_second == value], minlength=person.max() + 1) > 0 for value in (0, 1)])
    folds, rng = min(FOLDS, *kind.sum(axis=1)), np.random.default_rng(seed)
    if folds < 2:
        raise ValueError("each set needs images of two people at least")
    wins, pairs = np.zeros((2, *shape))
    for _ in range(repeats):
        fold_of = np.empty(kind.shape[1], int)  # people of one set, of the other and of both, each spread over folds
        fold_of[np.lexsort((rng.random(kind.shape[1]), *kind))] = np.arange(kind.shape[1]) % folds
        for fold in range(folds):
            tested = fold_of[person] == fold
            if any(np.unique(is_second[rows]).size < 2 for rows in (tested, ~tested)):
                continue  # few people in both sets: all images of one set are on one side
            # Ridge regression on the labels has Fisher's direction, S⁻¹(μ₁ - μ₀), S shrunken towards the identity.
            ridge = Ridge((~tested).sum() * SHRINKAGE / (1 - SHRINKAGE), solver="cholesky")
            scores = make_pipeline(StandardScaler(), ridge).fit(x[~tested], is_second[~tested]).predict(x[tested])
            a, b = scores[~is_second[tested], None], scores[is_second[tested]]
            place = np.ix_(*(number[tested[is_second == value]] for value, number in enumerate(numbers)))
            np.add.at(wins, place, (b > a) + 0.5 * (b == a))
            np.add.at(pairs, place, 1.0)
    return wins, pairs


def against_people(real, people, generated, splits=10, seed=0):
    """Samples against slices of the people whom they imitate, and these people against each other, at equal size.

    The people are split into two halves, ten times. Each time a classifier as of `two_sample_auc` has
    to tell samples from slices of one half, and slices of the other half from these: the floor, what it finds between
    sets that differ in nothing but the people. From `features` of all: `{"auc", "floor": {"mean", "low", "high"},
    "people", "images"}`, an interval over people and samples, the range over the splits, and numbers of each set;
    of fewer than four people, who have no two halves, "auc" and "floor" are None.
    """
    names, index = np.unique(people, return_inverse=True)
    if len(names) < 4:
        return {"auc": None, "floor": None, "people": len(names), "images": len(generated)}
    wins, pairs = np.zeros((2, len(names), len(generated)))
    floor = []
    for split in range(splits):
        rng = np.random.default_rng([seed, split])
        in_first = (rng.permutation(len(names)) < len(names) // 2)[index]
        rows = np.flatnonzero(in_first), np.flatnonzero(~in_first), np.arange(len(generated))
        count = min(map(len, rows))
        one, other, new = (rng.choice(some, count, replace=False) for some in rows)
        found = _compare((real[one], generated[new]), (index[one], new), wins.shape, False, 1, rng)
        wins, pairs = wins + found[0], pairs + found[1]
        both = _compare((real[one], real[other]), (index[one], index[other]), [len(names)] * 2, False, 1, rng)
        floor.append(both[0].sum() / both[1].sum())
    return {"auc": ratio(wins, pairs, "logit", overlap=OVERLAP), "people": len(names), "images": count,
            "floor": {"mean": float(np.mean(floor)), "low": float(min(floor)), "high": float(max(floor))}}  # fmt: skip


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
