"""Causal residual blocks around one masked convolution: the PixelCNN's and PixelSNAIL's."""

import keras
from keras import ops

from vq_lib.layers.base import Configured, linear_gate, shifted, shifts_of
from vq_lib.layers.masked import MaskedConv2D


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
        """The cache at the beginning of the next row."""
        return above, (self.masked.row(cache[0]), cache[1])

    def step(self, cache, x, cell):
        """The output at a `Cell` given the input there, (B, F) → (B, F), and the cache with x in it."""
        hidden, inner = self.masked.step(cache[0], self._before(x), cell.column)
        return x + self._after(hidden, *cache[1]), (inner, cache[1])


@keras.saving.register_keras_serializable(package="vq_lib")
class MaskedResidualBlock(CausalResidual):
    """x + 1x1 (F) → masked-B 3x3 (F/2) → 1x1 (F), ReLU after each; dropout before the last. F is `filters`, even."""

    def __init__(self, filters, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.dropout, dtype = filters, dropout, self.dtype_policy
        self.enter = keras.layers.Dense(filters, "relu", dtype=dtype, name="enter")
        self.masked = MaskedConv2D(filters // 2, 3, "B", activation="relu", dtype=dtype, name="masked")
        self.drop = keras.layers.Dropout(dropout, dtype=dtype)
        self.leave = keras.layers.Dense(filters, "relu", dtype=dtype, name="leave")
        self.shift = None

    def _before(self, x):
        return self.enter(x)

    def _after(self, hidden):
        return self.leave(hidden)


@keras.saving.register_keras_serializable(package="vq_lib")
class GatedResidualBlock(CausalResidual):
    """x + a · σ(b) with (a, b) = 1x1(ELU(masked-B 3x3(ELU(x)))) + V h (Chen et al. 2017, 1712.09763, figure 2).

    The paper's second convolution is a 1x1 here: it costs a fifth, and the attention sees what it would have. h is
    looked at where `conditioned`.
    """

    def __init__(self, filters, dropout=0.0, conditioned=False, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.dropout, self.conditioned, dtype = filters, dropout, conditioned, self.dtype_policy
        self.masked = MaskedConv2D(filters, 3, "B", activation="elu", dtype=dtype, name="masked")
        self.drop = keras.layers.Dropout(dropout, dtype=dtype)
        self.leave = keras.layers.Dense(2 * filters, dtype=dtype, name="leave")
        self.shift = keras.layers.Dense(2 * filters, use_bias=False, dtype=dtype, name="shift") if conditioned else None

    def _before(self, x):
        return ops.elu(x)

    def _after(self, hidden, shift=None):
        return linear_gate(shifted(self.leave(hidden), shift))
