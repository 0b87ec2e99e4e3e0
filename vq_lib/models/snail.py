"""PixelSNAIL over the code grid: causal convolutions for what is near, causal attention for what is far."""

import keras
from keras import ops

from vq_lib.layers.attention import CausalAttention
from vq_lib.layers.base import shifted
from vq_lib.layers.masked import CausalResidual, MaskedConv2D
from vq_lib.models.prior import Prior


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
        return ops.glu(shifted(self.leave(hidden), shift))


@keras.saving.register_keras_serializable(package="vq_lib")
class PixelSNAIL(Prior):
    """PixelSNAIL (Chen et al. 2017, arXiv 1712.09763), in a size that a CPU trains.

    `GatedResidualBlock`s with a `CausalAttention` after every `attention` of them and after the last, so that every
    earlier cell is within reach. `key_dim` and `value_dim` (None: half of `filters`) are the lengths of what is asked
    and of what is looked up. The other arguments, shapes and faces: see `Prior`.
    """

    def __init__(self, *args, attention=2, key_dim=16, value_dim=None, **kwargs):
        self.far = {"attention": attention, "key_dim": key_dim, "value_dim": value_dim}
        super().__init__(*args, **kwargs)
        self.settings |= self.far

    def _make_blocks(self, filters, count, dropout):
        near = {"dropout": dropout, "conditioned": self.conditional, "dtype": self.dtype_policy}
        far = {"key_dim": self.far["key_dim"], "value_dim": self.far["value_dim"] or filters // 2}
        blocks = []
        for i in range(count):
            blocks.append(GatedResidualBlock(filters, **near, name=f"block_{i}"))
            if (i + 1) % self.far["attention"] == 0 or i + 1 == count:
                blocks.append(CausalAttention(self.grid, self.codes, **far, dtype=self.dtype_policy, name=f"past_{i}"))
        return blocks

    def _leave(self, x):
        return ops.elu(x)
