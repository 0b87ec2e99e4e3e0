"""A trained prior, and the likelihood of pixels, as distributions of TensorFlow Probability.

The only module tied to TensorFlow. Nothing else imports it, and it imports TensorFlow Probability when it is used.
"""

from typing import Any

import keras
import numpy as np

from vq_lib.errors import UserError
from vq_lib.models.prior import inputs_of

LEVELS = 256  # grey levels
BANDS = 16  # bands of the decoder's output, each with a scale of its own
SCALES = np.geomspace(0.05, 40, 40)  # grey levels, to choose from
MIXED = 1e-3  # share of a uniform distribution: a pixel far off costs many bits, not infinitely many


def probability():
    """TensorFlow and TensorFlow Probability, or a UserError that says what is missing."""
    if (backend := keras.backend.backend()) != "tensorflow":
        raise UserError(f"The likelihood needs Keras on TensorFlow, not on {backend}: set KERAS_BACKEND=tensorflow.")
    try:
        import tensorflow
        import tensorflow_probability
    except ImportError as error:
        needs = "install 'tensorflow-probability' and 'tf-keras'"
        raise UserError(f"The likelihood needs TensorFlow Probability ({error}): {needs}.") from None
    return tensorflow, tensorflow_probability


def code_grid(prior, condition=None):
    """A trained prior p(z | c) as a `tfd.Distribution` over code grids.

    `event_shape` is the grid (h, w), `batch_shape` that of the condition (label and slice position, int (…, 2), -1 for
    unknown) without its last axis, or (). `log_prob` is Σ log p(z_i | z_1 … z_{i-1}, c) in nats. `sample` runs the
    whole grid once a cell: `sampling.sample` is faster. Example: `code_grid(prior).log_prob(codes)`.
    """
    tf, tfp = probability()
    if (condition is not None) != prior.conditional:
        raise ValueError(f"`condition` must be given exactly for a conditioned prior (={prior.conditional})")
    condition = np.asarray([-1, -1] if condition is None else condition, np.int32)
    batch, logits = condition.shape[:-1], tf.function(prior, reduce_retracing=True)

    def of_each_cell(codes):
        """The distribution of every cell given those before it, of codes (…, h, w)."""
        shape = np.broadcast_shapes(codes.shape[:-2], batch)
        z = tf.reshape(tf.broadcast_to(codes, (*shape, *prior.grid)), (-1, *prior.grid))
        c = np.broadcast_to(condition, (*shape, 2)).reshape(-1, 2)
        found = tf.reshape(logits(inputs_of(prior, z, c)), (*shape, *prior.grid, prior.codes))
        return tfp.distributions.Independent(tfp.distributions.Categorical(found), 2)

    base: Any = tfp.distributions.Autoregressive  # imported just now, so that mypy cannot know it

    class CodeGrid(base):
        _batch_shape = lambda self: tf.TensorShape(batch)  # noqa: E731
        _event_shape = lambda self: tf.TensorShape(prior.grid)  # noqa: E731

    return CodeGrid(of_each_cell, tf.zeros((*batch, *prior.grid), tf.int32), int(np.prod(prior.grid)), name="CodeGrid")


def _band(outputs):
    return np.minimum((np.asarray(outputs) * BANDS).astype(np.int32), BANDS - 1)


def fit_scales(inputs, outputs, sample=10_000):
    """The scale of the pixel likelihood for each band of the decoder's output, in grey levels: float32 (`BANDS`,).

    Each is the one of `SCALES` under which (up to `sample` of) the pixels of its band are most likely: uint8 inputs
    given the decoder's outputs in [0, 1], (N, H, W, C). Fit it on other people than are trained on and scored.
    """
    bands = _band(outputs).ravel()
    inside = [np.flatnonzero(bands == band) for band in range(BANDS)]
    rows = np.concatenate([some[:: max(some.size // sample, 1)] for some in inside])
    x, mean = (np.asarray(values).ravel()[rows].astype(np.float32) for values in (inputs, outputs))
    # (scales, bands): the log-likelihood of each band's pixels under each scale
    fits = np.stack([
        np.bincount(bands[rows], np.asarray(_each_pixel(mean, np.full(BANDS, scale, np.float32)).log_prob(x)), BANDS)
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
    0 and 255, m the decoder's output in grey levels, s the scale of its band, and ε = 0.001. The decoder's outputs,
    floats in [0, 1], (N, H, W, C), give a batch shape (N,) and an event shape (H, W, C).
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
    x = np.asarray(inputs, np.float32)
    parts = [pixels(outputs[i : i + batch], scales).log_prob(x[i : i + batch]) for i in range(0, len(x), batch)]
    return -np.concatenate([np.asarray(part, np.float64) for part in parts]) / np.log(2)
