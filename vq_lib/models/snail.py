"""PixelSNAIL over the code grid: causal convolutions for what is near, causal attention for what is far."""

import keras
from keras import ops

from vq_lib.layers.attention import CausalAttention
from vq_lib.layers.residual import GatedResidualBlock
from vq_lib.models.prior import Prior


@keras.saving.register_keras_serializable(package="vq_lib")
class PixelSNAIL(Prior):
    """PixelSNAIL (Chen et al. 2017, arXiv 1712.09763), in a size that a CPU trains.

    `GatedResidualBlock`s with a `CausalAttention` after every `attention` of them, so that every earlier cell is within
    reach. Arguments, shapes and faces: see `Prior`.

    Args:
        attention: blocks between two attentions; the last block is followed by one in any case.
        key_dim: length of queries and keys.
        value_dim: length of what is looked up; None: half of `filters`.
    """

    def __init__(self, *args, attention=2, key_dim=16, value_dim=None, **kwargs):
        self.far = {"attention": attention, "key_dim": key_dim, "value_dim": value_dim}
        super().__init__(*args, **kwargs)
        self.settings |= self.far

    def make_blocks(self, filters, count, dropout):
        """`GatedResidualBlock`s and, among them, `CausalAttention`."""
        near = {"dropout": dropout, "conditioned": self.conditional, "dtype": self.dtype_policy}
        far = {"key_dim": self.far["key_dim"], "value_dim": self.far["value_dim"] or filters // 2}
        blocks = []
        for i in range(count):
            blocks.append(GatedResidualBlock(filters, **near, name=f"block_{i}"))
            if (i + 1) % self.far["attention"] == 0 or i + 1 == count:
                blocks.append(CausalAttention(self.grid, self.codes, **far, dtype=self.dtype_policy, name=f"past_{i}"))
        return blocks

    def leave(self, x):
        """What the last block gives, through ELU."""
        return ops.elu(x)
