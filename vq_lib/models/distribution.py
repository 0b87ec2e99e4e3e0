"""TensorFlow Probability's view of the trained models: a prior as a distribution, and the likelihood of pixels.

The only module tied to TensorFlow. Nothing else imports it, and it imports TensorFlow Probability when it is used.
"""

import functools
from typing import Any

import keras
import numpy as np

from vq_lib.errors import UserError
from vq_lib.models.sampling import FREE, Sampler

LEVELS = 256  # grey levels
BANDS = 16  # bands of the decoder's output, each with a scale of its own
SCALES = np.geomspace(0.05, 40, 40)  # grey levels, to choose from
MIXED = 1e-3  # share of a uniform distribution: a pixel far off costs many bits, not infinitely many


def probability():
    """TensorFlow and TensorFlow Probability.

    Raises:
        UserError: this is no TensorFlow backend, or TensorFlow Probability is not installed.
    """
    if keras.backend.backend() != "tensorflow":
        raise UserError(
            f"The likelihood needs Keras on TensorFlow, not on {keras.backend.backend()}: set KERAS_BACKEND=tensorflow."
        )
    try:
        import tensorflow
        import tensorflow_probability
    except ImportError as error:
        raise UserError(
            f"The likelihood needs TensorFlow Probability ({error}): install 'tensorflow-probability' and 'tf-keras'."
        ) from None
    return tensorflow, tensorflow_probability


@functools.cache
def _kinds():
    """The distribution's class, made on first use: its base class is TensorFlow Probability's."""
    tf, tfp = probability()
    base: Any = tfp.distributions.Distribution  # imported just now, so that mypy cannot know it

    class CodeGrid(base):
        """A trained prior p(z | c) as a distribution over code grids.

        `event_shape` is the grid (h, w), `batch_shape` that of the condition without its last axis, or () without one.
        `sample` is the compiled sampler, whose noise has to fit into memory at once; a seed of two integers gives equal
        grids again, as TFP has it. `log_prob` is Σ log p(z_i | z_1 … z_{i-1}, c) in nats.

        Args:
            prior: the trained prior.
            condition: label and slice position, int (…, 2), -1 for unknown, for a prior that is conditioned.
        """

        def __init__(self, prior, condition=None, validate_args=False, allow_nan_stats=True, name="CodeGrid"):
            parameters = dict(locals())
            if (condition is not None) != prior.conditional:
                raise ValueError(f"`condition` must be given exactly for a conditioned prior (={prior.conditional})")
            self._prior = prior
            self._condition = None if condition is None else np.asarray(condition, np.int32)
            self._sampler = Sampler(prior)
            super().__init__(
                dtype=tf.int32, reparameterization_type=tfp.distributions.NOT_REPARAMETERIZED,
                validate_args=validate_args, allow_nan_stats=allow_nan_stats, parameters=parameters, name=name,
            )  # fmt: skip

        @classmethod
        def _parameter_properties(cls, dtype, num_classes=None):
            return {}

        def _event_shape(self):
            return tf.TensorShape(self._prior.grid)

        def _event_shape_tensor(self):
            return tf.constant(self._prior.grid, tf.int32)

        def _batch_shape(self):
            return tf.TensorShape(() if self._condition is None else self._condition.shape[:-1])

        def _batch_shape_tensor(self):
            return tf.constant(self._batch_shape().as_list(), tf.int32)

        def _told(self, shape):
            """The condition of each grid of `shape` (… + batch shape), flat: (n, 2)."""
            told = -np.ones(2, np.int32) if self._condition is None else self._condition
            return tf.reshape(tf.broadcast_to(told, tf.concat([shape, [2]], 0)), (-1, 2))

        def _sample_n(self, n, seed=None):
            seed = tfp.random.sanitize_seed(seed, name="code_grid")
            shape = tf.concat([[n], self._batch_shape_tensor()], 0)
            shape = tf.constant(tf.get_static_value(shape))
            grid = self._prior.grid
            count = int(np.prod(shape))
            uniform = tf.random.stateless_uniform((count, grid[0] * grid[1], self._prior.codes), seed, 1e-20, 1.0)
            given = tf.fill((count, *grid), FREE)
            drawn = self._compiled_sampler(-tf.math.log(-tf.math.log(uniform)), given, self._told(shape))
            return tf.reshape(drawn, tf.concat([shape, grid], 0))

        @functools.cached_property
        def _compiled_sampler(self):
            return tf.function(lambda *inputs: self._sampler(inputs), jit_compile=True)

        @functools.cached_property
        def _compiled_log_prob(self):
            def log_prob(codes, told):
                logits = self._prior((codes, told) if self._prior.conditional else codes)
                negative = tf.nn.sparse_softmax_cross_entropy_with_logits(codes, logits)
                return -tf.reduce_sum(negative, axis=(1, 2))

            return tf.function(log_prob, reduce_retracing=True)

        def _log_prob(self, value):
            value = tf.cast(value, tf.int32)
            shape = tf.broadcast_dynamic_shape(tf.shape(value)[:-2], self._batch_shape_tensor())
            codes = tf.broadcast_to(value, tf.concat([shape, self._prior.grid], 0))
            flat = tf.reshape(codes, (-1, *self._prior.grid))
            return tf.reshape(self._compiled_log_prob(flat, self._told(shape)), shape)

    return CodeGrid


def code_grid(prior, condition=None):
    """A trained prior as a `tfd.Distribution` over code grids: `sample`, `log_prob`, `event_shape`, `batch_shape`.

    Raises:
        UserError: there is no TensorFlow Probability.
    """
    return _kinds()(prior, condition)


def _band(outputs):
    return np.minimum((np.asarray(outputs) * BANDS).astype(np.int32), BANDS - 1)


def fit_scales(inputs, outputs, sample=10_000):
    """The scale of the pixel likelihood for each band of the decoder's output, in grey levels: float32 (`BANDS`,).

    Each is the one of `SCALES` under which (up to `sample` of) the pixels of its band are most likely. Fit it on people
    whom the models were not trained on, and score others.

    Args:
        inputs: uint8 (N, H, W, C). outputs: the decoder's, floats in [0, 1], the same shape.
    """
    bands = _band(outputs).ravel()
    inside = [np.flatnonzero(bands == band) for band in range(BANDS)]
    rows = np.concatenate([some[:: max(some.size // sample, 1)] for some in inside])
    x, mean = (np.asarray(values).ravel()[rows].reshape(1, -1, 1, 1).astype(np.float32) for values in (inputs, outputs))
    # (scales, bands): the log-likelihood of each band's pixels under each scale
    fits = np.stack([
        np.bincount(bands[rows], np.asarray(_each_pixel(mean, np.full(BANDS, scale, np.float32)).log_prob(x)).ravel(),
                    minlength=BANDS)
        for scale in SCALES
    ])  # fmt: skip
    # A band that no pixel was in has the scale of its nearest neighbour.
    known = np.flatnonzero([some.size for some in inside])
    nearest = np.abs(np.arange(BANDS)[:, None] - known).argmin(axis=1)
    return SCALES[fits.argmax(axis=0)][known[nearest]].astype(np.float32)


def pixels(outputs, scales):
    r"""p(x | z) as a `tfd.Distribution` over grey levels 0 … 255, independent given the decoder's output.

        p(x | m) = (1 - ε) [σ((x + ½ - m)/s) - σ((x - ½ - m)/s)] + ε / 256,

    a discretised logistic (Salimans et al. 2017, arXiv 1701.05517, equation 2, with one component) whose tails lie in
    0 and 255, m the decoder's output in grey levels, s the scale of its band, and ε = 0.001.

    Args:
        outputs: the decoder's, floats in [0, 1], (N, H, W, C).
        scales: see `fit_scales`.

    Returns:
        a distribution with batch shape (N,) and event shape (H, W, C).
    """
    _, tfp = probability()
    return tfp.distributions.Independent(_each_pixel(outputs, scales), reinterpreted_batch_ndims=3)


def _each_pixel(outputs, scales):
    tf, tfp = probability()
    tfd = tfp.distributions
    mean = tf.cast(outputs, tf.float32) * (LEVELS - 1)
    # A quantised distribution gives y the mass of (y - 1, y], so that ½ less centres it.
    logistic = tfd.QuantizedDistribution(tfd.Logistic(mean - 0.5, tf.gather(scales, _band(outputs))), 0, LEVELS - 1)
    flat = tfd.Uniform(tf.fill(tf.shape(mean), -1.0), LEVELS - 1.0)
    return tfd.Mixture(
        cat=tfd.Categorical(probs=tf.broadcast_to([1 - MIXED, MIXED], tf.concat([tf.shape(mean), [2]], 0))),
        components=[logistic, tfd.QuantizedDistribution(flat, 0, LEVELS - 1)],
    )


def bits_of_pixels(inputs, outputs, scales, batch=32):
    """-log2 p(x | z) of each image: uint8 inputs and the decoder's outputs, (N, H, W, C) → float64 (N,)."""
    starts = range(0, len(inputs), batch)
    parts = [
        pixels(outputs[i : i + batch], scales).log_prob(np.asarray(inputs[i : i + batch], np.float32)) for i in starts
    ]
    return -np.concatenate([np.asarray(part, np.float64) for part in parts]) / np.log(2)
