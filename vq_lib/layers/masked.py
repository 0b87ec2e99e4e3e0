"""Masked convolutions: layers in which a cell sees only the cells drawn before it.

Cells are drawn row by row, from left to right. Every layer has two faces that must agree. `call` maps the whole grid at
once, for training. For sampling, `row` begins a row and adds up, for all its cells together, what the finished rows
above contribute; `step` then maps one cell, with only the cells to its left still to be read. Caches hold as many rows
as a kernel reaches, never the grid.

A mask here is the shape of the weights: only taps that count are stored, and nothing is overwritten or multiplied away.
"""

import keras
import numpy as np
from keras import ops

from vq_lib.layers.lookup import look_up


def causal_taps(kernel, include_centre):
    """How many taps of a kernel x kernel window come before its centre in raster order (with the centre: one more)."""
    return (kernel // 2) * kernel + kernel // 2 + bool(include_centre)


def gate(x):
    """tanh(a) · σ(b) for x = (a, b) along the last axis (van den Oord et al. 2016, 1606.05328, equation 2)."""
    a, b = ops.split(x, 2, axis=-1)
    return ops.tanh(a) * ops.sigmoid(b)


def halves(layer, given):
    """The two halves of what `layer` makes of a condition h (B, E), or two None where there is none."""
    return (None, None) if given is None else ops.split(layer(given), 2, axis=-1)


def shifted(x, shift):
    """x (B, …, C) plus a shift (B, C) of all its cells; None shifts nothing."""
    if shift is None:
        return x
    for _ in range(len(x.shape) - 2):
        shift = shift[:, None]
    return x + shift


def column_of(rows, column):
    """The cell at `column` of (B, w, C): (B, C)."""
    return ops.slice(rows, (0, column, 0), (rows.shape[0], 1, rows.shape[2]))[:, 0]


def cast(value, dtype):
    """A variable or tensor in `dtype`; a step runs outside the scope in which Keras would cast for us."""
    return ops.cast(ops.convert_to_tensor(value), dtype)


def kernel_of(taps, rows, columns):
    """Taps in raster order, (n, C, F), as a kernel (rows, columns, C, F); those that are missing at the end are 0."""
    missing = rows * columns - taps.shape[0]
    return ops.reshape(ops.pad(taps, [[0, missing], [0, 0], [0, 0]]), (rows, columns, *taps.shape[1:]))


def _tap_weights(layer, above, left, channels, filters, lit=None):
    """The weights of the taps in the rows above and to the left, apart: a step then reads its own without a copy."""
    bound = np.sqrt(6 / ((above + left) * (lit or channels) + filters))
    start = keras.initializers.RandomUniform(-bound, bound)
    add = layer.add_weight
    rows = add((above, channels, filters), start, name="above") if above else None
    return rows, add((left, channels, filters), start, name="left")


@keras.saving.register_keras_serializable(package="vq_lib")
class MaskedConv2D(keras.layers.Layer):
    """A convolution over the past (van den Oord et al. 2016, arXiv 1601.06759, section 3.4).

    out[r, c] = act(bias + Σ W[i, j] · x[r+i, c+j]) over the offsets (i, j) before (0, 0) in raster order (mask "A"),
    or up to and with it (mask "B"), with |j| ≤ kernel // 2 and i ≥ -rows. Outside the grid x is zero.

    Shapes: `call`: (B, h, w, C) → (B, h, w, filters); `step`: (B, C) → (B, filters).

    Args:
        filters: output channels.
        kernel: side of the (odd) window.
        mask: "A" or "B".
        rows: rows above that are seen; None: kernel // 2. 0 sees the row to the left alone (a horizontal stack).
        activation: applied at the end.
    """

    def __init__(self, filters, kernel, mask, rows=None, activation=None, **kwargs):
        super().__init__(**kwargs)
        if mask not in ("A", "B") or kernel % 2 == 0:
            raise ValueError(f"`mask` (={mask!r}) must be 'A' or 'B' and `kernel` (={kernel}) odd")
        self.filters, self.kernel, self.mask = filters, kernel, mask
        self.reach = kernel // 2
        self.rows = self.reach if rows is None else rows
        self.activation = keras.activations.get(activation)
        self.ahead = self.reach + (mask == "B")  # taps in the cell's own row
        if not self.ahead:
            raise ValueError("mask 'A' with `kernel` (=1) sees nothing at all")

    def build(self, input_shape):
        channels = input_shape[-1]
        self.above, self.left = _tap_weights(self, self.rows * self.kernel, self.ahead, channels, self.filters)
        self.bias = self.add_weight((self.filters,), "zeros", name="bias")
        self.built = True

    def call(self, inputs):
        right = self.reach if self.rows else 0
        padded = ops.pad(inputs, [[0, 0], [self.rows, 0], [self.reach, right], [0, 0]])
        taps = ops.convert_to_tensor(self.left)
        if self.rows:
            taps = ops.concatenate([ops.convert_to_tensor(self.above), taps])
        weight = kernel_of(taps, self.rows + 1, self.reach + 1 + right)
        return self.activation(ops.conv(padded, weight, padding="valid") + self.bias)

    def start(self, batch, grid):
        """An empty cache: the rows above, this row as far as it is known, and what the rows above contribute to it."""
        channels, dtype = self.left.shape[1], self.compute_dtype
        current = ops.zeros((batch, self.reach + grid[1], channels), dtype)
        if not self.rows:
            return (current,)
        past = ops.zeros((batch, self.rows, grid[1] + 2 * self.reach, channels), dtype)
        return past, current, ops.zeros((batch, grid[1], self.filters), dtype)

    def row(self, cache):
        """The cache at the beginning of the next row."""
        if not self.rows:
            return cache
        past, current, _ = cache
        done = ops.pad(current, [[0, 0], [0, self.reach], [0, 0]])[:, None]
        past = ops.concatenate([past[:, 1:], done], axis=1)
        weight = kernel_of(cast(self.above, self.compute_dtype), self.rows, self.kernel)
        context = ops.conv(past, weight, padding="valid")[:, 0]
        return past, current, context + cast(self.bias, self.compute_dtype)

    def step(self, cache, x, column):
        """The output at `column` given the input there, (B, C) → (B, filters), and the cache with x in it."""
        *past, current = cache[: 2 if self.rows else 1]
        current = ops.slice_update(current, (0, column + self.reach, 0), x[:, None])
        seen = ops.slice(current, (0, column, 0), (x.shape[0], self.ahead, x.shape[1]))
        weight = ops.reshape(cast(self.left, self.compute_dtype), (-1, self.filters))
        context = column_of(cache[2], column) if self.rows else cast(self.bias, self.compute_dtype)
        output = self.activation(ops.matmul(ops.reshape(seen, (x.shape[0], -1)), weight) + context)
        return output, (*past, current, *cache[2:])

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.filters)

    def get_config(self):
        names = ("filters", "kernel", "mask", "rows")
        config = {name: getattr(self, name) for name in names}
        return {**super().get_config(), **config, "activation": keras.activations.serialize(self.activation)}


@keras.saving.register_keras_serializable(package="vq_lib")
class MaskedCodeConv(keras.layers.Layer):
    """A mask-A convolution on one-hot codes, read as a table look-up.

    out[r, c] = bias + Σ T[t, code at tap t] over the taps t before (r, c): the sum that a convolution of one-hot
    vectors takes, without building them. With `embedding` E the table is factored, T[t] = embedding (K×E) · W[t] (E×F).
    Outside the grid a tap adds nothing. `parts` gives the rows above and the cells to the left apart, as the two
    stacks of a gated PixelCNN need them.

    Shapes: `call`: codes (B, h, w) int → (B, h, w, filters); floats (B, h, w, K) are read as one-hot codes, so that a
    gradient can be taken. `row`: codes → (B, w, filters); `step`: codes → (B, filters).

    Args:
        codes: K.
        filters: output channels F.
        kernel: side of the (odd) window.
        embedding: E, or None for one weight a tap, code and filter.
    """

    def __init__(self, codes, filters, kernel, embedding=None, **kwargs):
        super().__init__(**kwargs)
        if kernel % 2 == 0 or kernel < 3:
            raise ValueError(f"`kernel` (={kernel}) must be odd and at least 3")
        self.codes, self.filters, self.kernel, self.embedding = codes, filters, kernel, embedding
        self.reach, self.taps = kernel // 2, causal_taps(kernel, False)

    def build(self, input_shape):
        if self.embedding:
            unit = keras.initializers.RandomNormal(stddev=1.0)
            self.vectors = self.add_weight((self.codes, self.embedding), unit, name="vectors")
        # Of one-hot codes one channel is lit a tap, so the fan-in is the number of taps.
        channels, lit = (self.embedding, self.embedding) if self.embedding else (self.codes, 1)
        rows = self.reach * self.kernel
        self.above, self.left = _tap_weights(self, rows, self.reach, channels, self.filters, lit)
        self.bias = self.add_weight((self.filters,), "zeros", name="bias")
        self.built = True

    def parts(self, inputs):
        """What the rows above and the cells to the left contribute, without the bias: two (B, h, w, filters)."""
        soft = keras.backend.is_float_dtype(inputs.dtype)
        if not soft and not self.embedding:
            return self._looked_up(inputs)
        if soft:
            x = ops.matmul(inputs, self.vectors) if self.embedding else inputs
        else:
            x = look_up(ops.convert_to_tensor(self.vectors), inputs)
        x, p = ops.cast(x, self.compute_dtype), self.reach
        above = ops.pad(x, [[0, 0], [p, 0], [p, p], [0, 0]])[:, :-1]
        left = ops.pad(x, [[0, 0], [0, 0], [p, 0], [0, 0]])[:, :, :-1]
        return (
            ops.conv(above, kernel_of(ops.convert_to_tensor(self.above), p, self.kernel), padding="valid"),
            ops.conv(left, kernel_of(ops.convert_to_tensor(self.left), 1, p), padding="valid"),
        )

    def _looked_up(self, codes):
        height, width = codes.shape[1:]
        padded = ops.pad(codes, [[0, 0], [self.reach, 0], [self.reach, self.reach]], constant_values=self.codes)
        table, parts = self.table(), [0, 0]
        for tap in range(self.taps):
            i, j = divmod(tap, self.kernel)
            seen = padded[:, i : i + height, j : j + width] + tap * (self.codes + 1)
            parts[i == self.reach] += ops.take(table, seen, axis=0)
        return parts

    def call(self, inputs):
        above, left = self.parts(inputs)
        return above + left + self.bias

    def table(self):
        """T with a row of zeros a tap for "outside the grid": (taps · (K+1), filters)."""
        table = ops.concatenate([cast(self.above, self.compute_dtype), cast(self.left, self.compute_dtype)])
        if self.embedding:
            table = ops.matmul(cast(self.vectors, table.dtype)[None], table)
        return ops.reshape(ops.pad(table, [[0, 0], [0, 1], [0, 0]]), (-1, self.filters))

    def start(self, batch, grid):
        """An empty, padded grid of codes, (B, h + k//2, w + 2·(k//2)), all "outside"."""
        return ops.full((batch, grid[0] + self.reach, grid[1] + 2 * self.reach), self.codes, "int32")

    def put(self, padded, drawn, row, column):
        """The padded grid with the codes (B,) that were drawn for one cell."""
        return ops.slice_update(padded, (0, row + self.reach, column + self.reach), drawn[:, None, None])

    def at(self, padded, row, column):
        """The codes drawn for one cell: (B,); of a cell that is not drawn yet, any."""
        where = (0, row + self.reach, column + self.reach)
        return ops.minimum(ops.slice(padded, where, (padded.shape[0], 1, 1))[:, 0, 0], self.codes - 1)

    def drawn(self, padded):
        """The grid of codes in a padded one: (B, h, w)."""
        return padded[:, self.reach :, self.reach : padded.shape[2] - self.reach]

    def row(self, padded, table, row):
        """What the rows above and the bias contribute to the cells of a row: (B, w, filters)."""
        width = padded.shape[2] - 2 * self.reach
        above = ops.slice(padded, (0, row, 0), (padded.shape[0], self.reach, padded.shape[2]))
        total = cast(self.bias, table.dtype)
        for tap in range(self.reach * self.kernel):
            i, j = divmod(tap, self.kernel)
            total = total + ops.take(table, above[:, i, j : j + width] + tap * (self.codes + 1), axis=0)
        return total

    def step(self, padded, table, row, column):
        """What the cells to the left of (row, column) contribute: (B, filters)."""
        left = ops.slice(padded, (0, row + self.reach, column), (padded.shape[0], 1, self.reach))[:, 0]
        taps = np.arange(self.reach * self.kernel, self.taps, dtype=np.int32) * (self.codes + 1)
        return ops.sum(ops.take(table, left + taps, axis=0), axis=1)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:3], self.filters)

    def get_config(self):
        names = ("codes", "filters", "kernel", "embedding")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
