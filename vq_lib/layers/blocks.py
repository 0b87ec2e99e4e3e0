"""The layers that encoder and decoder are made of, and the dicts that name them."""

import keras
from keras import ops

from vq_lib.layers.arguments import Configured, nearest, one_of

KINDS: dict[str, dict] = {  # what a block of each kind may say beside its `filters`, and what holds where it does not
    "conv": {"kernel": 3, "stride": 1},
    "transpose": {"kernel": 3, "stride": 1},
    "subpixel": {"kernel": 3, "stride": 1},
    "residual": {"repeat": 1, "hidden": None},
}
NEUTRAL = {"kernel": 3, "stride": 1, "repeat": 1, "hidden": None}


@keras.saving.register_keras_serializable(package="vq_lib")
class ResidualBlock(Configured):
    """x + Conv1x1(act(Conv3x3(act(x)))), the residual block of VQ-VAE (van den Oord et al. 2017, section 4.1).

    Shapes: (B, H, W, filters) → the same; the 3x3 convolution has `hidden` channels, and `activation` precedes both.
    Example: `ResidualBlock(64, 32)(x)`.
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
    """Sub-pixel rearrangement (Shi et al. 2016, arXiv 1609.05158, equation 4).

    Shapes: (B, H, W, s²·C) → (B, s·H, s·W, C), for `factor` s. Example: `DepthToSpace(2)(x)`.
    """

    def __init__(self, factor, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, inputs):
        _, height, width, channels = inputs.shape  # by hand: only new versions of Keras have an operation for it
        s = self.factor
        cells = ops.reshape(inputs, (-1, height, width, s, s, channels // s**2))
        return ops.reshape(ops.transpose(cells, (0, 1, 3, 2, 4, 5)), (-1, height * s, width * s, channels // s**2))


@keras.saving.register_keras_serializable(package="vq_lib")
class Normalise(Configured):
    """Grey levels 0–255 to [-offset, 1 - offset], in float32 whatever the policy: bfloat16 moves them by up to a level.

    With offset 0 black is 0, as the convolutions' padding is: the border of a slice then looks like more background.
    Example: `Normalise(0.5)(images)`.
    """

    def __init__(self, offset=0.0, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.offset = offset

    def call(self, inputs):
        return ops.cast(inputs, "float32") / 255.0 - self.offset


def complete(block):
    """A block as a dict with everything that it leaves at its default, such as {"layer": "conv", "filters": 32}.

    `conv` shrinks the grid by `stride`; `transpose` (transposed convolution) and `subpixel` (convolution, then depth to
    space) enlarge it by `stride`; `residual` is `repeat` residual blocks of `filters` channels whose 3x3 convolution
    has `hidden` channels (None: `filters`).

    Raises:
        ValueError: the kind or a key is unknown, `filters` is missing, or a key has no effect on this kind.
    """
    if hasattr(block, "model_dump"):
        block = block.model_dump()
    if not isinstance(block, dict):
        raise ValueError(f"a block must be a dict such as {{'layer': 'conv', 'filters': 32}}, not {block!r:.80}")
    kind = one_of("layer", block.get("layer"), KINDS)
    full = {"layer": kind, "filters": block.get("filters"), **KINDS[kind]}
    for key, value in block.items():
        if key not in full and (key not in NEUTRAL or value != NEUTRAL[key]):
            raise ValueError(f"a {kind!r} block has no {key!r}: it has {', '.join(full)}.{nearest(key, full)}")
    full |= {key: value for key, value in block.items() if key in full}
    if not isinstance(full["filters"], int):
        raise ValueError(f"a {kind!r} block needs `filters` (={full['filters']!r}), its number of channels")
    return full


def layers_of(blocks, activation, dtype):
    """The Keras layers of complete blocks, one after the other."""
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


def receptive_field(blocks):
    """(low, high): the pixels that a code of an encoder of complete blocks can see, from its own patch's first pixel.

    "same" padding puts (kernel - stride) // 2 pixels before the patch for a convolution with a stride on an even
    grid, and kernel // 2 for one without, as Keras's backends do.
    """
    low = high = 0
    jump = 1  # pixels between neighbouring cells of the current grid
    for block in blocks:
        for _ in range(block.get("repeat", 1)):
            kernel, stride = block.get("kernel", 3), block.get("stride", 1)
            before = max(kernel - stride, 0) // 2
            low -= before * jump
            high += (kernel - 1 - before) * jump
            jump *= stride
    return low, high
