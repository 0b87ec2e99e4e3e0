"""Exact ancestral sampling from a prior, cached and compiled as one loop."""

import keras
import numpy as np
import psutil
from keras import ops

FREE = -1  # in a grid of given codes: to be drawn


class Sampler(keras.Model):
    r"""Draws code grids from a prior, one cell after the other.

    At each cell, code = argmax(logits / temperature + g) with Gumbel noise g drawn beforehand, which is a draw from
    softmax(logits / temperature) (the Gumbel-max trick; Maddison et al. 2014, arXiv 1411.0030, section 2). With `top_k`
    or `top_p` the logits of unlikely codes are -∞ first. The whole loop is one function of nested `fori_loop`s, rows
    and columns, that `predict_on_batch` compiles with XLA on TensorFlow and JAX. A prior offers `start`, `row`, `step`,
    `put` and `drawn`.

    Shapes: noise (B, h·w, K) float32, given (B, h, w) int32, condition (B, 2) int32 → codes (B, h, w) int32. One
    sampler serves one B: another would be compiled anew.

    Args:
        prior: the trained prior.
        temperature: above 0; 1 samples the model as it is.
        top_k: keep only the k most likely codes of a cell; None: all.
        top_p: keep only the most likely codes that together reach this probability (Holtzman et al. 2019,
            arXiv 1904.09751, section 3.1); None: all.

    Call arguments:
        inputs: `(noise, given, condition)`. A code in `given` that is not `FREE` is taken instead of drawn. The
            condition is not looked at by a prior without.
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
        height, width = self.prior.grid
        state, constants = self.prior.start(noise.shape[0], condition if self.prior.conditional else None)

        def cell(row, column, state):
            logits, state = self.prior.step(state, constants, row, column)
            logits = likely(logits / self.temperature, self.top_k, self.top_p)
            size = (noise.shape[0], 1, noise.shape[2])
            chosen = largest(logits + ops.slice(noise, (0, row * width + column, 0), size)[:, 0])
            known = ops.slice(given, (0, row, column), (noise.shape[0], 1, 1))[:, 0, 0]
            return self.prior.put(state, ops.where(known == FREE, chosen, known), row, column)

        def line(row, state):
            state = self.prior.row(state, constants, row)
            return ops.fori_loop(0, width, lambda column, state: cell(row, column, state), state)

        return self.prior.drawn(ops.fori_loop(0, height, line, state))


def largest(values):
    """The first index of the largest value along the last axis, int32: `argmax` in two passes that vectorise."""
    top, size = ops.max(values, axis=-1, keepdims=True), values.shape[-1]
    return ops.min(ops.where(values >= top, ops.arange(size, dtype="int32"), size), axis=-1)


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
    """Standard Gumbel noise for `count` grids: float32, (count, h·w, K). Grid `first` + i is the same in any call."""
    noise = np.empty((count, prior.grid[0] * prior.grid[1], prior.codes), np.float32)
    for i in range(count):
        np.random.default_rng([seed, first + i]).standard_exponential(dtype=np.float32, out=noise[i])
    np.maximum(noise, 1e-30, out=noise)
    return np.negative(np.log(noise, out=noise), out=noise)  # -log of an exponential variable


def batch_size(prior, count, memory=None):
    """How many of `count` grids to draw at once: as many as noise and caches in `memory` bytes allow, evenly shared.

    Args:
        memory: None: 512 MiB, or a quarter of what is free if that is less.
    """
    if memory is None:
        memory = min(2**29, psutil.virtual_memory().available // 4)
    empty = np.full((1, 2), -1, np.int32)
    state, _ = prior.start(1, ops.convert_to_tensor(empty) if prior.conditional else None)
    caches = sum(int(np.prod(part.shape)) * 4 for part in keras.tree.flatten(state))
    noise = prior.grid[0] * prior.grid[1] * prior.codes * 4
    limit = int(max(memory // (2 * (noise + caches)), 1))  # both exist twice while a batch is handed over
    return -(-count // -(-count // limit))


def sample(prior, count, seed=0, temperature=1.0, top_k=None, top_p=None, condition=None, given=None, batch=None):
    """`count` grids of codes drawn from `prior`: NumPy int32, (count, h, w).

    Grid i depends on the seed and i, not on how many are drawn.

    Args:
        condition: label and slice position of each grid, int (count, 2), for a prior that is conditioned.
        given: codes that are known, int (count, h, w) with `FREE` where one is to be drawn. A drawn cell looks at all
            codes before it, given or drawn, and at none after it.
        batch: grids at once; None: `batch_size`.
        temperature, top_k, top_p: see `Sampler`.
    """
    if count < 1:
        raise ValueError(f"`count` (={count}) must be at least 1")
    sampler = Sampler(prior, temperature, top_k, top_p)
    given = np.full((count, *prior.grid), FREE, np.int32) if given is None else _checked_given(prior, given, count)
    condition = _checked_condition(prior, condition, count)
    batch, parts = min(batch or batch_size(prior, count), count), []
    for start in range(0, count, batch):
        # One batch size for all, since another would be compiled anew: the last batch is filled up and cut.
        rows = np.minimum(np.arange(start, start + batch), count - 1)
        noise = gumbel(batch, prior, seed, start)
        parts.append(np.asarray(sampler.predict_on_batch((noise, given[rows], condition[rows]))))
    return np.concatenate(parts)[:count].astype(np.int32)


def complete(prior, given, count, tries=8, **options):
    """`count` grids that continue the given codes: NumPy int32, (count, h, w).

    A drawn cell does not see what is given after it. So `tries` grids are drawn for each that is returned, and one of
    them is taken with a probability in proportion to that of the given codes after its first drawn cell (sampling,
    importance resampling; Rubin 1988). Where all that is given comes first one is enough.

    Args:
        given: codes that are known, int (h, w), `FREE` where one is to be drawn.
        options: as for `sample`; `condition` (count, 2) says what each grid that is returned is told.
    """
    given = np.asarray(given, np.int32)
    free = np.flatnonzero(given.ravel() == FREE)
    later = (given != FREE) & (np.arange(given.size).reshape(given.shape) > (free[0] if free.size else given.size))
    tries = tries if later.any() else 1
    condition = options.pop("condition", None)
    told = np.repeat(_checked_condition(prior, condition, count), tries, axis=0)
    drawn = sample(prior, count * tries, condition=told, given=np.repeat(given[None], count * tries, 0), **options)
    if tries == 1:
        return drawn
    fits = np.empty(len(drawn))
    for start in range(0, len(drawn), 64):
        part = drawn[start : start + 64]
        logits = prior.predict_on_batch((part, told[start : start + 64]) if prior.conditional else part)
        chosen = ops.take_along_axis(ops.log_softmax(ops.convert_to_tensor(logits)), part[..., None], axis=-1)[..., 0]
        fits[start : start + 64] = (ops.convert_to_numpy(chosen) * later).sum(axis=(1, 2))
    noise = np.random.default_rng([options.get("seed", 0), 1]).gumbel(size=(count, tries))
    return drawn.reshape(count, tries, *given.shape)[np.arange(count), (fits.reshape(count, tries) + noise).argmax(1)]


def _checked_given(prior, given, count):
    given = np.asarray(given, np.int32)
    if given.shape != (count, *prior.grid) or given.min() < FREE or given.max() >= prior.codes:
        raise ValueError(f"`given` must have shape {(count, *prior.grid)} and codes below {prior.codes}, or {FREE}")
    return given


def _checked_condition(prior, condition, count):
    if not prior.conditional:
        return np.full((count, 2), -1, np.int32)
    condition = np.asarray([[]] if condition is None else condition, np.int32)
    limits = (max(len(prior.labels), 1), max(prior.slices, 1))
    if condition.shape != (count, 2) or condition.min() < -1 or (condition >= limits).any():
        raise ValueError(f"`condition` must have shape {(count, 2)} and lie below {limits}")
    return condition
