"""What image codecs, general-purpose and untrained, make of the same slices at the same rate."""

import contextlib
import functools
import importlib
import io
import itertools
import struct
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from vq_lib.scores.images import means, scores, spread
from vq_lib.scores.intervals import interval

# Each at its best, however slow. One thread: a slice is too small to share, and the bytes are the same.
SETTINGS: dict[str, dict[str, Any]] = {
    "jpeg": {"optimize": True}, "webp": {"method": 6},
    "avif": {"speed": 0, "advanced": {"tune": "ssim"}, "max_threads": 1}, "jxl": {"effort": 9},
}  # fmt: skip
LOSSLESS: dict[str, dict[str, Any]] = {
    "png": {"optimize": True}, "webp": {"lossless": True, "quality": 100, "method": 6},
    "jxl": {"lossless": True, "effort": 9},
}  # fmt: skip
QUALITIES = (1, 10, 25, 40, 60, 80, 95)  # of the curves; a rate is looked for between the first and the last


def available(names=tuple(SETTINGS)):
    """Those of the codecs that can be written here: JPEG XL with the package pillow-jxl-plugin, the rest by Pillow."""
    with contextlib.suppress(ImportError):
        importlib.import_module("pillow_jxl")
    Image.init()
    return [name for name in names if name.upper() in Image.SAVE]


def _written(image, codec, options):
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, codec.upper(), **options)
    return buffer.getvalue()


def compress(image, codec, quality):
    """One uint8 image (H, W, C) through a codec: `(bytes of the file, bytes of its payload, decoded image)`.

    The payload is what carries the picture: JPEG's entropy-coded scan (its tables do not count, in its favour), WebP's
    VP8 chunk, AVIF's `mdat` box; of JPEG XL, whose files have no container, all.
    """
    content = _written(image, codec, {"quality": quality, **SETTINGS[codec]})
    decoded = np.asarray(Image.open(io.BytesIO(content)).convert("L" if image.shape[-1] == 1 else "RGB"))
    return len(content), _payload(content, codec), decoded.reshape(image.shape)


def _payload(content, codec):
    if codec == "jpeg":
        scan = content.index(b"\xff\xda")
        return len(content) - scan - 2 - struct.unpack(">H", content[scan + 2 : scan + 4])[0]
    if codec == "webp":
        return struct.unpack("<I", content[16:20])[0]
    position = 0
    while codec == "avif" and position + 8 <= len(content):  # ISO base media boxes: size, type
        size, kind = struct.unpack(">I4s", content[position : position + 8])
        if kind == b"mdat":
            return size - 8
        position += size or len(content)
    return len(content)


class Codecs:
    """The available codecs on some of the slices, evenly spaced, compressed once at each quality that is asked for.

    Args:
        images: uint8 (N, H, W, C).
        slices: on how many at most; None: 200, and for AVIF, which is slow at its best, 16 up to 128 pixels a side and
            12 above.
        names: which codecs; None: those that are `available`.
    """

    def __init__(self, images, slices=None, names=None):
        self.images, self.pixels = images, images.shape[1] * images.shape[2]
        self.names = available() if names is None else names
        slow = int(np.clip(2**18 // self.pixels, 12, 16))
        self.rows = {name: spread(np.arange(len(images)), slices or (slow if name == "avif" else 200))
                     for name in self.names}  # fmt: skip
        self.at = functools.cache(self._at)

    def _at(self, name, quality):
        """`{ssim, ssim_foreground, psnr, bits_per_pixel, bits_per_pixel_payload: (n,)}` of the slices."""
        images = np.asarray(self.images[self.rows[name]])
        with ThreadPoolExecutor(2) as pool:
            done = pool.map(lambda image: compress(image, name, quality), images)
            sizes, payloads, decoded = zip(*done, strict=True)
        return {**scores(images, np.stack(decoded)), "bits_per_pixel": np.array(sizes) * 8 / self.pixels,
                "bits_per_pixel_payload": np.array(payloads) * 8 / self.pixels}  # fmt: skip

    def curves(self, reach=np.inf):
        """The means of each codec at `QUALITIES`, a frame: codec, quality, and the columns of `at_rate`. The first that
        spends more than `reach` bits per pixel is the last."""
        rows: list[dict[str, Any]] = []
        for name, quality in itertools.product(self.names, QUALITIES):
            if not rows or rows[-1]["codec"] != name or rows[-1]["bits_per_pixel_payload"] <= reach:
                rows.append({"codec": name, "quality": quality, **means(self.at(name, quality))})
        return pd.DataFrame(rows)

    def at_rate(self, bits_per_pixel, own, people):
        """Every codec at exactly a rate, interpolated between the two qualities around it, and this model's lead on it.

        The payload and not the file is held to the rate: a model's rate counts no container either, and this is the
        stricter comparison.

        Args:
            bits_per_pixel: the model's rate.
            own: the model's scores of all images, `{ssim, …: (N,)}`. people: (N,), whose they are.

        Returns:
            `{codec: {ssim, ssim_foreground, psnr, bits_per_pixel, bits_per_pixel_payload, quality, slices, lead}}`,
            None for a codec that cannot spend as much or as little; `quality` are the two settings; `lead` has, for
            each score, `{mean, low, high}` of model minus codec on the same slices, an interval over people.
        """
        return {name: self._at_rate(name, bits_per_pixel, own, people) for name in self.names}

    def _at_rate(self, name, bits_per_pixel, own, people):
        def rate(quality):
            return self.at(name, quality)["bits_per_pixel_payload"].mean()

        high = next((quality for quality in QUALITIES if rate(quality) >= bits_per_pixel), QUALITIES[0])
        if high == QUALITIES[0]:
            return None
        low = QUALITIES[QUALITIES.index(high) - 1]
        while high - low > 1:  # rates grow about exponentially
            place = np.log(bits_per_pixel / rate(low)) / np.log(rate(high) / rate(low))
            guess = int(np.clip(round(low + place * (high - low)), low + 1, high - 1))
            low, high = (guess, high) if rate(guess) < bits_per_pixel else (low, guess)
        share = (bits_per_pixel - rate(low)) / (rate(high) - rate(low))
        each = {
            key: (1 - share) * value + share * self.at(name, high)[key] for key, value in self.at(name, low).items()
        }
        rows = self.rows[name]
        lead = {key: interval(values[rows] - each[key], people[rows]) for key, values in own.items()}
        return {**means(each), "quality": [low, high], "slices": len(rows), "lead": lead}


def lossless(images):
    """Bits per pixel of PNG, WebP and JPEG XL files without loss, containers included: uint8 → `{name: (N,)}`."""
    pixels = images.shape[1] * images.shape[2]
    return {name: np.array([len(_written(image, name, LOSSLESS[name])) for image in images]) * 8 / pixels
            for name in available(tuple(LOSSLESS))}  # fmt: skip
