"""What a prior reads: the codes before a cell, by a table look-up, and what is known of a slice, as a vector."""

import keras
import numpy as np
from keras import ops

from vq_lib.layers.arguments import Configured
from vq_lib.layers.masked import add_taps, kernel_of
from vq_lib.layers.tensors import cast, look_up


@keras.saving.register_keras_serializable(package="vq_lib")
class MaskedCodeConv(Configured):
    """A mask-A convolution on one-hot codes, read as a table look-up.

    out[r, c] = bias + Σ T[t, code at tap t] over the taps t before (r, c): the sum that a convolution of one-hot
    vectors takes, without building them. With `embedding` E the table is factored, T[t] = embedding (K×E) · W[t] (E×F).
    Outside the grid a tap adds nothing. `parts` gives the rows above and the cells to the left apart, as the two
    stacks of a gated PixelCNN need them.

    Shapes: `call`: codes (B, h, w) int → (B, h, w, filters); floats (B, h, w, K) are read as one-hot codes, so that a
    gradient can be taken. `row`: codes → (B, w, filters); `step`: codes → (B, filters). K is `codes`.

    Example: `MaskedCodeConv(codes=512, filters=128, kernel=7, embedding=64)(keras.ops.ones((2, 32, 32), "int32"))`.
    """

    def __init__(self, codes, filters, kernel, embedding=None, **kwargs):
        super().__init__(**kwargs)
        if kernel % 2 == 0 or kernel < 3:
            raise ValueError(f"`kernel` (={kernel}) must be odd and at least 3")
        self.codes, self.filters, self.kernel, self.embedding = codes, filters, kernel, embedding
        self.reach = kernel // 2
        self.taps = self.reach * kernel + self.reach  # cells of the window before its centre, in raster order

    def build(self, input_shape):
        if self.embedding:
            unit = keras.initializers.RandomNormal(stddev=1.0)
            self.vectors = self.add_weight((self.codes, self.embedding), unit, name="vectors")
        # Of one-hot codes one channel is lit a tap, so the fan-in is the number of taps.
        channels, lit = (self.embedding, self.embedding) if self.embedding else (self.codes, 1)
        self.above, self.left = add_taps(self, self.reach * self.kernel, self.reach, channels, self.filters, lit)
        self.bias = self.add_weight((self.filters,), "zeros", name="bias")

    def parts(self, inputs):
        """What the rows above and the cells to the left contribute, without the bias: two (B, h, w, filters)."""
        soft = keras.backend.is_float_dtype(inputs.dtype)
        if not soft and not self.embedding:
            return self._looked_up(inputs)
        dtype, p = self.compute_dtype, self.reach
        if not soft:
            x = cast(look_up(ops.convert_to_tensor(self.vectors), inputs), dtype)
        elif self.embedding:
            x = ops.matmul(ops.cast(inputs, dtype), cast(self.vectors, dtype))
        else:
            x = ops.cast(inputs, dtype)
        above = ops.pad(x, [[0, 0], [p, 0], [p, p], [0, 0]])[:, :-1]
        left = ops.pad(x, [[0, 0], [0, 0], [p, 0], [0, 0]])[:, :, :-1]
        return (
            ops.conv(above, kernel_of(cast(self.above, dtype), p, self.kernel), padding="valid"),
            ops.conv(left, kernel_of(cast(self.left, dtype), 1, p), padding="valid"),
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


@keras.saving.register_keras_serializable(package="vq_lib")
class Conditioning(Configured):
    """A learned vector for what is known of a slice: h = L[label] + S[slice position]; -1 (unknown) adds nothing.

    Shapes: (B, 2) int → (B, width). There are so many `labels` and `slices`; of 0 that column is not looked at.
    Example: `Conditioning(labels=2, slices=32, width=64)([[0, 17], [-1, 3]])`.
    """

    def __init__(self, labels, slices, width, **kwargs):
        super().__init__(**kwargs)
        self.labels, self.slices, self.width = labels, slices, width

    def build(self, input_shape):
        start, sizes = keras.initializers.RandomNormal(stddev=0.3), (("label", self.labels), ("slice", self.slices))
        self.tables = [self.add_weight((n, self.width), start, name=name) if n else None for name, n in sizes]

    def call(self, inputs):
        total = 0.0
        for column, table in enumerate(self.tables):
            if table is not None:
                rows = ops.pad(ops.convert_to_tensor(table), [[0, 1], [0, 0]])  # the last one, of zeros, is "unknown"
                index = inputs[:, column]
                total = total + ops.take(rows, ops.where(index < 0, table.shape[0], index), axis=0)
        return ops.cast(total, self.compute_dtype)
