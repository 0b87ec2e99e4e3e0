"""ADNI slices as the field passes them on: `AD_NC/train/AD/218391_78.jpeg`, scan 218391, slice 78.

Copies call the folder above `ADNI_AD_NC_2D` or `ADNI_AC_NC_2D`, use PNG, or leave out the classes or the splits. Names
tell scans apart, not people: a table of people (see `subjects`) brings the scans of one person together.
"""

import re
from typing import Any

from vq_lib.data.folders import File, Listing, ordered, rows, single
from vq_lib.data.words import split
from vq_lib.recipe import Data

EXPECTED = "AD_NC/[train|test/][AD|NC/]<scan>_<slice>.jpeg"
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
CLASSES = {"AD", "NC", "CN", "MCI", "EMCI", "LMCI", "SMC"}
ROOT = re.compile(r"A[DC]_NC|ADNI.*", re.I)
LONG = 5  # digits of an id that "1_2.png" has not


def listing(files: list[File], data: Data) -> Listing:
    """The slices among `files`: person is the scan's id as it stands in the name, label the class folder's."""
    known: dict[File, dict[str, Any]] = {}
    for file in files:
        *folders, name = file.parts
        match, classes = SLICE.fullmatch(name), [part.upper() for part in folders if part.upper() in CLASSES]
        # Of split, class, the root's name and the length of the id, two are there or it is any picture "1_2.png".
        signs = any(map(split, folders)), any(classes), any(map(ROOT.fullmatch, folders))
        if match and sum(signs) + (len(match[1]) >= LONG) >= 2:
            known[file] = {"position": int(match[2]), "label": ["", *classes][-1], "scan": match[1]}
            known[file] |= {} if data.person else {"person": match[1]}
    made = [row._replace(**known[row.file]) for row in rows(single(known), data.person).rows]
    return ordered(made, "person" if data.person else "scan")
