"""ADNI slices as the field passes them on: `AD_NC/train/AD/218391_78.jpeg`, scan 218391, slice 78.

Copies call the folder above `ADNI_AD_NC_2D` or `ADNI_AC_NC_2D`, use PNG, or leave out the level of the classes. The
names tell scans apart, not people: a table of people (see `subjects`) brings the scans of one person together.
"""

import re

from vq_lib.data.folders import File, Listing, Row, split_and_rest, topmost
from vq_lib.recipe import Data

EXPECTED = "AD_NC/{train,test}/{AD,NC}/<scan>_<slice>.jpeg"
WHERE = (
    "ADNI is free for researchers whose application it approves (no redistribution, its publication policy applies): "
    "https://adni.loni.usc.edu"
)
ACKNOWLEDGEMENT = (
    "Data used in preparation of this report were obtained from the Alzheimer's Disease Neuroimaging Initiative (ADNI) "
    "database (adni.loni.usc.edu), whose investigators contributed to the design and implementation of ADNI and "
    "provided data but did not take part in the analysis or writing of this report. The images may not be passed on."
)
SLICE = re.compile(r"(\d+)_(\d+)\.(jpe?g|png)", re.I)
CLASSES = {"AD", "NC", "CN", "MCI"}
ROOT = re.compile(r"A[DC]_NC|ADNI.*", re.I)


def listing(files: list[File], data: Data) -> Listing:
    """The slices among `files`: person is the scan's id as it stands in the name, label the class folder's."""
    rows, above = [], []
    for file in files:
        match = SLICE.fullmatch(file.parts[-1])
        if match is None:
            continue
        split, rest = split_and_rest(file.parts)
        if not split or len(rest) > 2:
            continue
        label = rest[0].upper() if len(rest) == 2 else ""
        folders = file.parts[: -len(rest) - 1]
        # Without a class folder only the root's name or the length of the id tells a scan from any picture "1_2.png".
        known = label in CLASSES if label else any(map(ROOT.fullmatch, folders)) or len(match[1]) >= 5
        if known:
            rows.append(Row(file, match[1], int(match[2]), label, split, match[1]))
            above.append(folders)
    rows = topmost(rows, above)
    rows.sort(key=lambda row: (("train", "validation", "test").index(row.split), int(row.person), row.position))
    return Listing(rows, [], "scan")
