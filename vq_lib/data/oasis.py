"""OASIS-1 slices as the field passes them on: `keras_png_slices_data/keras_png_slices_train/case_001_slice_0.nii.png`.

The folder given may be any above or below `keras_png_slices_data`; masks lie beside, in `keras_png_slices_seg_*`.
"""

import re

from vq_lib.data.folders import File, Listing, ordered, rows, single
from vq_lib.recipe import Data

EXPECTED = "keras_png_slices_data/keras_png_slices_{train,validate,test}/case_NNN_slice_K.nii.png"
WHERE = (
    "OASIS-1 and OASIS-2 are free after accepting their data use terms (acknowledge them, re-identify nobody): "
    "https://sites.wustl.edu/oasisbrains"
)
ACKNOWLEDGEMENT = (
    "The images are from OASIS-1: Cross-Sectional; principal investigators D. Marcus, R. Buckner, J. Csernansky, "
    "J. Morris; P50 AG05681, P01 AG03991, P01 AG026276, R01 AG021910, P20 MH071616, U24 RR021382 "
    "(Marcus et al., J. Cogn. Neurosci. 2007, 19, 1498–1507). Nobody in them may be re-identified."
)
SLICE = re.compile(r"case_(\d+)_slice_\d+(\.nii)?\.png", re.I)


def listing(files: list[File], data: Data) -> Listing:
    """The slices among `files`: person `case_NNN` (subject `OAS1_0NNN`), position K."""
    known = {file: match for file in files if (match := SLICE.fullmatch(file.parts[-1]))}
    made = rows(single(known), data.person, volumes=True).rows
    return ordered([row._replace(scan=f"OAS1_{int(known[row.file][1]):04d}") for row in made], "person")
