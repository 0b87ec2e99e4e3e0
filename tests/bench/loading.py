"""How fast images are read beside Pillow alone, and how much memory that takes."""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from vq_lib.data import folders, reading, words
from vq_lib.data.cache import npy_file
from vq_lib.study import REPOSITORY


def measure(folder=None, count=1500, runs=5):
    """Decoding beside Pillow alone, opening the cache, and memory; the `loading` part of `benchmarks.json`.

    Pillow alone is `np.asarray(Image.open(path))` of the same files on a pool of as many threads as cores. Ours decodes
    into the cache's file. Both run in turn; medians are compared. Memory is the most anonymous memory (RssAnon, which
    leaves mapped files out) while the cache is made and an epoch of shuffled batches is drawn, with the files once,
    twice and four times: the largest of the three less the smallest. None where the system does not tell.

    Args:
        folder: OASIS slices; None: the environment's OASIS_DIR, or else `count` generated PNGs of 256x256.
    """
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        folder = folder or os.environ.get("OASIS_DIR") or _generated(place, count)
        files = [file for file in folders.walk(folder)[0] if file.name.lower().endswith(folders.IMAGES)]
        paths = [file.path for file in files if not words.is_mask(file.name)]
        sources = [lambda path=path: [reading.picture(path)] for path in paths]

        def plain(path):
            with Image.open(path) as image:
                return np.asarray(image).shape

        def pillow():
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                list(pool.map(plain, paths))

        def ours():
            images = npy_file(place / "images.npy", (len(paths), 256, 256, 1))
            thumbs = npy_file(place / "thumbnails.npy", (len(paths), 64, 64))
            _, broken = reading.read_all(sources, images, thumbs, progress=False)
            assert not broken, broken

        times = []
        for _ in range(runs):
            times.append((_seconds(pillow), _seconds(ours)))
            (place / "images.npy").unlink()
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


def _seconds(function):
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def _generated(place, count):
    """A folder of smooth random PNGs, 256x256, in the OASIS layout."""

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
from vq_lib import data
from vq_lib.training.batches import Batches
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
batches = Batches(slices.images, slices.where("train"), 32, seed=0)
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
