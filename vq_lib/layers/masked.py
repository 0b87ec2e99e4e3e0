"""Masked convolution: a layer in which a cell sees only the cells drawn before it.

Cells are drawn row by row, from left to right. Every layer that knows of that order has two faces that must agree.
`call` maps the whole grid at once, for training. For sampling, `start` gives an empty cache; `row` begins a row and
adds up, for all its cells, what the finished rows above contribute; `step` maps one cell, with only the cells to its
left still to be read, and gives its output and the cache with it. No cache grows with the rows, but attention's.

A mask here is the shape of the weights: only taps that count are stored, and nothing is overwritten or multiplied away.
"""

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from vq_lib.layers.base import Configured, cast, column_of, one_of, shifts_of


def kernel_of(taps, rows, columns):
    """Taps in raster order, (n, C, F), as a kernel (rows, columns, C, F); those that are missing at the end are 0."""
    missing = rows * columns - taps.shape[0]
    return ops.reshape(ops.pad(taps, [[0, missing], [0, 0], [0, 0]]), (rows, columns, *taps.shape[1:]))


def add_taps(layer, above, left, channels, filters, lit=None):
    """The weights of the taps in the rows above and to the left, apart: a step then reads its own without a copy.
    `lit` of the channels of a tap are not zero at once; None: all.
    """
    bound = np.sqrt(6 / ((above + left) * (lit or channels) + filters))
    start = keras.initializers.RandomUniform(-bound, bound)
    rows = layer.add_weight((above, channels, filters), start, name="above") if above else None
    return rows, layer.add_weight((left, channels, filters), start, name="left")


class Cell(NamedTuple):
    """The cell that is to be drawn."""

    column: Any
    index: Any  # in raster order
    before: Any  # the code of the cell before it, (B,); of the first cell, any


class RowCache(NamedTuple):
    """What a masked convolution keeps between the cells that are drawn."""

    window: Any  # the rows above and this one as far as it is known, (B, rows + 1, w + 2·reach, C)
    context: Any  # what the rows above and the bias contribute to this row, (B, w, filters)


@keras.saving.register_keras_serializable(package="vq_lib")
class MaskedConv2D(Configured):
    """A convolution over the past (van den Oord et al. 2016, arXiv 1601.06759, section 3.4).

    out[r, c] = act(bias + Σ W[i, j] · x[r+i, c+j]) over the offsets (i, j) before (0, 0) in raster order (mask "A"),
    or up to and with it (mask "B"), with |j| ≤ kernel // 2 and i ≥ -rows. Outside the grid x is zero. `rows` is
    kernel // 2 where it is None; with 0 the row to the left alone is seen (a horizontal stack).

    Shapes: `call`: (B, h, w, C) → (B, h, w, filters); `step`: (B, C) → (B, filters). A ValueError names what is wrong.
    """

    def __init__(self, filters, kernel, mask, rows=None, activation=None, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.kernel, self.mask = filters, kernel, one_of("mask", mask, ("A", "B"))
        self.reach = kernel // 2
        self.rows, self.activation = self.reach if rows is None else rows, activation
        self.act = keras.activations.get(activation)
        self.ahead = self.reach + (mask == "B")  # taps in the cell's own row
        if kernel % 2 == 0 or not self.ahead:
            raise ValueError(f"`kernel` (={kernel}) must be odd, and with mask 'A' at least 3")

    def build(self, input_shape):
        channels = input_shape[-1]
        self.above, self.left = add_taps(self, self.rows * self.kernel, self.ahead, channels, self.filters)
        self.bias = self.add_weight((self.filters,), "zeros", name="bias")

    def call(self, inputs):
        right = self.reach if self.rows else 0
        padded = ops.pad(inputs, [[0, 0], [self.rows, 0], [self.reach, right], [0, 0]])
        taps = ops.concatenate([ops.convert_to_tensor(part) for part in (self.above, self.left) if part is not None])
        weight = kernel_of(taps, self.rows + 1, self.reach + 1 + right)
        return self.act(ops.conv(padded, weight, padding="valid") + self.bias)

    def start(self, batch, grid):
        """The `RowCache` of no row yet."""
        window = (batch, self.rows + 1, grid[1] + 2 * self.reach, self.left.shape[1])
        sizes = window, (batch, grid[1], self.filters)
        return RowCache(*(ops.zeros(size, self.compute_dtype) for size in sizes))

    def row(self, cache, added=0.0):
        """The cache at the beginning of the next row, with what is `added` (B, w, filters) before the activation."""
        window = ops.pad(cache.window[:, 1:], [[0, 0], [0, 1], [0, 0], [0, 0]])
        context = ops.zeros_like(cache.context) + cast(self.bias, self.compute_dtype) + added
        if self.rows:
            weight = kernel_of(cast(self.above, self.compute_dtype), self.rows, self.kernel)
            context = context + ops.conv(window[:, :-1], weight, padding="valid")[:, 0]
        return RowCache(window, context)

    def step(self, cache, x, column):
        window = ops.slice_update(cache.window, (0, self.rows, column + self.reach, 0), x[:, None, None])
        seen = ops.slice(window, (0, self.rows, column, 0), (x.shape[0], 1, self.ahead, x.shape[1]))
        weight = ops.reshape(cast(self.left, self.compute_dtype), (-1, self.filters))
        output = ops.matmul(ops.reshape(seen, (x.shape[0], -1)), weight) + column_of(cache.context, column)
        return self.act(output), RowCache(window, cache.context)


class CausalResidual(Configured):
    """x + after(masked(before(x))): both faces of a block, from what a subclass does before and after its convolution.

    Shapes: `call`: (B, h, w, F) → the same; `step`: (B, F) → the same; a condition is a vector h (B, E) or None.
    """

    def call(self, inputs, condition=None, codes=None, training=False):
        hidden = self.drop(self.masked(self._before(inputs)), training=training)
        return inputs + self._after(hidden, *shifts_of(self.shift, condition))

    def start(self, batch, grid, condition=None):
        """An empty cache (see `MaskedConv2D`), and beside it what the condition adds, which stays."""
        return self.masked.start(batch, grid), shifts_of(self.shift, condition)

    def row(self, cache, above=None):
        return above, (self.masked.row(cache[0]), cache[1])

    def step(self, cache, x, cell):
        hidden, inner = self.masked.step(cache[0], self._before(x), cell.column)
        return x + self._after(hidden, *cache[1]), (inner, cache[1])
