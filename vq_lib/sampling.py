"""Exact ancestral sampling from a prior, cached and compiled as one loop."""

import keras
import numpy as np
from keras import ops


class Sampler(keras.Model):
    r"""Draws code grids from a prior, one cell after the other.

    At each cell, code = argmax(logits / temperature + g) with Gumbel noise g drawn beforehand, which is a draw from
    softmax(logits / temperature) (the Gumbel-max trick; Maddison et al. 2014, arXiv 1411.0030, section 2). The whole
    loop is one `fori_loop` that `predict` compiles with XLA on TensorFlow and JAX. A prior offers `start`, `step`,
    `put` and `drawn`.

    Shapes: noise (B, h·w, K) float32 → codes (B, h, w) int32.

    Args:
        prior: the trained prior.
        temperature: above 0; 1 samples the model as it is.
    """

    def __init__(self, prior, temperature=1.0, **kwargs):
        super().__init__(**kwargs)
        if temperature <= 0:
            raise ValueError(f"`temperature` (={temperature}) must be above 0")
        self.prior, self.temperature = prior, temperature
        self.built = True
        self.compile(jit_compile=keras.backend.backend() != "torch")

    def call(self, noise):
        height, width = self.prior.grid
        state, constants = self.prior.start(noise.shape[0])
        noise = ops.transpose(noise, (1, 0, 2))  # a cell's noise in one piece

        def draw(i, state):
            row, column = i // width, i % width
            logits, state = self.prior.step(state, constants, row, column)
            chosen = ops.argmax(logits / self.temperature + noise[i], axis=-1)
            return self.prior.put(state, ops.cast(chosen, "int32"), row, column)

        return self.prior.drawn(ops.fori_loop(0, height * width, draw, state))


def gumbel(count, prior, seed):
    """Standard Gumbel noise for `count` grids: float32, (count, h·w, K). Grid i is the same whatever `count` is."""
    shape = (prior.grid[0] * prior.grid[1], prior.codes)
    return np.stack([np.random.default_rng([seed, i]).gumbel(size=shape).astype(np.float32) for i in range(count)])


def sample(prior, count, seed=0, temperature=1.0, batch=16):
    """`count` grids of codes drawn from `prior`: NumPy int32, (count, h, w)."""
    if count < 1:
        raise ValueError(f"`count` (={count}) must be at least 1")
    sampler, noise = Sampler(prior, temperature), gumbel(count, prior, seed)
    batch = min(batch, count)
    # One batch size for all, since another would be compiled anew: the last batch is filled up and cut.
    noise = np.concatenate([noise, np.zeros((-count % batch, *noise.shape[1:]), np.float32)])
    parts = [sampler.predict_on_batch(noise[i : i + batch]) for i in range(0, len(noise), batch)]
    return np.concatenate(parts)[:count].astype(np.int32)


def sample_naively(prior, noise, temperature=1.0, cells=None):
    """The same codes from the same noise by one full forward pass a cell: slow, and the reference for `Sampler`.

    Args:
        cells: stop after so many cells; None: all.
    """
    height, width = prior.grid
    codes = np.zeros((len(noise), height, width), np.int32)
    for i in range(height * width if cells is None else cells):
        row, column = divmod(i, width)
        logits = np.asarray(prior.predict_on_batch(codes))[:, row, column]
        codes[:, row, column] = np.argmax(logits / temperature + noise[:, i], axis=-1)
    return codes
