"""What a prior has to beat, in bits per code, and how much worse it knows unseen people.

Codes are whole numbers from 0 to K - 1, int (n, h, w): n slices, a grid of h by w cells.
"""

import numpy as np
import pandas as pd

from vq_lib.scores.codes import counts_by
from vq_lib.scores.intervals import ratio

ALPHAS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # pseudo-counts to choose from
GAP = 0.05  # a prior that needs so much more for a code of unseen people is called overfitted


def overfitted(bits_per_code):
    """Whether a prior needs more than `GAP` more bits for test people than for training people, `{"train", "test"}`."""
    return bits_per_code["test"] > (1 + GAP) * bits_per_code["train"]


class PositionUnigram:
    """The frequencies of each grid cell's codes, p(z | cell), plus α in every count; α is chosen on `validation`."""

    def __init__(self, train, validation, num_codes):
        self.train, self.num_codes = np.asarray(train, np.int64), num_codes
        self.cells = np.arange(self.train[0].size).reshape(self.train.shape[1:])
        self.counts = counts_by(self.train, self.cells, self.cells.size, num_codes)
        self.alpha = min(ALPHAS, key=lambda alpha: self._lengths(validation, alpha).mean())

    def _lengths(self, codes, alpha, own=0, size=0):
        counts, slices = self.counts[self.cells, codes] - own, len(self.train) - size
        return np.log2(slices + alpha * self.num_codes) - np.log2(counts + alpha)

    def lengths(self, codes):
        """Code lengths of grids: float64 (n, h, w), in bits."""
        return self._lengths(codes, self.alpha)

    def left_out(self, people):
        """Code lengths of the training grids, each person's under all others' frequencies: (n, h, w), in bits.

        What an unseen person of the training group would cost: under frequencies that count the person, they cost less.
        """
        lengths = np.empty(self.train.shape)
        for person in np.unique(people):
            grids = self.train[people == person]
            own = sum(grids == grid for grid in grids)
            lengths[people == person] = self._lengths(grids, self.alpha, own, len(grids))
        return lengths


def baselines(train, validation, test, num_codes):
    """Bits per code of the baselines on the test grids: `{name: bits}`, each knowing more than the one before.

    * `uniform`: log2 K; `unigram`: p(z), frequencies over all training cells; `position_unigram`: `PositionUnigram`.
    * `markov`: w1 p(z | left) + w2 p(z | upper) + w3 p(z | cell), the weights fitted on validation grids by
      expectation-maximisation: interpolated smoothing (Jelinek and Mercer 1980) on a grid.
    """
    train, validation, test = (np.asarray(codes, np.int64) for codes in (train, validation, test))
    table, unigram = PositionUnigram(train, validation, num_codes), np.bincount(train.ravel(), minlength=num_codes) + 1
    unigram = unigram / unigram.sum()

    def neighbours(codes):  # left and upper; K stands for "outside the grid"
        padded = np.pad(codes, ((0, 0), (1, 0), (1, 0)), constant_values=num_codes)
        return padded[:, 1:, :-1], padded[:, :-1, 1:]

    pairs = [counts_by(train, neighbour, num_codes + 1, num_codes) for neighbour in neighbours(train)]
    # p(z | left) and p(z | upper), smoothed towards p(z): most pairs of codes are never seen
    follows = [(counts + 8.0 * unigram) / (counts.sum(axis=1, keepdims=True) + 8.0) for counts in pairs]

    def components(codes):
        known = [p[context, codes] for p, context in zip(follows, neighbours(codes), strict=True)]
        return np.stack([*known, np.exp2(-table.lengths(codes))], axis=-1).reshape(-1, 3)

    parts, weights = components(validation), np.full(3, 1 / 3)
    for _ in range(50):
        share = parts * weights
        weights = (share / share.sum(axis=1, keepdims=True)).mean(axis=0)
    spent = {"uniform": np.log2(num_codes), "unigram": -np.log2(unigram[test]),
             "position_unigram": table.lengths(test), "markov": -np.log2(components(test) @ weights)}  # fmt: skip
    return {name: float(np.mean(some)) for name, some in spent.items()}


def gap(trained, unseen):
    r"""How many more bits a code of unseen people costs, and how much of that is the two groups' difference.

    With L the prior's mean bits per code and U those of a yardstick that has seen neither group (`left_out`),

        gap = L_unseen / L_train - 1,    groups = U_unseen / U_train - 1,    beyond = (1 + gap) / (1 + groups) - 1,

    each `{"mean", "low", "high"}`, None where training people cost no bits. `beyond` is a rough estimate: the yardstick
    knows shapes of brains and no texture. `trained`, `unseen`: each slice's bits per code under prior and yardstick,
    and whose it is, (n,) each.
    """
    (own, table, count), (new_own, new_table, new_count) = (
        pd.DataFrame({"prior": prior, "yardstick": yardstick, "slices": 1}).groupby(people).sum().to_numpy().T
        for prior, yardstick, people in (trained, unseen)
    )

    def share(seen, weight, new, new_weight):  # (Σ new / Σ new_weight) / (Σ seen / Σ weight) - 1
        if not (seen.any() and new_weight.any()):  # of a single code, which costs nothing
            return dict.fromkeys(("mean", "low", "high"))
        found = ratio(np.outer(weight, new), np.outer(seen, new_weight), "log")
        return {end: None if value is None else value - 1 for end, value in found.items()}

    return {"gap": share(own, count, new_own, new_count), "groups": share(table, count, new_table, new_count),
            "beyond": share(own, table, new_own, new_table)}  # fmt: skip
