"""Finite scalar quantisation: codes without a codebook, of which none can die for want of updates."""

import keras
import numpy as np
from keras import ops

from vq_lib.layers.base import Configured


@keras.saving.register_keras_serializable(package="vq_lib")
class FiniteScalarQuantizer(Configured):
    r"""Rounds each channel of a vector to one of a few levels (Mentzer et al. 2023, arXiv 2309.15505, section 3.1).

    Channel i with L_i ≥ 2 `levels` is squashed to a range that rounds to exactly L_i integers, and rounded; the
    gradient goes straight through. With h_i = (L_i − 1)/2 + ε_i, a small ε_i, and o_i = ½ where L_i is even, else 0,

        f(z_i) = h_i tanh(z_i + artanh(o_i / h_i)) − o_i,    ẑ_i = round(f(z_i)) / ⌊L_i / 2⌋.

    The code is the number that the integers spell in mixed radix: k = Σ_i (round(f(z_i)) + ⌊L_i/2⌋) Π_{j<i} L_j.
    There is nothing to learn, no loss of its own, and K = Π L_i.

    Shapes: with levels [8, 8, 8] (16, 32, 32, 3) → the same; `encode` gives codes (16, 32, 32), int32 below 512.
    """

    def __init__(self, levels, **kwargs):
        super().__init__(**kwargs)
        if not levels or min(levels) < 2:
            raise ValueError(f"`levels` (={levels}) must be one or more numbers of at least 2")
        self.levels = [int(level) for level in levels]
        self.num_embeddings, self.embedding_dim = int(np.prod(self.levels)), len(self.levels)
        count = np.array(self.levels, np.float32)
        # Room beyond the outermost levels, so that they can be reached; half a level more would be another level.
        self.half = (count - 1) / 2 + np.minimum((count - 1) * 0.0005, 0.4).astype(np.float32)
        self.offset, self.centre = np.where(count % 2 == 0, 0.5, 0.0).astype(np.float32), count // 2
        self.radix = np.cumprod([1, *self.levels[:-1]]).astype(np.int32)

    def _bounded(self, z):
        if z.shape[-1] != self.embedding_dim:
            raise ValueError(f"the last axis of the input (={z.shape[-1]}) must be `levels` (={self.embedding_dim})")
        # The constants are NumPy arrays, which PyTorch's operators do not take; ops do.
        squashed = ops.tanh(ops.add(ops.cast(z, "float32"), np.arctanh(self.offset / self.half)))
        return ops.subtract(ops.multiply(squashed, self.half), self.offset)

    def encode(self, inputs):
        """The code of each vector: (..., D) floats → (...) int32."""
        digits = ops.cast(ops.add(ops.round(self._bounded(inputs)), self.centre), "int32")
        return ops.sum(ops.multiply(digits, self.radix), axis=-1)

    def decode(self, codes):
        """The vectors ẑ of codes: (...) int → (..., D) float32 in [-1, 1]."""
        places = ops.floor_divide(ops.cast(codes, "int32")[..., None], self.radix)
        digits = ops.cast(ops.mod(places, np.array(self.levels, np.int32)), "float32")
        return ops.divide(ops.subtract(digits, self.centre), self.centre)

    def call(self, inputs):
        bounded = self._bounded(inputs)
        rounded = bounded + ops.stop_gradient(ops.round(bounded) - bounded)
        return ops.cast(ops.divide(rounded, self.centre), self.compute_dtype)
