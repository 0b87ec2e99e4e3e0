"""The ladder of baselines that a prior has to climb, in bits per code, and how much worse it knows unseen people.

Codes are whole numbers from 0 to K - 1, int (n, h, w): n slices, a grid of h by w cells.
"""

import numpy as np

ALPHAS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # pseudo-counts to choose from
GAP = 0.05  # a prior that needs so much more for a code of unseen people is called overfitted


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
    """Mean code length, the mean of -log2 p in bits, of the probabilities p that a model gave to what happened.

    Args:
        probabilities: floats in (0, 1], of any shape.
    """
    return float(-np.log2(probabilities).mean())


def overfitted(bits):
    """Whether a prior needs more than `GAP` more bits for test people than for training people.

    Args:
        bits: bits per code, `{"train", "test", …}`.
    """
    return bits["test"] > (1 + GAP) * bits["train"]


def position_unigram(train, validation, test, size):
    """The code lengths of the test grids under the frequencies of each cell: float64 (n, h, w), in bits.

    Args: as for `ladder`.
    """
    counts, alpha, cells = _cell_counts(train, validation, size)
    return -np.log2(_smooth(counts, alpha)[cells, test])


def left_out(train, validation, people, size):
    """`position_unigram` of the training grids, each person's under the frequencies of all the others.

    What an unseen person of the training group would cost: under frequencies that count the person, they cost less.

    Args:
        train, validation, size: as for `ladder`. people: (n,), whose training grid each is.

    Returns:
        float64 (n, h, w), in bits.
    """
    counts, alpha, cells = _cell_counts(train, validation, size)
    lengths = np.empty(train.shape)
    for person in np.unique(people):
        mine = people == person
        own = _by_context(np.broadcast_to(cells, train[mine].shape), train[mine], cells.size, size)
        lengths[mine] = -np.log2(_smooth(counts - own, alpha)[cells, train[mine]])
    return lengths


def _cell_counts(train, validation, size):
    """Counts of codes in cells (h·w, K), the pseudo-count best on the validation grids, and numbered cells (h, w)."""
    cells = np.arange(train.shape[1] * train.shape[2]).reshape(train.shape[1:])
    counts = _by_context(np.broadcast_to(cells, train.shape), train, cells.size, size)
    alpha = min(ALPHAS, key=lambda a: bits(_smooth(counts, a)[cells, validation]))
    return counts, alpha, cells


def gap(trained, unseen, draws=2000, seed=0):
    r"""How many more bits a code of unseen people costs, and how much of that is the two groups' difference.

    With L the prior's mean bits per code and U those of a yardstick that has seen neither group (`left_out`),

        gap = L_unseen / L_train - 1,    groups = U_unseen / U_train - 1,    beyond = (1 + gap) / (1 + groups) - 1.

    `beyond` is the gap that is left when both groups are measured by what the yardstick needs for them. It is a rough
    estimate, since the yardstick knows the shape of brains, and nothing of their texture.

    Args:
        trained, unseen: `(prior, yardstick, people)` of training and of unseen slices: each slice's bits per code under
            both, (n,) and (n,), and whose it is, (n,).
        draws, seed: of the bootstrap, which draws people of both groups with replacement; prior and yardstick see the
            same people.

    Returns:
        `{"gap", "groups", "beyond"}`, each `{"mean", "low", "high"}`, shares with a 95% interval.
    """
    rng, means, drawn = np.random.default_rng(seed), [], []
    for prior, yardstick, people in (trained, unseen):
        _, index = np.unique(people, return_inverse=True)
        sums = np.stack([np.bincount(index, prior), np.bincount(index, yardstick)])  # (2, people)
        counts = np.bincount(index)
        chosen = rng.integers(0, counts.size, (draws, counts.size))
        means.append(sums.sum(axis=1) / counts.sum())
        drawn.append(sums[:, chosen].sum(axis=2) / counts[chosen].sum(axis=1))

    def shares(trained, unseen):
        own, groups = unseen / trained - 1
        return {"gap": own, "groups": groups, "beyond": (1 + own) / (1 + groups) - 1}

    spread = shares(*drawn)
    return {
        name: {"mean": float(value), **dict(zip(("low", "high"), np.percentile(spread[name], [2.5, 97.5]).tolist(),
                                                strict=True))}
        for name, value in shares(*means).items()
    }  # fmt: skip


def in_words(gaps):
    """What `gap` found for test and validation people, `{"test", "validation"}`, as sentences."""

    def share(who, key):
        return "{mean:+.1%} ({low:+.1%} to {high:+.1%})".format(**gaps[who][key])

    differ = any(found["groups"]["low"] > 0 or found["groups"]["high"] < 0 for found in gaps.values())
    said = "the groups differ" if differ else "no difference of the groups is seen"
    return (
        f"Compared with training people, the bits per code are {share('test', 'gap')} for test people and "
        f"{share('validation', 'gap')} for validation people (95% intervals over people). Under a position unigram "
        f"that has seen none of them they are {share('test', 'groups')} and {share('validation', 'groups')}: by this "
        f"measure {said}. Corrected for that, gaps of "
        f"{share('test', 'beyond')} and {share('validation', 'beyond')} are left."
    )


def ladder(train, validation, test, size):
    """Bits per code of the baselines on the test grids: `{name: bits}`, each knowing more than the one before.

    * `uniform`: log2 K.
    * `unigram`: p(z), frequencies over all training cells.
    * `position_unigram`: p(z | cell), frequencies of each grid cell over the training slices, plus α in every count.
    * `markov`: w1 p(z | left) + w2 p(z | upper) + w3 p(z | cell), the weights fitted by expectation-maximisation.

    α (one of `ALPHAS`) and the weights are chosen on the validation people. The mixture is interpolated smoothing
    (Jelinek and Mercer 1980) on a grid.

    Args:
        train, validation, test: codes, int (n, h, w), n of each its own.
        size: K, the number of codes.
    """
    train, validation, test = (np.asarray(codes, np.int64) for codes in (train, validation, test))
    counts, alpha, cells = _cell_counts(train, validation, size)
    positions = _smooth(counts, alpha)
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
