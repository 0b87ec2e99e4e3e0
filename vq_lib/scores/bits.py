"""What a prior has to beat, in bits per code, and how much worse it knows unseen people.

Codes are whole numbers from 0 to K - 1, int (n, h, w): n slices, a grid of h by w cells.
"""

import numpy as np

from vq_lib.scores.intervals import ratio

ALPHAS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # pseudo-counts to choose from
GAP = 0.05  # a prior that needs so much more for a code of unseen people is called overfitted


def bits(probabilities):
    """Mean code length, the mean of -log2 p in bits, of the probabilities p that a model gave to what happened."""
    return float(-np.log2(probabilities).mean())


def overfitted(bits_per_code):
    """Whether a prior needs more than `GAP` more bits for test people than for training people, `{"train", "test"}`."""
    return bits_per_code["test"] > (1 + GAP) * bits_per_code["train"]


def _smooth(counts, alpha):
    return (counts + alpha) / (counts + alpha).sum(axis=-1, keepdims=True)


def _by_context(context, codes, contexts, num_codes):
    """How often each code follows each context: (contexts, K)."""
    pairs = np.bincount(context.ravel() * num_codes + codes.ravel(), minlength=contexts * num_codes)
    return pairs.reshape(contexts, num_codes)


class PositionUnigram:
    """The frequencies of each grid cell's codes, p(z | cell), plus α in every count; α is chosen on validation grids.

    Args:
        train, validation: codes, (n, h, w), n of each its own. num_codes: K.
    """

    def __init__(self, train, validation, num_codes):
        self.train, self.num_codes = np.asarray(train, np.int64), num_codes
        self.cells = np.arange(self.train[0].size).reshape(self.train.shape[1:])
        context = np.broadcast_to(self.cells, self.train.shape)
        self.counts = _by_context(context, self.train, self.cells.size, num_codes)
        self.alpha = min(ALPHAS, key=lambda alpha: bits(_smooth(self.counts, alpha)[self.cells, validation]))

    def probabilities(self, codes):
        """p of every code of grids (n, h, w)."""
        return _smooth(self.counts, self.alpha)[self.cells, codes]

    def lengths(self, codes):
        """Code lengths of grids: float64 (n, h, w), in bits."""
        return -np.log2(self.probabilities(codes))

    def left_out(self, people):
        """Code lengths of the training grids, each person's under all others' frequencies: (n, h, w), in bits.

        What an unseen person of the training group would cost: under frequencies that count the person, they cost less.
        """
        lengths = np.empty(self.train.shape)
        for person in np.unique(people):
            rows = np.flatnonzero(people == person)
            grids = self.train[rows]
            own = sum(grids == grid for grid in grids)
            whole = len(self.train) - len(rows) + self.alpha * self.num_codes
            lengths[rows] = -np.log2((self.counts[self.cells, grids] - own + self.alpha) / whole)
        return lengths


def baselines(train, validation, test, num_codes):
    """Bits per code of the baselines on the test grids: `{name: bits}`, each knowing more than the one before.

    * `uniform`: log2 K.
    * `unigram`: p(z), frequencies over all training cells.
    * `position_unigram`: see `PositionUnigram`, also for the arguments.
    * `markov`: w1 p(z | left) + w2 p(z | upper) + w3 p(z | cell), the weights fitted on validation grids by
      expectation-maximisation: interpolated smoothing (Jelinek and Mercer 1980) on a grid.
    """
    train, validation, test = (np.asarray(codes, np.int64) for codes in (train, validation, test))
    table = PositionUnigram(train, validation, num_codes)
    unigram = _smooth(np.bincount(train.ravel(), minlength=num_codes), 1.0)

    def neighbours(codes):  # left and upper; K stands for "outside the grid"
        padded = np.pad(codes, ((0, 0), (1, 0), (1, 0)), constant_values=num_codes)
        return padded[:, 1:, :-1], padded[:, :-1, 1:]

    follows = []  # p(z | left) and p(z | upper), smoothed towards p(z): most pairs of codes are never seen
    for neighbour in neighbours(train):
        pairs = _by_context(neighbour, train, num_codes + 1, num_codes)
        follows.append((pairs + 8.0 * unigram) / (pairs.sum(axis=1, keepdims=True) + 8.0))

    def components(codes):
        known = [p[context, codes] for p, context in zip(follows, neighbours(codes), strict=True)]
        return np.stack([*known, table.probabilities(codes)], axis=-1).reshape(-1, 3)

    parts, weights = components(validation), np.full(3, 1 / 3)
    for _ in range(50):
        share = parts * weights
        weights = (share / share.sum(axis=1, keepdims=True)).mean(axis=0)
    return {
        "uniform": float(np.log2(num_codes)),
        "unigram": bits(unigram[test]),
        "position_unigram": bits(table.probabilities(test)),
        "markov": bits(components(test) @ weights),
    }


def gap(trained, unseen):
    r"""How many more bits a code of unseen people costs, and how much of that is the two groups' difference.

    With L the prior's mean bits per code and U those of a yardstick that has seen neither group (`left_out`),

        gap = L_unseen / L_train - 1,    groups = U_unseen / U_train - 1,    beyond = (1 + gap) / (1 + groups) - 1,

    each `{"mean", "low", "high"}`. `beyond` is a rough estimate: the yardstick knows shapes of brains and no texture.

    Args:
        trained, unseen: `(prior, yardstick, people)` of training and of unseen slices: each slice's bits per code under
            both, and whose it is, (n,) each.
    """

    def sums(prior, yardstick, people):
        index = np.unique(people, return_inverse=True)[1]
        return np.bincount(index, prior), np.bincount(index, yardstick), np.bincount(index)

    (own, table, count), (new_own, new_table, new_count) = sums(*trained), sums(*unseen)

    def share(seen, weight, new, new_weight):  # (Σ new / Σ new_weight) / (Σ seen / Σ weight) - 1
        found = ratio(np.outer(weight, new), np.outer(seen, new_weight), "log")
        return {end: None if value is None else value - 1 for end, value in found.items()}

    return {"gap": share(own, count, new_own, new_count), "groups": share(table, count, new_table, new_count),
            "beyond": share(own, table, new_own, new_table)}  # fmt: skip
