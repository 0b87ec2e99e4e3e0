"""PixelCNN over the code grid."""

import keras
from keras import ops

from vq_lib.masked import MaskedCodeConv, MaskedConv2D


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
        self.masked = MaskedConv2D(filters // 2, 3, "B", "relu", dtype=dtype, name="masked")
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
        return self.masked.start(batch, grid)

    def step(self, cache, x, row, column):
        seen, cache = self.masked.step(cache, self.enter(x), row, column)
        return x + self.leave(seen), cache

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "filters": self.filters, "dropout": self.rate}


@keras.saving.register_keras_serializable(package="vq_lib")
class PixelCNN(keras.Model):
    """p(z) = Π p(z_i | z_1 … z_{i-1}) over the codes of a grid in raster order (van den Oord et al. 2016, 1601.06759).

    A mask-A convolution on the codes, `blocks` residual blocks, `head` 1x1 layers, and logits for K codes. Stacked
    masked convolutions never see part of the past to the upper right (the blind spot, 1606.05328, figure 1).

    Shapes: `call`: codes (B, h, w) int → logits (B, h, w, K) float32; `step`: logits (B, K) of one cell.

    Args:
        grid: (h, w).
        codes: K.
        filters: width F of the residual blocks.
        blocks: number of residual blocks.
        kernel: side of the first window.
        head: number of 1x1 layers before the logits.
        head_filters: their width; None: `filters`.
        embedding: see `MaskedCodeConv`.
        position: adds a learned bias (h, w, F) after the first layer, so that a cell knows its place.
        dropout: see `MaskedResidualBlock`.
    """

    def __init__(self, grid, codes, filters=128, blocks=2, kernel=7, head=2, head_filters=None, embedding=None,
                 position=False, dropout=0.0, **kwargs):  # fmt: skip
        super().__init__(**kwargs)
        self.grid, self.codes = tuple(grid), codes
        self.settings = {
            "grid": list(grid), "codes": codes, "filters": filters, "blocks": blocks, "kernel": kernel, "head": head,
            "head_filters": head_filters, "embedding": embedding, "position": position, "dropout": dropout,
        }  # fmt: skip
        dtype, width = self.dtype_policy, head_filters or filters
        self.first = MaskedCodeConv(codes, filters, kernel, embedding, dtype=dtype, name="first")
        self.blocks = [MaskedResidualBlock(filters, dropout, dtype=dtype, name=f"block_{i}") for i in range(blocks)]
        self.head = [keras.layers.Dense(width, "relu", dtype=dtype, name=f"head_{i}") for i in range(head)]
        self.logits = keras.layers.Dense(codes, dtype=dtype, name="logits")
        self.place = None
        if position:
            self.place = self.add_weight((*self.grid, filters), "zeros", name="place")
        self.first.build((None, *self.grid))
        for block in self.blocks:
            block.build((None, *self.grid, filters))
        channels = filters
        for layer in [*self.head, self.logits]:
            layer.build((None, *self.grid, channels))
            channels = layer.units
        self.built = True

    @classmethod
    def from_recipe(cls, recipe, grid, codes, dtype="float32"):
        """The prior of a `Recipe` on a `grid` of `codes` codes."""
        section = recipe.section("prior")
        names = ("filters", "blocks", "kernel", "head", "head_filters", "embedding", "position", "dropout")
        return cls(grid, codes, dtype=dtype, **{name: section[name] for name in names})

    def _classify(self, x):
        for layer in self.head:
            x = layer(x)
        return ops.cast(self.logits(x), "float32")

    def call(self, inputs, training=False):
        x = self.first(inputs)
        if self.place is not None:
            x = x + ops.cast(self.place, x.dtype)
        for block in self.blocks:
            x = block(x, training=training)
        return self._classify(x)

    def start(self, batch):
        """What `step` starts from: `(state, constants)`; the constants are computed once a sampling run."""
        caches = tuple(block.start(batch, self.grid) for block in self.blocks)
        return (self.first.start(batch, self.grid), *caches), self.first.table()

    def step(self, state, constants, row, column):
        """Logits (B, K) of the cell (row, column), all before it having been `put`, and the state with it seen."""
        padded, *caches = state
        x = self.first.step(padded, constants, row, column)
        if self.place is not None:
            x = x + ops.cast(ops.convert_to_tensor(self.place)[row, column], x.dtype)
        for i, block in enumerate(self.blocks):
            x, caches[i] = block.step(caches[i], x, row, column)
        return self._classify(x), (padded, *caches)

    def put(self, state, drawn, row, column):
        """The state with the codes (B,) drawn for one cell."""
        return (self.first.put(state[0], drawn, row, column), *state[1:])

    def drawn(self, state):
        """The grid of codes in a state: (B, h, w)."""
        reach = self.first.reach
        return state[0][:, reach:, reach : reach + self.grid[1]]

    def get_config(self):
        return {**super().get_config(), **self.settings}
