"""Slices that are NIfTI files of their own: `keras_slices_data/keras_slices_train/case_004_week_0_slice_0.nii.gz`.

So the HipMRI study of prostates is passed on. To a recipe this is a kind of `layout: volumes`.
"""

from vq_lib.data.folders import VOLUMES, File, Listing, of_kind, rows
from vq_lib.data.words import words
from vq_lib.recipe import Data

EXPECTED = "keras_slices_{train,validate,test}/case_NNN_week_W_slice_K.nii.gz"
ACKNOWLEDGEMENT = (
    "The images are slices of volumes of the user's, who knows under which terms they may be shown. Those of the "
    "HipMRI study are from the Labelled weekly MR images of the male pelvis (Dowling and Greer, CSIRO, 2021)."
)


def is_slice(file: File) -> bool:
    """Whether the name of a volume's file says, by the word "slice", that it holds one."""
    return "slice" in words(file.parts[-1]).split()


def listing(files: list[File], data: Data) -> Listing:
    """A row for each such file."""
    return rows(filter(is_slice, of_kind(files, VOLUMES)), data.person)
