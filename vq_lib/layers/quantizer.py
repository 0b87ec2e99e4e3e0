"""Vector quantisation: the nearest code of a codebook, learned by gradient or by moving averages."""

import keras
from keras import ops

from vq_lib.layers.base import Configured, look_up, one_of


@keras.saving.register_keras_serializable(package="vq_lib")
class VectorQuantizer(Configured):
    r"""Replaces each vector by its nearest code, with a codebook that gradients move.

    For an encoder output z_e(x) and a codebook e_1 … e_K (van den Oord et al. 2017, arXiv 1711.00937, equations 1–3):

        k(z) = argmin_j ‖z − e_j‖²,    z_q = e_k(z),    loss = ‖sg(z_e) − z_q‖² + β ‖z_e − sg(z_q)‖²,

    averaged over all vectors and channels; sg stops the gradient. The output equals z_q, and its gradient goes straight
    through to z_e. Distances and codebook are float32 whatever the policy.

    distance="cosine" scales inputs and codes to length 1 first, so that the nearest code is the one at the smallest
    angle (Yu et al. 2022, arXiv 2110.04627, section 3.2). gradient="rotation" turns the gradient at z_q back to z_e by
    the rotation and scaling that took z_e to z_q (Fifty et al. 2024, arXiv 2410.06424, section 4.2): with ê and q̂ of
    length 1 and r = (ê + q̂) / ‖ê + q̂‖,

        output = sg(‖z_q‖ / ‖z_e‖) (z_e − 2 sg(r) sg(r)ᵀ z_e + 2 sg(q̂) sg(ê)ᵀ z_e),    0 for z_e = 0.

    Shapes: (16, 32, 32, 8) is read as 16,384 vectors of length D = 8; the output is (16, 32, 32, 8) again, and `encode`
    gives codes (16, 32, 32), int32.

    Args:
        num_embeddings, embedding_dim, commitment_cost: K, D and β.
        spread, seed: the first codebook is uniform in ±`spread` (None: 1/K), drawn with `seed`.

    Raises:
        ValueError: an argument is none of the values above, or the inputs' last axis is not D.
    """

    learned, decay = True, 0.99  # whether gradients move the codebook; γ of the counts, here only to tell who is dead

    def __init__(self, num_embeddings, embedding_dim, commitment_cost=0.25, distance="euclidean",
                 gradient="straight_through", spread=None, seed=0, **kwargs):  # fmt: skip
        super().__init__(**kwargs)
        self.distance = one_of("distance", distance, ("euclidean", "cosine"))
        self.gradient = one_of("gradient", gradient, ("straight_through", "rotation"))
        if num_embeddings < 2 or embedding_dim < 1:
            raise ValueError(f"`num_embeddings` (={num_embeddings}) must be at least 2 and `embedding_dim` "
                             f"(={embedding_dim}) at least 1")  # fmt: skip
        self.num_embeddings, self.embedding_dim, self.commitment_cost = num_embeddings, embedding_dim, commitment_cost
        self.spread, self.seed = spread, seed

    def build(self, input_shape):
        if input_shape[-1] != self.embedding_dim:
            raise ValueError(f"the last axis of the input (={input_shape[-1]}) must be `embedding_dim` "
                             f"(={self.embedding_dim})")  # fmt: skip
        spread = self.spread or 1 / self.num_embeddings
        # With a seed of its own it gives the same numbers twice: EMA sums begin at the codebook.
        self.start = keras.initializers.RandomUniform(-spread, spread, seed=self.seed)
        shape = (self.num_embeddings, self.embedding_dim)
        self.embeddings = self._weight("embeddings", shape, self.start, self.learned)
        self.counts = self._weight("counts", shape[:1], "ones")

    def _weight(self, name, shape, start, trainable=False):
        return self.add_weight(shape, start, trainable=trainable, name=name, dtype="float32", autocast=False)

    def encode(self, inputs):
        """The index of the nearest code: (..., D) floats → (...) int32."""
        flat = ops.reshape(self.scaled(ops.cast(inputs, "float32")), (-1, self.embedding_dim))
        table = self.scaled(ops.convert_to_tensor(self.embeddings))
        # ‖z‖² is the same for every code and left out of the comparison.
        distance = ops.sum(ops.square(table), axis=1) - 2 * ops.matmul(flat, ops.transpose(table))
        return ops.reshape(ops.cast(ops.argmin(distance, axis=1), "int32"), ops.shape(inputs)[:-1])

    def decode(self, codes):
        """The codes' vectors: (...) int → (..., D) float32."""
        return look_up(self.scaled(ops.convert_to_tensor(self.embeddings)), ops.cast(codes, "int32"))

    def scaled(self, vectors):
        """Vectors (..., D) as they are compared and learned: of length 1 where the distance is by cosine."""
        return _unit(vectors) if self.distance == "cosine" else vectors

    def call(self, inputs, training=False):
        z = self.scaled(ops.cast(inputs, "float32"))
        codes = ops.stop_gradient(self.encode(z))
        quantized = self.decode(codes)
        loss = self.commitment_cost * ops.mean(ops.square(z - ops.stop_gradient(quantized)))
        if self.learned:
            loss = loss + ops.mean(ops.square(ops.stop_gradient(z) - quantized))
        self.add_loss(loss)
        if training:
            self._follow(ops.reshape(ops.stop_gradient(z), (-1, self.embedding_dim)), ops.reshape(codes, (-1,)))
        if self.gradient == "rotation":
            output = _rotated(z, ops.stop_gradient(quantized))
        else:
            output = z + ops.stop_gradient(quantized - z)  # the straight-through estimator
        return ops.cast(output, self.compute_dtype)

    def _follow(self, vectors, codes):
        """Move the statistics by the vectors (N, D) of a batch and the codes (N,) that they chose; returns the uses."""
        uses = ops.segment_sum(ops.ones_like(vectors[:, 0]), codes, num_segments=self.num_embeddings)
        self.counts.assign(self.decay * self.counts + (1 - self.decay) * uses)
        return uses

    def replace(self, rows, vectors, count=1.0):
        """Put `vectors` (n, D) into the codebook at `rows` (n,), as codes with `count` uses. Runs on the host."""
        for variable, values in ((self.embeddings, vectors), (self.counts, count)):
            array = ops.convert_to_numpy(variable).copy()
            array[rows] = values
            variable.assign(array)


@keras.saving.register_keras_serializable(package="vq_lib")
class EMAVectorQuantizer(VectorQuantizer):
    """A `VectorQuantizer` whose codebook follows running counts and sums of the vectors that chose each code.

        N_j ← γ N_j + (1−γ) n_j,    m_j ← γ m_j + (1−γ) Σ z,    e_j = m_j / N_j,    loss = β ‖z_e − sg(z_q)‖²

    (van den Oord et al. 2017, arXiv 1711.00937, appendix A.1, equations 6–8), in training alone. Counts start at 1 and
    sums at the codebook; a code that nobody chose stays where it is. γ is `decay`; all else: see `VectorQuantizer`.
    """

    learned = False

    def __init__(self, *args, decay=0.99, **kwargs):
        super().__init__(*args, **kwargs)
        self.decay = decay

    def build(self, input_shape):
        super().build(input_shape)
        self.sums = self._weight("sums", self.embeddings.shape, self.start)

    def _follow(self, vectors, codes):
        uses = super()._follow(vectors, codes)
        total = ops.segment_sum(vectors, codes, num_segments=self.num_embeddings)
        self.sums.assign(self.decay * self.sums + (1 - self.decay) * total)
        # m/N of a code that was not chosen is what it was, but both decay until they underflow; keep the code itself.
        means = self.sums / ops.maximum(self.counts, 1e-12)[:, None]
        self.embeddings.assign(ops.where(uses[:, None] > 0, means, ops.convert_to_tensor(self.embeddings)))
        return uses

    def replace(self, rows, vectors, count=1.0):
        """As in `VectorQuantizer`; the sums follow."""
        super().replace(rows, vectors, count)
        self.sums.assign(self.embeddings * self.counts[:, None])


def _unit(vectors):
    return vectors / ops.maximum(ops.norm(vectors, axis=-1, keepdims=True), 1e-6)


def _rotated(z, target):
    """`target`, written as a rotation and scaling of z that the gradient takes for constants."""
    start, end = ops.stop_gradient(_unit(z)), _unit(target)
    middle = _unit(start + end)
    scale = ops.norm(target, axis=-1, keepdims=True) / ops.maximum(ops.norm(z, axis=-1, keepdims=True), 1e-6)
    along = lambda axis: ops.sum(axis * z, axis=-1, keepdims=True)  # noqa: E731
    return ops.stop_gradient(scale) * (z - 2 * middle * along(middle) + 2 * end * along(start))
