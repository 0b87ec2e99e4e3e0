"""PixelCNN over the code grid."""

import keras
from keras import ops

from vq_lib.layers.base import shifted
from vq_lib.layers.masked import CausalResidual, MaskedConv2D
from vq_lib.models.prior import Prior


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
class PixelCNN(Prior):
    """PixelCNN (van den Oord et al. 2016, arXiv 1601.06759), as the published systems build it.

        x_0 = ReLU(masked-A kernel x kernel convolution of the codes),    x_{l+1} = x_l + block_l(x_l)

    Stacked masked convolutions never see part of the past to the upper right (the blind spot, 1606.05328, figure 1).
    A condition is added to the first layer's sum. Arguments, shapes and faces: see `Prior`.
    """

    def _make_blocks(self, filters, count, dropout):
        names = [f"block_{i}" for i in range(count)]
        return [MaskedResidualBlock(filters, dropout, dtype=self.dtype_policy, name=name) for name in names]

    def _split(self, above, condition):
        return None, shifted(above, condition)

    def _enter(self, x):
        return ops.relu(x)
