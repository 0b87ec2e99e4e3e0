"""What any score has to beat: predictions without a model, and image codecs at the same rate."""

import contextlib
import io
import struct

import numpy as np
from PIL import Image

from vq_lib import metrics
from vq_lib.errors import UserError
from vq_lib.files import read_json, write_json

CODECS = ("jpeg", "webp", "avif")


def thumbnails(images, size=64, rows=None):
    """Means over patches: uint8 (N, H, W, C) → float32 (N, size·size·C) in [0, 1]; small images keep their size.

    With `rows`, of these only; they are read a part at a time, for images that may not fit into memory.
    """
    rows = np.arange(len(images)) if rows is None else rows
    _, height, width, channels = images.shape
    step = max(height // size, 1)
    result = np.empty((len(rows), height // step * (width // step) * channels), np.float32)
    for start in range(0, len(rows), 256):
        blocks = images[rows[start : start + 256]].reshape(-1, height // step, step, width // step, step, channels)
        result[start : start + 256] = blocks.mean(axis=(2, 4), dtype=np.float32).reshape(len(blocks), -1) / 255
    return result


def mean(images, rows):
    """The mean of some images in [0, 1], float64 (H, W, C), read a part at a time."""
    parts = (images[rows[start : start + 256]].sum(axis=0, dtype=np.float64) for start in range(0, len(rows), 256))
    return sum(parts, np.zeros(images.shape[1:])) / len(rows) / 255


def nearest(queries, references):
    """Index of and Euclidean distance to the nearest reference of each query: (n, d), (m, d) → (n,), (n,)."""
    squares = np.square(references).sum(axis=1)
    index, distance = np.empty(len(queries), np.int64), np.empty(len(queries))
    for start in range(0, len(queries), 256):
        part = queries[start : start + 256]
        d2 = squares - 2 * part @ references.T
        rows = d2.argmin(axis=1)
        index[start : start + 256] = rows
        # Recomputed: the expanded square is too coarse for a copy's distance of zero.
        distance[start : start + 256] = np.linalg.norm(part - references[rows], axis=1)
    return index, distance


def position_means(slices, size_of=None):
    """The mean training image of each test slice's own position: float32, (n_test, H, W, C) in [0, 1]."""
    train, test = slices.where("train"), slices.where("test")
    means = {}
    for position in np.unique(slices.position[test]):
        rows = train[slices.position[train] == position]
        # A position that no training person has falls back to the mean of all of them.
        means[position] = mean(slices.images, rows if rows.size else train)
    return np.stack([means[p] for p in slices.position[test]]).astype(np.float32)


def predictions(slices):
    """Scores of the baselines that use no model, on the test people: `{name: {ssim, ssim_foreground, psnr}}`."""
    train, test = slices.where("train"), slices.where("test")
    inputs = np.asarray(slices.images[test])
    average = mean(slices.images, train).astype(np.float32)
    index, _ = nearest(thumbnails(inputs), thumbnails(slices.images, rows=train))
    return {
        "zeros": scores(inputs, np.zeros_like(inputs)),
        "mean_image": scores(inputs, np.broadcast_to(average, inputs.shape)),
        "position_mean": scores(inputs, position_means(slices)),
        "nearest_training": scores(inputs, np.asarray(slices.images[train[index]])),
    }


def kept(study, slices):
    """`predictions`, kept in `run/baselines.json` for the next time that these slices are looked at."""
    path = study.run / "baselines.json"
    with contextlib.suppress(UserError, KeyError, TypeError):
        found = read_json(path, "notebook 01")
        if found["fingerprint"] == slices.fingerprint:
            return found["scores"]
    scores = predictions(slices)
    write_json(path, {"fingerprint": slices.fingerprint, "scores": scores})
    return scores


def scores(inputs, outputs):
    """Means over the images: `{ssim, ssim_foreground, psnr}`."""
    plain, foreground = metrics.ssim(inputs, outputs)
    scores = {
        "ssim": plain.mean(),
        "ssim_foreground": np.nanmean(foreground),
        "psnr": metrics.psnr(inputs, outputs).mean(),
    }
    return {name: float(value) for name, value in scores.items()}


def compress(image, codec, quality):
    """One uint8 image (H, W, C) through a codec: `(bytes of the file, bytes of its payload, decoded image)`.

    The payload is what carries the picture: JPEG's entropy-coded scan, WebP's VP8 chunk, AVIF's `mdat` box.
    """
    grey = image.shape[-1] == 1
    picture, buffer = Image.fromarray(image[..., 0] if grey else image), io.BytesIO()
    # One thread: a slice is too small to share, and the bytes are the same.
    picture.save(buffer, codec.upper(), quality=quality, **({"max_threads": 1} if codec == "avif" else {}))
    content = buffer.getvalue()
    decoded = np.asarray(Image.open(buffer).convert("L" if grey else "RGB"))
    return len(content), _payload(content, codec), decoded.reshape(image.shape)


def _payload(content, codec):
    if codec == "jpeg":
        scan = content.index(b"\xff\xda")
        return len(content) - scan - 2 - struct.unpack(">H", content[scan + 2 : scan + 4])[0]
    if codec == "webp":
        return struct.unpack("<I", content[16:20])[0]
    position = 0
    while position + 8 <= len(content):  # ISO base media boxes: size, type
        size, kind = struct.unpack(">I4s", content[position : position + 8])
        if kind == b"mdat":
            return size - 8
        position += size or len(content)
    return len(content)


def codec(images, name, bits_per_pixel):
    """A codec's scores at the quality setting, of 1 to 95, whose rate is nearest `bits_per_pixel`.

    The setting is found by bisection on at most 64 of the images (a file grows with its quality), then all are scored.

    Returns:
        `{ssim, ssim_foreground, psnr, bits_per_pixel, bits_per_pixel_payload, quality}`.
    """
    pixels = images.shape[1] * images.shape[2]
    few = images[:: max(len(images) // 64, 1)]

    def rate(quality):
        return np.mean([compress(image, name, quality)[0] for image in few]) * 8 / pixels

    low, high = 1, 95
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if rate(middle) < bits_per_pixel else (low, middle)
    return at_quality(images, name, min((low, high), key=lambda q: abs(rate(q) - bits_per_pixel)))


def at_quality(images, name, quality):
    """A codec's scores and rates at one quality setting, as `codec` returns them."""
    pixels = images.shape[1] * images.shape[2]
    sizes, payloads, decoded = zip(*(compress(image, name, quality) for image in images), strict=True)
    rates = {"bits_per_pixel": np.mean(sizes) * 8 / pixels, "bits_per_pixel_payload": np.mean(payloads) * 8 / pixels}
    return {**scores(images, np.stack(decoded)), **{k: float(v) for k, v in rates.items()}, "quality": quality}


def available():
    """Those of `CODECS` that this Pillow can write."""
    Image.init()
    return [name for name in CODECS if name.upper() in Image.SAVE]


def codecs(images, bits_per_pixel):
    """`codec` for each one `available`."""
    return {name: codec(images, name, bits_per_pixel) for name in available()}


def lossless(images):
    """Bits per pixel of PNG and WebP files without loss, containers included: uint8 (N, H, W, C) → `{name: (N,)}`."""
    Image.init()
    found = {}
    for name, options in (("png", {"optimize": True}), ("webp", {"lossless": True, "quality": 100})):
        if name.upper() in Image.SAVE:
            sizes = []
            for image in images:
                buffer = io.BytesIO()
                Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(buffer, name, **options)
                sizes.append(buffer.tell())
            found[name] = np.array(sizes) * 8 / np.prod(images.shape[1:])
    return found
