"""Measure, write and print: sampling, training and loading, one after the other."""

import os

import pandas as pd

from bench import loading, matmul_gflops, sampling, training
from vq_lib import files
from vq_lib.study import REPOSITORY
from vq_lib.training.device import device


def main():
    """Measure, write and print."""
    rates = {dtype: round(matmul_gflops(dtype), 1) for dtype in ("float32", "bfloat16")}
    document = {
        "machine": {"cores": os.cpu_count(), "device": device(), "matmul_gflops": rates},
        "training": training.measure(),
        "loading": loading.measure(),
        **sampling.measure(rates["float32"]),
    }
    files.write_json(REPOSITORY / "reports" / "benchmarks.json", document)
    print(pd.DataFrame(document["sampling"]).to_string(index=False))
    for part in ("sampling_exponent", "training", "loading"):
        print(f"\n{part}\n{pd.Series(document[part]).to_string()}")


if __name__ == "__main__":
    main()
