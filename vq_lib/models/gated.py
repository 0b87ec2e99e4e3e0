"""Gated PixelCNN over the code grid: two stacks, no blind spot."""

import keras
from keras import ops

from vq_lib.layers.masked import MaskedConv2D, column_of, gate, halves, shifted
from vq_lib.models.prior import Prior


@keras.saving.register_keras_serializable(package="vq_lib")
class GatedBlock(keras.layers.Layer):
    """One layer of a gated PixelCNN (van den Oord et al. 2016, arXiv 1606.05328, figure 2 and equation 4).

        v' = kernel x kernel convolution of v over the row and the rows above,        v_out = gate(v' + V_v h)
        u  = 1 x kernel masked-B convolution of x + 1x1(v'),      x_out = x + 1x1(gate(u + V_x h))

    with gate(a, b) = tanh(a) · σ(b). The vertical stack v knows the rows above a cell and nothing of its own row, since
    the layer before the first block shifted it; so v' may read its whole row. x is the horizontal stack.

    Shapes: `call`: v and x (B, h, w, F), h (B, E) or None → v and x; `row`: v (B, w, F) → v and the cache with the
    next row begun; `step`: x (B, F) → x.

    Args:
        filters: F.
        kernel: side of the (odd) window.
        dropout: share of the gate's outputs to drop while training, in the horizontal stack.
        conditioned: whether h is given.
    """

    def __init__(self, filters, kernel=3, dropout=0.0, conditioned=False, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.kernel, self.rate, self.conditioned = filters, kernel, dropout, conditioned
        self.reach, dtype = kernel // 2, self.dtype_policy
        self.vertical = keras.layers.Conv2D(2 * filters, (self.reach + 1, kernel), dtype=dtype, name="vertical")
        self.horizontal = MaskedConv2D(2 * filters, kernel, "B", rows=0, dtype=dtype, name="horizontal")
        self.link = keras.layers.Dense(2 * filters, use_bias=False, dtype=dtype, name="link")
        self.leave = keras.layers.Dense(filters, dtype=dtype, name="leave")
        self.drop = keras.layers.Dropout(dropout, dtype=dtype)
        self.shift = None
        if conditioned:
            self.shift = keras.layers.Dense(4 * filters, use_bias=False, dtype=dtype, name="shift")

    def build(self, input_shape):
        shape = (None, None, None, self.filters)
        self.vertical.build(shape)
        self.horizontal.build(shape)
        self.link.build((None, 2 * self.filters))
        self.leave.build(shape)
        if self.shift is not None:
            self.shift.build((None, self.filters))
        self.built = True

    def call(self, inputs, given=None, training=False):
        (v, x), p, (down, across) = inputs, self.reach, halves(self.shift, given)
        below = self.vertical(ops.pad(v, [[0, 0], [p, 0], [p, p], [0, 0]]))
        u = shifted(self.horizontal(x) + self.link(below), across)
        return gate(shifted(below, down)), x + self.leave(self.drop(gate(u), training=training))

    def start(self, batch, grid):
        """An empty cache: rows of v above, what v' contributes to this row, and the horizontal layer's cache."""
        past = ops.zeros((batch, self.reach, grid[1] + 2 * self.reach, self.filters), self.compute_dtype)
        context = ops.zeros((batch, grid[1], 2 * self.filters), self.compute_dtype)
        return past, context, self.horizontal.start(batch, grid)

    def row(self, cache, v, shifts):
        """The vertical stack's next row: v (B, w, F) → v' (B, w, F), and the cache for the cells of that row.

        Args:
            shifts: what the condition adds to the vertical and to the horizontal gate, (B, 2F) each, or None.
        """
        p, (down, across) = self.reach, shifts
        window = ops.concatenate([cache[0], ops.pad(v, [[0, 0], [p, p], [0, 0]])[:, None]], axis=1)
        below = self.vertical(window)[:, 0]
        context = shifted(self.link(below), across)
        return gate(shifted(below, down)), (window[:, 1:], context, self.horizontal.row(cache[2]))

    def step(self, cache, x, column):
        """The horizontal stack at `column`, (B, F) → (B, F), and the cache with x in it."""
        past, context, inner = cache
        u, inner = self.horizontal.step(inner, x, column)
        return x + self.leave(gate(u + column_of(context, column))), (past, context, inner)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        config = {"filters": self.filters, "kernel": self.kernel, "dropout": self.rate}
        return {**super().get_config(), **config, "conditioned": self.conditioned}


@keras.saving.register_keras_serializable(package="vq_lib")
class GatedPixelCNN(Prior):
    """Gated PixelCNN (van den Oord et al. 2016, arXiv 1606.05328): `1 + blocks` layers, each of two stacks.

    The first layer splits what it reads: the rows above a cell begin the vertical stack, the cells to its left the
    horizontal one,

        v_0 = gate(above + V_v h),    x_0 = gate(left + 1x1(above) + V_x h),

    and `GatedBlock`s with 3x3 windows follow. A cell sees every earlier one within Σ kernel // 2: there is no blind
    spot. In sampling the vertical stack runs once a row. Arguments, shapes and faces: see `Prior`.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        filters, dtype = self.settings["filters"], self.dtype_policy
        self.link = keras.layers.Dense(2 * filters, use_bias=False, dtype=dtype, name="link")
        self.link.build((None, 2 * filters))
        self.shift = None
        if self.conditional:
            self.shift = keras.layers.Dense(4 * filters, use_bias=False, dtype=dtype, name="shift")
            self.shift.build((None, filters))
        self.blocks = [
            GatedBlock(filters, 3, self.settings["dropout"], self.conditional, dtype=dtype, name=f"block_{i}")
            for i in range(self.settings["blocks"])
        ]
        for block in self.blocks:
            block.build(None)
        self.built = True

    def _width(self, filters):
        return 2 * filters

    def _stack(self, codes, above, left, given, training):
        down, across = halves(self.shift, given)
        v, x = gate(shifted(above, down)), gate(shifted(left + self.link(above), across))
        for block in self.blocks:
            v, x = block((v, x), given, training=training)
        return x

    def _start(self, batch):
        return tuple(block.start(batch, self.grid) for block in self.blocks)

    def _shifts(self, given):
        return [halves(self.shift, given), *(halves(block.shift, given) for block in self.blocks)]

    def _row(self, above, caches, shifts):
        (down, across), *inner = shifts
        v, after = gate(shifted(above, down)), []
        for block, cache, shift in zip(self.blocks, caches, inner, strict=True):
            v, cache = block.row(cache, v, shift)
            after.append(cache)
        return shifted(self.link(above), across), tuple(after)

    def _step(self, codes, context, left, caches, shifts, row, column):
        x, after = gate(context + left), []
        for block, cache in zip(self.blocks, caches, strict=True):
            x, cache = block.step(cache, x, column)
            after.append(cache)
        return x, tuple(after)
