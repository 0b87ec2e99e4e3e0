"""NIfTI, FreeSurfer and Analyze files as pictures: slices of a volume, one window of levels for all of it, or the one
slice that a file holds."""

import gzip
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from vq_lib.data import levels

BYTES = 2**30  # the most that one volume may take
# Analyze's axial, coronal and sagittal storage: for each stored axis, which of x, y, z it is, and whether it is turned.
ORIENT = {1: [[0, -1], [2, 1], [1, 1]], 2: [[1, 1], [2, 1], [0, -1]]}
PLANES = {"axial": 2, "coronal": 1, "sagittal": 0}  # the axis that a slice is at right angles to
LABELS = 64  # whole numbers, so few in all of a volume: labels


def look(path: str, volume: int | None = None, load: bool = False):
    """Look at a file's header; with `load`, return its levels and its voxel sizes in mm: a volume, number `volume` of a
    4-D file, as float32 (x, y, z), axes towards right, front and top; a single slice (rows, columns) as it is stored.
    Raises ValueError, OSError or what nibabel raises where the file is broken, or holds none or too large a one."""
    import nibabel

    if path.lower().endswith(("gz", "mgz")):
        with gzip.open(path) as file:
            file.seek(2 * BYTES)  # to the end, where the checksum is: nibabel stops reading before it
            if file.read(1):
                raise ValueError("it unpacks to more than 2 GiB")
    image: Any = nibabel.load(path)  # one of many classes; nibabel declares what they all have
    shape = image.shape
    while len(shape) > 2 and shape[-1] == 1:
        shape = shape[:-1]
    count, kind, affine = shape[3] if len(shape) == 4 else 1, image.get_data_dtype(), image.affine
    if count > 1 and volume is None:
        raise ValueError(f"it holds {count} volumes, not one: data.volume says which, from 0, or data.files "
                         "chooses other files")  # fmt: skip
    if len(shape) not in (2, 3, 4) or min(shape[:3]) < 8:
        raise ValueError(f"it has the shape {'x'.join(map(str, image.shape))} and is no volume, nor a slice")
    if (volume or 0) >= count:
        raise ValueError(f"it holds {count} volumes, and none of data.volume {volume}")
    if kind.kind not in "iuf" or np.prod(shape[:3], dtype=float) * max(kind.itemsize, 4) > BYTES:
        raise ValueError(f"it has {'x'.join(map(str, shape))} voxels of {kind}: too many, or no levels")
    flat = len(shape) == 2
    if not flat and (affine is None or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-6):
        raise ValueError("its header has no usable orientation")
    if not load or flat:
        return (np.asarray(image.dataobj).reshape(shape), np.ones(2)) if load else None
    stored = image.dataobj[..., volume] if len(shape) == 4 else image.dataobj
    header = image.header.structarr
    orient = header["orient"].item()[:1] if "orient" in header.dtype.names else b""
    turn = np.array(ORIENT.get(ord(orient or b"\0"), nibabel.io_orientation(affine)))
    voxels = nibabel.apply_orientation(np.asarray(stored, dtype=np.float32).reshape(shape[:3]), turn)
    zooms = np.array(image.header.get_zooms()[:3])[np.argsort(turn[:, 0])]
    if not (np.isfinite(zooms).all() and zooms.min() > 0 and zooms.max() / zooms.min() < 20):
        raise ValueError(f"its voxels of {' x '.join(f'{zoom:g}' for zoom in zooms)} mm are none")
    return voxels, zooms


def pictures(
    path: str, count: int | None = None, span: tuple[float, float] = (0.35, 0.75), plane: str = "axial",
    volume: int | None = None, white: float | None = None,
) -> Iterator[tuple[Image.Image, bool]]:  # fmt: skip
    """The slices of a file as 8-bit Pillow images with square pixels, and whether they show labels.

    A volume gives `count` slices of `plane`, evenly spaced over `span` of the brain's extent (from below, behind or the
    left; slices with a tenth of the largest one's voxels above a quarter of `levels.window`, as which levels come out).
    Nose or crown is up, the person's left on the left, the nose on the right. A file of one slice gives that, as it is
    stored: 8-bit levels as they are, others up to `white`, or in a window of their own."""
    stored, zooms = look(path, volume, load=True)
    labels = levels.is_label_map(stored, levels.FEW if stored.ndim == 2 else LABELS)
    if stored.ndim == 2:
        if stored.dtype != np.uint8:
            stored = levels.to_white(stored, white) if white else levels.window(stored.astype(np.float32))
        yield Image.fromarray(np.ascontiguousarray(stored)), labels
        return
    if count is None:
        raise ValueError("it holds a volume, not a slice")
    grey, zooms = np.moveaxis(levels.window(stored), PLANES[plane], 2), np.delete(zooms, PLANES[plane])
    if not grey.any():
        raise ValueError("all its voxels have the same level")
    area = (grey > 64).sum(axis=(0, 1))
    bottom, *_, top = np.flatnonzero(area >= max(1, area.max() / 10)).repeat(2)
    places = bottom + (top - bottom) * (np.linspace(*span, count) if count > 1 else np.full(1, np.mean(span)))
    side = (np.array(grey.shape[:2]) * zooms / zooms.min()).round().astype(int)
    for place in places.round().astype(int):
        image = Image.fromarray(np.ascontiguousarray(grey[:, ::-1, place].T))
        yield image.resize(tuple(side.tolist()), Image.Resampling.BILINEAR), labels
