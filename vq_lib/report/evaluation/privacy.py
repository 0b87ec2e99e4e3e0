"""What the prior gives away of its training people."""

import numpy as np

from vq_lib import files
from vq_lib.report.evaluation.shared import save
from vq_lib.scores import ladder, memorisation
from vq_lib.training.stages import code_lengths, conditions


def membership_metrics(study, slices, prior, codes, people=100, each=8):
    """Whether the prior's code lengths tell its training people from others, for each group of unseen people.

    A person's value is the mean code length of up to `each` slices, of up to `people` training people. Unseen people
    may simply be harder to code, for example older. So the same is asked of a table of frequencies of each grid
    cell's codes, which knows how hard they are and little of who was trained on, and of the difference of the two.

    Returns:
        `{"validation" and "test": {"prior", "table", "beyond_table"}}`, each an AUC as of `memorisation.membership`;
        a group of a single person is left out.
    """
    chosen, owners = {}, {}
    for split in ("train", "validation", "test"):
        rows = slices.where(split)
        names = np.unique(slices.person[rows])
        names = names[np.unique(np.linspace(0, len(names) - 1, min(people, len(names))).round().astype(int))]
        theirs = [rows[slices.person[rows] == name] for name in names]
        theirs = [some[np.unique(np.linspace(0, len(some) - 1, min(each, len(some))).round().astype(int))]
                  for some in theirs]  # fmt: skip
        chosen[split], owners[split] = np.concatenate(theirs), np.repeat(np.arange(len(names)), [*map(len, theirs)])
    told, size = conditions(slices, study.recipe.prior.condition)[2], prior.codes
    train, validation = (codes[slices.where(split)] for split in ("train", "validation"))
    values = {}
    for split, rows in chosen.items():
        lengths = {
            "prior": code_lengths(prior, codes[rows], told[rows]).mean(axis=(1, 2), dtype=np.float64),
            "table": ladder.position_unigram(train, validation, codes[rows], size).mean(axis=(1, 2)),
        }
        lengths["beyond_table"] = lengths["prior"] - lengths["table"]
        counts = np.bincount(owners[split])
        values[split] = {name: np.bincount(owners[split], some) / counts for name, some in lengths.items()}
    return {
        split: {name: memorisation.membership(values["train"][name], some) for name, some in values[split].items()}
        for split in ("validation", "test")
        if min(len(values["train"]["prior"]), len(values[split]["prior"])) > 1
    }


def memorised(study, reference, near, codes, bits, known, heated):
    """`memorisation.json` and `.npz`: nearest training slices of all samples, thresholds, failures, and the verdict.

    Args:
        near: `Reference.neighbours` of the samples. codes: theirs. bits: the prior's bits per code. known: see
            `membership_metrics`. heated: see `temperatures`.
    """
    suspects, exact = reference.suspects(near), int((near["code_distance"] == 0).sum())
    beyond = {split: gap["beyond_table"] for split, gap in known.items()}
    kind, sentence = memorisation.verdict(
        suspects, exact, bits["train"], bits["test"], beyond, heated, reference.chance
    )
    failed, runs = reference.failures(near)[1], reference.runs(codes)
    document = {
        "kind": kind, "verdict": sentence, "memorised_fraction": float(suspects.mean()), "exact": exact,
        "failed": failed, "membership_auc": known,
        "memorised_at": {f"{row['temperature']:g}": row["memorised"] for row in heated},
        "longest_run": {"samples": int(runs.max()), "held_out": int(reference.held_runs.max())},
        "threshold": reference.limits,
        "chance": reference.chance,
        "bits_per_code": {name: bits[name] for name in ("train", "test")},
    }  # fmt: skip
    files.write_json(study.evaluation / "memorisation.json", document)
    of_people = {name: getattr(reference, name)
                 for name in ("held_pixels", "held_codes", "held_runs", "own_pixels", "own_codes")}  # fmt: skip
    save(study, "memorisation", suspects=suspects, runs=runs, **of_people, **near)
    return document
