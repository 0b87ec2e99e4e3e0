"""Any folder of images: `[train|test|Training|Testing/]class/picture.png`, sizes and modes mixed.

The fallback: it fits whatever holds images, so a specific layout that fits comes first.
"""

import re

from vq_lib.data.folders import IMAGES, File, Listing, Row, is_mask, natural, split_and_rest
from vq_lib.errors import UserError
from vq_lib.recipe import Data

EXPECTED = "[train/|test/]class/*.{png,jpg,jpeg,tif,bmp,webp}"
ACKNOWLEDGEMENT = (
    "The images are from a folder of the user's, who knows where they come from and whether they may be shown."
)


def listing(files: list[File], data: Data) -> Listing:
    """All images among `files`: split from the first folder that names one, label from the folder below it.

    The person is what `data.person` finds in the path, or unknown.
    """
    images = [file for file in files if file.name.lower().endswith(IMAGES)]
    masks = [file for file in images if is_mask(file)]
    left_out = set(masks)
    images = [file for file in images if file not in left_out]
    shared = _shared([file.parts[:-1] for file in images])
    rows = []
    for file in images:
        split, rest = split_and_rest(file.parts[shared:])
        rows.append(Row(file, _person(file, data), -1, rest[0] if len(rest) > 1 else "", split, file.name))
    rows.sort(key=lambda row: natural(row.file.name))
    return Listing(rows, masks, "person" if data.person else "")


def _person(file, data):
    if not data.person:
        return ""
    match = re.search(data.person, file.name)
    if not match or not match[1]:
        raise UserError(f"data.person ({data.person}) finds nobody in the name of the image {file.name}.")
    return match[1]


def _shared(folders):
    """How many leading folders all files share, a split's folder not counted."""
    shared = 0
    for level in zip(*folders, strict=False):
        if len(set(level)) > 1 or split_and_rest([level[0], ""])[0]:
            break
        shared += 1
    # With no class beside it, the last shared folder is the class itself.
    return shared - 1 if folders and shared and all(len(f) == shared for f in folders) else shared
