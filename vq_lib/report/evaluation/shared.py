"""What the parts of the evaluation share."""

import numpy as np

from vq_lib import files


def save(study, name, **arrays):
    """Write arrays to `run/evaluation/<name>.npz`, whole or not at all, and return them as a dict."""
    with files.whole_file(study.evaluation / f"{name}.npz") as temporary:
        np.savez_compressed(temporary, **arrays)
    return arrays


def spread(rows, count):
    """At most `count` of `rows`, evenly spaced."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int))]
