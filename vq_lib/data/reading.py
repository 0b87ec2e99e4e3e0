"""Image files read into uint8 arrays, on all cores: what is broken, hostile or odd is named, never guessed at.

8-bit levels stay as they are; for others see `levels.to_white`. Palettes, opaque alpha and equal colour channels become
grey without loss; what is transparent lies on black. A PNG's checksums are verified, which Pillow's decoder leaves out.
"""

import io
import os
import sys
import warnings
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from vq_lib.data import levels, voxels
from vq_lib.data.folders import VOLUMES
from vq_lib.errors import UserError

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")  # no others: Pillow would hand some to programs outside
PIXELS = 2**26  # more is a decompression bomb
BYTES = 2**29
THUMBNAIL = 64  # side of the small grey copies that checks compare
CHUNK = 32  # files that a thread takes at a time
NOTED = np.dtype([("width", np.int32), ("height", np.int32), ("mode", "U6"), ("colour", bool), ("crc", np.uint32),
                  ("labels", bool), ("top", np.int32)])  # fmt: skip

Image.preinit()  # finds the common formats once, not in several threads at the same time


class Picture(NamedTuple):
    """One slice as its file holds it, and what is noted about it."""

    image: Any  # a Pillow image of mode L or RGB; None where only the header was looked at
    mode: str  # Pillow's, of the file
    colour: bool  # whether it has any
    crc: int  # stands for the file's content
    labels: bool = False  # whether its levels are those of a label map
    top: int = 0  # the highest level of a 16-bit file


def bar(iterable, what, total=None, unit="image", shown=True):
    """A progress bar that is gone when the work is done, with at most one update a second."""
    return tqdm(iterable, what, total, unit=unit, disable=not shown, leave=False, file=sys.stdout, mininterval=1.0)


def pictures(
    path: str | Path, channels: int = 1, white: int | None = None, decode: bool = True, count: int | None = 16,
    span: tuple[float, float] = (0.35, 0.75), plane: str = "axial", volume: int | None = None,
) -> list[Picture]:  # fmt: skip
    """The slices of a file: `count` of a volume (see `voxels.pictures`), else the one that it holds; without `decode`,
    only a look at checksums and header.
    """
    if not str(path).lower().endswith(VOLUMES):
        return [picture(path, channels, white, decode)]
    if not decode:
        voxels.look(str(path), volume)
        return []
    slices = voxels.pictures(str(path), count, span, plane, volume, white)
    return [Picture(image, "volume", False, zlib.crc32(image.tobytes()), labels) for image, labels in slices]


def picture(path: str | Path, channels: int = 1, white: int | None = None, decode: bool = True) -> Picture:
    """The picture in an image file, for `channels` 1 (colour becomes luminance) or 3; without `decode`, only a look at
    checksums and header. Raises anything where the file is broken; `reason` makes a sentence of it.
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
            return Picture(None, mode, False, crc)
        low = _low_bytes(image, content)
        image.load()
        if mode == "L" and channels == 1 and image.format == "PNG" and "transparency" not in image.info:
            return Picture(image, mode, False, crc, levels.is_label_map(np.asarray(image)))
        plain = ImageOps.exif_transpose(image)
        if mode[0] in "IF":
            wide = np.asarray(plain)
        else:
            plain = _on_black(plain)
            wide = np.asarray(plain)
            if low is not None:
                wide = wide.astype(np.uint16) * 256 + np.asarray(_on_black(ImageOps.exif_transpose(low)))
        if wide.dtype != np.uint8:
            plain = Image.fromarray(levels.to_white(wide, white))
        colour = plain.mode == "RGB" and _coloured(plain)
        grey = wide if wide.ndim == 2 else np.asarray(plain.convert("L"))
        labels = levels.is_label_map(
            grey, most=levels.FEW if colour else levels.MOST
        )  # a drawing may have flat colours
        top = int(wide.max()) if wide.dtype == np.uint16 else 0
        return Picture(plain.convert("RGB" if channels == 3 else "L"), mode, colour, crc, labels, top)


def _low_bytes(image, content):
    """The lower eight of 16 bits of each colour, which Pillow leaves out; None where there are none."""
    tiles = [(tile, (tile.args,) if isinstance(tile.args, str) else tile.args) for tile in image.tile]
    if image.mode[:2] not in ("RG", "LA") or not any(";16" in str(args[0]) for _, args in tiles):
        return None
    other = Image.open(io.BytesIO(content), formats=FORMATS)
    swap = str.maketrans(
        "BLN", "LBB" if sys.byteorder == "little" else "LBL"
    )  # the byte order, from which Pillow takes one
    other.tile = [tile._replace(args=(args[0][:-1] + args[0][-1].translate(swap), *args[1:])) for tile, args in tiles]
    other.load()
    return other


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


def read_all(
    sources: Sequence[Callable], each: int, size: int, channels: int, put: Callable, progress: bool = True
) -> tuple[np.ndarray, dict[int, str]]:
    """Read files on all cores and hand their slices on in blocks, so that memory does not grow with their number.

    Args:
        sources: a function for each file, which returns its `each` slices, `Picture`s.
        put: is called with a row, the images that belong there on, uint8 (n, size, size, channels), and thumbnails of
            those whose proportions `fit` hides: `{row: (64, 64)}`. The rows of a broken file are black.

    Returns:
        What was noted about each row, a structured array of `NOTED`, and `{index of the file: reason}` of the broken.
    """
    noted, broken = np.zeros(len(sources) * each, NOTED), {}
    files = max(1, CHUNK // each)

    def chunk(start):
        chosen = range(start, min(start + files, len(sources)))
        block, odd = np.empty((len(chosen) * each, size, size, channels), np.uint8), {}
        for row, number in enumerate(chosen):
            row *= each
            try:
                if len(found := sources[number]()) != each:
                    raise ValueError("it holds one slice, and not a volume")
                for place, (image, *about) in enumerate(found, row):
                    block[place] = as_array(fit(image, size), channels)
                    noted[start * each + place] = (*image.size, *about)
                    if image.width != image.height:
                        odd[start * each + place] = stretched(image, THUMBNAIL)
            except Exception as error:
                broken[number] = reason(error)
                block[row : row + each] = 0
        put(start * each, block, odd)
        return len(chosen)

    on_all_cores(chunk, range(0, len(sources), files), "reading images", len(sources) if progress else 0)
    return noted, dict(sorted(broken.items()))


def read_any(
    paths: Sequence[str | Path], size: int, channels: int = 1, white: int | None = None, progress: bool = False,
    **volumes: Any,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """The slices in files of any kind, uint8 (n, size, size, channels), and which of `paths` each is from, (n,) int.

    `volumes`: how these are cut, see `pictures`. `UserError` where a file cannot be read, or is too dark for its white.
    """

    def one(path):
        try:
            found = pictures(path, channels, white, **volumes)
            images = [as_array(fit(each.image, size), channels) for each in found]
        except Exception as error:  # Pillow raises a dozen kinds for broken files
            raise UserError(f"The image {path} cannot be read: {reason(error)}.") from None
        return images, max(each.top for each in found)

    read = on_all_cores(one, paths, "reading images", progress=progress, total=len(paths))
    top, name = max([(top, str(path)) for (_, top), path in zip(read, paths, strict=True)], default=(0, ""))
    if white is None and 0 < top < levels.DARK:
        raise UserError(f"{levels.too_dark(top, name)}.")
    images = [image for images, _ in read for image in images]
    of = np.repeat(np.arange(len(paths)), [len(images) for images, _ in read])
    return np.array(images, np.uint8).reshape(-1, size, size, channels), of


def read_many(
    paths: Sequence[str | Path], size: int, channels: int = 1, white: int | None = None, progress: bool = False
) -> np.ndarray:
    """The images in `paths`, uint8 (n, size, size, channels); see `read_any`."""
    return read_any(paths, size, channels, white, progress)[0]


def read(path: str | Path, size: int, channels: int = 1, white: int | None = None) -> np.ndarray:
    """One image as uint8 (size, size, channels), fitted into the square as `fit` does; errors as `read_any`."""
    return read_any([path], size, channels, white)[0][0]


def check_all(checks: Sequence[Callable]) -> dict[int, str]:
    """Call each of `checks` on all cores; `{index: reason}` of those that raise."""

    def one(check):
        try:
            check()
        except Exception as error:
            return reason(error)
        return ""

    reasons = on_all_cores(one, checks, "checking images")
    return {number: why for number, why in enumerate(reasons) if why}


def reason(error: Exception) -> str:
    """What a broken file's exception says, as the end of a sentence."""
    if isinstance(error, Image.UnidentifiedImageError):
        return "it is no image file of a known kind, or a broken one"
    if isinstance(error, Image.DecompressionBombError):
        return f"it claims to have more than {PIXELS:,} pixels"
    return (str(error).strip().splitlines() or [""])[0].rstrip(".") or type(error).__name__


def on_all_cores(work: Callable, items: Iterable, what: str, total: int = 0, progress: bool = True) -> list:
    """`[work(item) for item in items]` on all cores: Pillow decodes outside the interpreter's lock. With a `total` a
    bar counts up to it, by the results where these are numbers, else one by one.
    """
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        with warnings.catch_warnings(), bar(None, what, total, shown=progress and total > 0) as shown:
            warnings.simplefilter("ignore")  # Pillow's remarks on odd files
            results = []
            for result in pool.map(work, items):
                results.append(result)
                shown.update(result if isinstance(result, int) else 1)
            return results
    finally:
        pool.shutdown(cancel_futures=True)  # after an error: do not read the rest first
