"""`make bench`: this library beside the usual way of doing the same, in one run; writes `reports/benchmarks.json`."""

import statistics
import time

import numpy as np
from keras import ops

PATIENCE = 4.0  # seconds to time one form for, at least one call and at most `CALLS`
CALLS = 5


def timed(function):
    """Median seconds of a call, once warm."""
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < CALLS and (not times or time.perf_counter() - began < PATIENCE):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def matmul_gflops(dtype, size=2048):
    """Rate of a matrix product of this framework, 2·size³ operations, in GFLOP/s."""
    a = ops.cast(np.random.default_rng(0).normal(size=(size, size)), dtype)
    product = lambda: ops.convert_to_numpy(ops.cast(ops.matmul(a, a)[0, 0], "float32"))  # noqa: E731
    product()
    return 2 * size**3 / timed(product) / 1e9
