"""OASIS-1 slices as the field passes them on: `keras_png_slices_data/keras_png_slices_train/case_001_slice_0.nii.png`.

The folder given may be the one that holds `keras_png_slices_data`, that one itself, or either of them nested once more
or under `slices/`. Tissue masks lie beside the images, in `keras_png_slices_seg_*`: they are never read as images.
"""

import csv
import itertools
import os
import re

import numpy as np

from vq_lib.errors import UserError

EXPECTED = "keras_png_slices_data/keras_png_slices_{train,validate,test}/case_NNN_slice_K.nii.png"
FOLDERS = {split: f"keras_png_slices_{name}" for split, name in
           (("train", "train"), ("validation", "validate"), ("test", "test"))}  # fmt: skip
ACKNOWLEDGEMENT = (
    "The images are from OASIS-1: Cross-Sectional; principal investigators D. Marcus, R. Buckner, J. Csernansky, "
    "J. Morris; P50 AG05681, P01 AG03991, P01 AG026276, R01 AG021910, P20 MH071616, U24 RR021382 "
    "(Marcus et al., J. Cogn. Neurosci. 2007, 19, 1498–1507). Nobody in them may be re-identified."
)
SLICE = re.compile(r"case_(\d+)_slice_(\d+)(\.nii)?\.png")


def find(folder):
    """The folder below `folder` that holds the three of `FOLDERS`, or None where this is another layout."""
    data = "keras_png_slices_data"
    for parts in itertools.product(("", "slices"), ("", data), ("", data)):
        root = folder.joinpath(*parts)
        if any((root / name).is_dir() for name in FOLDERS.values()):
            return root
    return None


def listing(root):
    """The table of the slices below `root`, by case and slice: `{column: array}`. No image is opened.

    Person is `case_NNN` (OASIS-1's subject `OAS1_0NNN`), position K, split the folder's. The label comes from
    `subjects.csv`, in `root` or its parent, where there is one: `dementia` (clinical dementia rating, CDR, above 0),
    `control` (CDR 0), `unrated` (no CDR: OASIS-1's young people); else it is empty.

    Raises:
        UserError: a split is missing or without slices, or `subjects.csv` has other columns.
    """
    rows = []
    for split, name in FOLDERS.items():
        names = os.listdir(root / name) if (root / name).is_dir() else []
        found = [(match, entry) for entry in names if (match := SLICE.fullmatch(entry))]
        if not found:
            raise UserError(f"{root / name} {'holds no slices' if (root / name).is_dir() else 'is missing'}: "
                            f"the {split} slices belong there, as {EXPECTED}.")  # fmt: skip
        found.sort(key=lambda item: (int(item[0][1]), int(item[0][2])))
        rows += [(f"case_{match[1]}", int(match[2]), split, f"{name}/{entry}") for match, entry in found]
    labels = _labels(root)
    columns = zip(*((*row, labels.get(int(row[0].removeprefix("case_")), "")) for row in rows), strict=True)
    return dict(zip(("person", "position", "split", "source", "label"), map(np.array, columns), strict=True))


def tables(root):
    """The `subjects.csv` that labels come from: one path or none."""
    return [path for path in (root / "subjects.csv", root.parent / "subjects.csv") if path.is_file()][:1]


def _labels(root):
    labels = {}
    for path in tables(root):
        with open(path, newline="", encoding="utf-8-sig") as file:
            for row in csv.DictReader(file):
                try:
                    rating = row["cdr"].strip()
                    labels[int(row["case"])] = ("dementia" if float(rating) > 0 else "control") if rating else "unrated"
                except (KeyError, ValueError, AttributeError):
                    raise UserError(f"{path}: needs numbers in the columns case and cdr, but has {row}.") from None
    return labels
