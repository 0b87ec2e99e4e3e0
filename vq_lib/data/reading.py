"""Image files read into uint8 arrays, on all cores."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image
from tqdm import tqdm

from vq_lib.errors import UserError

Image.preinit()  # finds the common formats once, not in several threads at the same time


def bar(iterable, what, total=None, unit="image", shown=True):
    """A progress bar that is gone when the work is done, and that writes at most one update a second."""
    return tqdm(iterable, what, total, unit=unit, disable=not shown, leave=False, file=sys.stdout, mininterval=1.0)


def read(path, size):
    """One grey image as uint8 (size, size, 1).

    Shrinking averages over areas (Pillow's BOX): from 256 to 128 pixels each is the mean of its four. Unlike a Lanczos
    filter this never overshoots, so that a black background stays exactly black. Enlarging is bicubic.

    Raises:
        UserError: the file cannot be read as an image, or is no square 8-bit grey one; the sentence names it.
    """
    try:
        with Image.open(path) as image:
            _fits(image)
            filter_ = Image.Resampling.BOX if size <= image.width else Image.Resampling.BICUBIC
            return np.asarray(image.resize((size, size), filter_), dtype=np.uint8)[..., None]
    except Exception as error:  # Pillow raises a dozen kinds for broken files
        raise UserError(f"The image {path} cannot be read: {_reason(error)}.") from None


def read_all(paths, size, images, progress=True):
    """Read every file of `paths` into `images`, uint8 (len(paths), size, size, 1), which may be memory-mapped."""

    def one(row):
        images[row] = read(paths[row], size)

    _threads(one, range(len(paths)), "reading images", progress)


def check(paths):
    """Raise `UserError` unless each file is whole and a square 8-bit grey image, without decoding any.

    The sentence names the first bad file, says what is wrong with it, and counts the others.
    """

    def one(path):
        try:
            with Image.open(path) as image:
                _fits(image)
                image.verify()  # a PNG's checksums: finds a file that was cut off
        except Exception as error:
            return path, error

    bad = [found for found in _threads(one, paths, "checking images", False) if found]
    if bad:
        path, error = bad[0]
        others = f" ({len(bad) - 1:,} more of {len(paths):,} files are like that)" if len(bad) > 1 else ""
        raise UserError(f"The image {path} cannot be read: {_reason(error)}{others}; replace or remove it.")


def _fits(image):
    if image.mode != "L":
        raise ValueError(f"it is a {image.mode} image, not one of 8-bit grey levels (mode L)")
    if image.width != image.height:
        raise ValueError(f"it has {image.width}x{image.height} pixels and is not square")


def _reason(error):
    if isinstance(error, Image.UnidentifiedImageError):
        return "it is no image file, or an empty one"
    return str(error).rstrip(".") or type(error).__name__


def _threads(work, items, what, progress):
    """`[work(item) for item in items]` on all cores; Pillow decodes outside the interpreter's lock."""
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        return list(bar(pool.map(work, items), what, total=len(items), shown=progress))
    finally:
        pool.shutdown(cancel_futures=True)  # after an error: do not read the rest first
