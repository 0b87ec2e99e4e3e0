"""Volumes that nibabel reads: NIfTI (`.nii`, `.nii.gz`), FreeSurfer (`.mgz`), Analyze 7.5 (`.hdr` with `.img`).

How a volume becomes slices stands in `voxels`.
"""

import re

from vq_lib.data.folders import VOLUMES, File, Listing, Row, is_mask, natural, split_and_rest
from vq_lib.recipe import Data

EXPECTED = "any folders of *.nii, *.nii.gz, *.mgz or *.hdr with *.img, such as OAS1_0001_MR1/…"
ACKNOWLEDGEMENT = "The images are slices of volumes of the user's, who knows under which terms they may be shown."
PERSON = re.compile(r"OAS\d_\d{4}(?=_MR\d)|\d{3}_S_\d{4,}|sub-[A-Za-z0-9]+")
SCAN = re.compile(r"OAS\d_\d{4}_MR\d")
STRIPPED = "_t88_masked_gfc"  # OASIS-1 has each scan in several states: this one is aligned and skull-stripped


def listing(files: list[File], data: Data) -> Listing:
    """`data.slices` rows for each volume among `files`; the person is read from OASIS, ADNI and BIDS names."""
    volumes = [file for file in files if file.name.lower().endswith(VOLUMES)]
    masks = [file for file in volumes if is_mask(file)]
    kept = sorted(set(volumes) - set(masks), key=lambda file: natural(file.name))
    stripped = [file for file in kept if STRIPPED in file.name]
    rows, known = [], True
    for file in stripped or kept:
        person, scan = PERSON.search(file.name), SCAN.search(file.name)
        known &= person is not None
        who = person[0] if person else re.sub(r"(\.nii)?\.\w+$", "", file.parts[-1])
        split = split_and_rest(file.parts)[0]
        rows += [Row(file, who, k, "", split, scan[0] if scan else who) for k in range(data.slices)]
    return Listing(rows, masks, "person" if known else "scan")
