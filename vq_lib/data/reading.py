"""Image files read into uint8 arrays, on all cores: what is broken, hostile or odd is named, never guessed at.

Levels: 8-bit ones stay as they are; 16-bit ones become `level * 256 // (white + 1)`, with white = 65535 unless the
recipe says otherwise. Palettes, opaque alpha and equal colour channels become grey without loss; what is transparent
lies on black. A PNG's checksums are verified, which Pillow's decoder leaves out; JPEG has none, so that a change inside
its compressed data shows only where it breaks them.
"""

import io
import os
import sys
import warnings
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from vq_lib.errors import UserError

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")  # no others: Pillow would hand some to programs outside
PIXELS = 2**26  # more is a decompression bomb
BYTES = 2**29
THUMBNAIL = 64  # side of the small grey copies that checks compare
CHUNK = 32  # files that a thread takes at a time
NOTED = np.dtype(
    [
        ("width", np.int32),
        ("height", np.int32),
        ("levels", np.int16),
        ("colour", bool),
        ("mode", "U6"),
        ("crc", np.uint32),
    ]
)  # what is noted about a slice: its file's pixels, not the fitted ones

Image.preinit()  # finds the common formats once, not in several threads at the same time


def bar(iterable, what, total=None, unit="image", shown=True):
    """A progress bar that is gone when the work is done, and that writes at most one update a second."""
    return tqdm(iterable, what, total, unit=unit, disable=not shown, leave=False, file=sys.stdout, mininterval=1.0)


def read(path: str | Path, size: int, channels: int = 1, white: int | None = None) -> np.ndarray:
    """One image as uint8 (size, size, channels), fitted into the square as `fit` does.

    Raises:
        UserError: the file cannot be read as an image; the sentence names it.
    """
    try:
        return as_array(fit(picture(path, channels, white)[0], size), channels)
    except Exception as error:  # Pillow raises a dozen kinds for broken files
        raise UserError(f"The image {path} cannot be read: {reason(error)}.") from None


def picture(path: str | Path, channels: int = 1, white: int | None = None, decode: bool = True):
    """An image file as a Pillow image of mode L or RGB, and what it was: `(image, mode, whether it has colour, crc)`.

    Args:
        channels: 1 (colour becomes luminance) or 3.
        white: the level of a 16-bit image that becomes 255; None: 65535.
        decode: False looks at checksums and header only; the image is then None.

    Raises:
        anything: the file is broken or unsuitable; `reason` makes a sentence of it.
    """
    with open(path, "rb", buffering=0) as file:
        if os.fstat(file.fileno()).st_size > BYTES:
            raise ValueError(f"it is larger than {BYTES >> 20} MiB")
        content = file.read()
    crc = _checksum(content)
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        if image.width * image.height > PIXELS:
            raise Image.DecompressionBombError
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and image.format != "MPO":
            raise ValueError(f"it holds {frames} pictures, not one")
        mode = image.mode
        if mode in ("I", "F") and white is None:
            raise ValueError(f"its levels (mode {mode}) have no known white: set data.white in the recipe")
        if not decode:
            return None, mode, False, crc
        image.load()
        if mode == "L" and channels == 1 and image.format == "PNG" and "transparency" not in image.info:
            return image, mode, False, crc
        plain = ImageOps.exif_transpose(image)
        plain = _levels(plain, white) if mode[0] in "IF" else _on_black(plain)
        colour = plain.mode == "RGB" and _coloured(plain)
        return plain.convert("RGB" if channels == 3 else "L"), mode, colour, crc


def _checksum(content):
    """A CRC-32 that stands for a file's content; a PNG's own are verified, which Pillow does not do for pixels."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        at, kind, own = 8, b"", b""
        while kind != b"IEND":
            length = int.from_bytes(content[at : at + 4], "big")
            kind, end = content[at + 4 : at + 8], at + 8 + length
            at = end + 4
            if len(content) < at:
                raise ValueError("it is cut off")
            if zlib.crc32(content[end - length - 4 : end]) != int.from_bytes(content[end:at], "big"):
                raise ValueError("its checksum is wrong")
            own += content[end:at]
        return zlib.crc32(own)
    if not content:
        raise ValueError("it is empty")
    return zlib.crc32(content)


def _levels(image, white):
    levels = np.asarray(image)
    if not np.isfinite(levels).all():
        raise ValueError("it holds levels that are no numbers")
    scaled = np.clip(levels.astype(np.float64) * 256 // ((white or 65535) + 1), 0, 255)
    return Image.fromarray(scaled.astype(np.uint8))


def _on_black(image):
    """An image without alpha or palette, mode L or RGB."""
    if "transparency" in image.info or image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image).convert("RGB")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _coloured(image):
    red, green, blue = (np.asarray(channel) for channel in image.split())
    return not (np.array_equal(red, green) and np.array_equal(red, blue))


def fit(image: Image.Image, size: int) -> Image.Image:
    """`image` scaled so that its longer side is `size`, in the middle of a black square.

    Shrinking averages over areas (Pillow's BOX): from 256 to 128 pixels each is the mean of its four. Unlike a Lanczos
    filter this never overshoots, so that a black background stays exactly black. Enlarging is bicubic.
    """
    longer = max(image.size)
    width, height = (max(1, round(side * size / longer)) for side in image.size)
    if image.size != (width, height):
        image = image.resize((width, height), _filter(longer, size))
    if width != height:
        square = Image.new(image.mode, (size, size))
        square.paste(image, ((size - width) // 2, (size - height) // 2))
        return square
    return image


def stretched(image: Image.Image, size: int) -> np.ndarray:
    """`image` as grey levels, uint8 (size, size), whatever its proportions were."""
    return np.asarray(image.convert("L").resize((size, size), _filter(max(image.size), size)))


def _filter(side, size):
    return Image.Resampling.BOX if size <= side else Image.Resampling.BICUBIC


def as_array(image: Image.Image, channels: int = 1) -> np.ndarray:
    """uint8 (H, W, channels) of a Pillow image of mode L or RGB."""
    array = np.asarray(image).reshape(image.height, image.width, -1)
    return array if array.shape[2] == channels else np.repeat(array, channels, axis=2)


def _levels_used(array, enough=16):
    """How many grey levels occur, exactly where they are few; the middle row tells most images at once."""
    few = np.count_nonzero(np.bincount(array[len(array) // 2].ravel()))
    return few if few > enough else np.count_nonzero(np.bincount(array.ravel()))


def read_all(
    sources: Sequence[Callable], each: int, size: int, channels: int, put: Callable, progress: bool = True
) -> tuple[np.ndarray, dict[int, str]]:
    """Read files on all cores and hand their slices on in blocks, so that memory does not grow with their number.

    Args:
        sources: a function for each file, whose call yields its `each` slices as `picture` returns them.
        put: is called with a row, the images that belong there on, uint8 (n, size, size, channels), and thumbnails of
            those whose proportions `fit` hides: `{row: (64, 64)}`. The rows of a broken file are black.

    Returns:
        What was noted about each row, a structured array, and `{index of the file: reason}` of the broken ones.
    """
    noted, broken = np.zeros(len(sources) * each, NOTED), {}
    files = max(1, CHUNK // each)

    def chunk(start):
        chosen = range(start, min(start + files, len(sources)))
        block, odd = np.empty((len(chosen) * each, size, size, channels), np.uint8), {}
        for row, number in enumerate(chosen):
            row *= each
            try:
                for place, (image, mode, colour, crc) in enumerate(sources[number](), row):
                    scaled = fit(image, size)
                    block[place] = array = as_array(scaled, channels)
                    levels = _levels_used(array if scaled is image else np.asarray(image))
                    noted[start * each + place] = (*image.size, levels, colour, mode, crc)
                    if image.width != image.height:
                        odd[start * each + place] = stretched(image, THUMBNAIL)
            except Exception as error:
                broken[number] = reason(error)
                block[row : row + each] = 0
        put(start * each, block, odd)
        return len(chosen)

    on_all_cores(chunk, range(0, len(sources), files), "reading images", len(sources) if progress else 0)
    return noted, dict(sorted(broken.items()))


def read_many(
    paths: Sequence[str | Path], size: int, channels: int = 1, white: int | None = None, progress: bool = False
) -> np.ndarray:
    """The images in `paths`, uint8 (n, size, size, channels); see `picture`.

    Raises:
        UserError: one cannot be read; the sentence names the first.
    """
    images = np.empty((len(paths), size, size, channels), np.uint8)

    def put(row, block, _):
        images[row : row + len(block)] = block

    sources = [lambda path=path: [picture(path, channels, white)] for path in paths]
    _, broken = read_all(sources, 1, size, channels, put, progress)
    for number, why in broken.items():
        raise UserError(f"The image {paths[number]} cannot be read: {why}.")
    return images


def check_all(checks: Sequence[Callable]) -> dict[int, str]:
    """Call each of `checks` on all cores; `{index: reason}` of those that raise."""

    def chunk(start):
        found = {}
        for number in range(start, min(start + CHUNK, len(checks))):
            try:
                checks[number]()
            except Exception as error:
                found[number] = reason(error)
        return found

    parts = on_all_cores(chunk, range(0, len(checks), CHUNK), "checking images")
    return {number: why for part in parts for number, why in part.items()}


def reason(error: Exception) -> str:
    """What a broken file's exception says, as the end of a sentence."""
    if isinstance(error, Image.UnidentifiedImageError):
        return "it is no image file of a known kind, or a broken one"
    if isinstance(error, Image.DecompressionBombError):
        return f"it claims to have more than {PIXELS:,} pixels"
    return (str(error).strip().splitlines() or [""])[0].rstrip(".") or type(error).__name__


def on_all_cores(work: Callable, items: Iterable, what: str, total: int = 0) -> list:
    """`[work(item) for item in items]` on all cores; Pillow decodes outside the interpreter's lock.

    With a `total` the results are counts, and a bar adds them up to it.
    """
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        with warnings.catch_warnings(), bar(None, what, total, shown=total > 0) as shown:
            warnings.simplefilter("ignore")  # Pillow's remarks on odd files
            results = []
            for result in pool.map(work, items):
                results.append(result)
                if total:
                    shown.update(result)
            return results
    finally:
        pool.shutdown(cancel_futures=True)  # after an error: do not read the rest first
