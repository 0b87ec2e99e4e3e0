"""Any folder of images, `[train|test|Training|Testing/]class/picture.png`, sizes and modes mixed: the fallback."""

from vq_lib.data.folders import IMAGES, File, Listing, of_kind, rows
from vq_lib.recipe import Data

EXPECTED = "[train/|test/]class/*.{png,jpg,jpeg,tif,bmp,webp}"
ACKNOWLEDGEMENT = "The images are from a folder of the user's, who knows where they come from and if they may be shown."


def listing(files: list[File], data: Data) -> Listing:
    """All images among `files`."""
    return rows(of_kind(files, IMAGES), data.person)
