"""What all priors over the code grid share: their settings, first layer, conditioning, head, and the two faces."""

import math

import keras
from keras import ops

from vq_lib.layers.masked import MaskedCodeConv, cast, column_of


@keras.saving.register_keras_serializable(package="vq_lib")
class Conditioning(keras.layers.Layer):
    """A learned vector for what is known of a slice: h = L[label] + S[slice position]; -1 (unknown) adds nothing.

    Shapes: (B, 2) int → (B, width).

    Args:
        labels, slices: how many labels and slice positions there are; 0: that column is not looked at.
        width: length of h.
    """

    def __init__(self, labels, slices, width, **kwargs):
        super().__init__(**kwargs)
        self.labels, self.slices, self.width = labels, slices, width

    def build(self, input_shape=None):
        start = keras.initializers.RandomNormal(stddev=0.3)
        self.tables = [
            self.add_weight((count, self.width), start, name=name) if count else None
            for name, count in (("label", self.labels), ("slice", self.slices))
        ]
        self.built = True

    def call(self, inputs):
        total = 0.0
        for column, table in enumerate(self.tables):
            if table is not None:
                known = ops.pad(ops.convert_to_tensor(table), [[0, 1], [0, 0]])
                index = inputs[:, column]
                total = total + ops.take(known, ops.where(index < 0, table.shape[0], index), axis=0)
        return ops.cast(total, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.width)

    def get_config(self):
        return {**super().get_config(), "labels": self.labels, "slices": self.slices, "width": self.width}


class Prior(keras.Model):
    """p(z | c) = Π p(z_i | z_1 … z_{i-1}, c) over the codes of a grid in raster order.

    A first layer reads the codes before each cell, a stack of blocks follows, then `head` 1x1 layers and logits for K
    codes. What a subclass adds is the stack: `_width` (channels of the first layer), `_stack` (the whole grid), and
    `_start`, `_row` and `_step` (one row and one cell, from caches).

    Shapes: `call`: codes (B, h, w) int, condition (B, 2) int → logits (B, h, w, K) float32. Floats (B, h, w, K) are
    read as one-hot codes. With `fit` and `predict` codes and condition are given as a pair.

    Args:
        grid: (h, w).
        codes: K.
        filters: channels F of the blocks.
        blocks: how many.
        kernel: side of the first layer's window.
        head: number of 1x1 layers before the logits.
        head_filters: their width; None: `filters`.
        embedding: length of a code's vector in the first layer; None: one-hot codes.
        position: adds a learned bias for each grid cell in the first layer, so that a cell knows its place.
        dropout: share of each block's hidden channels to drop while training.
        labels: names of the labels that the prior is conditioned on; empty: on none.
        slices: number of slice positions that it is conditioned on; 0: on none.

    Call arguments:
        condition: label (index into `labels`) and slice position of each grid, -1 for unknown; only where the prior
            is conditioned.
    """

    def __init__(self, grid, codes, filters=128, blocks=2, kernel=7, head=2, head_filters=None, embedding=None,
                 position=False, dropout=0.0, labels=(), slices=0, **kwargs):  # fmt: skip
        super().__init__(**kwargs)
        self.grid, self.codes, self.labels, self.slices = tuple(grid), codes, tuple(labels), slices
        self.settings = {
            "grid": list(grid), "codes": codes, "filters": filters, "blocks": blocks, "kernel": kernel, "head": head,
            "head_filters": head_filters, "embedding": embedding, "position": position, "dropout": dropout,
            "labels": list(labels), "slices": slices,
        }  # fmt: skip
        dtype, width = self.dtype_policy, self._width(filters)
        self.first = MaskedCodeConv(codes, width, kernel, embedding, dtype=dtype, name="first")
        self.first.build((None, *self.grid))
        self.place = self.add_weight((*self.grid, width), "zeros", name="place") if position else None
        self.conditioning = None
        if self.conditional:
            self.conditioning = Conditioning(len(self.labels), slices, filters, dtype=dtype, name="conditioning")
            self.conditioning.build()
        inner = head_filters or filters
        self.head = [keras.layers.Dense(inner, "relu", dtype=dtype, name=f"head_{i}") for i in range(head)]
        self.logits = keras.layers.Dense(codes, dtype=dtype, name="logits")
        for i, layer in enumerate([*self.head, self.logits]):
            layer.build((None, inner if i else filters))

    def _width(self, filters):
        return filters

    @property
    def conditional(self):
        """Whether the prior has to be told label or slice position."""
        return bool(self.labels) or self.slices > 0

    @property
    def condition_bits(self):
        """What telling a condition costs, in bits, when each of its values (unknown among them) is alike."""
        counts = (len(self.labels), self.slices)
        return sum(math.log2(count + 1) for count in counts if count)

    def _given(self, condition):
        """The vector h of a condition, (B, filters), or None for a prior without."""
        if self.conditioning is None:
            return None
        if condition is None:
            raise ValueError("this prior is conditioned on label or slice position: `condition` must be given")
        return self.conditioning(condition)

    def call(self, inputs, condition=None, training=False):
        if isinstance(inputs, (tuple, list)):
            inputs, condition = inputs
        above, left = self.first.parts(inputs)
        above = above + cast(self.first.bias, above.dtype)
        if self.place is not None:
            above = above + cast(self.place, above.dtype)
        return self._classify(self._stack(inputs, above, left, self._given(condition), training))

    def _classify(self, x):
        for layer in self.head:
            x = layer(x)
        return ops.cast(self.logits(x), "float32")

    def start(self, batch, condition=None):
        """What a sampling run starts from: `(state, constants)`; the constants are computed once."""
        context = ops.zeros((batch, self.grid[1], self.first.filters), self.compute_dtype)
        given = self._given(condition)
        return (self.first.start(batch, self.grid), context, self._start(batch)), (
            self.first.table(),
            self._shifts(given),
        )

    def row(self, state, constants, row):
        """The state at the beginning of a row, all rows above being drawn."""
        padded, _, caches = state
        table, shifts = constants
        context = self.first.row(padded, table, row)
        if self.place is not None:
            context = context + ops.take(cast(self.place, context.dtype), row, axis=0)
        context, caches = self._row(context, caches, shifts)
        return padded, context, caches

    def step(self, state, constants, row, column):
        """Logits (B, K) of the cell (row, column), all before it having been `put`, and the state with it seen."""
        padded, context, caches = state
        table, shifts = constants
        left = self.first.step(padded, table, row, column)
        x, caches = self._step(padded, column_of(context, column), left, caches, shifts, row, column)
        return self._classify(x), (padded, context, caches)

    def put(self, state, drawn, row, column):
        """The state with the codes (B,) drawn for one cell."""
        return (self.first.put(state[0], drawn, row, column), *state[1:])

    def drawn(self, state):
        """The grid of codes in a state: (B, h, w)."""
        return self.first.drawn(state[0])

    def get_config(self):
        return {**super().get_config(), **self.settings}
