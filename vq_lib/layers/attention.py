"""Causal attention over the code grid: the whole past of a cell, however far."""

import keras
import numpy as np
from keras import ops

from vq_lib.layers.base import Configured, cast, look_up

QUERIES = 128  # cells that look back at once; each chunk reads only the keys before its end


@keras.saving.register_keras_serializable(package="vq_lib")
class CausalAttention(Configured):
    """x + a · σ(b), (a, b) = 1x1 of what one head of attention reads of the past (Chen et al. 2017, 1712.09763, §2).

        y_i = Σ_{j < i} softmax_j(q_i · k_j / √d) v_j,    q = 1x1(x, place),    (k, v) = 1x1(x, place) + T[z]

    x_j knows the codes before cell j alone, so T adds the cell's own code z_j to keys and values: the whole past is
    then seen, whatever the convolutions reach. The first cell reads nothing, 0. A place is row and column from -½ to ½.

    Shapes: `call`: x (B, h, w, F), codes (B, h, w) → (B, h, w, F); `step`: x (B, F) → (B, F). d is `key_dim`.
    """

    def __init__(self, grid, codes, key_dim=16, value_dim=64, **kwargs):
        super().__init__(**kwargs)
        self.grid, self.codes, self.key_dim, self.value_dim = tuple(grid), codes, key_dim, value_dim
        rows, columns = np.mgrid[: grid[0], : grid[1]]
        self.places = np.stack([rows / grid[0] - 0.5, columns / grid[1] - 0.5], axis=-1).astype("float32")
        self.ask = keras.layers.Dense(key_dim, dtype=self.dtype_policy, name="ask")
        self.tell = keras.layers.Dense(key_dim + value_dim, dtype=self.dtype_policy, name="tell")

    def build(self, input_shape):
        self.leave = keras.layers.Dense(2 * input_shape[-1], dtype=self.dtype_policy, name="leave")
        start = keras.initializers.RandomNormal(stddev=0.3)
        self.table = self.add_weight((self.codes, self.key_dim + self.value_dim), start, name="table")

    def _placed(self, x, places):
        return ops.concatenate([x, ops.broadcast_to(ops.cast(places, x.dtype), (*ops.shape(x)[:-1], 2))], axis=-1)

    def _keys_and_values(self, placed, codes):
        told = self.tell(placed) + look_up(cast(self.table, self.compute_dtype), codes)
        return ops.split(told, [self.key_dim], axis=-1)

    def _read(self, query, keys, values, past):
        """Attention of queries (B, n, d) to keys (B, m, d) where `past` (n, m) says so; 0 where it says so nowhere."""
        scores = ops.matmul(query, ops.transpose(keys, (0, 2, 1))) / np.sqrt(self.key_dim)
        weights = ops.softmax(ops.where(past, ops.cast(scores, "float32"), -1e9))
        return ops.matmul(ops.cast(ops.where(past, weights, 0.0), values.dtype), values)

    def _with(self, x, read):
        return x + ops.glu(self.leave(ops.concatenate([ops.elu(x), read], axis=-1)))

    def call(self, inputs, condition=None, codes=None, training=False):
        cells, placed = self.grid[0] * self.grid[1], self._placed(inputs, self.places)
        parts = (self.ask(placed), *self._keys_and_values(placed, codes))
        query, keys, values = (ops.reshape(part, (-1, cells, part.shape[-1])) for part in parts)
        read = []
        for start in range(0, cells, QUERIES):
            end = min(start + QUERIES, cells)
            past = np.arange(start, end)[:, None] > np.arange(end)
            read.append(self._read(query[:, start:end], keys[:, :end], values[:, :end], past))
        return self._with(inputs, ops.reshape(ops.concatenate(read, axis=1), (-1, *self.grid, self.value_dim)))

    def start(self, batch, grid, condition=None):
        """Keys and values of no cell yet, apart, since a step writes a little of each; and the cell before, no cell."""
        cells = grid[0] * grid[1]
        sizes = ((cells, self.key_dim), (cells, self.value_dim), (self.leave.units // 2 + 2,))
        return tuple(ops.zeros((batch, *size), self.compute_dtype) for size in sizes)

    def row(self, cache, above=None):
        return above, cache  # places are counted over the whole grid

    def step(self, cache, x, cell):
        keys, values, placed = cache  # of the cell before, whose code is known by now
        key, value = self._keys_and_values(placed, cell.before)
        last = ops.maximum(cell.index - 1, 0)  # what the first cell writes to place 0 is overwritten by the second
        keys = ops.slice_update(keys, (0, last, 0), key[:, None])
        values = ops.slice_update(values, (0, last, 0), value[:, None])
        placed = self._placed(x, ops.take(ops.convert_to_tensor(self.places.reshape(-1, 2)), cell.index, axis=0))
        past = ops.arange(keys.shape[1])[None] < cell.index
        read = self._read(self.ask(placed)[:, None], keys, values, past)
        return self._with(x, read[:, 0]), (keys, values, placed)
