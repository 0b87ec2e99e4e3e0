"""What all priors over the code grid share: first layer, conditioning, head, and the two faces."""

import abc
import math
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops
from scipy.special import log_softmax

from vq_lib.layers.base import cast, column_of
from vq_lib.layers.codes import CodeMap, Conditioning, MaskedCodeConv
from vq_lib.layers.masked import Cell


class State(NamedTuple):
    """What a sampling run hands on from cell to cell, beside the codes."""

    table: Any  # of the first layer
    context: Any  # what the rows above contribute to the cells of this row, (B, w, width)
    caches: tuple  # one a block
    condition: tuple  # the vector (B, F) of what is known of a slice, or nothing
    map: tuple  # what the coarse codes say of each cell, (B, h, w, width), or nothing


class Prior(keras.Model, abc.ABC):
    """p(z | c) = Π p(z_i | z_1 … z_{i-1}, c) over the codes of a grid in raster order.

    A first layer reads the codes before each cell, a stack of blocks follows, then `head` 1x1 layers and logits for K
    codes. A subclass says what the blocks are and how they are fed. Model and blocks have two faces that a test holds
    equal: `call` for the whole grid; `start`, `row` and `step` for one row and one cell after the other.

    Shapes: `call`: codes (B, h, w) int, or floats (B, h, w, K) as one-hot codes, and condition (B, 2) int → logits
    (B, h, w, K) float32. The condition is label (index into `labels`) and slice position of each grid, -1 for unknown;
    `fit` and `predict` take both as a pair. A ValueError says that it is missing. `coarse`, codes (B, h', w'), is given
    where the prior is one of fine codes.

    Args:
        grid, codes: (h, w) and K.
        filters, blocks: channels F of the blocks, and how many there are.
        kernel, embedding: side of the first layer's window; length of a code's vector in it, None: one-hot codes.
        head, head_filters: number of 1x1 layers before the logits, and their width; None: `filters`.
        position: adds a learned bias for each grid cell in the first layer, so that a cell knows its place.
        dropout: share of each block's hidden channels to drop while training.
        labels, slices: names of the labels, and number of the slice positions, that the prior is conditioned on.
        coarse: (h', w'), the grid of coarse codes that it is conditioned on as well, of K kinds; None: there are none.

    Example: `PixelCNN(grid=(32, 32), codes=512, labels=("AD", "NC"))(codes, condition=[[0, -1]] * len(codes))`.
    """

    streams = 1  # stacks that the first layer feeds: its width is so many times F

    def __init__(self, grid, codes, filters=128, blocks=2, kernel=7, head=2, head_filters=None, embedding=None,
                 position=False, dropout=0.0, labels=(), slices=0, coarse=None, **kwargs):  # fmt: skip
        super().__init__(**kwargs)
        self.grid, self.codes, self.labels, self.slices = tuple(grid), codes, tuple(labels), slices
        self.settings = {
            "grid": list(grid), "codes": codes, "filters": filters, "blocks": blocks, "kernel": kernel, "head": head,
            "head_filters": head_filters, "embedding": embedding, "position": position, "dropout": dropout,
            "labels": list(labels), "slices": slices, **({"coarse": list(coarse)} if coarse else {}),
        }  # fmt: skip
        dtype, width = self.dtype_policy, self.streams * filters
        self.first = MaskedCodeConv(codes, width, kernel, embedding, dtype=dtype, name="first")
        self.first.build((None, *self.grid))
        self.place = self.add_weight((*self.grid, width), "zeros", name="place") if position else None
        self.map: Any = None
        self.conditioning = None
        if coarse:
            self.map = CodeMap(codes, embedding or filters, grid[0] // coarse[0], width, dtype=dtype, name="map")
        if self.conditional:
            self.conditioning = Conditioning(len(self.labels), slices, filters, dtype=dtype, name="conditioning")
        inner = head_filters or filters
        self.head = [keras.layers.Dense(inner, "relu", dtype=dtype, name=f"head_{i}") for i in range(head)]
        self.logits = keras.layers.Dense(codes, dtype=dtype, name="logits")
        self.blocks = self._make_blocks(filters, blocks, dropout)  # last: files number Dense layers in this order
        # A call on symbols builds every layer and tells `summary` their shapes.
        inputs = keras.Input(self.grid, dtype="int32"), keras.Input((2,), dtype="int32")
        known = {"coarse": keras.Input(coarse, dtype="int32")} if coarse else {}
        Prior.call(self, inputs if self.conditional else inputs[0], **known)
        self.built = True

    @abc.abstractmethod
    def _make_blocks(self, filters, count, dropout):
        """The blocks: layers with `call(x, condition, codes)`, `start`, `row` and `step`; see `layers.masked`."""

    def _split(self, above, condition):
        """What the rows above contribute, (B, …, width), and h (B, F) or None → the input of the blocks' `row`, or None
        where they have none, and what is added to a cell's own features.
        """
        return None, above

    def _enter(self, x):
        """The first features of cells, (B, …, F), from the sum (B, …, width) of all that the first layer read."""
        return x

    def _leave(self, x):
        """What the head reads, (B, …, F), of the last block's output."""
        return x

    @property
    def conditional(self):
        """Whether the prior has to be told label or slice position."""
        return bool(self.labels) or self.slices > 0

    @property
    def condition_bits(self):
        """What telling a condition costs, in bits, when each of its values (unknown among them) is alike."""
        return sum(math.log2(count + 1) for count in (len(self.labels), self.slices) if count)

    def _vector(self, condition):
        if self.conditioning is None:
            return None
        if condition is None:
            raise ValueError("this prior is conditioned on label or slice position: `condition` must be given")
        return self.conditioning(condition)

    def call(self, inputs, condition=None, training=False, coarse=None):
        codes, condition = inputs if isinstance(inputs, (tuple, list)) else (inputs, condition)
        above, left = self.first.parts(codes)
        if self.place is not None:
            above = above + cast(self.place, above.dtype)
        if self.map is not None:
            above = above + self.map(coarse)
        h = self._vector(condition)
        v, context = self._split(above, h)
        x = self._enter(context + left)
        x = x if v is None else (v, x)
        for block in self.blocks:
            x = block(x, condition=h, codes=codes, training=training)
        return self._classify(x if v is None else x[1])

    def _classify(self, x):
        x = self._leave(x)
        for layer in self.head:
            x = layer(x)
        return ops.cast(self.logits(x), "float32")

    def start(self, batch, condition=None, coarse=None):
        """The `State` that a sampling run starts from."""
        h = self._vector(condition)
        context = ops.zeros((batch, self.grid[1], self.first.filters), self.compute_dtype)
        caches = tuple(block.start(batch, self.grid, h) for block in self.blocks)
        return State(
            self.first.table(),
            context,
            caches,
            () if h is None else (h,),
            () if coarse is None else (self.map(coarse),),
        )

    def row(self, state, codes, row):
        """The state at the beginning of a row of the `codes`, (B, h, w), all above being drawn."""
        above = self.first.row(codes, state.table, row)
        if self.place is not None:
            above = above + ops.take(cast(self.place, above.dtype), row, axis=0)
        for values in state.map:
            above = above + ops.take(values, row, axis=1)
        v, context = self._split(above, *(state.condition or (None,)))
        _, caches = self._through("row", state.caches, v)
        return state._replace(context=context, caches=caches)

    def step(self, state, codes, row, column):
        """Logits (B, K) of the cell (row, column), all `codes` before it being drawn, and the state with it seen."""
        index = row * self.grid[1] + column
        before = column_of(ops.reshape(codes, (codes.shape[0], -1, 1)), ops.maximum(index - 1, 0))[:, 0]
        x = self._enter(column_of(state.context, column) + self.first.step(codes, state.table, row, column))
        x, caches = self._through("step", state.caches, x, Cell(column, index, before))
        return self._classify(x), state._replace(caches=caches)

    def _through(self, face, caches, x, *cell):
        """x after a `row` or `step` of all blocks, one after the other, and their caches."""
        found = []
        for block, cache in zip(self.blocks, caches, strict=True):
            x, cache = getattr(block, face)(cache, x, *cell)
            found.append(cache)
        return x, tuple(found)

    def get_config(self):
        return {**super().get_config(), **self.settings}


def inputs_of(prior, codes, condition):
    """What a prior is called with: codes and condition, or codes alone if it does not say that it is conditional."""
    return (codes, condition) if getattr(prior, "conditional", False) else codes


def code_lengths(prior, codes, condition=None, batch=64):
    """-log2 p(z_i | z_1 … z_{i-1}, c) of every code: (N, h, w) int → (N, h, w) float32, in bits; `condition` is that of
    each grid, int (N, 2), where the prior is conditioned.
    """
    lengths = np.empty(codes.shape, np.float32)
    for start in range(0, len(codes), batch):
        rows = slice(start, start + batch)
        part = np.asarray(codes[rows], np.int32)
        logits = prior.predict_on_batch(inputs_of(prior, part, None if condition is None else condition[rows]))
        lengths[rows] = -np.take_along_axis(log_softmax(logits, axis=-1), part[..., None], axis=-1)[..., 0] / np.log(2)
    return lengths
