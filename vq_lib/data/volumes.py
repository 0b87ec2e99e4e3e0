"""Volumes that nibabel reads: NIfTI (`.nii`, `.nii.gz`), FreeSurfer (`.mgz`), Analyze 7.5 (`.hdr` with `.img`).

How a volume becomes slices stands in `voxels`.
"""

from vq_lib.data.folders import VOLUMES, File, Listing, of_kind, rows
from vq_lib.data.slices_nifti import is_slice
from vq_lib.recipe import Data

EXPECTED = "any folders of *.nii, *.nii.gz, *.mgz or *.hdr with *.img, such as OAS1_0001_MR1/…"
ACKNOWLEDGEMENT = "The images are slices of volumes of the user's, who knows under which terms they may be shown."
STRIPPED = "_t88_masked_gfc"  # OASIS-1 has each scan in several states: this one is aligned and skull-stripped


def listing(files: list[File], data: Data) -> Listing:
    """`data.slices` rows for each volume among `files`."""
    volumes = [file for file in of_kind(files, VOLUMES) if not is_slice(file)]
    scans = rows([file for file in volumes if STRIPPED in file.name] or volumes, data.person, volumes=True)
    return Listing([row._replace(position=k) for row in scans.rows for k in range(data.slices)], scans.identity)
