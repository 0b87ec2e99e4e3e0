"""Measure, write and print: sampling, training and loading, one after the other."""

import os

import numpy as np
from keras import ops

from vq_lib import figures, files, provenance
from vq_lib.bench import loading, sampling, timed, training
from vq_lib.study import REPOSITORY


def matmul_gflops(dtype, size=2048):
    """Rate of a matrix product of this framework, 2·size³ operations, in GFLOP/s."""
    a = ops.cast(np.random.default_rng(0).normal(size=(size, size)), dtype)
    product = lambda: ops.convert_to_numpy(ops.cast(ops.matmul(a, a)[0, 0], "float32"))  # noqa: E731
    product()
    return 2 * size**3 / timed(product) / 1e9


def main():
    """Measure, write and print."""
    rates = {dtype: round(matmul_gflops(dtype), 1) for dtype in ("float32", "bfloat16")}
    document = {
        "machine": {"cores": os.cpu_count(), "device": provenance.device(), "matmul_gflops": rates},
        "training": training.measure(rates),
        "loading": loading.measure(),
        **sampling.measure(rates["float32"]),
    }
    files.write_json(REPOSITORY / "reports" / "benchmarks.json", document)
    rows = document["sampling"]
    print(figures.table(list(rows[0]), [list(row.values()) for row in rows], "Sampling").text)
    for part in ("sampling_exponent", "training", "loading"):
        print(figures.table(("", "value"), list(document[part].items()), part.capitalize().replace("_", " ")).text)


if __name__ == "__main__":
    main()
