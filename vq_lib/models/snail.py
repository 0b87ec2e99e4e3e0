"""PixelSNAIL over the code grid: causal convolutions for what is near, causal attention for what is far."""

import keras
import numpy as np
from keras import ops

from vq_lib.layers.lookup import look_up
from vq_lib.layers.masked import MaskedConv2D, cast, shifted
from vq_lib.models.prior import Prior

QUERIES = 128  # cells that look back at once; each chunk reads only the keys before its end


def _gated(x):
    a, b = ops.split(x, 2, axis=-1)
    return a * ops.sigmoid(b)


@keras.saving.register_keras_serializable(package="vq_lib")
class GatedResidualBlock(keras.layers.Layer):
    """x + a · σ(b) with (a, b) = 1x1(ELU(masked-B 3x3(ELU(x)))) + V h (Chen et al. 2017, 1712.09763, figure 2).

    The paper's second convolution is a 1x1 here: it costs a fifth, and the attention sees what it would have.

    Shapes: `call`: (B, h, w, F), h (B, E) or None → (B, h, w, F); `step`: (B, F) → the same.

    Args:
        filters: F.
        dropout: share of the hidden channels to drop while training.
        conditioned: whether h is given.
    """

    def __init__(self, filters, dropout=0.0, conditioned=False, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.rate, self.conditioned = filters, dropout, conditioned
        dtype = self.dtype_policy
        self.masked = MaskedConv2D(filters, 3, "B", activation="elu", dtype=dtype, name="masked")
        self.drop = keras.layers.Dropout(dropout, dtype=dtype)
        self.leave = keras.layers.Dense(2 * filters, dtype=dtype, name="leave")
        self.shift = None
        if conditioned:
            self.shift = keras.layers.Dense(2 * filters, use_bias=False, dtype=dtype, name="shift")

    def build(self, input_shape=None):
        self.masked.build((None, None, None, self.filters))
        self.leave.build((None, self.filters))
        if self.shift is not None:
            self.shift.build((None, self.filters))
        self.built = True

    def call(self, inputs, given=None, training=False):
        hidden = self.drop(self.masked(ops.elu(inputs)), training=training)
        return inputs + _gated(shifted(self.leave(hidden), None if self.shift is None else self.shift(given)))

    def start(self, batch, grid):
        """An empty cache; see `MaskedConv2D`."""
        return self.masked.start(batch, grid)

    def row(self, cache):
        """The cache at the beginning of the next row."""
        return self.masked.row(cache)

    def step(self, cache, x, column, shift=None):
        """The output at `column` given the input there, (B, F) → (B, F), and the cache with x in it."""
        hidden, cache = self.masked.step(cache, ops.elu(x), column)
        return x + _gated(shifted(self.leave(hidden), shift)), cache

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        config = {"filters": self.filters, "dropout": self.rate, "conditioned": self.conditioned}
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable(package="vq_lib")
class CausalAttention(keras.layers.Layer):
    """x + a · σ(b), (a, b) = 1x1 of what one head of attention finds in the past (Chen et al. 2017, 1712.09763, §2).

        y_i = Σ_{j < i} softmax_j(q_i · k_j / √d) v_j,    q = 1x1(x, place),    (k, v) = 1x1(x, place) + T[z]

    x_j knows the codes before cell j alone, so T tells keys and values the cell's own code z_j: the whole past is then
    seen, whatever the convolutions reach. The first cell finds nothing, 0. A place is row and column from -½ to ½.

    Shapes: `call`: x (B, h, w, F), codes (B, h, w) int or (B, h, w, K) one-hot floats → (B, h, w, F); `step`: x (B, F),
    the code before it (B,) → (B, F).

    Args:
        grid: (h, w).
        codes: K.
        key_dim: d, length of queries and keys.
        value_dim: length of v.
    """

    def __init__(self, grid, codes, key_dim=16, value_dim=64, **kwargs):
        super().__init__(**kwargs)
        self.grid, self.codes, self.key_dim, self.value_dim = tuple(grid), codes, key_dim, value_dim
        rows, columns = np.mgrid[: grid[0], : grid[1]]
        self.places = np.stack([rows / grid[0] - 0.5, columns / grid[1] - 0.5], axis=-1).astype("float32")

    def build(self, input_shape):
        filters, dtype = input_shape[-1], self.dtype_policy
        self.ask = keras.layers.Dense(self.key_dim, dtype=dtype, name="ask")
        self.tell = keras.layers.Dense(self.key_dim + self.value_dim, dtype=dtype, name="tell")
        self.leave = keras.layers.Dense(2 * filters, dtype=dtype, name="leave")
        for layer, size in ((self.ask, filters + 2), (self.tell, filters + 2), (self.leave, filters + self.value_dim)):
            layer.build((None, size))
        start = keras.initializers.RandomNormal(stddev=0.3)
        self.table = self.add_weight((self.codes, self.key_dim + self.value_dim), start, name="table")
        self.built = True

    def _placed(self, x, places):
        return ops.concatenate([x, ops.broadcast_to(ops.cast(places, x.dtype), (*ops.shape(x)[:-1], 2))], axis=-1)

    def _told(self, placed, codes):
        """Keys and values of cells whose codes are known."""
        table = cast(self.table, self.compute_dtype)
        soft = keras.backend.is_float_dtype(codes.dtype)
        own = ops.matmul(ops.cast(codes, table.dtype), table) if soft else look_up(table, codes)
        return ops.split(self.tell(placed) + own, [self.key_dim], axis=-1)

    def _left(self, x, found):
        return x + _gated(self.leave(ops.concatenate([ops.elu(x), found], axis=-1)))

    def call(self, inputs, codes):
        cells, placed = self.grid[0] * self.grid[1], self._placed(inputs, self.places)
        parts = (self.ask(placed) / np.sqrt(self.key_dim), *self._told(placed, codes))
        query, key, value = (ops.reshape(part, (-1, cells, part.shape[-1])) for part in parts)
        found = []
        for start in range(0, cells, QUERIES):
            end = min(start + QUERIES, cells)
            scores = ops.matmul(query[:, start:end], ops.transpose(key[:, :end], (0, 2, 1)))
            past = np.arange(start, end)[:, None] > np.arange(end)
            weights = ops.softmax(ops.where(past, ops.cast(scores, "float32"), -1e9))
            weights = ops.where(past, weights, 0.0) if start == 0 else weights  # the first cell has no past
            found.append(ops.matmul(ops.cast(weights, value.dtype), value[:, :end]))
        found = ops.reshape(ops.concatenate(found, axis=1), (-1, *self.grid, self.value_dim))
        return self._left(inputs, found)

    def start(self, batch, grid):
        """Keys and values of no cell yet, apart, since a step writes a little of each; and the cell before, no cell."""
        cells = grid[0] * grid[1]
        sizes = ((cells, self.key_dim), (cells, self.value_dim), (self.leave.units // 2 + 2,))
        return tuple(ops.zeros((batch, *size), self.compute_dtype) for size in sizes)

    def row(self, cache):
        """The cache at the beginning of the next row: the same, since places are counted over the whole grid."""
        return cache

    def step(self, cache, x, before, cell):
        """The output at raster place `cell`, and the cache with the cell before it, whose code is known by now."""
        keys, values, placed = cache
        key, value = self._told(placed, before)
        last = ops.maximum(cell - 1, 0)  # what the first cell writes to place 0 is overwritten by the second
        keys = ops.slice_update(keys, (0, last, 0), key[:, None])
        values = ops.slice_update(values, (0, last, 0), value[:, None])
        placed = self._placed(x, ops.take(ops.convert_to_tensor(self.places.reshape(-1, 2)), cell, axis=0))
        query = self.ask(placed) / np.sqrt(self.key_dim)
        past = ops.arange(keys.shape[1]) < cell
        scores = ops.where(past, ops.cast(ops.sum(keys * query[:, None], axis=-1), "float32"), -1e9)
        weights = ops.cast(ops.where(past, ops.softmax(scores), 0.0), values.dtype)
        return self._left(x, ops.matmul(weights[:, None], values)[:, 0]), (keys, values, placed)

    def compute_output_shape(self, input_shape, codes_shape=None):
        return input_shape

    def get_config(self):
        names = ("codes", "key_dim", "value_dim")
        return {**super().get_config(), "grid": list(self.grid), **{name: getattr(self, name) for name in names}}


@keras.saving.register_keras_serializable(package="vq_lib")
class PixelSNAIL(Prior):
    """PixelSNAIL (Chen et al. 2017, arXiv 1712.09763), in a size that a CPU trains.

    `GatedResidualBlock`s with a `CausalAttention` after every `attention` of them, so that every earlier cell is within
    reach. Arguments, shapes and faces: see `Prior`; beyond those:

    Args:
        attention: blocks between two attentions; the last block is followed by one in any case.
        key_dim: length of queries and keys.
        value_dim: length of what is looked up; None: half of `filters`.
    """

    def __init__(self, *args, attention=2, key_dim=16, value_dim=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.settings |= {"attention": attention, "key_dim": key_dim, "value_dim": value_dim}
        filters, count, dtype = self.settings["filters"], self.settings["blocks"], self.dtype_policy
        self.blocks = []
        for i in range(count):
            options = {"dtype": dtype, "name": f"block_{i}"}
            block = GatedResidualBlock(filters, self.settings["dropout"], self.conditional, **options)
            block.build()
            self.blocks.append(block)
            if (i + 1) % attention == 0 or i + 1 == count:
                looking = CausalAttention(
                    self.grid, self.codes, key_dim, value_dim or filters // 2, dtype=dtype, name=f"past_{i}"
                )
                looking.build((None, *self.grid, filters))
                self.blocks.append(looking)
        self.built = True

    def _stack(self, codes, above, left, given, training):
        x = above + left
        for block in self.blocks:
            near = isinstance(block, GatedResidualBlock)
            x = block(x, given, training=training) if near else block(x, codes)
        return ops.elu(x)

    def _start(self, batch):
        return tuple(block.start(batch, self.grid) for block in self.blocks)

    def _shifts(self, given):
        blocks = [block for block in self.blocks if isinstance(block, GatedResidualBlock)]
        return [None if block.shift is None else block.shift(given) for block in blocks]

    def _row(self, context, caches, shifts):
        return context, tuple(block.row(cache) for block, cache in zip(self.blocks, caches, strict=True))

    def _step(self, codes, context, left, caches, shifts, row, column):
        x, after, shifts, cell = context + left, [], iter(shifts), row * self.grid[1] + column
        last = ops.maximum(cell - 1, 0)
        before = self.first.at(codes, last // self.grid[1], last % self.grid[1])
        for block, cache in zip(self.blocks, caches, strict=True):
            if isinstance(block, GatedResidualBlock):
                x, cache = block.step(cache, x, column, next(shifts))
            else:
                x, cache = block.step(cache, x, before, cell)
            after.append(cache)
        return ops.elu(x), tuple(after)
