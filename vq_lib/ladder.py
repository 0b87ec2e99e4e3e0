"""The ladder of baselines that a prior has to climb, in bits per code."""

import numpy as np

ALPHAS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # pseudo-counts to choose from


def _smooth(counts, alpha):
    counts = counts + alpha
    return counts / counts.sum(axis=-1, keepdims=True)


def _by_context(context, codes, contexts, size):
    """How often each code follows each context: (contexts, size)."""
    return np.bincount(context.ravel() * size + codes.ravel(), minlength=contexts * size).reshape(contexts, size)


def _neighbours(codes, size):
    """Left and upper neighbours; `size` stands for "outside the grid"."""
    left = np.pad(codes, ((0, 0), (0, 0), (1, 0)), constant_values=size)[:, :, :-1]
    upper = np.pad(codes, ((0, 0), (1, 0), (0, 0)), constant_values=size)[:, :-1]
    return left, upper


def bits(probabilities):
    """Mean code length, -log2 p, of the probabilities that a model gave to what happened."""
    return float(-np.log2(probabilities).mean())


def overfitted(bits):
    """Whether a prior's bits per code, `{"train", "test", …}`, are more than 5% higher on test people."""
    return bits["test"] > 1.05 * bits["train"]


def position_unigram(train, validation, test, size):
    """The code lengths of the test grids under the frequencies of each cell, float64 (n, h, w); see `ladder`."""
    positions = _position_unigram(train, validation, size)
    cells = np.arange(positions.shape[0]).reshape(test.shape[1:])
    return -np.log2(positions[cells, test])


def _position_unigram(train, validation, size):
    """p(z | cell), (h·w, K), with the pseudo-count that is best on the validation grids."""
    cells = np.arange(train.shape[1] * train.shape[2]).reshape(train.shape[1:])
    counts = _by_context(np.broadcast_to(cells, train.shape), train, cells.size, size)
    alpha = min(ALPHAS, key=lambda a: bits(_smooth(counts, a)[cells, validation]))
    return _smooth(counts, alpha)


def ladder(train, validation, test, size):
    """Bits per code of the baselines on the test grids.

    * `uniform`: log2 K.
    * `unigram`: p(z), frequencies over all training cells.
    * `position_unigram`: p(z | cell), frequencies of each grid cell over the training slices, plus α in every count.
    * `markov`: w1 p(z | left) + w2 p(z | upper) + w3 p(z | cell), the weights fitted by expectation-maximisation.

    α (one of `ALPHAS`) and the weights are chosen on the validation people.

    Args:
        train, validation, test: codes, int (N, h, w). size: K.
    """
    train, validation, test = (np.asarray(codes, np.int64) for codes in (train, validation, test))
    cells = np.arange(train.shape[1] * train.shape[2]).reshape(train.shape[1:])
    positions = _position_unigram(train, validation, size)
    follows = []  # p(z | left) and p(z | upper), smoothed towards p(z): most pairs of codes are never seen
    unigram = _smooth(np.bincount(train.ravel(), minlength=size), 1.0)
    for neighbour in _neighbours(train, size):
        pairs = _by_context(neighbour, train, size + 1, size)
        follows.append((pairs + 8.0 * unigram) / (pairs.sum(axis=1, keepdims=True) + 8.0))

    def components(codes):
        left, upper = _neighbours(codes, size)
        return np.stack([follows[0][left, codes], follows[1][upper, codes], positions[cells, codes]], axis=-1).reshape(
            -1, 3
        )

    given, weights = components(validation), np.full(3, 1 / 3)
    for _ in range(50):
        share = given * weights
        weights = (share / share.sum(axis=1, keepdims=True)).mean(axis=0)
    return {
        "uniform": float(np.log2(size)),
        "unigram": bits(unigram[test]),
        "position_unigram": bits(positions[cells, test]),
        "markov": bits(components(test) @ weights),
    }
