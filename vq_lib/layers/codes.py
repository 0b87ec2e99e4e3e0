"""What a prior reads: the codes before a cell, by a table look-up, and what is known of a slice, as a vector."""

import keras
from keras import ops

from vq_lib.layers.base import Configured, cast, look_up
from vq_lib.layers.blocks import DepthToSpace
from vq_lib.layers.masked import add_taps, kernel_of


@keras.saving.register_keras_serializable(package="vq_lib")
class MaskedCodeConv(Configured):
    """A mask-A convolution of one-hot codes without the one-hot vectors: the sum that it takes, read from a table.

        out[r, c] = bias + Σ_t T[t, code at tap t]  over the taps t before (r, c); outside the grid a tap adds nothing

    T has K = `codes` rows a tap. With `embedding` E it is factored, T[t] = vectors (K×E) · W[t] (E×F). `parts` gives
    what the rows above and the cells to the left add apart, as the two stacks of a gated PixelCNN need them.

    Shapes: `call`: codes (B, h, w) int → (B, h, w, filters), also floats (B, h, w, K) as one-hot codes, so that a
    gradient can be taken. `row` is what the rows above add, (B, w, filters), `step` what the cells to the left do.
    """

    def __init__(self, codes, filters, kernel, embedding=None, **kwargs):
        super().__init__(**kwargs)
        if kernel % 2 == 0 or kernel < 3:
            raise ValueError(f"`kernel` (={kernel}) must be odd and at least 3")
        self.codes, self.filters, self.kernel, self.embedding = codes, filters, kernel, embedding
        self.reach = kernel // 2
        self.taps = self.reach * kernel + self.reach  # cells of the window before its centre, in raster order
        self.above_taps, self.left_taps = range(self.reach * kernel), range(self.reach * kernel, self.taps)

    def build(self, input_shape):
        if self.embedding:
            unit = keras.initializers.RandomNormal(stddev=1.0)
            self.vectors = self.add_weight((self.codes, self.embedding), unit, name="vectors")
        # Of one-hot codes one channel is lit a tap, so the fan-in is the number of taps.
        channels, lit = (self.embedding, self.embedding) if self.embedding else (self.codes, 1)
        self.above, self.left = add_taps(self, self.reach * self.kernel, self.reach, channels, self.filters, lit)
        self.bias = self.add_weight((self.filters,), "zeros", name="bias")

    def table(self):
        """T with a row of zeros a tap for "outside the grid": (taps · (K+1), filters); in float32 whatever the policy,
        as a convolution adds up: sums of two dozen bfloat16 numbers lose bits."""
        table = ops.concatenate([cast(self.above, "float32"), cast(self.left, "float32")])
        if self.embedding:
            table = ops.matmul(cast(self.vectors, "float32")[None], table)
        return ops.reshape(ops.pad(table, [[0, 0], [0, 1], [0, 0]]), (-1, self.filters))

    def _read(self, table, padded, taps, height, width):
        """Σ T over `taps` for height x width cells; `padded` begins at the first of these taps of the first cell."""
        places = ((tap * (self.codes + 1), *divmod(tap - taps.start, self.kernel)) for tap in taps)
        total = sum(ops.take(table, padded[:, i : i + height, j : j + width] + row, axis=0) for row, i, j in places)
        return ops.cast(total, self.compute_dtype)

    def _padded(self, codes):
        return ops.pad(codes, [[0, 0], [self.reach, 0], [self.reach, self.reach]], constant_values=self.codes)

    def parts(self, inputs):
        """What the rows above and the bias, and the cells to the left contribute: two (B, h, w, filters). Vectors,
        embedded codes or one-hot ones, are convolved, which trains faster than looking sums up."""
        dtype, reach, bias = self.compute_dtype, self.reach, cast(self.bias, self.compute_dtype)
        if not self.embedding and not keras.backend.is_float_dtype(inputs.dtype):
            padded, table, shape = self._padded(inputs), self.table(), inputs.shape[1:3]
            left = self._read(table, padded[:, reach:], self.left_taps, *shape)
            return self._read(table, padded, self.above_taps, *shape) + bias, left
        x = cast(look_up(ops.convert_to_tensor(self.vectors), inputs) if self.embedding else inputs, dtype)
        above = ops.pad(x, [[0, 0], [reach, 0], [reach, reach], [0, 0]])[:, :-1]
        above = ops.conv(above, kernel_of(cast(self.above, dtype), reach, self.kernel), padding="valid")
        left = ops.pad(x, [[0, 0], [0, 0], [reach, 0], [0, 0]])[:, :, :-1]
        return above + bias, ops.conv(left, kernel_of(cast(self.left, dtype), 1, reach), padding="valid")

    def call(self, inputs):
        return ops.add(*self.parts(inputs))

    def row(self, codes, table, row):
        batch, _, width = codes.shape
        rows = ops.slice(self._padded(codes), (0, row, 0), (batch, self.reach, width + 2 * self.reach))
        return self._read(table, rows, self.above_taps, 1, width)[:, 0] + cast(self.bias, self.compute_dtype)

    def step(self, codes, table, row, column):
        batch, _, width = codes.shape
        current = self._padded(ops.slice(codes, (0, row, 0), (batch, 1, width)))
        window = ops.slice(current, (0, self.reach, column), (batch, 1, self.reach))
        return self._read(table, window, self.left_taps, 1, 1)[:, 0, 0]

    def compute_output_shape(self, input_shape):
        return (*input_shape[:3], self.filters)


@keras.saving.register_keras_serializable(package="vq_lib")
class Conditioning(Configured):
    """A learned vector for what is known of a slice: h = L[label] + S[slice position]; -1 (unknown) adds nothing.

    Shapes: (B, 2) int → (B, width). There are so many `labels` and `slices`; of 0 that column is not looked at.
    """

    def __init__(self, labels, slices, width, **kwargs):
        super().__init__(**kwargs)
        self.labels, self.slices, self.width = labels, slices, width

    def build(self, input_shape):
        start, sizes = keras.initializers.RandomNormal(stddev=0.3), (("label", self.labels), ("slice", self.slices))
        self.tables = [self.add_weight((n, self.width), start, name=name) if n else None for name, n in sizes]

    def call(self, inputs):
        total = 0.0
        for column, table in enumerate(self.tables):
            if table is not None:  # a one-hot vector of -1 is zero, and a product's gradient is dense (see `look_up`)
                known = ops.one_hot(inputs[:, column], table.shape[0], dtype=self.compute_dtype)
                total = total + ops.matmul(known, cast(table, self.compute_dtype))
        return total


@keras.saving.register_keras_serializable(package="vq_lib")
class CodeMap(Configured):
    """What a grid of coarse codes says of each cell of a finer one: embedded, seen by two 3x3 convolutions, enlarged.

    A prior of fine codes is conditioned on it (Razavi et al. 2019, arXiv 1906.00446, section 3.2).

    Shapes: codes (B, h', w') int, or floats (B, h', w', K) as one-hot codes → (B, s·h', s·w', filters); s is `factor`.
    """

    def __init__(self, codes, embedding, factor, filters, **kwargs):
        super().__init__(**kwargs)
        self.codes, self.embedding, self.factor, self.filters = codes, embedding, factor, filters
        options = {"padding": "same", "dtype": self.dtype_policy}
        self.seen = [keras.layers.Conv2D(filters, 3, activation="relu", **options, name=f"seen_{i}") for i in range(2)]
        self.enlarged = keras.layers.Conv2D(filters * factor**2, 1, **options, name="enlarged")
        self.spread = DepthToSpace(factor, dtype=self.dtype_policy)

    def build(self, input_shape):
        unit, cells = keras.initializers.RandomNormal(stddev=1.0), tuple(input_shape[:3])
        self.vectors = self.add_weight((self.codes, self.embedding), unit, name="vectors")
        for layer, width in zip([*self.seen, self.enlarged], (self.embedding, self.filters, self.filters), strict=True):
            layer.build((*cells, width))

    def call(self, inputs):
        x = cast(look_up(ops.convert_to_tensor(self.vectors), inputs), self.compute_dtype)
        for layer in [*self.seen, self.enlarged]:
            x = layer(x)
        return self.spread(x)
