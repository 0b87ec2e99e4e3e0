"""Image files read into uint8 arrays, on all cores: what is broken, hostile or odd is named, never guessed at.

8-bit levels stay as they are; for others see `levels.to_white`. Palettes, opaque alpha and equal colour channels become
grey without loss; what is transparent lies on black. A PNG's checksums are verified, which Pillow's decoder leaves out.
"""

import io
import os
import sys
import warnings
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image, ImageOps
from tqdm.contrib.concurrent import thread_map

from vq_lib.data import levels, voxels
from vq_lib.data.folders import VOLUMES
from vq_lib.errors import UserError

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")  # no others: Pillow would hand some to programs outside
PIXELS = 2**26  # more is a decompression bomb
BYTES = 2**29
POINTER = b"version https://git-lfs"
THUMBNAIL = 64  # side of the small grey copies that checks compare

Image.preinit()  # finds the common formats once, not in several threads at the same time


class Picture(NamedTuple):
    """One slice as its file holds it, and what is noted about it."""

    image: Any  # a Pillow image of mode L or RGB; None where only the header was looked at
    mode: str  # Pillow's, of the file
    colour: bool  # whether it has any
    crc: int  # stands for the file's content
    labels: bool = False  # whether its levels are those of a label map
    top: int = 0  # the highest level of a 16-bit file


def pictures(path: str | Path, channels: int = 1, white: int | None = None, decode: bool = True,
             count: int | None = 16, **cut: Any) -> list[Picture]:  # fmt: skip
    """The slices of a file: `count` of a volume, `cut` as in `voxels.pictures`, else the one that it holds; without
    `decode`, only a look at checksums and header. Raises anything where it is broken: `reason` makes a sentence."""
    with open(path, "rb") as file:
        if file.read(len(POINTER)) == POINTER:
            raise ValueError("it is a pointer of Git LFS (git lfs pull fetches the image)")
    if not str(path).lower().endswith(VOLUMES):
        return [picture(path, channels, white, decode)]
    if not decode:
        voxels.look(str(path), cut.get("volume"))
        return []
    return [Picture(image, "volume", False, zlib.crc32(image.tobytes()), labels)
            for image, labels in voxels.pictures(str(path), count, white=white, **cut)]  # fmt: skip


def picture(path: str | Path, channels: int = 1, white: int | None = None, decode: bool = True) -> Picture:
    """The picture in an image file, for `channels` 1 (colour becomes luminance) or 3; otherwise as `pictures`."""
    if os.path.getsize(path) > BYTES:
        raise ValueError(f"it is larger than {BYTES >> 20} MiB")
    content = Path(path).read_bytes()
    crc = _checksum(content)
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        if image.width * image.height > PIXELS:
            raise Image.DecompressionBombError
        frames, mode = getattr(image, "n_frames", 1), image.mode
        if frames > 1 and image.format != "MPO":
            raise ValueError(f"it holds {frames} pictures, not one")
        if mode in ("I", "F") and white is None:
            raise ValueError(f"its levels (mode {mode}) have no known white: set data.white in the recipe")
        if not decode:
            return Picture(None, mode, False, crc)
        low, stored = _low_bytes(image, content), _upright(image)
        if low is not None:
            stored = stored.astype(np.uint16) * 256 + _upright(low)
    plain = Image.fromarray(stored if stored.dtype == np.uint8 else levels.to_white(stored, white))
    colour = stored.ndim == 3 and bool((stored != stored[..., :1]).any())
    grey = stored if stored.ndim == 2 else np.asarray(plain.convert("L"))
    labels = levels.is_label_map(grey, most=levels.FEW if colour else levels.MOST)  # drawings may have flat colours
    top = int(stored.max()) if stored.dtype == np.uint16 else 0
    return Picture(plain.convert("RGB" if channels == 3 else "L"), mode, colour, crc, labels, top)


def _upright(image):
    """The levels of an image without alpha or palette, turned as its camera says: (H, W) or (H, W, 3)."""
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode[0] in "IF":
        return np.asarray(image)
    if "transparency" in image.info or image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    return np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"))


def _low_bytes(image, content):
    """The lower eight of 16 bits of each colour, which Pillow leaves out; None where there are none."""
    if image.mode[:2] not in ("RG", "LA") or ";16" not in str(image.tile):
        return None
    other = Image.open(io.BytesIO(content), formats=FORMATS)
    little = sys.byteorder == "little"  # the byte order, from which Pillow takes one, is changed
    for number, tile in enumerate(other.tile or ()):
        raw, *more = [tile.args] if isinstance(tile.args, str) else list(tile.args or ())
        raw = raw[:-1] + raw[-1].translate(str.maketrans("BLN", "LBB" if little else "LBL"))
        other.tile[number] = tile._replace(args=(raw, *more))
    return other


def _checksum(content):
    """A CRC-32 that stands for a file's content; a PNG's own are verified, which Pillow does not do for pixels."""
    if not content:
        raise ValueError("it is empty")
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        return zlib.crc32(content)
    at, kind, own = 8, b"", b""
    while kind != b"IEND":
        end = at + 8 + int.from_bytes(content[at : at + 4], "big")
        kind, stored = content[at + 4 : at + 8], content[end : end + 4]
        if len(stored) < 4:
            raise ValueError("it is cut off")
        if zlib.crc32(content[at + 4 : end]) != int.from_bytes(stored, "big"):
            raise ValueError("its checksum is wrong")
        at, own = end + 4, own + stored
    return zlib.crc32(own)


def fit(image: Image.Image, size: int, channels: int = 1) -> np.ndarray:
    """`image` scaled so that its longer side is `size`, in the middle of a black square: uint8 (size, size, channels).

    Shrinking averages over areas (Pillow's BOX): from 256 to 128 pixels each is the mean of its four. Unlike a Lanczos
    filter this never overshoots, so that a black background stays exactly black. Enlarging is bicubic."""
    width, height = (max(1, round(side * size / max(image.size))) for side in image.size)
    square = Image.new("RGB" if channels == 3 else "L", (size, size))
    square.paste(_resized(image, width, height), ((size - width) // 2, (size - height) // 2))
    return np.asarray(square).reshape(size, size, channels)


def thumbnail(image: Image.Image) -> np.ndarray:
    """`image` as grey levels, uint8 (64, 64), whatever its proportions are."""
    return np.asarray(_resized(image.convert("L"), THUMBNAIL, THUMBNAIL, reducing_gap=2.0))


def _resized(image, width, height, **options):
    how = Image.Resampling.BOX if max(width, height) <= max(image.size) else Image.Resampling.BICUBIC
    return image.resize((width, height), how, **options)


def read_all(sources: Sequence[Callable], images: Any = None, thumbnails: Any = None,
             progress: bool = True) -> tuple[pd.DataFrame, dict[int, str]]:  # fmt: skip
    """Fill `images` and `thumbnails`, uint8 (n, size, size, channels) and (n, 64, 64), on all cores from `sources`,
    functions of which each returns equally many `Picture`s; where None, the sources are only called. Returns what was
    noted about each slice that was read, and `{index of the file: reason}` of the broken."""
    each = 0 if images is None else len(images) // max(1, len(sources))

    def one(number):
        try:
            found = sources[number]()
            if each and len(found) != each:
                raise ValueError("it holds one slice, and not a volume")
            for row, picture in enumerate(found[:each], number * each):
                images[row] = fit(picture.image, *images.shape[2:])
                thumbnails[row] = thumbnail(picture.image)
            return [(*picture.image.size, *picture[1:]) for picture in found[:each]]
        except Exception as error:  # Pillow raises a dozen kinds for broken files
            return reason(error)

    results = on_all_cores(one, range(len(sources)), "reading images" if each else "checking images", progress)
    broken = {number: result for number, result in enumerate(results) if isinstance(result, str)}
    noted = [row for number, result in enumerate(results) if number not in broken for row in result]
    return pd.DataFrame(noted, columns=["width", "height", *Picture._fields[1:]]), broken


def read_any(paths: Sequence[str | Path], size: int, channels: int = 1, white: int | None = None,
             progress: bool = False, **cut: Any) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """The slices in files of any kind, uint8 (n, size, size, channels), and which of `paths` each is from, (n,) int;
    `cut`: see `pictures`. `UserError` where a file cannot be read, or is too dark for its white."""

    def one(path):
        try:
            found = pictures(path, channels, white, **cut)
            return [fit(each.image, size, channels) for each in found], max(each.top for each in found)
        except Exception as error:
            raise UserError(f"The image {path} cannot be read: {reason(error)}.") from None

    read = on_all_cores(one, paths, "reading images", progress)
    levels.bright_enough(white, [top for _, top in read], paths)
    images = [image for images, _ in read for image in images]
    of = np.repeat(np.arange(len(paths)), [len(images) for images, _ in read])
    return np.array(images, np.uint8).reshape(-1, size, size, channels), of


def read(path: str | Path, size: int, channels: int = 1, white: int | None = None) -> np.ndarray:
    """One image as uint8 (size, size, channels), fitted into the square as `fit` does; errors as `read_any`."""
    return read_any([path], size, channels, white)[0][0]


def reason(error: Exception) -> str:
    """What a broken file's exception says, as the end of a sentence."""
    if isinstance(error, Image.UnidentifiedImageError):
        return "it is no image file of a known kind, or a broken one"
    if isinstance(error, Image.DecompressionBombError):
        return f"it claims to have more than {PIXELS:,} pixels"
    return (str(error).strip().splitlines() or [""])[0].rstrip(".") or type(error).__name__


def on_all_cores(work: Callable, items: Sequence, what: str, progress: bool = True) -> list:
    """`[work(item) for item in items]` on all cores: Pillow decodes outside the interpreter's lock. A progress bar is
    gone when the work is done, with at most one update a second."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on odd files
        return thread_map(work, items, max_workers=os.cpu_count(), desc=what, unit="image", disable=not progress,
                          leave=False, file=sys.stdout, mininterval=1.0)  # fmt: skip
