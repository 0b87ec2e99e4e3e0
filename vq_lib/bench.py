"""`make bench`: how fast sampling is beside the tutorial's form of it; writes `reports/benchmarks.json`.

The tutorial's form is what the published systems do: codes become one-hot vectors, a masked convolution reads them,
and for every code the whole grid runs through one `predict`. It holds the same weights here and gives the same codes.
Both are timed in one run, one after the other; medians are kept.
"""

import os
import statistics
import time

import keras
import numpy as np
from keras import ops

from vq_lib import figures, files, provenance, sampling
from vq_lib.masked import causal_taps
from vq_lib.pixelcnn import PixelCNN
from vq_lib.study import REPOSITORY

CASES = [
    (16, 1),
    (16, 16),
    (32, 1),
    (32, 16),
    (32, 64),
    (64, 1),
]  # (grid, batch); the reference form must fit in memory
CALLS = 6  # timed passes of the reference; a batch takes one for each code


def tutorial_pixelcnn(grid, codes):
    """The tutorial's PixelCNN: 7x7 mask A, 128 filters, two residual blocks, two 1x1 layers."""
    return PixelCNN(grid, codes, filters=128, blocks=2, kernel=7, head=2)


def in_tutorial_form(prior):
    """The same function with the same weights as the tutorial writes it: one-hot codes, full kernels with zeros."""

    def convolution(weight, bias, kernel, activation="relu"):
        layer = keras.layers.Conv2D(weight.shape[-1], kernel, padding="same", activation=activation)
        layer.build((None, *prior.grid, weight.shape[-2]))
        taps = weight.reshape(-1, *weight.shape[-2:])
        full = np.zeros((kernel * kernel, *weight.shape[-2:]), np.float32)
        full[: len(taps)] = taps
        layer.set_weights([full.reshape(kernel, kernel, *weight.shape[-2:]), bias])
        return layer

    def pointwise(dense, activation="relu"):
        weight, bias = map(np.asarray, dense.get_weights())
        return convolution(weight[None, None], bias, 1, activation)

    inputs = keras.Input(prior.grid, dtype="int32")
    first = prior.first
    x = keras.layers.Lambda(lambda codes: ops.one_hot(codes, prior.codes), output_shape=(*prior.grid, prior.codes))(
        inputs
    )
    x = convolution(np.asarray(first.weight), np.asarray(first.bias), first.kernel)(x)
    for block in prior.blocks:
        masked = block.masked
        weight = np.asarray(masked.weight).reshape(-1, *masked.weight.shape[-2:])[: causal_taps(masked.kernel, True)]
        branch = pointwise(block.enter)(x)
        branch = convolution(weight, np.asarray(masked.bias), masked.kernel)(branch)
        x = keras.layers.add([x, pointwise(block.leave)(branch)])
    for layer in prior.head:
        x = pointwise(layer)(x)
    return keras.Model(inputs, pointwise(prior.logits, None)(x))


def _timed(function, repeats):
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def matmul_gflops(dtype, size=2048):
    """Rate of a matrix product of this framework, 2·size³ operations, in GFLOP/s."""
    a = ops.cast(np.random.default_rng(0).normal(size=(size, size)), dtype)
    product = lambda: ops.convert_to_numpy(ops.cast(ops.matmul(a, a)[0, 0], "float32"))  # noqa: E731
    product()
    return 2 * size**3 / _timed(product, 5) / 1e9


def operations(prior):
    """Multiplications and additions that one code of one grid needs: each unmasked weight once."""
    total = prior.first.taps * prior.first.filters  # a look-up adds
    for block in prior.blocks:
        taps = causal_taps(block.masked.kernel, True)
        total += 2 * (block.filters**2 + taps * block.filters * block.filters // 2 + block.filters // 2 * block.filters)
    return total + sum(2 * int(np.prod(layer.kernel.shape)) for layer in [*prior.head, prior.logits])


def sampling_case(side, batch, gflops, codes=512):
    """Time one (grid, batch) in both forms and hold their codes equal; a row of `benchmarks.json`."""
    keras.utils.set_random_seed(0)
    prior = tutorial_pixelcnn((side, side), codes)
    reference, sampler = in_tutorial_form(prior), sampling.Sampler(prior)
    noise = sampling.gumbel(batch, prior, seed=0)
    drawn = np.asarray(sampler.predict_on_batch(noise))
    # By causality one pass of the reference over the finished grids checks every draw of its loop.
    logits = reference.predict(drawn, verbose=0).reshape(batch, side * side, codes)
    wrong = int((np.argmax(logits + noise, axis=-1) != drawn.reshape(batch, -1)).sum())
    if wrong:
        raise SystemExit(f"The two forms disagree in {wrong} of {drawn.size} codes: the benchmark means nothing.")
    one_pass = _timed(lambda: reference.predict(drawn, verbose=0), CALLS)
    seconds = _timed(lambda: sampler.predict_on_batch(noise), 3)
    full = one_pass * side * side
    floor = operations(prior) * side * side * batch / (gflops * 1e9)
    return {
        "prior": "pixelcnn",
        "grid": side,
        "batch": batch,
        "seconds": round(seconds, 4),
        "full_forward_seconds": round(full, 2),
        "ratio": round(full / seconds, 1),
        "floor_share": round(floor / seconds, 3),
    }


def main():
    """Measure, write and print."""
    rates = {dtype: round(matmul_gflops(dtype), 1) for dtype in ("float32", "bfloat16")}
    rows = []
    for side, batch in CASES:
        rows.append(sampling_case(side, batch, rates["float32"]))
        print(f"pixelcnn {side}x{side}, batch {batch}: {rows[-1]['ratio']:,.0f} times faster", flush=True)
    document = {
        "machine": {"cores": os.cpu_count(), "device": provenance.device(), "matmul_gflops": rates},
        "sampling": rows,
    }
    files.write_json(REPOSITORY / "reports" / "benchmarks.json", document)
    print(figures.table(list(rows[0]), [list(row.values()) for row in rows], "Sampling").text)


if __name__ == "__main__":
    main()
