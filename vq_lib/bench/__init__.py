"""`make bench`: this library beside the usual way of doing the same, in one run; writes `reports/benchmarks.json`."""

import statistics
import time

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
