"""What image codecs, general-purpose and untrained, make of the same slices at the same rate."""

import contextlib
import functools
import importlib
import io
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
    """Those of the codecs that can be written here: JPEG XL with the package pillow-jxl-plugin, which is
    under the GPL and so comes with nobody unasked, the rest by Pillow.
    """
    with contextlib.suppress(ImportError):
        importlib.import_module("pillow_jxl")
    Image.init()
    return [name for name in names if name.upper() in Image.SAVE]


def _written(image, codec, options):
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, codec.upper(), **options)
    return buffer.getvalue()


def compress(image, codec, quality):
    """One uint8 image (H, W, C) through a codec: `(bytes of the file, bytes of its payload, decoded image)`."""
    content = _written(image, codec, {"quality": quality, **SETTINGS[codec]})
    decoded = np.asarray(Image.open(io.BytesIO(content)).convert("L" if image.shape[-1] == 1 else "RGB"))
    return len(content), _payload(content, codec), decoded.reshape(image.shape)


def _payload(content, codec):
    """The bytes that carry the picture; all of JPEG XL, whose files have no container."""
    if codec == "jpeg":  # the entropy-coded scan: its tables do not count, in its favour
        scan = content.index(b"\xff\xda") + 2
        return len(content) - scan - int.from_bytes(content[scan : scan + 2])
    if codec == "webp":  # the VP8 chunk
        return int.from_bytes(content[16:20], "little")
    if codec == "avif":  # a box is its size, its type and what it holds
        box = content.index(b"mdat")
        return int.from_bytes(content[box - 4 : box]) - 8
    return len(content)


class Codecs:
    """The codecs `names`, or all `available`, on evenly spaced ones of uint8 images, compressed once at each quality.

    On 200 `slices` at most, and with AVIF and JPEG XL, which are slow at their best, on 16 up to 128 pixels a side and
    12 above.
    """

    def __init__(self, images, slices=None, names=None):
        self.images, self.pixels = images, images.shape[1] * images.shape[2]
        self.names, slow = available() if names is None else names, int(np.clip(2**18 // self.pixels, 12, 16))
        self.rows = {name: spread(np.arange(len(images)), slices or (slow if name in ("avif", "jxl") else 200))
                     for name in self.names}  # fmt: skip
        self.at = functools.cache(self._at)

    def _at(self, name, quality):
        """`{ssim, ssim_foreground, psnr, bits_per_pixel, bits_per_pixel_payload: (n,)}` of the slices."""
        images = np.asarray(self.images[self.rows[name]])
        with ThreadPoolExecutor() as pool:
            done = pool.map(lambda image: compress(image, name, quality), images)
            sizes, payloads, decoded = zip(*done, strict=True)
        return {**scores(images, np.stack(decoded)), "bits_per_pixel": np.array(sizes) * 8 / self.pixels,
                "bits_per_pixel_payload": np.array(payloads) * 8 / self.pixels}  # fmt: skip

    def curve(self, name, reach=np.inf):
        """A codec's means at each of `QUALITIES`, `{quality: {ssim, …}}`, up to the first that spends `reach` bits."""
        points = {}
        for quality in QUALITIES:
            points[quality] = means(self.at(name, quality))
            if points[quality]["bits_per_pixel_payload"] >= reach:
                break
        return points

    def curves(self, reach=np.inf):
        """The `curve` of every codec as one frame: codec, quality, and the columns of `at_rate`."""
        return pd.DataFrame([{"codec": name, "quality": quality, **point}
                             for name in self.names for quality, point in self.curve(name, reach).items()])  # fmt: skip

    def at_rate(self, bits_per_pixel, own, people):
        """Every codec at exactly a rate, interpolated between the two qualities around it, and this model's lead on it.

        The payload and not the file is held to the rate: a model's rate counts no container either. From the model's
        scores of all images, `{ssim, …: (N,)}`: `{codec: {ssim, …, bits_per_pixel, bits_per_pixel_payload, quality,
        slices, lead}}`, None for a codec that cannot spend as much or as little; `quality` are the two settings, `lead`
        intervals over people of model minus codec.
        """
        return {name: self._at_rate(name, bits_per_pixel, own, people) for name in self.names}

    def _at_rate(self, name, wanted, own, people):
        rates = {key: point["bits_per_pixel_payload"] for key, point in self.curve(name, wanted).items()}
        *_, low, high = [None, *rates]
        if low is None or rates[high] < wanted:
            return None
        while high - low > 1:  # rates grow about exponentially
            place = np.log(wanted / rates[low]) / np.log(rates[high] / rates[low])
            guess = int(np.clip(round(low + place * (high - low)), low + 1, high - 1))
            rates[guess] = self.at(name, guess)["bits_per_pixel_payload"].mean()
            low, high = (guess, high) if rates[guess] < wanted else (low, guess)
        share = (wanted - rates[low]) / (rates[high] - rates[low])
        each = {key: (1 - share) * a + share * self.at(name, high)[key] for key, a in self.at(name, low).items()}
        rows = self.rows[name]
        lead = {key: interval(values[rows] - each[key], people[rows]) for key, values in own.items()}
        return {**means(each), "quality": [low, high], "slices": len(rows), "lead": lead}


def lossless(images):
    """Bits per pixel of PNG, WebP and JPEG XL files without loss, containers included: uint8 → `{name: (N,)}`."""
    pixels = images.shape[1] * images.shape[2]
    return {name: np.array([len(_written(image, name, LOSSLESS[name])) for image in images]) * 8 / pixels
            for name in available(tuple(LOSSLESS))}  # fmt: skip
