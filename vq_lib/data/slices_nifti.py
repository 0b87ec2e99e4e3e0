"""Slices that are NIfTI files of their own: `keras_slices_data/keras_slices_train/case_004_week_0_slice_0.nii.gz`.

So the HipMRI study of prostates is passed on, with label maps beside it in `keras_slices_seg_*`. A file is known as a
slice by the word "slice" in its name; to a recipe this is a kind of `layout: volumes`.
"""

from vq_lib.data.folders import VOLUMES, File, Listing, natural, rows
from vq_lib.data.words import words
from vq_lib.recipe import Data

EXPECTED = "keras_slices_{train,validate,test}/case_NNN_week_W_slice_K.nii.gz"
ACKNOWLEDGEMENT = (
    "The images are slices of volumes of the user's, who knows under which terms they may be shown. Those of the "
    "HipMRI study are from the Labelled weekly MR images of the male pelvis (Dowling and Greer, CSIRO, 2021)."
)


def is_slice(file: File) -> bool:
    """Whether the name of a volume's file says that it holds one slice."""
    return "slice" in words(file.parts[-1]).split()


def listing(files: list[File], data: Data) -> Listing:
    """A row for each such file, by name."""
    flat = [file for file in files if file.name.lower().endswith(VOLUMES) and is_slice(file)]
    return rows(sorted(flat, key=natural), data.person)
