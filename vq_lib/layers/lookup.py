"""Rows of a learned table, with the gradient that an optimiser expects."""

from keras import ops


def look_up(table, codes):
    """The rows of a table at codes: (K, D) and (...) int → (..., D).

    TensorFlow's gradient of a look-up lists a row once for each time it is used, and Keras's Adam squares these one by
    one where it should square their sum: a row that is used n times in a batch moves up to √n times too far. The
    product makes the gradient dense, as it is on the other backends.
    """
    return ops.take(ops.multiply(table, ops.cast(1, table.dtype)), codes, axis=0)
