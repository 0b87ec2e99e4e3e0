"""`make bench`: sampling beside the tutorial's form of it, loading beside Pillow; writes `reports/benchmarks.json`.

The tutorial's form is what the published systems do: codes become one-hot vectors, a masked convolution reads them,
and for every code the whole grid runs through one `predict`. It holds the same weights here and gives the same codes.
Both are timed in one run, one after the other; medians are kept.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

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


def loading(folder=None, count=1500, runs=5):
    """Decoding beside Pillow alone, opening the cache, and memory; the `loading` part of `benchmarks.json`.

    Pillow alone is `np.asarray(Image.open(path))` of the same files on a pool of as many threads as cores. Ours decodes
    into the cache's file. Both run in turn; medians are compared. Memory is the most anonymous memory (RssAnon, which
    leaves mapped files out) while the cache is made and an epoch of shuffled batches is drawn, with the files once,
    twice and four times: the largest of the three less the smallest. None where the system does not tell.

    Args:
        folder: OASIS slices; None: the environment's OASIS_DIR, or else `count` generated PNGs of 256x256.
    """
    from PIL import Image

    from vq_lib.data import folders, reading
    from vq_lib.data.cache import npy_file

    with tempfile.TemporaryDirectory() as place:
        place, folder = Path(place), folder or os.environ.get("OASIS_DIR") or _generated(Path(place), count)
        files = [file for file in folders.walk(folder)[0] if file.name.lower().endswith(folders.IMAGES)]
        paths = [file.path for file in files if not folders.is_mask(file)]
        sources = [lambda path=path: [reading.picture(path)] for path in paths]

        def plain(path):
            with Image.open(path) as image:
                return np.asarray(image).shape

        def pillow():
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                list(pool.map(plain, paths))

        def ours():
            put = npy_file(place / "images.npy", (len(paths), 256, 256, 1))
            _, broken = reading.read_all(sources, 1, 256, 1, put, progress=False)
            assert not broken, broken
            (place / "images.npy").unlink()

        times = [(_timed(pillow, 1), _timed(ours, 1)) for _ in range(runs)]
        ratio = statistics.median(one for one, _ in times) / statistics.median(other for _, other in times)
        opened, memory = zip(*(_memory(place, paths, times) for times in (1, 2, 4)), strict=True)
    known = None not in memory
    return {
        "images": len(paths),
        "images_per_second": round(len(paths) / statistics.median(other for _, other in times), 1),
        "ratio_to_pillow": round(ratio, 3),
        "open_seconds": round(opened[0], 3),
        "anonymous_memory_mb": round(max(memory) - min(memory), 1) if known else None,
    }


def _generated(place, count):
    """A folder of smooth random PNGs, 256x256, in the OASIS layout."""
    from PIL import Image
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    for number in range(count):
        split = ("train", "train", "train", "validate", "test")[number % 5]
        path = place / "data" / f"keras_png_slices_{split}" / f"case_{number:05d}_slice_0.nii.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        field = gaussian_filter(rng.normal(size=(256, 256)), 3)
        Image.fromarray(np.clip(128 + 600 * field, 0, 255).astype(np.uint8)).save(path)
    return place / "data"


MEMORY = """
import sys, threading, time
import numpy as np
from vq_lib import data, training
from vq_lib.study import Study
peak, going = [0], True
def anonymous():
    with open("/proc/self/status") as file:
        return int(next(line for line in file if line.startswith("RssAnon")).split()[1]) / 1024
def watch():
    while going:
        peak[0] = max(peak[0], anonymous())
        time.sleep(0.01)
try:
    anonymous()
    threading.Thread(target=watch, daemon=True).start()
except OSError:
    peak = [None]
study = Study(sys.argv[1], sys.argv[2])
slices = data.load(study)
batches = training.Batches(slices.images, slices.where("train"), 32, seed=0)
for number in range(len(batches)):
    batches[number]
going, began = False, time.perf_counter()
data.load(study)
print(time.perf_counter() - began, *["" if one is None else one for one in peak])
"""


def _memory(place, paths, times):
    """Seconds to open the cache of the files linked `times` times, and the peak of anonymous memory in MB or None."""
    report, folder = place / f"report {times}", place / f"copies {times}"
    for copy in range(times):
        for number, path in enumerate(paths):
            split = ("train", "train", "train", "validate", "test")[number % 5]
            # Each copy has people of its own; that they look alike is allowed here.
            link = folder / f"keras_png_slices_{split}" / f"case_{copy * len(paths) + number:06d}_slice_0.nii.png"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
    report.mkdir()
    model = "vqvae: {encoder: [{layer: conv, filters: 4}], decoder: [{layer: conv, filters: 4}]}"
    (report / "recipe.yaml").write_text(f"title: bench\ndata: {{size: 256, allow_leaks: true}}\n{model}\n")
    command = [sys.executable, "-c", MEMORY, str(report), str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    seconds, peak = done.stdout.splitlines()[-1].rpartition(" ")[::2]
    shutil.rmtree(report)
    return float(seconds), float(peak) if peak else None


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
        "loading": loading(),
    }
    files.write_json(REPOSITORY / "reports" / "benchmarks.json", document)
    print(figures.table(list(rows[0]), [list(row.values()) for row in rows], "Sampling").text)
    print(figures.table(("", "value"), list(document["loading"].items()), "Loading").text)


if __name__ == "__main__":
    main()
