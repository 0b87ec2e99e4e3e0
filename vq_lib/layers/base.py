"""What the layers share: their configuration, the refusal of impossible arguments, and small functions of tensors."""

import difflib
import inspect

import keras
from keras import ops


class Configured(keras.layers.Layer):
    """A layer that keeps every named argument as an attribute of the same name; together they are its configuration."""

    def get_config(self):
        kinds = [kind for kind in type(self).__mro__ if issubclass(kind, Configured) and kind is not Configured]
        inits = [inspect.signature(kind.__init__).parameters.values() for kind in kinds]
        names = {p.name for init in inits for p in init if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        return {**super().get_config(), **{name: getattr(self, name) for name in sorted(names - {"self"})}}


def one_of(name, value, allowed):
    """`value`, or a ValueError that names the argument, what it may be, and the most similar of these."""
    if value in allowed:
        return value
    like = difflib.get_close_matches(str(value), allowed, n=1, cutoff=0.5)
    hint = f" Did you mean {like[0]!r}?" if like else ""
    raise ValueError(f"`{name}` (={value!r}) must be {' or '.join(map(repr, allowed))}.{hint}")


def look_up(table, codes):
    """The rows of a table at codes: (K, D) and (...) int → (..., D). Floats (..., K) are read as one-hot codes.

    TensorFlow's gradient of a look-up lists a row once for each time it is used, and Keras's Adam squares these one by
    one where it should square their sum: a row that is used n times in a batch moves up to √n times too far. The
    product makes the gradient dense, as it is on the other backends.
    """
    if keras.backend.is_float_dtype(codes.dtype):
        return ops.matmul(ops.cast(codes, table.dtype), table)
    return ops.take(ops.multiply(table, ops.cast(1, table.dtype)), codes, axis=0)


def cast(value, dtype):
    """A variable or tensor in `dtype`; a step runs outside the scope in which Keras would cast for us."""
    return ops.cast(ops.convert_to_tensor(value), dtype)


def gate(x):
    """tanh(a) · σ(b) for x = (a, b) along the last axis (van den Oord et al. 2016, 1606.05328, equation 2)."""
    a, b = ops.split(x, 2, axis=-1)
    return ops.tanh(a) * ops.sigmoid(b)


def shifted(x, shift=None):
    """x (B, …, C) plus a shift (B, C) of all its cells; None shifts nothing."""
    return x if shift is None else x + ops.reshape(shift, (-1, *(1,) * (len(x.shape) - 2), x.shape[-1]))


def shifts_of(layer, condition, count=1):
    """What `layer` makes of a condition h (B, E), in `count` parts; none, (), where there is no layer."""
    return () if layer is None else tuple(ops.split(layer(condition), count, axis=-1))


def column_of(rows, column):
    """The cell at `column` of (B, w, C): (B, C)."""
    return ops.slice(rows, (0, column, 0), (rows.shape[0], 1, rows.shape[2]))[:, 0]
