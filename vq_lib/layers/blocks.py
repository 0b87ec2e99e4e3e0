"""Encoder and decoder: their layers, the blocks that name these, and the models made of them."""

import keras
from keras import ops

from vq_lib.layers.base import Configured


@keras.saving.register_keras_serializable(package="vq_lib")
class ResidualBlock(Configured):
    """x + Conv1x1(act(Conv3x3(act(x)))), the residual block of VQ-VAE (van den Oord et al. 2017, section 4.1).

    Shapes: (B, H, W, filters) → the same; the 3x3 convolution has `hidden` channels.
    """

    def __init__(self, filters, hidden, activation="relu", **kwargs):
        super().__init__(**kwargs)
        self.filters, self.hidden, self.activation = filters, hidden, activation
        dtype = self.dtype_policy
        self.act = keras.layers.Activation(activation, dtype=dtype)
        self.wide = keras.layers.Conv2D(hidden, 3, padding="same", activation=activation, dtype=dtype, name="wide")
        self.back = keras.layers.Conv2D(filters, 1, dtype=dtype, name="back")

    def build(self, input_shape):
        if input_shape[-1] != self.filters:
            raise ValueError(f"a residual block of `filters` (={self.filters}) was given {input_shape[-1]} channels")
        self.wide.build(input_shape)
        self.back.build((*input_shape[:-1], self.hidden))

    def call(self, inputs):
        return inputs + self.back(self.wide(self.act(inputs)))


@keras.saving.register_keras_serializable(package="vq_lib")
class DepthToSpace(Configured):
    """Sub-pixel rearrangement by a `factor` s: (B, H, W, s²·C) → (B, s·H, s·W, C) (Shi et al. 2016, arXiv 1609.05158,
    equation 4).
    """

    def __init__(self, factor, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, inputs):
        _, height, width, channels = inputs.shape  # by hand: only new versions of Keras have an operation for it
        s = self.factor
        cells = ops.reshape(inputs, (-1, height, width, s, s, channels // s**2))
        return ops.reshape(ops.transpose(cells, (0, 1, 3, 2, 4, 5)), (-1, height * s, width * s, channels // s**2))


def layers_of(blocks, activation, dtype):
    """The Keras layers of blocks, dicts with every key of a recipe's block, one after the other.

    `conv` shrinks the grid by `stride`; `transpose` (transposed convolution) and `subpixel` (convolution, then depth to
    space) enlarge it by `stride`; `residual` is `repeat` residual blocks of `filters` channels whose 3x3 convolution
    has `hidden` channels (None: `filters`).
    """
    for block in blocks:
        kind, filters, options = block["layer"], block["filters"], {"activation": activation, "dtype": dtype}
        if kind == "residual":
            for _ in range(block["repeat"]):
                yield ResidualBlock(filters, block["hidden"] or filters, **options)
            # The block's sum is linear; what follows it expects an activation.
            yield keras.layers.Activation(**options)
        elif kind == "subpixel":
            yield keras.layers.Conv2D(filters * block["stride"] ** 2, block["kernel"], padding="same", **options)
            yield DepthToSpace(block["stride"], dtype=dtype)
        else:
            convolution = keras.layers.Conv2D if kind == "conv" else keras.layers.Conv2DTranspose
            yield convolution(filters, block["kernel"], block["stride"], padding="same", **options)


def encoder(blocks, image_shape, code_dim, activation="relu", offset=0.0, dtype="float32"):
    """Images (B, H, W, C) uint8 → vectors (B, h, w, code_dim): `blocks`, or a Keras model, and a 1x1 convolution after
    blocks, unless `code_dim` is None. Grey levels become [-offset, 1 - offset], in float32 whatever the policy, which
    bfloat16 would move by a level. With offset 0 black is 0, as the convolutions' padding is: the border of a slice
    then looks like more background.
    """
    if isinstance(blocks, keras.Model):
        layers = [blocks]
    else:
        layers = list(layers_of(blocks, activation, dtype))  # in turn: each draws the seed of its first weights
        layers += [keras.layers.Conv2D(code_dim, 1, dtype=dtype)] if code_dim else []
    levels = keras.layers.Rescaling(1 / 255, -offset, dtype="float32")
    return keras.Sequential([keras.Input(image_shape, dtype="uint8"), levels, *layers], name="encoder")


def decoder(blocks, grid_shape, channels, activation="relu", output="transpose", final="linear", dtype="float32"):
    """Quantised vectors (B, h, w, D) → images (B, H, W, channels), short of the offset: `blocks`, then a 3x3 layer of
    the kind `output` with the activation `final`. With output="block" the last block gives the image, as a Keras model
    in the place of the blocks does.
    """
    if isinstance(blocks, keras.Model):
        layers = [blocks]
    else:
        last = {"layer": output, "filters": channels, "kernel": 3, "stride": 1}
        *first, last = blocks if output == "block" else [*blocks, last]
        layers = [*layers_of(first, activation, dtype), *layers_of([last], final, dtype)]
    return keras.Sequential([keras.Input(grid_shape), *layers], name="decoder")


def receptive_field(blocks):
    """(low, high): the pixels that a code of an encoder of such blocks can see, from its own patch's first pixel.

    "same" padding puts (kernel - stride) // 2 pixels before the patch on an even grid, as Keras's backends do.
    """
    low = high = 0
    jump = 1  # pixels between neighbouring cells of the current grid
    for block in blocks:
        kernel, stride = block["kernel"], block["stride"]
        before = max(kernel - stride, 0) // 2
        for _ in range(block["repeat"]):
            low -= before * jump
            high += (kernel - 1 - before) * jump
            jump *= stride
    return low, high
