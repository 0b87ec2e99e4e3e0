"""Whether a generative model gives back its training people: nearest neighbours, code matches, and a verdict by rule.

A generated slice that lies nearer to a training slice than real slices of other people hardly ever do is a suspect
(after Dar et al. 2025, 10.1038/s41551-025-01468-8, who take unseen people for these). Unseen people alone set no fair
threshold: they may be older, and farther from everybody, than the training people whom samples imitate. So the training
people are held against each other too, and the nearer of both thresholds counts. Two distances are looked at: Euclidean
between images, and the share of codes that differ. The same distances, read from their other end, find the samples that
are like no slice at all.
"""

import numpy as np

from vq_lib.scores.ladder import GAP

QUANTILE = 0.01  # of the distances of a group of real slices: nearer than this is flagged


def code_distances(queries, references, background, groups=None):
    """The nearest reference of each code grid.

    Cells that hold the background's code in both grids say nothing and do not count: distance is the share of the
    others that differ.

    Args:
        queries, references: int (n, h, w) and (m, h, w).
        background: the code of black cells, see `background_code`.
        groups: (n,) and (m,), whose they are; a query is then held against the references of others alone.

    Returns:
        index (n,) of the nearest reference and distance (n,) in [0, 1].
    """
    queries, references = _flat(queries), _flat(references)
    lit = [(codes != background).astype(np.float32) for codes in (queries, references)]
    either = lit[0].sum(axis=1)[:, None] + lit[1].sum(axis=1) - lit[0] @ lit[1].T
    index, distance = np.empty(len(queries), np.int64), np.empty(len(queries))
    for i, equal in enumerate(_matches(queries, references, background)):
        share = 1 - np.count_nonzero(equal, axis=0) / np.maximum(either[i], 1)
        if groups is not None:
            share[groups[1] == groups[0][i]] = np.inf
        index[i] = share.argmin()
        distance[i] = share[index[i]]
    return index, distance


def longest_runs(queries, references, background):
    """The longest run of equal codes of each grid with any reference, in cells: int (n,); arguments as above.

    A run is a stretch of the query's cells that are not background, read row by row, in which all codes are equal.
    """
    queries, longest = _flat(queries), np.zeros(len(queries), int)
    for i, equal in enumerate(_matches(queries, _flat(references), background)):
        run, best = np.zeros((2, len(references)), np.uint16)
        for cell in equal:
            run += 1
            run *= cell
            np.maximum(best, run, out=best)
        longest[i] = best.max(initial=0)
    return longest


def _flat(codes):
    return np.asarray(codes).reshape(len(codes), -1).astype(np.uint16)


def _matches(queries, references, background):
    """For each query, in which of its cells that are not background which references have its codes: (cells, m)."""
    columns = np.ascontiguousarray(references.T)
    for query in queries:
        cells = np.flatnonzero(query != background)
        yield columns[cells] == query[cells, None]


def background_code(codes, black):
    """The code that black cells have most often: codes (n, h, w), black bool (n, h, w). -1 where no cell is black."""
    found = np.asarray(codes)[black]
    return int(np.bincount(found).argmax()) if found.size else -1


def threshold(*groups):
    """The distance below which at most `QUANTILE` of each group's distances lie; infinite ones set none."""
    ordered = [np.sort(np.asarray(group, np.float64)) for group in groups if np.isfinite(group).all()]
    return min(float(group[int(np.floor(QUANTILE * len(group)))]) for group in ordered)


def flagged(distances, *groups):
    """Which distances are below the `threshold`: bool. By construction at most `QUANTILE` of each group are."""
    return np.asarray(distances) < threshold(*groups)


def chance(count):
    """How often one more slice like the `count` that set a threshold is flagged by either distance, at most.

    The k-th smallest of n values has k / (n + 1) of the distribution below it on average, here k - 1 = ⌊`QUANTILE` n⌋:
    `QUANTILE` in the limit, and more where they are few.
    """
    return min(2 * (int(np.floor(QUANTILE * count)) + 1) / (count + 1), 1.0)


def _beyond_chance(count, n, rate, level=0.01):
    """Whether chance at this rate gives as many as `count` of `n` with a probability below `level`."""
    from scipy.stats import binomtest

    return binomtest(count, n, rate, alternative="greater").pvalue < level


def failures(distances, held_out, people):
    """Samples that are like no slice the model was shown: farther from all training slices than any held-out slice.

    By construction no held-out slice is. What to expect of a model without fault is the share of a held-out person's
    slices that lie farther than all slices of the *other* held-out people, averaged over the people.

    Args:
        distances: (n,) of samples to their nearest training slice. held_out, people: (m,), the same of held-out
            slices, and whose they are.

    Returns:
        which, bool (n,), and `{"count", "fraction", "limit", "left_out_fraction", "beyond_chance", "sentence"}`.
    """
    held_out, people = np.asarray(held_out), np.asarray(people)
    names, limit = np.unique(people), float(np.max(held_out))
    left_out = None
    if names.size > 1:
        left_out = float(np.mean([
            (held_out[people == name] > held_out[people != name].max()).mean() for name in names
        ]))  # fmt: skip
    which = np.asarray(distances) > limit
    n, count = len(which), int(which.sum())
    # One slice at least: among so many held-out slices, a rarer failure could not have been seen.
    beyond = _beyond_chance(count, n, max(left_out or 0, 1 / len(held_out)))
    who = {0: "none lies", 1: "it lies"}.get(count, "they lie")
    sentence = (
        f"{count} of {n} samples ({count / n:.1%}) failed: {who} farther from every training slice than any slice "
    )
    sentence += "of an unseen person does"
    if left_out is not None:
        sentence += f". Of an unseen person's slices {left_out:.1%} lie farther than all those of other unseen people"
    sentence += ". That is more than chance explains." if beyond else ". That is no more than chance explains."
    about = {"count": count, "fraction": count / n, "limit": limit, "left_out_fraction": left_out,
             "beyond_chance": bool(beyond), "sentence": sentence}  # fmt: skip
    return which, about


def membership(train, unseen, draws=1000, seed=0):
    """How well a person's code length tells whether the prior was trained on them: an AUC with its interval.

    The chance that a random unseen person has a larger value than a random training person, ties counted half: 0.5
    where it tells nothing. This is the membership inference attack by a threshold on the loss (Yeom et al. 2018,
    arXiv 1709.01604); values from which the difficulty of each person was subtracted make it sharper and fairer
    (Watson et al. 2022, arXiv 2111.08440).

    Args:
        train, unseen: (n,) and (m,), one value a person.

    Returns:
        `{"mean", "low", "high"}`: the AUC and a 95% bootstrap interval over the people of both groups.
    """
    train, unseen = np.asarray(train, np.float64), np.asarray(unseen, np.float64)
    wins = (unseen > train[:, None]) + 0.5 * (unseen == train[:, None])
    rng = np.random.default_rng(seed)
    rows, columns = (rng.integers(0, count, (draws, count)) for count in wins.shape)
    low, high = np.percentile([wins[np.ix_(a, b)].mean() for a, b in zip(rows, columns, strict=True)], [2.5, 97.5])
    return {"mean": float(wins.mean()), "low": float(low), "high": float(high)}


def verdict(suspects, exact, bits_train, bits_test, known=None, heated=(), rate=2 * QUANTILE):
    """What is to be said about memorisation: `(kind, sentence)`.

    * "copies": a sample's codes are those of a training slice, cell by cell; or so many samples are flagged that
      chance at `rate` would give as many with a probability below 0.01 (binomial).
    * "copies at another temperature": not at the recipe's own, but at one of those that were tried beside it, at 0.01
      shared out among them.
    * "learned by heart": no copies, but unseen people cost over 5% more bits a code than training people.
    * "none": nothing of these.

    Args:
        suspects: bool (n,), samples flagged by either distance.
        exact: number of samples whose codes are all those of a training slice.
        bits_train, bits_test: mean bits per code.
        known: `{group of unseen people: membership}`; what the likelihood tells about who was trained on.
        heated: rows with `temperature`, `count` and `memorised`, the share of suspects at each temperature.
        rate: see `chance`.
    """
    n, count = len(suspects), int(np.sum(suspects))
    near = f"{count} of {n} samples lie{'s' * (count == 1)} suspiciously near to a training slice; of real slices "
    near += f"of other people up to {rate:.1%} do."
    worst = max(heated, key=lambda row: row["memorised"], default=None)
    hot = worst is not None and _beyond_chance(
        round(worst["memorised"] * worst["count"]), worst["count"], rate, 0.01 / len(heated)
    )
    if worst and worst["memorised"]:
        near += f" Of the temperatures that were tried, {worst['temperature']:g} gives the most such samples: "
        near += f"{worst['memorised']:.1%}."
    elif worst:
        near += " None does at any temperature that was tried."
    gap = bits_test / bits_train - 1
    more = f"codes of test people cost {abs(gap):.1%} {'more' if gap >= 0 else 'fewer'} bits than those of training "
    more += "people"
    if known:
        told = " and ".join(f"from {name} people with an AUC of {{mean:.2f}} ({{low:.2f}}–{{high:.2f}})".format(**auc)
                            for name, auc in known.items())  # fmt: skip
        more += f", and a person's bits, less those by a table of frequencies, tell training people {told}"
    if exact or _beyond_chance(count, n, rate):
        copies = f"{exact} sample{'s are' if exact != 1 else ' is'} a training slice, code by code. " if exact else ""
        return "copies", f"The model gives back training slices, or comes too near to them. {copies}{near}"
    heart = f"the prior has partly learned its people by heart: {more}."
    if hot:
        also = f" And {heart}" if gap > GAP else ""
        return "copies at another temperature", (
            f"No sample at the recipe's temperature has all the codes of a training slice, nor do more lie near to one "
            f"than chance explains; at another temperature more do, and there may be copies. {near}{also}"
        )
    if gap > GAP:
        return "learned by heart", f"No sample has all the codes of a training slice, but {heart} {near}"
    return "none", (
        "No sign of memorisation by the rules of this report: no sample has all the codes of a training slice. "
        f"{more[0].upper()}{more[1:]}. {near}"
    )
