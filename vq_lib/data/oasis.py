"""OASIS-1 slices as the field passes them on: `keras_png_slices_data/keras_png_slices_train/case_001_slice_0.nii.png`.

The folder given may be any above or below `keras_png_slices_data`. Tissue masks lie beside the images, in
`keras_png_slices_seg_*`: they are never read as images.
"""

import re

import numpy as np

from vq_lib.data.folders import ORDER, File, Listing, rows, single
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
OFFICIAL = {"train": 302, "validation": 35, "test": 17}  # people of the split that the field publishes
FIRST_TEST_CASE = 441  # the test people are the last; 402 to 440 are its validation people
SLICE = re.compile(r"case_(\d+)_slice_(\d+)(\.nii)?\.png", re.I)


def listing(files: list[File], data: Data) -> Listing:
    """The slices among `files`, by case and slice: person `case_NNN` (subject `OAS1_0NNN`), position K."""
    slices = single([file for file in files if SLICE.fullmatch(file.parts[-1])])
    numbers = (re.findall(r"\d+", file.parts[-1])[:2] for file in slices)
    made = [row._replace(position=int(k), scan=f"OAS1_{int(case):04d}")
            for row, (case, k) in zip(rows(slices, data.person, volumes=True).rows, numbers, strict=True)]  # fmt: skip
    return Listing(sorted(made, key=lambda row: (ORDER.get(row.split, 3), int(row.scan[5:]), row.position)), "person")


def remark(person: np.ndarray, split: np.ndarray) -> str:
    """How these people compare with the split that the field publishes, which is told by case numbers.

    Args:
        person, split: (N,) str, of each slice.

    Returns:
        Two sentences; "" where the split is the published one, or where people are not named `case_NNN`.
    """
    pairs = zip(person.tolist(), split.tolist(), strict=True)
    cases = {int(who[5:]): where for who, where in pairs if re.fullmatch(r"case_\d+", who)}
    counts = {name: sum(where == name for where in cases.values()) for name in OFFICIAL}
    own = sum(where == "test" and case >= FIRST_TEST_CASE for case, where in cases.items())
    if not cases or counts == OFFICIAL and own == OFFICIAL["test"]:
        return ""
    text = ", ".join(f"{counts[name]} instead of {count} people in {name}" for name, count in OFFICIAL.items()
                     if counts[name] != count)  # fmt: skip
    return (
        f"This is not the split that others publish on{text and f': {text}'}. Of the {counts['test']} test people, "
        f"{own or 'none'} {'are' if own > 1 else 'is'} of that split's test people, whose cases start at "
        f"{FIRST_TEST_CASE}."
    )
