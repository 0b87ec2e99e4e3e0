"""Any folder of images: `[train|test|Training|Testing/]class/picture.png`, sizes and modes mixed.

The fallback: it fits whatever holds images, so a specific layout that fits comes first.
"""

from vq_lib.data.folders import IMAGES, File, Listing, natural, rows
from vq_lib.recipe import Data

EXPECTED = "[train/|test/]class/*.{png,jpg,jpeg,tif,bmp,webp}"
ACKNOWLEDGEMENT = "The images are from a folder of the user's, who knows where they come from and if they may be shown."


def listing(files: list[File], data: Data) -> Listing:
    """All images among `files`; person, class, split and position as far as the words of their paths tell them."""
    images = [file for file in files if file.name.lower().endswith(IMAGES)]
    return rows(sorted(images, key=natural), data.person)
