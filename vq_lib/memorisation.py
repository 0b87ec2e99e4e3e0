"""Whether a generative model gives back its training people: nearest neighbours, code matches, and a verdict by rule.

A generated slice that lies nearer to a training slice than slices of unseen people ever do is taken for a copy (after
Dar et al. 2025, 10.1038/s41551-025-01468-8). Two distances are looked at: Euclidean between images, and the share of
codes that differ.
"""

import numpy as np

from vq_lib.ladder import GAP

QUANTILE = 0.01  # of held-out people's distances: nearer than this is flagged


def code_distances(queries, references, background):
    """The nearest reference of each code grid, and the longest run of equal codes with any reference.

    Cells that hold the background's code in both grids say nothing and do not count: distance is the share of the
    others that differ. A run is a stretch of the query's cells that are not background, read row by row, in which all
    codes are equal.

    Args:
        queries, references: int (n, h, w) and (m, h, w).
        background: the code of black cells, see `background_code`.

    Returns:
        index (n,) of the nearest reference, distance (n,) in [0, 1] and run (n,), in cells.
    """
    queries, references = (np.asarray(codes, np.int32).reshape(len(codes), -1) for codes in (queries, references))
    lit = [(codes != background).astype(np.float32) for codes in (queries, references)]
    either = lit[0].sum(axis=1)[:, None] + lit[1].sum(axis=1) - lit[0] @ lit[1].T
    columns = np.ascontiguousarray(references.T.astype(np.uint16))
    index, distance, longest = np.empty(len(queries), np.int64), np.empty(len(queries)), np.zeros(len(queries), int)
    for i, query in enumerate(queries):
        cells = np.flatnonzero(query != background)
        equal = columns[cells] == query[cells, None].astype(np.uint16)
        share = 1 - np.count_nonzero(equal, axis=0) / np.maximum(either[i], 1)
        index[i] = share.argmin()
        distance[i] = share[index[i]]
        while equal.size and equal.any():  # shorten every run by one until none is left
            longest[i] += 1
            equal = equal[:, equal.any(axis=0)]
            equal = equal[:-1] & equal[1:]
    return index, distance, longest


def background_code(codes, black):
    """The code that black cells have most often: codes (n, h, w), black bool (n, h, w). -1 where no cell is black."""
    found = np.asarray(codes)[black]
    return int(np.bincount(found).argmax()) if found.size else -1


def threshold(held_out):
    """The distance below which at most `QUANTILE` of the held-out distances lie."""
    ordered = np.sort(np.asarray(held_out, np.float64))
    return float(ordered[int(np.floor(QUANTILE * len(ordered)))])


def flagged(distances, held_out):
    """Which distances are below the threshold of `held_out`: bool. By construction at most `QUANTILE` of the latter."""
    return np.asarray(distances) < threshold(held_out)


def verdict(suspects, exact, bits_train, bits_test):
    """What is to be said about memorisation: `(kind, sentence)`.

    * "copies": a sample's codes are those of a training slice, cell by cell; or so many samples are flagged that
      chance, at the stated rate for two distances, would give as many in fewer than 1 of 100 reports.
    * "learned by heart": no copies, but unseen people cost over 5% more bits a code than training people, so that the
      likelihood tells who was trained on.
    * "none": neither.

    Args:
        suspects: bool (n,), samples flagged by either distance.
        exact: number of samples whose codes are all those of a training slice.
        bits_train, bits_test: mean bits per code.
    """
    from scipy.stats import binomtest

    n, count, rate = len(suspects), int(np.sum(suspects)), 2 * QUANTILE
    near = f"{count} of {n} samples lie suspiciously near to a training slice; of unseen people's slices up to "
    near += f"{rate:.0%} do."
    gap = bits_test / bits_train - 1
    if exact or binomtest(count, n, rate, alternative="greater").pvalue < 0.01:
        copies = f"{exact} sample{'s are' if exact != 1 else ' is'} a training slice, code by code. " if exact else ""
        return "copies", f"The model gives back training slices. {copies}{near}"
    more = f"codes of unseen people cost {gap:.1%} more bits than those of training people"
    if gap > GAP:
        return "learned by heart", (
            f"No copies were found, but the prior has partly learned its people by heart: {more}, so that the "
            f"likelihood hints at who was trained on. {near}"
        )
    return "none", f"No sign of memorisation: no copies were found, and {more}. {near}"
