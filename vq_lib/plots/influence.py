"""What one cell's prediction depends on, change by changing codes: it holds for any architecture."""

import numpy as np


def influence(logits, codes, cell, num_codes, batch=64, seed=0):
    """How much the logits of one cell change when another cell's code changes: float (h, w).

    Each cell of `codes` is replaced in turn by another code and the whole grid is run again: what has no influence
    gives zero. Less than a millionth of the largest logit is rounding, and zero.

    Args:
        logits: int32 (n, h, w) → NumPy (n, h, w, K). Call a Keras model rather than `predict` with it: what `predict`
            compiles, and so the rounding, depends on what the model was asked before.
        codes: int (h, w), the grid that is changed, below `num_codes`. cell: (row, column) whose prediction is watched.
        batch, seed: grids at a time; what the other codes are drawn with.
    """
    codes, size, largest, parts = codes.astype(np.int32), codes.size, 0.0, []
    other = (codes.ravel() + np.random.default_rng(seed).integers(1, num_codes, size)) % num_codes
    changed = np.where(np.eye(size, dtype=bool), other, codes.ravel()).reshape(size, *codes.shape).astype(np.int32)
    for start in range(0, size, batch):
        some = changed[start : start + batch]
        # Beside the same number of unchanged grids: a batch of another size may round differently.
        base = logits(np.repeat(codes[None], len(some), axis=0))[:, cell[0], cell[1]]
        parts.append(np.abs(logits(some)[:, cell[0], cell[1]] - base).mean(axis=-1))
        largest = max(largest, float(np.abs(base).max()))
    change = np.concatenate(parts).reshape(codes.shape)
    return np.where(change > 1e-6 * largest, change, 0)
