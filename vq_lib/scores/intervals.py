"""95% intervals over people: the slices of a person are alike, and counting them as independent would fool the reader.

Every interval is `{"mean", "low", "high"}`, both ends None where a single person cannot tell how much people differ.
Quantiles of resampled means, as of `scipy.stats.bootstrap`, are too narrow with few people (a nominal 95% covers 83%
with five): all intervals here are Student's, estimate ± quantile × standard error. Tests hold their coverage.
"""

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student


def _found(mean, low=None, high=None):
    ends = (end if end is None else float(end) for end in (low, high))
    return dict(zip(("mean", "low", "high"), (float(mean), *ends), strict=True))


def interval(values, people, draws=2000, seed=0, highest=np.inf):
    r"""Mean of `values`, (N,), without NaN, with a bootstrap-t interval over `people`, whose they are (Efron 1981).

    With s_i the sum and n_i the number of person i's values, θ = Σ s_i / Σ n_i has the standard error

        se² = m / (m - 1) Σ_i ((s_i - θ n_i) / Σ n)²,    m people.

    People are drawn with replacement, and the quantiles of (θ* - θ) / se* take the place of Student's with m - 1
    degrees of freedom wherever they are the wider. `highest`: the largest value that there can be.
    """
    values, kept = np.asarray(values, np.float64), ~np.isnan(values)
    _, index = np.unique(np.asarray(people)[kept], return_inverse=True)
    sums, counts = np.bincount(index, values[kept]), np.bincount(index)
    if not (m := counts.size):
        raise ValueError("no values to average")

    def estimate(weights):  # (draws, m): how often each person was drawn
        total = weights @ counts
        theta = weights @ sums / total
        moves = (sums - theta[:, None] * counts) / total[:, None]
        return theta, np.sqrt(m / max(m - 1, 1) * (weights * moves**2).sum(axis=1))

    (mean,), (error,) = estimate(np.ones((1, m)))
    if m == 1:
        return _found(mean)
    theta, errors = estimate(np.random.default_rng(seed).multinomial(m, np.full(m, 1 / m), draws))
    usable = errors > max(1e-9 * error, 1e-300)  # one person, drawn m times, has no error
    ratios = (theta - mean)[usable] / errors[usable]
    below, above = np.quantile(ratios, [0.025, 0.975]) if usable.any() else (0, 0)
    quantile = student.ppf(0.975, m - 1)
    high = mean + max(-below, quantile) * error
    return _found(mean, mean - max(above, quantile) * error, min(high, max(highest, mean)))


def ratio(wins, pairs, link, shared=False, overlap=0.0):
    r"""ΣW / ΣP over people of two sets, (n, m) each, such as an AUC, with an interval that allows for both.

    Person i of the rows moves θ = ΣW / ΣP by a_i = Σ_j (W_ij - θ P_ij) / ΣP, person j of the columns likewise, and
    se² = Σ_sets m / (m - 1) Σ a²; where the sets are the same people (`shared`), both moves come together. Student's,
    with Welch's degrees of freedom, on the scale of `link`: "logit", for values in [0, 1], or "log". For an AUC this is
    DeLong, DeLong and Clarke-Pearson (1988) with people for cases. Where classifiers of several folds gave `wins`, what
    they learned from overlaps, and se² is taken 1 + `overlap` times, n folds having n / (n - 1) (Nadeau and Bengio
    2003, doi:10.1023/A:1024068626366). An AUC of exactly 0 or 1 has no standard error: with
    k people in the smaller set, its other end shows itself so in 2.5% of the cases at most, 0.025^(1/k).
    """
    theta = wins.sum() / pairs.sum()
    rest = (wins - theta * pairs) / pairs.sum()
    moves = [rest.sum(axis=1) + rest.sum(axis=0)] if shared else [rest.sum(axis=1), rest.sum(axis=0)]
    free = np.array([len(some) - 1 for some in moves])
    if not free.all():
        return _found(theta)
    if link == "logit" and theta in (0, 1):
        end = 0.025 ** (1 / (free.min() + 1))
        return _found(1, end, 1) if theta else _found(0, 0, 1 - end)
    variances = np.array([some @ some for some in moves]) * (free + 1) / free * (1 + overlap)
    if variances.sum() < 1e-20:
        return _found(theta, theta, theta)
    half = student.ppf(0.975, variances.sum() ** 2 / (variances**2 / free).sum()) * np.sqrt(variances.sum())
    if link == "log":
        return _found(theta, *(theta * np.exp([-half / theta, half / theta])))
    odds = theta / (1 - theta) * np.exp(np.array([-1, 1]) * half / (theta * (1 - theta)))
    return _found(theta, *(odds / (1 + odds)))


def auc(first, second):
    """The chance that a value of `second` lies above one of `first`, ties counted half; one value a person.

    Near 1 the standard error of few people is often too small: the interval also holds what Newcombe's does (2006,
    doi:10.1002/sim.2324, method 5), whose variance is that of the supposed value.
    """
    first, second = np.asarray(first, np.float64)[:, None], np.asarray(second, np.float64)
    wins = (second > first) + 0.5 * (second == first)
    found, (m, n) = ratio(wins, np.ones_like(wins), "logit"), wins.shape
    if found["mean"] in (found["low"], found["high"]) or found["low"] is None:
        return found
    x = np.linspace(1e-4, 1 - 1e-4, 9999)
    variance = x * (1 - x) / (m * n) * (1 + ((m + n) / 2 - 1) * ((1 - x) / (2 - x) + x / (1 + x)))
    near = x[(x - found["mean"]) ** 2 <= norm.ppf(0.975) ** 2 * variance]
    return _found(found["mean"], min(found["low"], *near[:1]), max(found["high"], *near[-1:]))


def dyadic(values, first, second):
    r"""Mean of values (P,) of pairs, with an interval that allows for members, `first` and `second`, in common.

    By the jackknife over m members: with θ_i the mean of the pairs without i, s² = (m - 1)/m Σ (θ_i - θ̄)². As each pair
    has two members, what is random in pairs alone is counted twice: once is taken off.
    """
    mean, rest = values.mean(), values - values.mean()
    members = np.unique([first, second], return_inverse=True)[1].reshape(2, -1)
    if (m := members.max() + 1) < 3:
        return _found(mean)
    taken, pairs = (sum(np.bincount(some, weights, m) for some in members) for weights in (rest, None))
    moves, single = taken / np.maximum(len(values) - pairs, 1), rest @ rest / len(values) ** 2
    half = student.ppf(0.975, m - 1) * np.sqrt(max((m - 1) * moves.var() - single, single))
    return _found(mean, mean - half, mean + half)


def difference(first, second):
    """`first` less `second`, independent estimates: how far their ends reach adds as squares (Zou and Donner 2008)."""
    mean = first["mean"] - second["mean"]
    if first["low"] is None or second["low"] is None:
        return _found(mean)
    low = np.hypot(first["mean"] - first["low"], second["high"] - second["mean"])
    return _found(mean, mean - low, mean + np.hypot(first["high"] - first["mean"], second["mean"] - second["low"]))


def verdict(difference, below="less", above="more", neither="no difference seen"):
    """What the interval of a difference says: `below` or `above` where it does not hold 0, else `neither`."""
    if difference["low"] is None:
        return neither
    return below if difference["high"] < 0 else above if difference["low"] > 0 else neither
