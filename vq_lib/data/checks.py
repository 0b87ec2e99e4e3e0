"""What is wrong with the slices: leaks between splits, masks among images, odd pictures, mixed kinds.

A finding is a dict: `check` (its name), `count`, `sentence` (empty where nothing was found), `examples`, and `kind`:
"leak" stops the run unless the recipe allows it, "warning" stands in the report in red, "note" in its table only.
"""

import numpy as np
from PIL import Image

from vq_lib.data import reading
from vq_lib.data.reading import THUMBNAIL as SIDE
from vq_lib.data.splits import unit

LEAK = 0.99  # correlation of two thumbnails that makes them one picture
COARSE = 4  # pixels of a thumbnail that a cell of the proposal averages, each way
MASK_LEVELS = 8  # two to so many grey levels: a segmentation
SHOWN = 20  # examples kept of each finding


def thumbnails(images: np.ndarray, out: np.ndarray, made: np.ndarray | None = None) -> None:
    """Write grey 64x64 copies of `images` (N, H, W, C) to `out`, uint8 (N, 64, 64), but where `made` is True; on all
    cores.
    """
    size, channels = images.shape[2:]
    step = size // SIDE
    made = np.zeros(len(images), bool) if made is None else made

    def chunk(start):
        rows = np.flatnonzero(~made[start : start + reading.CHUNK]) + start
        if channels == 1 and size % SIDE == 0:
            columns = images[rows].reshape(-1, SIDE, step, size).sum(axis=2, dtype=np.uint32)
            sums = sum(columns[..., place::step] for place in range(step))
            out[rows] = ((sums + step * step // 2) // (step * step)).reshape(-1, SIDE, SIDE)
        else:
            for row in rows:
                picture = Image.fromarray(images[row, ..., 0] if channels == 1 else images[row])
                out[row] = reading.stretched(picture, SIDE)

    reading.on_all_cores(chunk, range(0, len(images), reading.CHUNK), "comparing images")


def similar(
    thumbs: np.ndarray, group: np.ndarray | None = None, threshold: float = LEAK
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of images whose thumbnails correlate at `threshold` or more; with `group`, only pairs of unequal groups.

    Means over 4x4 cells propose, correlation at 64x64 decides. They cannot miss a pair: the cells are an orthogonal
    projection P of the unit vectors a and b, so |Pa - Pb|² ≤ |a - b|² = 2 - 2 corr(a, b). Constant images have no
    correlation and are left out.

    Returns:
        (n, 2) int with first < second, sorted, and (n,) float32 correlations.
    """
    cells = SIDE // COARSE
    coarse = np.empty((len(thumbs), cells * cells), np.float32)
    lengths = np.empty(len(thumbs), np.float32)

    def chunk(start):
        vectors = unit(thumbs[start : start + 256])
        blocks = vectors.reshape(-1, cells, COARSE, cells, COARSE).sum(axis=(2, 4)) / COARSE
        coarse[start : start + 256] = blocks.reshape(len(blocks), -1)
        lengths[start : start + 256] = np.einsum("ij,ij->i", vectors, vectors)

    reading.on_all_cores(chunk, range(0, len(thumbs), 256), "comparing images")
    usable = np.flatnonzero(lengths > 0.5)
    squares = np.einsum("ij,ij->i", coarse, coarse)
    found, alike = [np.zeros((0, 2), np.int64)], [np.zeros(0, np.float32)]
    for chosen, others in _blocks(usable, group):
        distance = squares[chosen, None] + squares[others] - 2 * coarse[chosen] @ coarse[others].T
        first, second = np.nonzero(distance <= 2 - 2 * threshold + 1e-4)
        first, second = chosen[first], others[second]
        if group is None:
            first, second = first[first < second], second[first < second]
        for start in range(0, len(first), 2048):
            a, b = first[start : start + 2048], second[start : start + 2048]
            correlation = np.einsum("ij,ij->i", unit(thumbs[a]), unit(thumbs[b]))
            kept = correlation >= threshold
            found.append(np.sort(np.stack([a, b], axis=1)[kept], axis=1))
            alike.append(correlation[kept])
    pairs, values = np.concatenate(found), np.concatenate(alike)
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    return pairs[order], values[order]


def _blocks(rows, group, size=1024):
    """(some rows, some others), so that every pair of unequal groups, or every pair, occurs once; memory is bounded."""
    if group is None:
        sides = [(rows, rows)]
    else:
        names = np.unique(group[rows])
        sides = [(rows[group[rows] == name], rows[np.isin(group[rows], names[number + 1 :])])
                 for number, name in enumerate(names)]  # fmt: skip
    for mine, others in sides:
        for start in range(0, len(mine), size):
            for other in range(start if group is None else 0, len(others), size):
                yield mine[start : start + size], others[other : other + size]


def finding(check: str, kind: str, examples: list[str], what: str, then: str = "") -> dict:
    """One finding: "`what`: count, such as the first example`then`", or no sentence where there is none."""
    count = len(examples)
    text = f"{what}: {count:,}, such as {examples[0]}{then}" if count else ""
    return {"check": check, "kind": kind, "count": count, "sentence": text, "examples": list(examples[:SHOWN])}


def leaks(slices) -> list[tuple[int, int, float, bool]]:
    """Pictures that are on both sides: `[(first, second, correlation, identical)]`, indices of slices, all of them."""
    pairs, values = similar(slices.thumbnails, slices.split)
    same = [np.array_equal(slices.images[a], slices.images[b]) if value > 0.9999 else False
            for (a, b), value in zip(pairs.tolist(), values.tolist(), strict=True)]  # fmt: skip
    return [(a, b, value, one) for (a, b), value, one in zip(pairs.tolist(), values.tolist(), same, strict=True)]


def pictures(slices, noted: np.ndarray | None = None) -> list[dict]:
    """Findings about the pictures themselves.

    Args:
        slices: with thumbnails.
        noted: what `reading.read_all` noted, or None where nothing was read.
    """
    names = slices.source if noted is not None else slices.person
    found = []

    def add(check, kind, mask, what, then=""):
        found.append(finding(check, kind, names[np.flatnonzero(mask)].tolist(), what, then))

    flat = slices.thumbnails.reshape(len(slices), -1)
    low, high = flat.min(axis=1), flat.max(axis=1)
    constant = low == high
    white = (flat >= 254).mean(axis=1)
    ring = np.concatenate([slices.thumbnails[:, 0], slices.thumbnails[:, -1], slices.thumbnails[:, 1:-1, 0],
                           slices.thumbnails[:, 1:-1, -1]], axis=1)  # fmt: skip
    border = np.median(ring, axis=1)
    inverted = ~constant & (border > 191) if (border < 64).mean() >= 0.75 else np.zeros(len(slices), bool)
    if noted is not None:
        levels = noted["levels"]
        masks = (levels >= 2) & (levels <= MASK_LEVELS)
        # A folder of nothing but drawings in few colours is what its user says it is.
        add("masks among the images", "leak" if masks.mean() < 0.9 else "warning", masks,
            "Pictures of so few grey levels that they are segmentation masks, not images")  # fmt: skip
    add("constant", "warning", constant, "Slices that are all one level")
    add("nearly black", "warning", ~constant & (high < 32), "Slices that never reach an eighth of white",
        "; where 16-bit files hold fewer bits, data.white says which level is white")  # fmt: skip
    add(
        "saturated", "warning", ~constant & ~inverted & (white > 0.25), "Slices that are white over more than a quarter"
    )
    add("inverted", "warning", inverted, "Slices that are bright where the others are black",
        ": black and white may be swapped")  # fmt: skip
    if noted is not None:
        for check, values in (("sizes", [f"{w}x{h}" for w, h in zip(noted["width"], noted["height"], strict=True)]),
                              ("modes", noted["mode"].tolist())):  # fmt: skip
            kinds, counts = np.unique(values, return_counts=True)
            examples = [f"{kinds[i]} ({counts[i]:,})" for i in np.argsort(-counts)] if len(kinds) > 1 else []
            found.append(finding(f"mixed {check}", "note", examples, f"Different {check} of the pictures"))
        if slices.images.shape[-1] == 1:
            add("colour read as grey", "warning", noted["colour"], "Pictures with colour, read as their luminance",
                "; data.channels: 3 keeps it")  # fmt: skip
    return found
