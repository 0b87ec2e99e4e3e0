"""Measure, write and print: sampling, training and loading, one after the other."""

import os

from bench import loading, matmul_gflops, sampling, training
from vq_lib import files
from vq_lib import plots as figures
from vq_lib.report import provenance
from vq_lib.study import REPOSITORY


def main():
    """Measure, write and print."""
    rates = {dtype: round(matmul_gflops(dtype), 1) for dtype in ("float32", "bfloat16")}
    document = {
        "machine": {"cores": os.cpu_count(), "device": provenance.device(), "matmul_gflops": rates},
        "training": training.measure(),
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
