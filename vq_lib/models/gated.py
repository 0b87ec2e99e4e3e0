"""Gated PixelCNN over the code grid: two stacks, no blind spot."""

import keras

from vq_lib.layers.base import gate, shifted, shifts_of
from vq_lib.layers.gated import GatedBlock
from vq_lib.models.prior import Prior


@keras.saving.register_keras_serializable(package="vq_lib")
class GatedPixelCNN(Prior):
    """Gated PixelCNN (van den Oord et al. 2016, arXiv 1606.05328): `1 + blocks` layers, each of two stacks.

    The first layer splits what it reads: the rows above a cell begin the vertical stack, the cells to its left the
    horizontal one,

        v_0 = gate(above + V_v h),    x_0 = gate(left + 1x1(above) + V_x h),

    and `GatedBlock`s with 3x3 windows follow. A cell sees every earlier one within Σ kernel // 2: there is no blind
    spot. In sampling the vertical stack runs once a row. Arguments, shapes and faces: see `Prior`.
    """

    streams = 2

    def make_blocks(self, filters, count, dropout):
        """So many `GatedBlock`s, and what `split` needs."""
        options = {"use_bias": False, "dtype": self.dtype_policy}
        self.link = keras.layers.Dense(2 * filters, name="link", **options)
        self.shift = keras.layers.Dense(4 * filters, name="shift", **options) if self.conditional else None
        options = {"dropout": dropout, "conditioned": self.conditional, "dtype": self.dtype_policy}
        return [GatedBlock(filters, 3, **options, name=f"block_{i}") for i in range(count)]

    def split(self, above, condition):
        """v_0, and what the rows above and the condition add to x_0 before its gate."""
        shifts = shifts_of(self.shift, condition, 2)
        return gate(shifted(above, *shifts[:1])), shifted(self.link(above), *shifts[1:])

    def enter(self, x):
        """x_0."""
        return gate(x)
