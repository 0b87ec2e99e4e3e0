"""A volume as axial slices: nose up, the person's left on the left, one window of intensities for all of it."""

import gzip
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

BYTES = 2**30  # the most that one volume may take
WINDOW = (0.5, 99.5)  # percentiles that become black and white
ORIENT = {1: (0, 2, 1), 2: (2, 0, 1)}  # Analyze's coronal and sagittal storage: which stored axis is x, y, z


def look(path: str, load: bool = False):
    """Look at a volume's header; with `load`, return it as float32 (x, y, z), axes towards right, front and top, and
    its voxel sizes in mm.

    Raises:
        ValueError, OSError or what nibabel raises: it is broken, no single volume, or larger than `BYTES`.
    """
    import nibabel

    if path.lower().endswith(("gz", "mgz")):
        _whole(path)  # nibabel stops reading before the checksum
    image: Any = nibabel.load(path)  # one of many classes; nibabel declares what they all have
    shape = image.shape[:3]
    if len(shape) != 3 or any(n != 1 for n in image.shape[3:]) or min(shape) < 8:
        raise ValueError(f"it has the shape {'x'.join(map(str, image.shape))} and is no single volume")
    kind = image.get_data_dtype()
    if kind.kind not in "iuf" or np.prod(shape, dtype=float) * max(kind.itemsize, 4) > BYTES:
        raise ValueError(f"it has {'x'.join(map(str, shape))} voxels of {kind}: too many, or no levels")
    affine = image.affine
    if affine is None or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-6:
        raise ValueError("its header has no usable orientation")
    orient = image.header.structarr["orient"].item() if "orient" in image.header.structarr.dtype.names else b""
    order = ORIENT.get(orient[0]) if orient else None
    if not load:
        return None
    if order is None:
        image, order = nibabel.as_closest_canonical(image), (0, 1, 2)
    zooms = np.array(image.header.get_zooms()[:3])[list(order)]
    voxels = np.asarray(image.dataobj, dtype=np.float32).reshape(image.shape[:3]).transpose(order)
    if order != (0, 1, 2):
        voxels = voxels[::-1]  # Analyze begins on the right
    if not (np.isfinite(zooms).all() and zooms.min() > 0 and zooms.max() / zooms.min() < 20):
        raise ValueError(f"its voxels of {' x '.join(f'{zoom:g}' for zoom in zooms)} mm are none")
    return voxels, zooms


def pictures(path: str, count: int, span: tuple[float, float]) -> Iterator[Image.Image]:
    """`count` axial slices of a volume as square 8-bit Pillow images, evenly spaced over `span` of the brain's height.

    Levels: the `WINDOW` of all voxels, its upper end taken over those above the lower one, becomes 0 to 255. The brain
    reaches over the slices with at least a tenth of the largest slice's voxels above a quarter of the window.
    """
    voxels, zooms = look(path, load=True)
    if not np.isfinite(voxels).all():
        raise ValueError("it holds voxels that are no numbers")
    sample = voxels[:: max(1, voxels.shape[0] // 96), :: max(1, voxels.shape[1] // 96)]
    low = np.percentile(sample, WINDOW[0])
    bright = sample[sample > low]
    high = np.percentile(bright, WINDOW[1]) if bright.size else low
    if not high > low:
        raise ValueError("all its voxels have the same level")
    area = (voxels > low + (high - low) / 4).sum(axis=(0, 1))
    inside = np.flatnonzero(area >= max(1, area.max() / 10))
    bottom, top = inside[0], inside[-1]
    heights = bottom + (top - bottom) * (np.linspace(*span, count) if count > 1 else np.mean(span))
    side = (np.array(voxels.shape[:2]) * zooms[:2] / zooms[:2].min()).round().astype(int)
    for plane in np.atleast_1d(heights).round().astype(int):
        levels = np.clip((voxels[:, :, plane] - low) * (255 / (high - low)), 0, 255).round().astype(np.uint8)
        image = Image.fromarray(np.ascontiguousarray(levels[:, ::-1].T))
        if image.size != tuple(side):
            image = image.resize(tuple(side.tolist()), Image.Resampling.BILINEAR)
        yield image


def _whole(path):
    """Read a gzip file to its end, where its checksum is; a bomb stops at `BYTES`."""
    total = 0
    with gzip.open(path) as file:
        while part := file.read(2**20):
            total += len(part)
            if total > 2 * BYTES:
                raise ValueError("it unpacks to more than 2 GiB")
