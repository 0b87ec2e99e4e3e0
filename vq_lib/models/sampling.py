"""Exact ancestral sampling from a prior, cached and compiled as one loop."""

import functools
import math

import keras
import numpy as np
from keras import ops

from vq_lib.models.levels import join, split
from vq_lib.models.prior import code_lengths, inputs_of
from vq_lib.models.two_level import TwoLevelPrior

FREE = -1  # in a grid of given codes: to be drawn


class _FullPass:
    """The steps of a prior that has none: the whole grid for each cell. The state is the condition."""

    def __init__(self, model):
        self.model = model

    def start(self, batch, condition=None):
        return () if condition is None else (condition,)

    def row(self, state, codes, row):
        return state

    def step(self, state, codes, row, column):
        logits = self.model(inputs_of(self.model, codes, *(state or (None,))))
        return ops.slice(logits, (0, row, column, 0), (codes.shape[0], 1, 1, logits.shape[-1]))[:, 0, 0], state


class Sampler(keras.Model):
    r"""Draws code grids from a prior, one cell after the other, in one loop that XLA compiles on TensorFlow and JAX.

    At each cell, code = argmax(logits / temperature + g) with Gumbel noise g drawn beforehand, which is a draw from
    softmax(logits / temperature) (the Gumbel-max trick; Maddison et al. 2014, arXiv 1411.0030, section 2).

    Shapes: noise (B, h·w, K) float32, given (B, h, w) int32, condition (B, 2) int32 → codes (B, h, w) int32. A code in
    `given` that is not `FREE` is taken instead of drawn. One sampler serves one B: another would be compiled anew.

    Args:
        prior: a trained `Prior` or `TwoLevelPrior`, or any Keras model of codes (B, h, w) → logits (B, h, w, K) with
            `grid` and `codes` K.
        temperature: above 0; 1 samples the model as it is.
        top_k, top_p: keep only the k most likely codes of a cell, or those that together reach this probability
            (Holtzman et al. 2019, arXiv 1904.09751, section 3.1); None: all.
    """

    def __init__(self, prior, temperature=1.0, top_k=None, top_p=None, **kwargs):
        super().__init__(**kwargs)
        if temperature <= 0:
            raise ValueError(f"`temperature` (={temperature}) must be above 0")
        if top_k is not None and top_k < 1 or top_p is not None and not 0 < top_p <= 1:
            raise ValueError(f"`top_k` (={top_k}) must be at least 1 and `top_p` (={top_p}) in (0, 1]")
        self.prior, self.temperature, self.top_k, self.top_p = prior, temperature, top_k, top_p
        self.built = True
        self.compile(jit_compile=keras.backend.backend() != "torch")

    def call(self, inputs):
        noise, given, condition = inputs
        prior, known = self.prior, condition if getattr(self.prior, "conditional", False) else None
        if not isinstance(prior, TwoLevelPrior):
            steps = prior if hasattr(prior, "step") else _FullPass(prior)
            return self._drawn(steps, prior.grid, noise, given, (known,))
        (coarse_given, fine_given), first = split(given, prior.coarse.grid), math.prod(prior.coarse.grid)
        coarse = self._drawn(prior.coarse, prior.coarse.grid, noise[:, :first], coarse_given, (known,))
        return join(coarse, self._drawn(prior.fine, prior.fine.grid, noise[:, first:], fine_given, (known, coarse)))

    def _drawn(self, steps, grid, noise, given, known):
        """Codes (B, h, w) of one grid."""
        (batch, _, size), (height, width), state = noise.shape, grid, steps.start(noise.shape[0], *known)

        def cell(row, column, codes, state):
            logits, state = steps.step(state, codes, row, column)
            logits = likely(logits / self.temperature, self.top_k, self.top_p)
            logits = logits + ops.slice(noise, (0, row * width + column, 0), (batch, 1, size))[:, 0]
            known = ops.slice(given, (0, row, column), (batch, 1, 1))[:, 0, 0]
            chosen = ops.where(known == FREE, ops.cast(ops.argmax(logits, axis=-1), "int32"), known)
            return ops.slice_update(codes, (0, row, column), chosen[:, None, None]), state

        def line(row, codes, state):
            state = steps.row(state, codes, row)
            return ops.fori_loop(0, width, lambda column, now: cell(row, column, *now), (codes, state))

        codes = ops.zeros((batch, height, width), "int32")
        return ops.fori_loop(0, height, lambda row, now: line(row, *now), (codes, state))[0]


def likely(logits, top_k=None, top_p=None):
    """Logits (..., K) with those of unlikely codes at -∞; see `Sampler`."""
    if top_k is not None and top_k < logits.shape[-1]:
        logits = ops.where(logits < ops.top_k(logits, top_k)[0][..., -1:], -np.inf, logits)
    if top_p is not None and top_p < 1:
        falling = -ops.sort(-logits, axis=-1)
        share = ops.softmax(falling, axis=-1)
        before = ops.cumsum(share, axis=-1) - share
        least = ops.min(ops.where(before < top_p, falling, np.inf), axis=-1, keepdims=True)
        logits = ops.where(logits < least, -np.inf, logits)
    return logits


def gumbel(count, prior, seed, first=0):
    """Standard Gumbel noise for `count` grids: float32, (count, h·w, K). Grid `first` + i is the same in any call.

    Drawn in float64: float32 exponentials are exactly 0 once in 2²³ draws, whose logarithm would force a random code.
    """
    size = prior.grid[0] * prior.grid[1], prior.codes
    drawn = (np.random.default_rng([seed, first + i]).standard_exponential(size) for i in range(count))
    return np.stack([-np.log(np.maximum(one, 1e-16)).astype(np.float32) for one in drawn])


def batch_size(prior):
    """How many grids to draw at once: a power of two up to 64 with at most 128 MiB of noise, by the model's size alone,
    since the last bits of a product depend on it.
    """
    most = 2**27 // (4 * prior.grid[0] * prior.grid[1] * prior.codes)
    return 2 ** min(max(most.bit_length() - 1, 0), 6)


@functools.lru_cache(maxsize=2)
def _sampler(prior, batch, *options):
    """A second call of `sample` need not compile again; another batch would be compiled anew."""
    return Sampler(prior, *options)


def sample(prior, count, seed=0, temperature=1.0, top_k=None, top_p=None, condition=None, given=None, batch=None):
    """`count` grids of codes drawn from `prior`: NumPy int32, (count, h, w). Grid i depends on the seed and i alone,
    but for near ties, which another number of grids may round otherwise.

    Args:
        prior, temperature, top_k, top_p: see `Sampler`.
        condition: label and slice position of each grid, int (count, 2), for a prior that is conditioned.
        given: codes that are known, int (count, h, w), `FREE` where one is to be drawn. A drawn cell looks at all codes
            before it, given or drawn, and at none after it.
        batch: grids at once; None: `batch_size`.

    Raises:
        ValueError: `condition` or `given` do not fit the prior, or another argument is out of its range.

    Example: `sample(prior, 16, condition=[[0, 17]] * 16)`.
    """
    if count < 1:
        raise ValueError(f"`count` (={count}) must be at least 1")
    shape, batch = (count, *prior.grid), min(batch or batch_size(prior), count)
    given = np.full(shape, FREE, np.int32) if given is None else np.asarray(given, np.int32)
    if given.shape != shape or given.min() < FREE or given.max() >= prior.codes:
        raise ValueError(f"`given` must have shape {shape} and codes below {prior.codes}, or {FREE}")
    # argmax(logits / T + g) = argmax(logits + T g): where no `top_p` looks at T, one sampler serves all temperatures.
    fixed = 1.0 if top_p is None and temperature > 0 else temperature
    condition, sampler, parts = _checked(prior, condition, count), _sampler(prior, batch, fixed, top_k, top_p), []
    for start in range(0, count, batch):
        # One batch size for all, since another would be compiled anew: the last batch is filled up and cut.
        rows = np.minimum(np.arange(start, start + batch), count - 1)
        noise = np.float32(temperature / fixed) * gumbel(batch, prior, seed, start)
        parts.append(np.asarray(sampler.predict_on_batch((noise, given[rows], condition[rows]))))
    return np.concatenate(parts)[:count].astype(np.int32)


def complete(prior, given, count, tries=8, condition=None, **options):
    """`count` grids that continue the given codes, int (h, w) with `FREE` where one is to be drawn: as from `sample`,
    which the options are for; the condition is that of each grid that is returned, (count, 2).

    A drawn cell does not see what is given after it. So `tries` grids are drawn for each that is returned, and one is
    taken with a probability in proportion to that of the given codes after its first drawn cell (sampling, importance
    resampling; Rubin 1988). Where all that is given comes first one is enough.
    """
    given = np.asarray(given, np.int32)
    free = np.flatnonzero(given.ravel() == FREE)
    later = (given != FREE) & (np.arange(given.size).reshape(given.shape) > (free[0] if free.size else given.size))
    tries = tries if later.any() else 1
    condition = np.repeat(_checked(prior, condition, count), tries, axis=0)
    drawn = sample(prior, count * tries, condition=condition, given=np.repeat(given[None], count * tries, 0), **options)
    if tries == 1:
        return drawn
    fits = -(code_lengths(prior, drawn, condition) * later).sum(axis=(1, 2)) * np.log(2)
    noise = np.random.default_rng([options.get("seed", 0), 1]).gumbel(size=(count, tries))
    return drawn.reshape(count, tries, *given.shape)[np.arange(count), (fits.reshape(count, tries) + noise).argmax(1)]


def _checked(prior, condition, count):
    if not getattr(prior, "conditional", False):
        return np.full((count, 2), -1, np.int32)
    condition = np.asarray([[]] if condition is None else condition, np.int32)
    limits = (max(len(prior.labels), 1), max(prior.slices, 1))
    if condition.shape != (count, 2) or condition.min() < -1 or (condition >= limits).any():
        raise ValueError(f"`condition` must have shape {(count, 2)} and lie below {limits}")
    return condition
