"""Gated PixelCNN over the code grid: two stacks, no blind spot."""

import keras
from keras import ops

from vq_lib.layers.base import Configured, gate, shifted, shifts_of
from vq_lib.layers.masked import MaskedConv2D
from vq_lib.models.prior import Prior


@keras.saving.register_keras_serializable(package="vq_lib")
class GatedBlock(Configured):
    """One layer of a gated PixelCNN (van den Oord et al. 2016, arXiv 1606.05328, figure 2 and equation 4).

        v' = kernel x kernel convolution of v over the row and the rows above,        v_out = gate(v' + V_v h)
        u  = 1 x kernel masked-B convolution of x + 1x1(v'),      x_out = x + 1x1(gate(u + V_x h))

    with gate(a, b) = tanh(a) · σ(b). The vertical stack v knows the rows above a cell and nothing of its own row, since
    the layer before the first block shifted it; so v' may read its whole row. x is the horizontal stack.

    Shapes: `call`: v and x (B, h, w, F), h (B, E) where `conditioned` → v and x; `row`: v (B, w, F) → v and the cache
    with the next row begun; `step`: x (B, F) → x. F is `filters`; `dropout` is that of the horizontal gate's outputs.
    """

    def __init__(self, filters, kernel=3, dropout=0.0, conditioned=False, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.kernel, self.dropout, self.conditioned = filters, kernel, dropout, conditioned
        self.reach, dtype = kernel // 2, self.dtype_policy
        self.vertical = keras.layers.Conv2D(2 * filters, (self.reach + 1, kernel), dtype=dtype, name="vertical")
        self.horizontal = MaskedConv2D(2 * filters, kernel, "B", rows=0, dtype=dtype, name="horizontal")
        self.link = keras.layers.Dense(2 * filters, use_bias=False, dtype=dtype, name="link")
        self.leave = keras.layers.Dense(filters, dtype=dtype, name="leave")
        self.drop = keras.layers.Dropout(dropout, dtype=dtype)
        self.shift = keras.layers.Dense(4 * filters, use_bias=False, dtype=dtype, name="shift") if conditioned else None

    def _vertical(self, window, shifts):
        """v_out, and what v' and the condition add to the horizontal stack; `window` is v with padding around it."""
        below = self.vertical(window)
        return gate(shifted(below, *shifts[:1])), shifted(self.link(below), *shifts[1:])

    def call(self, inputs, condition=None, codes=None, training=False):
        (v, x), p = inputs, self.reach
        v, context = self._vertical(ops.pad(v, [[0, 0], [p, 0], [p, p], [0, 0]]), shifts_of(self.shift, condition, 2))
        return v, x + self.leave(self.drop(gate(self.horizontal(x) + context), training=training))

    def start(self, batch, grid, condition=None):
        """An empty cache: the rows of v above, the horizontal layer's cache, and what the condition adds."""
        past = ops.zeros((batch, self.reach, grid[1] + 2 * self.reach, self.filters), self.compute_dtype)
        return past, self.horizontal.start(batch, grid), shifts_of(self.shift, condition, 2)

    def row(self, cache, above):
        past, inner, shifts = cache
        padded = ops.pad(above, [[0, 0], [self.reach, self.reach], [0, 0]])
        window = ops.concatenate([past, padded[:, None]], axis=1)
        v, context = self._vertical(window, shifts)
        return v[:, 0], (window[:, 1:], self.horizontal.row(inner, context[:, 0]), shifts)

    def step(self, cache, x, cell):
        u, inner = self.horizontal.step(cache[1], x, cell.column)
        return x + self.leave(gate(u)), (cache[0], inner, cache[2])


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

    def _make_blocks(self, filters, count, dropout):
        options = {"use_bias": False, "dtype": self.dtype_policy}
        self.link = keras.layers.Dense(2 * filters, name="link", **options)
        self.shift = keras.layers.Dense(4 * filters, name="shift", **options) if self.conditional else None
        options = {"dropout": dropout, "conditioned": self.conditional, "dtype": self.dtype_policy}
        return [GatedBlock(filters, 3, **options, name=f"block_{i}") for i in range(count)]

    def _split(self, above, condition):
        shifts = shifts_of(self.shift, condition, 2)
        return gate(shifted(above, *shifts[:1])), shifted(self.link(above), *shifts[1:])

    def _enter(self, x):
        return gate(x)
