"""Who is in which split: by person, never by slice."""

from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from vq_lib.data.slices import SPLITS
from vq_lib.errors import UserError

FOLDS = 5  # of the demonstration


def assign(
    person: np.ndarray, label: np.ndarray, split: np.ndarray, shares: dict[str, float], seed: int = 0
) -> tuple[np.ndarray, dict[str, int]]:
    """The split of each slice, (N,) str: as the folders say, and where there is no folder for one, cut from the people
    to train on; and `{split: number of people}` of those that were cut. `UserError` where nothing is left to train on.
    `shares` is `{"test": share, "validation": share}`; `split` is "" where no folder says.

    The cut is by person, seeded, and stratified: people of each label in random order are numbered by quantile, and the
    lowest quantiles over all labels are taken, so that each label gives its share."""
    missing = [name for name in ("test", "validation") if name not in split]
    split = np.where(split == "", "train", split).astype("U10")
    pool = np.unique(person[split == "train"])
    if len(pool) < len(missing) + 1:
        raise UserError(f"There are {len(pool)} people to train on, but one is needed for each of "
                        f"{', '.join(['train', *missing])}: the training slices are missing, or too few.")  # fmt: skip
    if not missing:
        return split, {}
    rng, quantile = np.random.default_rng(seed), np.zeros(len(pool))
    labels = pd.Series(label, person)[lambda some: ~some.index.duplicated()][pool].to_numpy(str)
    for name in np.unique(labels):
        alike = np.flatnonzero(labels == name)
        quantile[rng.permutation(alike)] = (np.arange(len(alike)) + 0.5) / len(alike)
    queue = pool[np.lexsort((rng.random(len(pool)), quantile))]
    counts = {name: min(max(1, round(shares[name] * len(pool))), len(pool) - len(missing)) for name in missing}
    if sum(counts.values()) >= len(pool):
        raise UserError(f"data.test and data.validation leave none of the {len(pool)} people to train on.")
    cut = pd.Series(np.repeat(list(counts), list(counts.values())), queue[: sum(counts.values())])
    return np.where(split == "train", pd.Series(person).map(cut).fillna("train"), split).astype("U10"), counts


def shared(person: np.ndarray, split: np.ndarray) -> dict[str, list[str]]:
    """People with slices in two splits: `{person: [splits]}`; "" is nobody, or no split."""
    pairs = pd.DataFrame({"person": person, "split": split}).drop_duplicates().query("person != '' and split != ''")
    several = pairs[pairs.duplicated("person", keep=False)]
    return {who: sorted(where, key=SPLITS.index) for who, where in several.groupby("person")["split"]}


def groups(count: int, pairs: np.ndarray) -> np.ndarray:
    """The smallest member of each item's connected component: (count,) int, for pairs (n, 2) of items."""
    graph = csr_array((np.ones(len(pairs), bool), pairs.T), shape=(count, count))
    component = connected_components(graph, directed=False)[1]
    return np.unique(component, return_index=True)[1][component]


def neighbours(slices, seed: int = 0, most: int = 6000) -> dict[str, dict[str, Any]]:
    """What the nearest neighbour knows under a split by slice and under one by person.

    Each slice in turn (of people drawn at random, at most `most` slices) is looked up among those of the other of
    `FOLDS` folds, by correlation of thumbnails; once the folds are drawn by slice, once by person, all else the same.
    `{"slice" | "person": {"same_label", "same_person", "correlation"}}`, means over slices; `same_label` is over those
    with a label, None where there are fewer than two labels. With two or more, `"constant": {"label", "same_label"}` is
    what answering the most frequent label each time would score."""
    rng = np.random.default_rng(seed)
    names, person = np.unique(slices.person, return_inverse=True)
    order = rng.permutation(len(names))
    taken = np.cumsum(np.bincount(person)[order]) <= most
    rows = np.flatnonzero(np.isin(person, order[taken | (np.arange(len(order)) < 2)]))
    person, label = person[rows], slices.label[rows]
    vectors = slices.thumbnails[rows][:, ::2, ::2].reshape(len(rows), -1).astype(np.float32)
    vectors -= vectors.mean(axis=1, keepdims=True)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)  # a product is a correlation
    kinds = pd.Series(label[label != ""]).value_counts(normalize=True).sort_index()
    folds = {"slice": rng.permutation(len(rows)) % FOLDS, "person": rng.permutation(len(names))[person] % FOLDS}
    scores: dict[str, dict[str, Any]] = {}
    for name, fold in folds.items():
        alike = np.where(fold[:, None] == fold, -2, vectors @ vectors.T)
        nearest = alike.argmax(axis=1)
        same = float((label == label[nearest])[label != ""].mean()) if len(kinds) > 1 else None
        scores[name] = {"same_label": same, "same_person": float((person == person[nearest]).mean()),
                        "correlation": float(alike.max(axis=1).mean())}  # fmt: skip
    if len(kinds) > 1:
        scores["constant"] = {"label": kinds.idxmax(), "same_label": float(kinds.max())}
    return scores
