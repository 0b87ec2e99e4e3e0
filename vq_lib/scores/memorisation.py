"""Whether a generative model gives back its training people: nearest neighbours, code matches, and a verdict by rule.

A generated slice that lies nearer to a training slice than real slices of other people hardly ever do is a suspect
(after Dar et al. 2025, 10.1038/s41551-025-01468-8, who take unseen people for these). Unseen people may be farther from
everybody than the training people whom samples imitate: these are held against each other too, and the nearer of both
thresholds counts. The same distances, read from their other end, find the samples that are like no slice at all.
"""

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist
from scipy.stats import binomtest

from vq_lib.scores.baselines import nearest, thumbnails
from vq_lib.scores.bits import overfitted
from vq_lib.scores.images import in_parts
from vq_lib.scores.intervals import auc

QUANTILE = 0.01  # of the distances of a group of real slices: nearer than this is flagged
LEVEL = 0.01  # below this probability it is not chance


def neighbours(images, codes, references, reference_codes, background, groups=None):
    """The training slices nearest to uint8 images, decoded as samples are, by pixels and by codes, (n, h, w).

    `references`, `reference_codes`: `thumbnails` and codes of the training slices; `background`: `background_code`;
    `groups`: as for `nearest`. A frame: pixel_index, pixel_distance, code_index, code_distance.
    """
    pixels = nearest(thumbnails(images), references, groups, moved=True)
    found = (*pixels, *code_distances(codes, reference_codes, background, groups))
    columns = ("pixel_index", "pixel_distance", "code_index", "code_distance")
    return pd.DataFrame(dict(zip(columns, found, strict=True)))


def code_distances(queries, references, background, groups=None):
    """The nearest reference of each code grid: index (n,) and distance (n,), the share of the codes that differ.

    Cells that hold the background's code in both grids say nothing and do not count.
    """
    queries, references = (np.reshape(codes, (len(codes), -1)) for codes in (queries, references))
    cells, black = references.shape[1], (references == background).astype(np.float32)
    own, others = (np.zeros(len(queries)), np.ones(len(references))) if groups is None else groups

    def part(some, whose):
        counted = cells - (some == background).astype(np.float32) @ black.T
        share = 1 - (counted - np.round(cells * cdist(some, references, "hamming"))) / np.maximum(counted, 1)
        share[whose[:, None] == others] = np.inf
        return np.column_stack([share.argmin(axis=1), share.min(axis=1)])

    index, distance = in_parts(part, queries, np.asarray(own), size=64).T
    return index.astype(int), distance


def background_code(codes, black):
    """The code that black cells have most often: codes (n, h, w), black bool (n, h, w). -1 where no cell is black."""
    found = np.asarray(codes)[black]
    return int(np.bincount(found).argmax()) if found.size else -1


def threshold(*groups):
    """The distance below which at most `QUANTILE` of each group's distances lie; infinite ones set none."""
    ordered = [np.sort(np.asarray(group, np.float64)) for group in groups if np.isfinite(group).all()]
    return min(float(group[int(np.floor(QUANTILE * len(group)))]) for group in ordered)


def chance(count):
    """How often one more slice like the `count` that set a threshold is flagged by either distance, at most."""
    # The k-th smallest of n values has k / (n + 1) of the distribution below it on average; k - 1 = ⌊QUANTILE n⌋.
    return min(2 * (int(np.floor(QUANTILE * count)) + 1) / (count + 1), 1.0)


def suspects(near, *groups):
    """Samples nearer to a training slice than real slices hardly ever are, by `neighbours` of them and of real groups.

    A frame: distances by `pixels` and `codes` in parts of their `threshold`; whether either is below it, `suspect`; and
    the `index` of the training slice by the smaller part.
    """
    limits = {kind: threshold(*(group[f"{kind}_distance"] for group in groups)) for kind in ("pixel", "code")}
    pixels, codes = (near[f"{kind}_distance"] / max(limit, 1e-9) for kind, limit in limits.items())
    suspect = (near["pixel_distance"] < limits["pixel"]) | (near["code_distance"] < limits["code"])
    index = np.where(codes < pixels, near["code_index"], near["pixel_index"])
    return pd.DataFrame({"pixels": pixels, "codes": codes, "index": index, "suspect": suspect})


def _beyond_chance(count, n, rate):
    return bool(binomtest(int(count), n, rate, alternative="greater").pvalue < LEVEL)


def failures(distances, held_out, people):
    """Samples like no slice that the model was shown, by distances to the nearest training slice, (n,) and (m,).

    Which are farther than any held-out slice, bool (n,), and `{"count", "fraction", "limit", "left_out_fraction",
    "beyond_chance"}`. What to expect of a model without fault is the share of a held-out person's slices that lie
    farther than all slices of the *other* held-out people, averaged over the people.
    """
    held_out, people = np.asarray(held_out), np.asarray(people)
    which, names = np.asarray(distances) > held_out.max(), np.unique(people)
    apart = [(held_out[people == name] > held_out[people != name].max()).mean() for name in names if len(names) > 1]
    left_out = float(np.mean(apart)) if apart else None
    # One slice at least: among so many held-out slices, a rarer failure could not have been seen.
    beyond = _beyond_chance(which.sum(), len(which), max(left_out or 0, 1 / len(held_out)))
    return which, {"count": int(which.sum()), "fraction": float(which.mean()), "limit": float(held_out.max()),
                   "left_out_fraction": left_out, "beyond_chance": beyond}  # fmt: skip


def membership(prior, table, people):
    """How well a person's code length tells whether the prior was trained on them, for both groups of unseen people.

    This is the membership inference attack by a threshold on the loss (Yeom et al. 2018, arXiv 1709.01604). Unseen
    people may simply be harder to code; so the same is asked of a table of frequencies, and of the difference of the
    two (Watson et al. 2022, arXiv 2111.08440). A table that counts the training people would hide what the prior knows.

    `{"train", "validation", "test": (n,)}` of each slice's mean bits per code, under the prior and a `PositionUnigram`,
    its `left_out` for training people, and of whose they are → `{"validation" and "test": {"prior", "table",
    "beyond_table"}}`, the `auc` of unseen against training people. A group of a single person is left out.
    """
    slices = {split: pd.DataFrame({"prior": prior[split], "table": table[split]}) for split in people}
    values = {split: each.groupby(people[split]).mean() for split, each in slices.items()}
    values = {split: each.eval("beyond_table = prior - table") for split, each in values.items()}
    train = values.pop("train")
    return {split: {name: auc(train[name], unseen[name]) for name in unseen}
            for split, unseen in values.items() if min(len(train), len(unseen)) > 1}  # fmt: skip


def verdict(suspect, exact, bits_per_code, rate):
    """What is to be said about memorisation, by rule.

    "copies": `exact` of the samples have all codes of a training slice, or so many are `suspect`, bool (n,), that
    chance at `rate` gives as many with a probability below `LEVEL`; "learned by heart": the prior is `overfitted`, by
    its `bits_per_code`; else "none".
    """
    if exact or _beyond_chance(np.sum(suspect), len(suspect), rate):
        return "copies"
    return "learned by heart" if overfitted(bits_per_code) else "none"
