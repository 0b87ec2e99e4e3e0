"""Masks beside the slices that they belong to."""

from types import SimpleNamespace

import numpy as np
from PIL import Image

from vq_lib.data import Slices, masks


def test_masks_are_found_by_their_names(tmp_path):
    levels = np.array([[0, 85], [170, 255]], np.uint8).repeat(16, axis=0).repeat(16, axis=1)
    folder = tmp_path / "data" / "keras_png_slices_seg_test"
    folder.mkdir(parents=True)
    Image.fromarray(levels).save(folder / "seg_441_slice_3.nii.png")
    source = np.array(["data/keras_png_slices_test/case_441_slice_3.nii.png"])
    image, text = np.zeros((1, 8, 8, 1), np.uint8), np.array([""])
    slices = Slices(image, text, np.array([3]), text, np.array(["test"]), source)
    found = masks.tissues(SimpleNamespace(data_folder=tmp_path), slices, np.array([0]))
    np.testing.assert_array_equal(found[0], np.array([[0, 1], [2, 3]]).repeat(4, axis=0).repeat(4, axis=1))
    assert masks.tissues(SimpleNamespace(data_folder=None), slices, np.array([0])) is None
    (folder / "seg_441_slice_3.nii.png").unlink()
    assert masks.tissues(SimpleNamespace(data_folder=tmp_path), slices, np.array([0])) is None
