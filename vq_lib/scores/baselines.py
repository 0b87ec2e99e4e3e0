"""What any score has to beat: predictions without a model, and image codecs at the same rate."""

import contextlib
import functools
import io
import struct

import numpy as np
from PIL import Image

from vq_lib.errors import UserError
from vq_lib.files import read_json, write_json
from vq_lib.scores import metrics

CODECS = ("jpeg", "webp", "avif")


def thumbnails(images, size=64, rows=None):
    """Means over patches: uint8 (N, H, W, C) → float32 (N, d) in [0, 1], about `size` patches to a side.

    Small images keep their size; what no whole patch fits into, at the right and below, is left out. With `rows`, of
    these only; they are read a part at a time, for images that may not fit into memory.
    """
    rows = np.arange(len(images)) if rows is None else rows
    _, height, width, channels = images.shape
    step = max(height // size, 1)
    high, wide = height // step, width // step
    result = np.empty((len(rows), high * wide * channels), np.float32)
    for start in range(0, len(rows), 256):
        some = images[rows[start : start + 256]][:, : high * step, : wide * step]
        blocks = some.reshape(-1, high, step, wide, step, channels)
        result[start : start + 256] = blocks.mean(axis=(2, 4), dtype=np.float32).reshape(len(blocks), -1) / 255
    return result


def mean(images, rows):
    """The mean of some images in [0, 1], float64 (H, W, C), read a part at a time."""
    parts = (images[rows[start : start + 256]].sum(axis=0, dtype=np.float64) for start in range(0, len(rows), 256))
    return sum(parts, np.zeros(images.shape[1:])) / len(rows) / 255


def nearest(queries, references, groups=None):
    """Index of and Euclidean distance to the nearest reference of each query: (n, d), (m, d) → (n,), (n,).

    With `groups`, (n,) and (m,), whose they are, the nearest of others; an infinite distance where there is none.
    """
    squares = np.square(references).sum(axis=1)
    index, distance = np.empty(len(queries), np.int64), np.empty(len(queries))
    for start in range(0, len(queries), 256):
        part = queries[start : start + 256]
        d2 = squares - 2 * part @ references.T
        if groups is not None:
            d2[groups[0][start : start + 256, None] == groups[1]] = np.inf
        rows = d2.argmin(axis=1)
        index[start : start + 256] = rows
        # Recomputed: the expanded square is too coarse for a copy's distance of zero.
        found = np.linalg.norm(part - references[rows], axis=1)
        distance[start : start + 256] = np.where(np.isfinite(d2.min(axis=1)), found, np.inf)
    return index, distance


def position_means(slices, rows=None):
    """The mean training image of the own position of `rows`, or the test slices: float32 (n, H, W, C) in [0, 1]."""
    train, rows = slices.where("train"), slices.where("test") if rows is None else rows
    average = {}
    for position in np.unique(slices.position[rows]):
        there = train[slices.position[train] == position]
        # A position that no training person has falls back to the mean of all of them.
        average[position] = mean(slices.images, there if there.size else train).astype(np.float32)
    return np.stack([average[p] for p in slices.position[rows]])


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
    return means(metrics.scores(inputs, outputs))


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


def setting(images, name, bits_per_pixel):
    """The quality setting of a codec, 1 to 95, whose payload is nearest `bits_per_pixel`.

    The payload and not the file: a model's rate counts no container either, and this is the stricter comparison. Found
    by bisection (a payload grows with its quality) on at most 64 of the images, evenly spaced.
    """
    pixels = images.shape[1] * images.shape[2]
    few = images[np.unique(np.linspace(0, len(images) - 1, 64).round().astype(int))]

    @functools.cache
    def rate(quality):
        return np.mean([compress(image, name, quality)[1] for image in few]) * 8 / pixels

    low, high = 1, 95
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if rate(middle) < bits_per_pixel else (low, middle)
    return min((low, high), key=lambda quality: abs(rate(quality) - bits_per_pixel))


def at_quality(images, name, quality):
    """A codec's scores and rates at one quality setting, for each image.

    Returns:
        `{ssim, ssim_foreground, psnr, bits_per_pixel, bits_per_pixel_payload: (N,)}`.
    """
    pixels = images.shape[1] * images.shape[2]
    sizes, payloads, decoded = zip(*(compress(image, name, quality) for image in images), strict=True)
    return {**metrics.scores(images, np.stack(decoded)), "bits_per_pixel": np.array(sizes) * 8 / pixels,
            "bits_per_pixel_payload": np.array(payloads) * 8 / pixels}  # fmt: skip


def means(values):
    """`{name: (N,)}` → `{name: mean}`, images without foreground left out of the foreground's mean."""
    return {name: float(np.nanmean(some)) for name, some in values.items()}


def available():
    """Those of `CODECS` that this Pillow can write."""
    Image.init()
    return [name for name in CODECS if name.upper() in Image.SAVE]


def codecs(images, bits_per_pixel, scores, people):
    """Every codec that is `available`, at the setting nearest a rate, and this model's lead on it.

    Args:
        images: uint8 (N, H, W, C).
        bits_per_pixel: the model's rate.
        scores: the model's, `{ssim, ssim_foreground, psnr: (N,)}`. people: (N,), whom an image is of.

    Returns:
        `{codec: {ssim, ssim_foreground, psnr, bits_per_pixel, bits_per_pixel_payload, quality, lead}}`; `lead` has, for
        each score, `{mean, low, high}` of model minus codec on the same images, a paired bootstrap over people.
    """
    found = {}
    for name in available():
        quality = setting(images, name, bits_per_pixel)
        each = at_quality(images, name, quality)
        lead = {score: metrics.interval(values - each[score], people) for score, values in scores.items()}
        found[name] = {**means(each), "quality": quality, "lead": lead}
    return found


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
            found[name] = np.array(sizes) * 8 / np.prod(images.shape[1:3])
    return found
