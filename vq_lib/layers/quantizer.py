"""Vector quantisation: the nearest code of a codebook, learned by moving averages or by gradient."""

import keras
from keras import ops

from vq_lib.layers.lookup import look_up


@keras.saving.register_keras_serializable(package="vq_lib")
class VectorQuantizer(keras.layers.Layer):
    r"""Replaces each vector by its nearest code.

    For an encoder output z_e(x) and a codebook e_1 … e_K (van den Oord et al. 2017, arXiv 1711.00937, equations 1–3):

        k(z) = argmin_j ‖z − e_j‖²,    z_q = e_k(z),
        loss = β ‖z_e − sg(z_q)‖²  [+ ‖sg(z_e) − z_q‖² with codebook="gradient"],

    averaged over all vectors and channels and added with `add_loss`; sg stops the gradient. The output equals z_q, and
    its gradient goes straight through to z_e. With codebook="ema" the codebook follows running counts and sums of the
    vectors that chose each code (ibid., appendix A.1, equations 6–8):

        N_j ← γ N_j + (1−γ) n_j,    m_j ← γ m_j + (1−γ) Σ z,    e_j = m_j / N_j.

    Counts start at 1 and sums at the codebook, so that a code nobody chose stays where it is. Distances, codebook and
    statistics are float32 whatever the policy. Statistics move only with `training=True`.

    With distance="cosine" inputs and codes are scaled to length 1 first, so that the nearest code is the one at the
    smallest angle (Yu et al. 2022, arXiv 2110.04627, section 3.2). With gradient="rotation" the gradient at z_q is
    turned back to z_e by the rotation and scaling that took z_e to z_q, instead of being handed over as it is (Fifty et
    al. 2024, arXiv 2410.06424, section 4.2): with ê and q̂ of length 1 and r = (ê + q̂) / ‖ê + q̂‖,

        output = sg(‖z_q‖ / ‖z_e‖) (z_e − 2 sg(r) sg(r)ᵀ z_e + 2 sg(q̂) sg(ê)ᵀ z_e),

    but 0 for z_e = 0, which has no direction to turn from.

    Shapes: a batch (16, 32, 32, 8) is read as 16,384 vectors of length D = 8; the output is (16, 32, 32, 8) again, and
    `encode` gives codes (16, 32, 32), int32.

    Args:
        codes: K, the number of codes.
        dim: D, the length of a code.
        beta: weight β of the commitment term.
        codebook: "ema" or "gradient".
        decay: γ of the running statistics.
        seed: seed of the first codebook, which is uniform in ±`spread`.
        distance: "euclidean" or "cosine".
        gradient: "straight_through" or "rotation".
        spread: see `seed`; None is 1/K.

    Call arguments:
        inputs: floats, (..., dim).
        training: whether statistics move.

    Raises:
        ValueError: an argument is none of the values above, or the inputs' last axis is not `dim`.
    """

    def __init__(self, codes, dim, beta=0.25, codebook="ema", decay=0.99, seed=0, distance="euclidean",
                 gradient="straight_through", spread=None, **kwargs):  # fmt: skip
        super().__init__(**kwargs)
        one_of("codebook", codebook, ("ema", "gradient"))
        one_of("distance", distance, ("euclidean", "cosine"))
        one_of("gradient", gradient, ("straight_through", "rotation"))
        if codes < 2 or dim < 1:
            raise ValueError(f"`codes` (={codes}) must be at least 2 and `dim` (={dim}) at least 1")
        self.codes, self.dim, self.beta = codes, dim, beta
        self.codebook, self.decay, self.seed = codebook, decay, seed
        self.distance, self.gradient, self.spread = distance, gradient, spread

    def build(self, input_shape):
        if input_shape[-1] != self.dim:
            raise ValueError(f"the last axis of the input (={input_shape[-1]}) must be `dim` (={self.dim})")
        spread = self.spread or 1 / self.codes
        start = keras.initializers.RandomUniform(-spread, spread, seed=self.seed)
        learned = self.codebook == "gradient"
        options = {"dtype": "float32", "autocast": False}
        self.embeddings = self.add_weight(
            (self.codes, self.dim), start, trainable=learned, name="embeddings", **options
        )
        # Counted for both kinds of codebook: the restart of dead codes needs to know who is dead.
        self.counts = self.add_weight((self.codes,), "ones", trainable=False, name="counts", **options)
        if not learned:
            self.sums = self.add_weight((self.codes, self.dim), "zeros", trainable=False, name="sums", **options)
            self.sums.assign(self.embeddings)
        self.built = True

    def encode(self, inputs):
        """The index of the nearest code: (..., dim) floats → (...) int32."""
        flat = ops.reshape(self.scaled(ops.cast(inputs, "float32")), (-1, self.dim))
        table = self.scaled(ops.convert_to_tensor(self.embeddings))
        # ‖z‖² is the same for every code and left out of the comparison.
        distance = ops.sum(ops.square(table), axis=1) - 2 * ops.matmul(flat, ops.transpose(table))
        codes = ops.cast(ops.argmin(distance, axis=1), "int32")
        return ops.reshape(codes, ops.shape(inputs)[:-1])

    def decode(self, codes):
        """The codes' vectors: (...) int → (..., dim) float32."""
        return look_up(self.scaled(ops.convert_to_tensor(self.embeddings)), ops.cast(codes, "int32"))

    def scaled(self, vectors):
        """Vectors (..., dim) as they are compared and learned: of length 1 where the distance is by cosine."""
        return _unit(vectors) if self.distance == "cosine" else vectors

    def call(self, inputs, training=False):
        z = self.scaled(ops.cast(inputs, "float32"))
        codes = ops.stop_gradient(self.encode(z))
        quantized = self.decode(codes)
        loss = self.beta * ops.mean(ops.square(z - ops.stop_gradient(quantized)))
        if self.codebook == "gradient":
            loss = loss + ops.mean(ops.square(ops.stop_gradient(z) - quantized))
        self.add_loss(loss)
        if training:
            self._follow(ops.stop_gradient(z), codes)
        if self.gradient == "rotation":
            output = _rotated(z, ops.stop_gradient(quantized))
        else:
            output = z + ops.stop_gradient(quantized - z)
        return ops.cast(output, self.compute_dtype)

    def _follow(self, z, codes):
        flat, index = ops.reshape(z, (-1, self.dim)), ops.reshape(codes, (-1,))
        chosen = ops.segment_sum(ops.ones_like(flat[:, 0]), index, num_segments=self.codes)
        self.counts.assign(self.decay * self.counts + (1 - self.decay) * chosen)
        if self.codebook == "ema":
            total = ops.segment_sum(flat, index, num_segments=self.codes)
            self.sums.assign(self.decay * self.sums + (1 - self.decay) * total)
            # A code that nobody chose for long has both near 0/0; the floor keeps it finite until it is restarted.
            self.embeddings.assign(self.sums / ops.maximum(self.counts, 1e-5)[:, None])

    def replace(self, rows, vectors, count=1.0):
        """Put `vectors` (n, dim) into the codebook at `rows` (n,), as codes with `count` uses. Runs on the host."""
        if not len(rows):
            return
        table, counts = ops.convert_to_numpy(self.embeddings).copy(), ops.convert_to_numpy(self.counts).copy()
        table[rows], counts[rows] = vectors, count
        if self.codebook == "ema":
            sums = ops.convert_to_numpy(self.sums).copy()
            sums[rows] = vectors * count
            self.sums.assign(sums)
        self.embeddings.assign(table)
        self.counts.assign(counts)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        names = ("codes", "dim", "beta", "codebook", "decay", "seed", "distance", "gradient", "spread")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def one_of(name, value, allowed):
    """`value`, or a ValueError that names the argument and what it may be."""
    if value not in allowed:
        raise ValueError(f"`{name}` (={value!r}) must be {' or '.join(map(repr, allowed))}")
    return value


def _unit(vectors):
    return vectors / ops.maximum(ops.norm(vectors, axis=-1, keepdims=True), 1e-6)


def _rotated(z, target):
    """`target`, written as a rotation and scaling of z that the gradient takes for constants."""
    start, end = ops.stop_gradient(_unit(z)), _unit(target)
    middle = _unit(start + end)
    scale = ops.norm(target, axis=-1, keepdims=True) / ops.maximum(ops.norm(z, axis=-1, keepdims=True), 1e-6)
    along = lambda axis: ops.sum(axis * z, axis=-1, keepdims=True)  # noqa: E731
    return ops.stop_gradient(scale) * (z - 2 * middle * along(middle) + 2 * end * along(start))
