"""The convolutional encoder and decoder that a recipe shapes."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="vq_lib")
class ResidualBlock(keras.layers.Layer):
    """x + Conv1x1(act(Conv3x3(act(x)))), the residual block of VQ-VAE (van den Oord et al. 2017, section 4.1).

    Shapes: (B, H, W, filters) → the same.

    Args:
        filters: channels of input and output.
        hidden: channels of the 3x3 convolution.
        activation: of both convolutions.
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
        self.built = True

    def call(self, inputs):
        return inputs + self.back(self.wide(self.act(inputs)))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        names = ("filters", "hidden", "activation")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


@keras.saving.register_keras_serializable(package="vq_lib")
class DepthToSpace(keras.layers.Layer):
    """Sub-pixel rearrangement (Shi et al. 2016, arXiv 1609.05158, equation 4).

    Shapes: (B, H, W, s²·C) → (B, s·H, s·W, C), for `factor` s.
    """

    def __init__(self, factor, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, inputs):
        _, height, width, channels = inputs.shape  # by hand: only new versions of Keras have an operation for it
        s = self.factor
        cells = ops.reshape(inputs, (-1, height, width, s, s, channels // s**2))
        return ops.reshape(ops.transpose(cells, (0, 1, 3, 2, 4, 5)), (-1, height * s, width * s, channels // s**2))

    def compute_output_shape(self, input_shape):
        n, height, width, channels = input_shape
        return (n, height * self.factor, width * self.factor, channels // self.factor**2)

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


@keras.saving.register_keras_serializable(package="vq_lib")
class Normalise(keras.layers.Layer):
    """Grey levels 0–255 to [-offset, 1 - offset], in float32 even under bfloat16, which would move them by up to a
    level.

    With offset 0 black is 0, as the convolutions' padding is: the border of a slice then looks like more background.
    """

    def __init__(self, offset=0.0, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.offset = offset

    def call(self, inputs):
        return ops.cast(inputs, "float32") / 255.0 - self.offset

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "offset": self.offset}


def _layers(blocks, activation, dtype):
    for block in blocks:
        options = {"padding": "same", "activation": activation, "dtype": dtype}
        if block["layer"] == "conv":
            yield keras.layers.Conv2D(block["filters"], block["kernel"], block["stride"], **options)
        elif block["layer"] == "transpose":
            yield keras.layers.Conv2DTranspose(block["filters"], block["kernel"], block["stride"], **options)
        elif block["layer"] == "subpixel":
            yield keras.layers.Conv2D(block["filters"] * block["stride"] ** 2, block["kernel"], **options)
            yield DepthToSpace(block["stride"], dtype=dtype)
        else:
            hidden = block["hidden"] or block["filters"]
            for _ in range(block["repeat"]):
                yield ResidualBlock(block["filters"], hidden, activation, dtype=dtype)
            # The block's sum is linear; what follows it expects an activation.
            yield keras.layers.Activation(activation, dtype=dtype)


def encoder(blocks, image_shape, code_dim, activation="relu", offset=0.0, dtype="float32"):
    """Images (B, H, W, C) uint8 → vectors (B, h, w, code_dim): `Normalise`, `blocks`, then a 1x1 convolution."""
    layers = [Normalise(offset), *_layers(blocks, activation, dtype), keras.layers.Conv2D(code_dim, 1, dtype=dtype)]
    return keras.Sequential([keras.Input(image_shape, dtype="uint8"), *layers], name="encoder")


def decoder(blocks, grid_shape, channels, activation="relu", output="transpose", final="linear", dtype="float32"):
    """Quantised vectors (B, h, w, D) → images (B, H, W, channels), short of the offset.

    `blocks`, then a 3x3 layer of the kind `output` with the activation `final`. With output="block" the last of
    `blocks` gives the image itself and there is no further layer.
    """
    if output == "block":
        layers = [*_layers(blocks[:-1], activation, dtype), *_layers(blocks[-1:], final, dtype)]
    else:
        last = {"transpose": keras.layers.Conv2DTranspose, "conv": keras.layers.Conv2D}[output]
        layers = [*_layers(blocks, activation, dtype), last(channels, 3, padding="same", activation=final, dtype=dtype)]
    return keras.Sequential([keras.Input(grid_shape), *layers], name="decoder")


def receptive_field(blocks):
    """(low, high): the pixels that a code can see, counted from the first pixel of the code's own patch.

    "same" padding puts (kernel - stride) // 2 pixels before the patch for a convolution with a stride on an even
    grid, and kernel // 2 for one without, as Keras's backends do.
    """
    low = high = 0
    jump = 1  # pixels between neighbouring cells of the current grid
    for block in blocks:
        for _ in range(block["repeat"] if block["layer"] == "residual" else 1):
            kernel, stride = (3, 1) if block["layer"] == "residual" else (block["kernel"], block["stride"])
            before = max(kernel - stride, 0) // 2
            low -= before * jump
            high += (kernel - 1 - before) * jump
            jump *= stride
    return low, high
