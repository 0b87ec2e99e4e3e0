"""What lies below a folder, and what names say: every file once, none opened."""

import functools
import os
import re
from pathlib import Path
from typing import NamedTuple

SPLIT_NAMES = {"train": "train", "training": "train", "validate": "validation", "validation": "validation",
               "valid": "validation", "val": "validation", "test": "test", "testing": "test"}  # fmt: skip
IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
VOLUMES = (".nii", ".nii.gz", ".mgz", ".hdr")
CLUTTER = {"__MACOSX", "Thumbs.db", "desktop.ini"}
VISITS = 3  # a folder may be linked as train, validation and test; more often is a maze of links
MASK_FOLDER = re.compile(r"keras_png_slices_seg(_\w+)?|(seg|segmentation|mask|label|annotation)s?", re.I)
MASK_FILE = re.compile(r"(^|[_\-. ])(\w?seg|segm|segmentation|masks?|labels?|labelmap|aparc)([_\-. +]|$)", re.I)


class File(NamedTuple):
    """One regular file."""

    name: str  # relative to the folder that was walked, "/" between its parts, printable
    path: str  # what opens it
    size: int  # bytes
    time: int  # of its last change, ns

    @property
    def parts(self) -> list[str]:
        """Folders and file of the name, whatever the system's separator."""
        return self.name.split("/")


class Row(NamedTuple):
    """One slice, as names tell it."""

    file: File
    person: str  # "" where nothing tells
    position: int  # place in the volume, -1 where unknown
    label: str  # "" where unknown
    split: str  # "" where unknown
    scan: str  # what a table of people may call this person or scan


class Listing(NamedTuple):
    """What an adapter finds: rows in the order of the table, what it left out, and what `person` stands for."""

    rows: list[Row]
    masks: list[File]  # files whose names say that they are masks
    identity: str  # "person", "scan" (of one person there may be several), or "" where nothing tells people apart


def printable(text: str) -> str:
    """A name without what would break a terminal, a CSV file or a page: control characters and undecodable bytes."""
    text = os.fsencode(text).decode("utf-8", "backslashreplace")
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda match: match[0].encode("unicode_escape").decode(), text)


def natural(text: str) -> list[tuple[int, int, str]]:
    """A key that sorts `slice_10` after `slice_9`."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", text) if part]


def walk(folder: str | Path) -> tuple[list[File], dict[str, str]]:
    """The files below `folder`, links followed, hidden ones and `CLUTTER` left out.

    Returns:
        `File`s sorted by name, and `{name: reason}` of folders and images that cannot be reached.
    """
    files: list[File] = []
    troubles: dict[str, str] = {}
    visits: dict[tuple[int, int], int] = {}
    stack: list[tuple[str, str, frozenset]] = [(os.fspath(folder), "", frozenset())]
    while stack:
        path, prefix, above = stack.pop()
        try:
            state = os.stat(path)
            here = (state.st_dev, state.st_ino)
            visits[here] = visits.get(here, 0) + 1
            if here in above or visits[here] > VISITS:  # a link that leads back
                continue
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.name.startswith(".") or entry.name in CLUTTER:
                        continue
                    name = prefix + printable(entry.name)
                    _sort_in(entry, name, files, troubles, stack, above | {here})
        except OSError as error:
            troubles[prefix.rstrip("/") or printable(path)] = f"the folder cannot be read ({error.strerror})"
    files.sort()
    return files, troubles


def _sort_in(entry, name, files, troubles, stack, above):
    try:
        if entry.is_dir():
            stack.append((entry.path, name + "/", above))
        elif entry.is_file():
            state = entry.stat()
            files.append(File(name, entry.path, state.st_size, state.st_mtime_ns))
        elif name.lower().endswith(IMAGES + VOLUMES):
            troubles[name] = "the link leads nowhere" if entry.is_symlink() else "it is no regular file"
    except OSError as error:  # a link onto itself, say
        if name.lower().endswith(IMAGES + VOLUMES):
            troubles[name] = f"it cannot be reached ({error.strerror})"


def split_and_rest(parts: list[str]) -> tuple[str, list[str]]:
    """`("train", [folders and name after it])` for the first part that names a split; `("", parts)` without one."""
    for number, part in enumerate(parts[:-1]):
        if part.lower() in SPLIT_NAMES:
            return SPLIT_NAMES[part.lower()], parts[number + 1 :]
    return "", parts


def is_mask(file: File) -> bool:
    """Whether a file's name, or that of a folder it lies in, says that it is a segmentation."""
    folder, _, name = file.name.rpartition("/")
    return bool(MASK_FILE.search(name.split(".")[0])) or _of_masks(folder)


@functools.lru_cache(maxsize=1024)
def _of_masks(folder):
    return any(map(MASK_FOLDER.fullmatch, folder.split("/")))


def topmost(rows: list[Row], above: list[list[str]]) -> list[Row]:
    """The rows of the copy that lies least deep, where a folder holds a layout several times: two would be a leak.

    Args:
        above: the list of folders above the layout, for each row.
    """
    top = min(above, key=lambda folders: (len(folders), folders), default=[])
    return [row for row, folders in zip(rows, above, strict=True) if folders == top]
