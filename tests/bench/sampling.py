"""How fast sampling is beside a full forward pass a code.

The reference of the PixelCNN is the tutorial's form, which is what the published systems do: codes become one-hot
vectors, a masked convolution reads them, and for every code the whole grid runs through one `predict`. The gated
PixelCNN and PixelSNAIL are measured against their own full forward pass a code. The reference holds the same weights
and gives the same codes. Both are timed in one run, one after the other; medians are kept.
"""

import keras
import numpy as np
from keras import ops

from bench import timed
from vq_lib.models import sampling
from vq_lib.models.build import KINDS

SIZE = {"filters": 128, "blocks": 2, "kernel": 7, "head": 2}  # the tutorial's PixelCNN; the others are like it
CODES = 512
GRIDS, BATCHES = (16, 32, 64), (1, 16, 64)
MEMORY = 2**29  # bytes; where one layer of the reference form would take more, the case is left out


def in_tutorial_form(prior):
    """The same function with the same weights as the tutorial writes it: one-hot codes, full kernels with zeros."""

    def convolution(taps, bias, kernel, activation="relu"):
        layer = keras.layers.Conv2D(taps.shape[-1], kernel, padding="same", activation=activation)
        layer.build((None, *prior.grid, taps.shape[-2]))
        full = np.zeros((kernel * kernel, *taps.shape[1:]), np.float32)
        full[: len(taps)] = taps
        layer.set_weights([full.reshape(kernel, kernel, *taps.shape[1:]), bias])
        return layer

    def masked(layer):
        taps = np.concatenate([np.asarray(layer.above), np.asarray(layer.left)])
        return convolution(taps, np.asarray(layer.bias), layer.kernel)

    def pointwise(dense, activation="relu"):
        weight, bias = map(np.asarray, dense.get_weights())
        return convolution(weight[None], bias, 1, activation)

    inputs = keras.Input(prior.grid, dtype="int32")
    lit = keras.layers.Lambda(lambda codes: ops.one_hot(codes, prior.codes), output_shape=(*prior.grid, prior.codes))
    x = masked(prior.first)(lit(inputs))
    for block in prior.blocks:
        x = keras.layers.add([x, pointwise(block.leave)(masked(block.masked)(pointwise(block.enter)(x)))])
    for layer in prior.head:
        x = pointwise(layer)(x)
    return keras.Model(inputs, pointwise(prior.logits, None)(x))


def operations(prior):
    """Multiplications and additions that one code of one grid needs: each weight once, where a look-up only adds.

    Attention reads half of the grid on average. A vertical stack runs once a row, which is once for each of its cells.
    """
    attentions = [block for block in prior.blocks if hasattr(block, "table")]
    tables = [prior.first.above, prior.first.left, *(block.table for block in attentions)]
    looked_up = sum(int(np.prod(table.shape)) for table in tables)
    cells = prior.grid[0] * prior.grid[1]
    attended = sum((block.key_dim + block.value_dim) * cells for block in attentions)
    return prior.first.taps * prior.first.filters + attended + 2 * (prior.count_params() - looked_up)


def reference_bytes(name, side, batch):
    """About what one pass of the reference form keeps at once: one-hot codes or the features of a layer, and logits."""
    cells = side * side * batch
    widest = CODES if name == "pixelcnn" else 4 * SIZE["filters"]
    return 4 * cells * (CODES + widest)


def sampling_case(name, side, batch, gflops):
    """Time one prior, grid and batch in both forms and hold their codes equal; a row of `benchmarks.json`."""
    keras.utils.set_random_seed(0)
    prior = KINDS[name]((side, side), CODES, **SIZE)
    reference = in_tutorial_form(prior) if name == "pixelcnn" else prior
    sampler, noise = sampling.Sampler(prior), sampling.gumbel(batch, prior, seed=0)
    inputs = (noise, np.full((batch, side, side), sampling.FREE, np.int32), np.full((batch, 2), -1, np.int32))
    drawn = np.asarray(sampler.predict_on_batch(inputs))
    # By causality one pass of the reference over the finished grids checks every draw of its loop.
    values = reference.predict(drawn, verbose=0, batch_size=batch).reshape(batch, side * side, CODES) + noise
    taken = np.take_along_axis(values, drawn.reshape(batch, -1, 1), axis=-1)[..., 0]
    wrong = int((values.max(axis=-1) - taken > 1e-3).sum())  # beyond what rounding can turn
    if wrong:
        raise SystemExit(f"The two forms disagree in {wrong} of {drawn.size} codes: the benchmark means nothing.")
    full = timed(lambda: reference.predict(drawn, verbose=0, batch_size=batch)) * side * side
    seconds = timed(lambda: sampler.predict_on_batch(inputs))
    floor = operations(prior) * side * side * batch / (gflops * 1e9)
    return {
        "prior": name,
        "grid": side,
        "batch": batch,
        "seconds": round(seconds, 4),
        "full_forward_seconds": round(full, 2),
        "ratio": round(full / seconds, 1),
        "floor_share": round(floor / seconds, 3),
    }


def exponents(rows):
    """How the time grows with the number of codes, `{prior: exponent}`: slopes of log seconds over log codes.

    One slope for each prior, fitted by least squares to all its batches with a constant for each batch.
    """
    found = {}
    for name in dict.fromkeys(row["prior"] for row in rows):
        x: list[float] = []
        y: list[float] = []
        for batch in BATCHES:
            own = [row for row in rows if (row["prior"], row["batch"]) == (name, batch)]
            codes, seconds = (
                np.log([f(row) for row in own]) for f in (lambda r: r["grid"] ** 2, lambda r: r["seconds"])
            )
            x, y = [*x, *(codes - codes.mean())], [*y, *(seconds - seconds.mean())]
        found[name] = round(float(np.dot(x, y) / np.dot(x, x)), 3)
    return found


def measure(gflops):
    """The sampling part of `benchmarks.json`: a row a prior, grid and batch, and the exponents fitted to them."""
    rows = []
    for name in KINDS:
        for side in GRIDS:
            for batch in BATCHES:
                if reference_bytes(name, side, batch) <= MEMORY:
                    rows.append(sampling_case(name, side, batch, gflops))
                    keras.backend.clear_session()
                    print(f"{name} {side}x{side}, batch {batch}: {rows[-1]['ratio']:,.0f} times faster", flush=True)
    return {"sampling": rows, "sampling_exponent": exponents(rows)}
