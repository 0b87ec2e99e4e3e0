"""One layer of a gated PixelCNN: a vertical and a horizontal stack."""

import keras
from keras import ops

from vq_lib.layers.arguments import Configured
from vq_lib.layers.masked import MaskedConv2D
from vq_lib.layers.tensors import column_of, gate, shifted


def halves(layer, condition):
    """The two halves of what `layer` makes of a condition h (B, E); none, (), where there is no layer."""
    return () if layer is None else tuple(ops.split(layer(condition), 2, axis=-1))


@keras.saving.register_keras_serializable(package="vq_lib")
class GatedBlock(Configured):
    """One layer of a gated PixelCNN (van den Oord et al. 2016, arXiv 1606.05328, figure 2 and equation 4).

        v' = kernel x kernel convolution of v over the row and the rows above,        v_out = gate(v' + V_v h)
        u  = 1 x kernel masked-B convolution of x + 1x1(v'),      x_out = x + 1x1(gate(u + V_x h))

    with gate(a, b) = tanh(a) · σ(b). The vertical stack v knows the rows above a cell and nothing of its own row, since
    the layer before the first block shifted it; so v' may read its whole row. x is the horizontal stack.

    Shapes: `call`: v and x (B, h, w, F), h (B, E) where `conditioned` → v and x; `row`: v (B, w, F) → v and the cache
    with the next row begun; `step`: x (B, F) → x. F is `filters`; `dropout` is that of the horizontal gate's outputs.
    Example: `v, x = GatedBlock(64)((v, x))`.
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

    def call(self, inputs, condition=None, codes=None, training=False):
        (v, x), p, shifts = inputs, self.reach, halves(self.shift, condition)
        below = self.vertical(ops.pad(v, [[0, 0], [p, 0], [p, p], [0, 0]]))
        u = shifted(self.horizontal(x) + self.link(below), *shifts[1:])
        return gate(shifted(below, *shifts[:1])), x + self.leave(self.drop(gate(u), training=training))

    def start(self, batch, grid, condition=None):
        """An empty cache: rows of v above, what they add to this row, the horizontal layer's cache, and what h adds."""
        past = ops.zeros((batch, self.reach, grid[1] + 2 * self.reach, self.filters), self.compute_dtype)
        context = ops.zeros((batch, grid[1], 2 * self.filters), self.compute_dtype)
        return past, context, self.horizontal.start(batch, grid), halves(self.shift, condition)

    def row(self, cache, above):
        """The vertical stack's next row: v (B, w, F) → v (B, w, F), and the cache for the cells of that row."""
        (past, _, inner, shifts), p = cache, self.reach
        window = ops.concatenate([past, ops.pad(above, [[0, 0], [p, p], [0, 0]])[:, None]], axis=1)
        below = self.vertical(window)[:, 0]
        context = shifted(self.link(below), *shifts[1:])
        return gate(shifted(below, *shifts[:1])), (window[:, 1:], context, self.horizontal.row(inner), shifts)

    def step(self, cache, x, cell):
        """The horizontal stack at a `Cell`, (B, F) → (B, F), and the cache with x in it."""
        past, context, inner, shifts = cache
        u, inner = self.horizontal.step(inner, x, cell.column)
        return x + self.leave(gate(u + column_of(context, cell.column))), (past, context, inner, shifts)
