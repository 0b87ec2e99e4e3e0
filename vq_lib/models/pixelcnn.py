"""PixelCNN over the code grid."""

import keras
from keras import ops

from vq_lib.layers.base import shifted
from vq_lib.layers.residual import MaskedResidualBlock
from vq_lib.models.prior import Prior


@keras.saving.register_keras_serializable(package="vq_lib")
class PixelCNN(Prior):
    """PixelCNN (van den Oord et al. 2016, arXiv 1601.06759), as the published systems build it.

        x_0 = ReLU(masked-A kernel x kernel convolution of the codes),    x_{l+1} = x_l + block_l(x_l)

    Stacked masked convolutions never see part of the past to the upper right (the blind spot, 1606.05328, figure 1).
    A condition is added to the first layer's sum. Arguments, shapes and faces: see `Prior`.
    """

    def make_blocks(self, filters, count, dropout):
        """So many `MaskedResidualBlock`s."""
        names = [f"block_{i}" for i in range(count)]
        return [MaskedResidualBlock(filters, dropout, dtype=self.dtype_policy, name=name) for name in names]

    def split(self, above, condition):
        """There is no second stack; the condition is added to the first layer's sum."""
        return None, shifted(above, condition)

    def enter(self, x):
        """x_0."""
        return ops.relu(x)
