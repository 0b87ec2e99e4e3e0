"""PixelCNN over the code grid."""

import keras
from keras import ops

from vq_lib.layers.masked import MaskedConv2D, shifted
from vq_lib.models.prior import Prior


@keras.saving.register_keras_serializable(package="vq_lib")
class MaskedResidualBlock(keras.layers.Layer):
    """x + 1x1 (F) → masked-B 3x3 (F/2) → 1x1 (F), ReLU after each; dropout before the last.

    Shapes: `call`: (B, h, w, F) → the same; `step`: (B, F) → the same.

    Args:
        filters: F, even.
        dropout: share of the 3x3 convolution's outputs to drop while training.
    """

    def __init__(self, filters, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.rate = filters, dropout
        dtype = self.dtype_policy
        self.enter = keras.layers.Dense(filters, "relu", dtype=dtype, name="enter")
        self.masked = MaskedConv2D(filters // 2, 3, "B", activation="relu", dtype=dtype, name="masked")
        self.drop = keras.layers.Dropout(dropout, dtype=dtype)
        self.leave = keras.layers.Dense(filters, "relu", dtype=dtype, name="leave")

    def build(self, input_shape):
        self.enter.build(input_shape)
        self.masked.build((*input_shape[:-1], self.filters))
        self.leave.build((*input_shape[:-1], self.filters // 2))
        self.built = True

    def call(self, inputs, training=False):
        return inputs + self.leave(self.drop(self.masked(self.enter(inputs)), training=training))

    def start(self, batch, grid):
        """An empty cache; see `MaskedConv2D`."""
        return self.masked.start(batch, grid)

    def row(self, cache):
        """The cache at the beginning of the next row."""
        return self.masked.row(cache)

    def step(self, cache, x, column):
        """The output at `column` given the input there, (B, F) → (B, F), and the cache with x in it."""
        seen, cache = self.masked.step(cache, self.enter(x), column)
        return x + self.leave(seen), cache

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "filters": self.filters, "dropout": self.rate}


@keras.saving.register_keras_serializable(package="vq_lib")
class PixelCNN(Prior):
    """PixelCNN (van den Oord et al. 2016, arXiv 1601.06759), as the published systems build it.

        x_0 = ReLU(masked-A kernel x kernel convolution of the codes),    x_{l+1} = x_l + block_l(x_l)

    Stacked masked convolutions never see part of the past to the upper right (the blind spot, 1606.05328, figure 1).
    A condition is added to the first layer's sum. Arguments, shapes and faces: see `Prior`.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        filters, dropout = self.settings["filters"], self.settings["dropout"]
        self.blocks = [
            MaskedResidualBlock(filters, dropout, dtype=self.dtype_policy, name=f"block_{i}")
            for i in range(self.settings["blocks"])
        ]
        for block in self.blocks:
            block.build((None, *self.grid, filters))
        self.built = True

    def _stack(self, codes, above, left, given, training):
        x = ops.relu(shifted(above + left, given))
        for block in self.blocks:
            x = block(x, training=training)
        return x

    def _start(self, batch):
        return tuple(block.start(batch, self.grid) for block in self.blocks)

    def _shifts(self, given):
        return given

    def _row(self, context, caches, shifts):
        return shifted(context, shifts), tuple(
            block.row(cache) for block, cache in zip(self.blocks, caches, strict=True)
        )

    def _step(self, codes, context, left, caches, shifts, row, column):
        x, after = ops.relu(context + left), []
        for block, cache in zip(self.blocks, caches, strict=True):
            x, cache = block.step(cache, x, column)
            after.append(cache)
        return x, tuple(after)
