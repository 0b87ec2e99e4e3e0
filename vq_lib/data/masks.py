"""Tissue masks that lie beside OASIS slices: read for evaluation, never as images."""

import re

import numpy as np
from PIL import Image

from vq_lib.data.slices import Slices
from vq_lib.study import Study

LEVELS = (0, 85, 170, 255)  # background, cerebrospinal fluid, grey matter, white matter


def tissues(study: Study, slices: Slices, rows: np.ndarray) -> np.ndarray | None:
    """Tissue of each pixel of the slices `rows`: uint8 (n, H, W), 0 to 3 in the order of `LEVELS`; None without masks.

    `keras_png_slices_seg_test/seg_441_slice_0.nii.png` belongs to `keras_png_slices_test/case_441_slice_0.nii.png`. A
    pixel that averages several of a mask is the tissue of the one in its middle."""
    classes = np.empty((len(rows), *slices.images.shape[1:3]), np.uint8)
    for mask, source in zip(classes, slices.source[rows], strict=True):
        name = re.sub(r"keras_png_slices_(\w+)/case_", r"keras_png_slices_seg_\1/seg_", source)
        if study.data_folder is None or name == source or not (study.data_folder / name).is_file():
            return None
        with Image.open(study.data_folder / name) as image:
            levels = np.asarray(image.convert("L").resize(mask.shape[::-1], Image.Resampling.NEAREST))
        mask[:] = np.digitize(levels, np.array(LEVELS[1:]) - 42)
    return classes
