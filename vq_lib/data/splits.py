"""Who is in which split: by person, never by slice."""

from typing import Any

import numpy as np

from vq_lib.data.slices import SPLITS
from vq_lib.errors import UserError

FOLDS = 5  # of the demonstration


def assign(
    person: np.ndarray, label: np.ndarray, given: np.ndarray, shares: dict[str, float], seed: int = 0
) -> tuple[np.ndarray, dict[str, int]]:
    """The split of each slice: as the folders say, and where there is no folder for one, cut from the training people.

    The cut is by person, seeded, and stratified: people of each label in random order are numbered by quantile, and the
    lowest quantiles over all labels are taken, so that each label gives its share.

    Args:
        person, label, given: (N,) str; `given` is one of `SPLITS` or "".
        shares: `{"test": share, "validation": share}` of the training people, for splits that no folder gives.
        seed: decides the cut.

    Returns:
        (N,) str, and `{split: number of people}` of the splits that were cut.

    Raises:
        UserError: nothing is left to train on.
    """
    split = np.where(given == "", "train", given).astype("U10")
    pool = np.unique(person[split == "train"])
    missing = [name for name in ("test", "validation") if name not in given]
    if len(pool) < len(missing) + 1:
        raise UserError(f"There are {len(pool)} people to train on, but one is needed for each of "
                        f"{', '.join(['train', *missing])}: the training slices are missing, or too few.")  # fmt: skip
    if not missing:
        return split, {}
    rng, quantile = np.random.default_rng(seed), np.zeros(len(pool))
    first = np.unique(person, return_index=True)
    labels = label[first[1][np.searchsorted(first[0], pool)]]
    for name in np.unique(labels):
        mine = np.flatnonzero(labels == name)
        quantile[rng.permutation(mine)] = (np.arange(len(mine)) + 0.5) / len(mine)
    queue = pool[np.lexsort((rng.random(len(pool)), quantile))]
    counts = {name: min(max(1, round(shares[name] * len(pool))), len(pool) - len(missing)) for name in missing}
    start = 0
    for name, count in counts.items():
        split[np.isin(person, queue[start : start + count]) & (split == "train")] = name
        start += count
    if start >= len(pool):
        raise UserError(f"data.test and data.validation leave none of the {len(pool)} people to train on.")
    return split, counts


def groups(count: int, pairs: np.ndarray) -> np.ndarray:
    """The smallest member of each item's connected component: (count,) int, for pairs (n, 2) of items."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    graph = csr_array((np.ones(len(pairs), bool), pairs.T), shape=(count, count))
    _, component = connected_components(graph, directed=False)
    _, first = np.unique(component, return_index=True)
    return first[component]


def neighbours(slices, seed: int = 0, most: int = 6000) -> dict[str, dict[str, Any]]:
    """What the nearest neighbour knows under a split by slice and under one by person.

    Each slice in turn is looked up among the slices of the other of `FOLDS` folds, by correlation of thumbnails. Once
    the folds are drawn by slice, once by person; all else is the same.

    Returns:
        `{"slice" | "person": {"same_label", "same_person", "correlation"}}`, means over slices; `same_label` counts
        slices with a label only, and is None where there are fewer than two labels. Where there are two or more,
        `"constant": {"label", "same_label"}` is what answering the most frequent label each time would score.
    """
    rng = np.random.default_rng(seed)
    names, person = np.unique(slices.person, return_inverse=True)
    order = rng.permutation(len(names))
    taken = np.cumsum(np.bincount(person)[order]) <= most
    rows = np.flatnonzero(np.isin(person, order[taken | (np.arange(len(order)) < 2)]))
    person, label = person[rows], slices.label[rows]
    vectors = unit(slices.thumbnails[rows][:, ::2, ::2])
    folds = {"slice": rng.permutation(len(rows)) % FOLDS, "person": rng.permutation(len(names))[person] % FOLDS}
    nearest = {name: np.zeros(len(rows), np.int64) for name in folds}
    best = {name: np.zeros(len(rows), np.float32) for name in folds}
    for start in range(0, len(rows), 512):
        part = slice(start, start + 512)
        alike = vectors[part] @ vectors.T
        for name, fold in folds.items():
            others = np.where(fold[part, None] == fold, -2, alike)
            nearest[name][part], best[name][part] = others.argmax(axis=1), others.max(axis=1)
    labelled = label != ""
    kinds, counts = np.unique(label[labelled], return_counts=True)
    several = len(kinds) > 1
    found: dict[str, dict[str, Any]] = {name: {
        "same_label": float((label == label[index])[labelled].mean()) if several else None,
        "same_person": float((person == person[index]).mean()),
        "correlation": float(best[name].mean()),
    } for name, index in nearest.items()}  # fmt: skip
    if several:
        found["constant"] = {"label": str(kinds[counts.argmax()]), "same_label": float(counts.max() / counts.sum())}
    return found


def unit(images: np.ndarray) -> np.ndarray:
    """Images as vectors of mean 0 and length 1, so that a dot product is their correlation; constant ones are zero."""
    vectors = images.reshape(len(images), -1).astype(np.float32)
    vectors -= vectors.mean(axis=1, keepdims=True)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(length > 0, length, 1)


def shared(person: np.ndarray, split: np.ndarray) -> dict[str, list[str]]:
    """People with slices in two splits: `{person: [splits]}`."""
    pairs = np.unique(np.stack([person, split]), axis=1) if len(person) else np.zeros((2, 0), str)
    names, counts = np.unique(pairs[0], return_counts=True)
    both = set(names[counts > 1].tolist()) - {""}
    found: dict[str, list[str]] = {}
    for who, where in pairs.T.tolist():
        if who in both:
            found.setdefault(who, []).append(where)
    return {who: sorted(where, key=SPLITS.index) for who, where in found.items()}
