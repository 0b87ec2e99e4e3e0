"""Small functions of tensors that several layers share."""

from keras import ops


def look_up(table, codes):
    """The rows of a table at codes: (K, D) and (...) int → (..., D).

    TensorFlow's gradient of a look-up lists a row once for each time it is used, and Keras's Adam squares these one by
    one where it should square their sum: a row that is used n times in a batch moves up to √n times too far. The
    product makes the gradient dense, as it is on the other backends.
    """
    return ops.take(ops.multiply(table, ops.cast(1, table.dtype)), codes, axis=0)


def cast(value, dtype):
    """A variable or tensor in `dtype`; a step runs outside the scope in which Keras would cast for us."""
    return ops.cast(ops.convert_to_tensor(value), dtype)


def gate(x):
    """tanh(a) · σ(b) for x = (a, b) along the last axis (van den Oord et al. 2016, 1606.05328, equation 2)."""
    a, b = ops.split(x, 2, axis=-1)
    return ops.tanh(a) * ops.sigmoid(b)


def linear_gate(x):
    """a · σ(b) for x = (a, b) along the last axis (Dauphin et al. 2016, 1612.08083, equation 1)."""
    a, b = ops.split(x, 2, axis=-1)
    return a * ops.sigmoid(b)


def shifted(x, shift=None):
    """x (B, …, C) plus a shift (B, C) of all its cells; None shifts nothing."""
    if shift is None:
        return x
    for _ in range(len(x.shape) - 2):
        shift = shift[:, None]
    return x + shift


def column_of(rows, column):
    """The cell at `column` of (B, w, C): (B, C)."""
    return ops.slice(rows, (0, column, 0), (rows.shape[0], 1, rows.shape[2]))[:, 0]
