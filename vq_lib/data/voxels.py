"""NIfTI, FreeSurfer and Analyze files as pictures: slices of a volume, one window of levels for all of it, or the one
slice that a file holds."""

import gzip
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from vq_lib.data import levels

BYTES = 2**30  # the most that one volume may take
ORIENT = {1: (0, 2, 1), 2: (2, 0, 1)}  # Analyze's coronal and sagittal storage: which stored axis is x, y, z
PLANES = {"axial": 2, "coronal": 1, "sagittal": 0}  # the axis that a slice is at right angles to
LABELS = 64  # whole numbers, so few in all of a volume: labels


def look(path: str, volume: int | None = None, load: bool = False):
    """Look at a file's header; with `load`, return its levels and its voxel sizes in mm.

    A volume is float32 (x, y, z), axes towards right, front and top. A single slice is (rows, columns) as it is stored,
    of its own dtype.

    Args:
        volume: which one of a 4-D file, from 0.

    Raises:
        ValueError, OSError or what nibabel raises: it is broken, no single volume, or larger than `BYTES`.
    """
    import nibabel

    if path.lower().endswith(("gz", "mgz")):
        _whole(path)  # nibabel stops reading before the checksum
    image: Any = nibabel.load(path)  # one of many classes; nibabel declares what they all have
    shape = image.shape
    while len(shape) > 2 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) == 4 and volume is None:
        raise ValueError(f"it holds {shape[3]} volumes, not one: data.volume says which, from 0")
    if len(shape) not in (2, 3, 4) or min(shape[:3]) < 8:
        raise ValueError(f"it has the shape {'x'.join(map(str, image.shape))} and is no volume, nor a slice")
    if (volume or 0) >= (shape[3] if len(shape) == 4 else 1):
        raise ValueError(f"it holds {shape[3] if len(shape) == 4 else 1} volumes, and none of data.volume {volume}")
    kind = image.get_data_dtype()
    if kind.kind not in "iuf" or np.prod(shape[:3], dtype=float) * max(kind.itemsize, 4) > BYTES:
        raise ValueError(f"it has {'x'.join(map(str, shape))} voxels of {kind}: too many, or no levels")
    affine = image.affine
    if len(shape) > 2 and (
        affine is None or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-6
    ):
        raise ValueError("its header has no usable orientation")
    if not load:
        return None
    if len(shape) == 2:
        return np.asarray(image.dataobj).reshape(shape), np.ones(2)
    stored = image.dataobj[..., volume] if len(shape) == 4 else image.dataobj
    voxels = np.asarray(stored, dtype=np.float32).reshape(shape[:3])
    orient = image.header.structarr["orient"].item() if "orient" in image.header.structarr.dtype.names else b""
    if orient and orient[0] in ORIENT:
        order = ORIENT[orient[0]]
        voxels = voxels.transpose(order)[::-1]  # Analyze begins on the right
    else:
        turn = nibabel.io_orientation(affine)
        order, voxels = tuple(np.argsort(turn[:, 0])), nibabel.apply_orientation(voxels, turn)
    zooms = np.array(image.header.get_zooms()[:3])[list(order)]
    if not (np.isfinite(zooms).all() and zooms.min() > 0 and zooms.max() / zooms.min() < 20):
        raise ValueError(f"its voxels of {' x '.join(f'{zoom:g}' for zoom in zooms)} mm are none")
    return voxels, zooms


def pictures(
    path: str, count: int | None = None, span: tuple[float, float] = (0.35, 0.75), plane: str = "axial",
    volume: int | None = None, white: float | None = None,
) -> Iterator[tuple[Image.Image, bool]]:  # fmt: skip
    """The slices of a file as 8-bit Pillow images with square pixels, and whether they show labels.

    A volume gives `count` slices of `plane`, evenly spaced over `span` of the brain's extent (from below, behind or the
    left), levels as `levels.window` has them. Nose or crown is up, the person's left on the left, the nose on the
    right. The brain reaches over the slices with at least a tenth of the largest slice's voxels above a quarter of the
    window. A file of one slice gives that, as it is stored: 8-bit levels as they are, others up to `white`, or in a
    window of their own.

    Raises:
        ValueError: `count` is None, for a single slice, and the file holds a volume.
    """
    stored, zooms = look(path, volume, load=True)
    labels = levels.is_label_map(stored, levels.FEW if stored.ndim == 2 else LABELS)
    if stored.ndim == 2:
        if stored.dtype != np.uint8:
            stored = levels.to_white(stored, white) if white else levels.window(stored.astype(np.float32))
        yield Image.fromarray(np.ascontiguousarray(stored)), labels
        return
    if count is None:
        raise ValueError("it holds a volume, not a slice")
    axis = PLANES[plane]
    grey = np.moveaxis(levels.window(stored), axis, 2)
    if not grey.any():
        raise ValueError("all its voxels have the same level")
    zooms = np.delete(zooms, axis)
    area = (grey > 64).sum(axis=(0, 1))
    inside = np.flatnonzero(area >= max(1, area.max() / 10))
    bottom, top = inside[0], inside[-1]
    places = bottom + (top - bottom) * (np.linspace(*span, count) if count > 1 else np.mean(span))
    side = (np.array(grey.shape[:2]) * zooms / zooms.min()).round().astype(int)
    for place in np.atleast_1d(places).round().astype(int):
        image = Image.fromarray(np.ascontiguousarray(grey[:, ::-1, place].T))
        if image.size != tuple(side):
            image = image.resize(tuple(side.tolist()), Image.Resampling.BILINEAR)
        yield image, labels


def _whole(path):
    """Read a gzip file to its end, where its checksum is; a bomb stops at `BYTES`."""
    total = 0
    with gzip.open(path) as file:
        while part := file.read(2**20):
            total += len(part)
            if total > 2 * BYTES:
                raise ValueError("it unpacks to more than 2 GiB")
