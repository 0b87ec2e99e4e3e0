"""Masked convolutions: layers in which a cell sees only the cells drawn before it.

Cells are drawn row by row, from left to right. Every layer has two faces that must agree: `call` maps the whole grid at
once, for training; `step` maps one cell, from a cache of what the layer has seen, for sampling.
"""

import keras
import numpy as np
from keras import ops


def causal_taps(kernel, include_centre):
    """How many taps of a masked kernel x kernel window count, in raster order: all before the centre, or up to it."""
    return (kernel // 2) * kernel + kernel // 2 + bool(include_centre)


@keras.saving.register_keras_serializable(package="vq_lib")
class MaskedConv2D(keras.layers.Layer):
    """A convolution over the past (van den Oord et al. 2016, arXiv 1601.06759, section 3.3).

    out[r, c] = act(bias + Σ W[i, j] · x[r+i, c+j]) over the offsets (i, j) before (0, 0) in raster order (mask "A"),
    or up to and with it (mask "B"). Only the rows up to the centre are stored; the mask multiplies the last of them on
    every use and never overwrites the weights. Outside the grid x is zero.

    Shapes: `call`: (B, h, w, C) → (B, h, w, filters); `step`: (B, C) → (B, filters).

    Args:
        filters: output channels.
        kernel: side of the (odd) window.
        mask: "A" or "B".
        activation: applied at the end.
    """

    def __init__(self, filters, kernel, mask, activation=None, **kwargs):
        super().__init__(**kwargs)
        if mask not in ("A", "B") or kernel % 2 == 0:
            raise ValueError(f"`mask` (={mask!r}) must be 'A' or 'B' and `kernel` (={kernel}) odd")
        self.filters, self.kernel, self.mask = filters, kernel, mask
        self.activation = keras.activations.get(activation)
        self.reach = kernel // 2

    def build(self, input_shape):
        channels = input_shape[-1]
        rows, taps = self.reach + 1, causal_taps(self.kernel, self.mask == "B")
        allowed = (np.arange(rows * self.kernel) < taps).reshape(rows, self.kernel, 1, 1)
        self.allowed = allowed.astype("float32")
        # Scaled to the taps that count: masked weights give no variance.
        bound = np.sqrt(6 / (taps * channels + self.filters))
        start = keras.initializers.RandomUniform(-bound, bound)
        self.weight = self.add_weight((rows, self.kernel, channels, self.filters), start, name="weight")
        self.bias = self.add_weight((self.filters,), "zeros", name="bias")
        self.built = True

    def call(self, inputs):
        if self.kernel == 1:
            outputs = ops.matmul(inputs, self.weight[0, 0])
        else:
            padded = ops.pad(inputs, [[0, 0], [self.reach, 0], [self.reach, self.reach], [0, 0]])
            outputs = ops.conv(padded, self.weight * ops.cast(self.allowed, self.weight.dtype), padding="valid")
        return self.activation(outputs + self.bias)

    def start(self, batch, grid):
        """An empty cache: the padded grid, (B, h + k//2, w + 2·(k//2), C)."""
        channels = self.weight.shape[2]
        return ops.zeros((batch, grid[0] + self.reach, grid[1] + 2 * self.reach, channels), self.compute_dtype)

    def step(self, cache, x, row, column):
        """The output at (row, column) given the input there: (B, C) → (B, filters), and the cache with x in it."""
        cache = ops.slice_update(cache, (0, row + self.reach, column + self.reach, 0), x[:, None, None, :])
        window = ops.slice(cache, (0, row, column, 0), (x.shape[0], self.reach + 1, self.kernel, x.shape[1]))
        taps = causal_taps(self.kernel, self.mask == "B") * x.shape[1]
        flat = ops.reshape(window, (x.shape[0], -1))[:, :taps]
        weight = ops.reshape(self.weight, (-1, self.filters))[:taps]
        return self.activation(ops.matmul(flat, weight) + self.bias), cache

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.filters)

    def get_config(self):
        config = {"filters": self.filters, "kernel": self.kernel, "mask": self.mask}
        return {**super().get_config(), **config, "activation": keras.activations.serialize(self.activation)}


@keras.saving.register_keras_serializable(package="vq_lib")
class MaskedCodeConv(keras.layers.Layer):
    """A mask-A convolution on one-hot codes, read as a table look-up.

    out[r, c] = act(bias + Σ T[t, code at tap t]) over the taps t before (r, c): the sum that a convolution of
    one-hot vectors takes, without building them. With `embedding` E the table is factored,
    T[t] = embedding (K×E) · W[t] (E×F). Outside the grid a tap adds nothing.

    Shapes: `call`: codes (B, h, w) int → (B, h, w, filters); `step`: codes around one cell → (B, filters).

    Args:
        codes: K.
        filters: output channels F.
        kernel: side of the (odd) window.
        embedding: E, or None for one weight a tap, code and filter.
        activation: applied at the end.
    """

    def __init__(self, codes, filters, kernel, embedding=None, activation="relu", **kwargs):
        super().__init__(**kwargs)
        if kernel % 2 == 0 or kernel < 3:
            raise ValueError(f"`kernel` (={kernel}) must be odd and at least 3")
        self.codes, self.filters, self.kernel, self.embedding = codes, filters, kernel, embedding
        self.activation = keras.activations.get(activation)
        self.reach, self.taps = kernel // 2, causal_taps(kernel, False)

    def build(self, input_shape):
        # One code is lit per tap, so the fan-in is the number of taps.
        bound = np.sqrt(6 / (self.taps + self.filters))
        start = keras.initializers.RandomUniform(-bound, bound)
        if self.embedding:
            unit = keras.initializers.RandomNormal(stddev=1.0)
            self.vectors = self.add_weight((self.codes, self.embedding), unit, name="vectors")
            bound /= np.sqrt(self.embedding)
            start = keras.initializers.RandomUniform(-bound, bound)
        self.weight = self.add_weight((self.taps, self.embedding or self.codes, self.filters), start, name="weight")
        self.bias = self.add_weight((self.filters,), "zeros", name="bias")
        self.built = True

    def table(self):
        """T with a row of zeros a tap for "outside the grid": (taps · (K+1), filters)."""
        table = self.weight
        if self.embedding:
            table = ops.matmul(ops.cast(self.vectors, table.dtype)[None], table)
        return ops.reshape(ops.pad(table, [[0, 0], [0, 1], [0, 0]]), (-1, self.filters))

    def call(self, inputs):
        height, width = inputs.shape[1:]
        reach = [[0, 0], [self.reach, 0], [self.reach, self.reach]]
        if self.embedding:
            vectors = ops.take(ops.convert_to_tensor(self.vectors), inputs, axis=0)
            padded = ops.pad(ops.cast(vectors, self.compute_dtype), [*reach, [0, 0]])
            rows = ops.reshape(
                ops.pad(self.weight, [[0, self.kernel - self.reach], [0, 0], [0, 0]]),
                (self.reach + 1, self.kernel, self.embedding, self.filters),
            )
            return self.activation(ops.conv(padded, rows, padding="valid") + self.bias)
        padded, table = ops.pad(inputs, reach, constant_values=self.codes), self.table()
        total = self.bias
        for tap in range(self.taps):
            i, j = divmod(tap, self.kernel)
            seen = padded[:, i : i + height, j : j + width] + tap * (self.codes + 1)
            total = total + ops.take(table, seen, axis=0)
        return self.activation(total)

    def start(self, batch, grid):
        """An empty, padded grid of codes, (B, h + k//2, w + 2·(k//2)), all "outside", and the table."""
        return ops.full((batch, grid[0] + self.reach, grid[1] + 2 * self.reach), self.codes, "int32")

    def put(self, padded, drawn, row, column):
        """The padded grid with the codes (B,) that were drawn for one cell."""
        return ops.slice_update(padded, (0, row + self.reach, column + self.reach), drawn[:, None, None])

    def step(self, padded, table, row, column):
        """The output at (row, column) given all codes before it: (B, filters)."""
        batch = padded.shape[0]
        window = ops.slice(padded, (0, row, column), (batch, self.reach + 1, self.kernel))
        rows = ops.arange(self.taps, dtype="int32") * (self.codes + 1)
        seen = ops.reshape(window, (batch, -1))[:, : self.taps] + rows
        return self.activation(ops.sum(ops.take(table, seen, axis=0), axis=1) + self.bias)

    def compute_output_shape(self, input_shape):
        return (*input_shape, self.filters)

    def get_config(self):
        names = ("codes", "filters", "kernel", "embedding")
        config = {name: getattr(self, name) for name in names}
        return {**super().get_config(), **config, "activation": keras.activations.serialize(self.activation)}
