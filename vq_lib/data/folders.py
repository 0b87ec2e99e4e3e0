"""What lies below a folder: every file once, none opened; and what an adapter makes of it."""

import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from vq_lib.data import words

IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
VOLUMES = (".nii", ".nii.gz", ".mgz", ".mgh", ".hdr")
CLUTTER = {"__MACOSX", "Thumbs.db", "desktop.ini"}
VISITS = 3  # a folder may be linked as train, validation and test; more often is a maze of links
SCAN = re.compile(r"OAS[12]_\d{4}_MR\d", re.I)  # what OASIS's table calls a scan


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
    """One slice, as names tell it: "" or -1 where they do not."""

    file: File
    person: str
    position: int  # place in the volume
    label: str
    split: str
    scan: str  # what a table of people may call this person or scan


class Listing(NamedTuple):
    """What an adapter makes of files: rows in the order of the table, and what `person` stands for."""

    rows: list[Row]
    identity: str  # "person", "scan" (of one person there may be several), or "" where nothing tells people apart


def of_kind(files: Iterable[File], suffixes: tuple[str, ...]) -> list[File]:
    """The files whose names end in one of `suffixes`, in upper or lower case."""
    return [file for file in files if file.name.lower().endswith(suffixes)]


def printable(text: str) -> str:
    """A name without what would break a terminal, a CSV file or a page: control characters and undecodable bytes."""
    text = os.fsencode(text).decode("utf-8", "backslashreplace")
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda match: match[0].encode("unicode_escape").decode(), text)


def walk(folder: str | Path) -> tuple[list[File], dict[str, str]]:
    """The files below `folder`, links followed, hidden ones and `CLUTTER` left out: `File`s sorted by name, and
    `{name: reason}` of folders and images that cannot be reached."""
    files: list[File] = []
    troubles: dict[str, str] = {}
    visits: Counter = Counter()

    def shown_as(path):
        return printable(os.path.relpath(path, folder)).replace(os.sep, "/")

    def refused(error):
        troubles[shown_as(error.filename)] = f"the folder cannot be read ({error.strerror})"

    for path, below, inside in os.walk(folder, followlinks=True, onerror=refused):
        here, above = os.path.realpath(path), os.path.realpath(os.path.dirname(path))
        visits[here] += 1
        prefix = "" if path == os.fspath(folder) else shown_as(path) + "/"
        if visits[here] > VISITS or prefix and Path(above).is_relative_to(here):
            below.clear()  # a link that leads back
            continue
        below[:], inside = ([name for name in some if not any(part.startswith(".") or part in CLUTTER
                                                              for part in name.replace("\\", "/").split("/"))]
                            for some in (below, inside))  # fmt: skip
        for name in inside:  # one with backslashes is a path, from a zip of Windows
            full, shown = os.path.join(path, name), prefix + printable(name.replace("\\", "/"))
            try:
                state = os.stat(full)
                why = "" if stat.S_ISREG(state.st_mode) else "it is no regular file"
            except FileNotFoundError:
                annexed = os.path.islink(full) and ".git/annex" in os.readlink(full).replace(os.sep, "/")
                why = "the link leads nowhere" + " (datalad get, or git annex get, fetches it)" * annexed
            except OSError as error:  # a link onto itself, say
                why = f"it cannot be reached ({error.strerror})"
            if not why:
                files.append(File(shown, full, state.st_size, state.st_mtime_ns))
            elif name.lower().endswith(IMAGES + VOLUMES):
                troubles[shown] = why
    return sorted(files), dict(sorted(troubles.items()))


def rows(files: Iterable[File], person: str | None, volumes: bool = False) -> Listing:
    """A row for each file, `slice_10` after `slice_9`, with person (`person`: `data.person`), label, split and position
    as the words of its path tell them; `volumes`: each file is a scan of somebody, and of no class where no folder
    tells one."""
    files = sorted(files, key=lambda file: re.sub(r"\d+", lambda match: match[0].zfill(20), file.name))
    paths = [file.name for file in files]
    (people, identity), splits = words.people(paths, person, volumes), words.splits(paths)
    about = zip(files, people, labels(paths, splits, people, volumes), splits, strict=True)
    made = [Row(file, who, int(next(iter(words.POSITION.findall(file.parts[-1])), -1)), label, split,
                next(iter(SCAN.findall(file.name)), who.split("/")[-1] or file.name))
            for file, who, label, split in about]  # fmt: skip
    return Listing(made, identity)


def ordered(made: Iterable[Row], identity: str) -> Listing:
    """Rows by split, the number in which the scan's name ends, and position."""
    order = {"train": 0, "": 0, "validation": 1, "test": 2}

    def place(row):
        return order.get(row.split, 3), int(row.scan.rpartition("_")[2]), row.position

    return Listing(sorted(made, key=place), identity)


def labels(paths: Sequence[str], splits: Sequence[str], people: Sequence[str], volumes: bool = False) -> list[str]:
    """The class of each path, as folders tell it: the deepest level, above the folders of people, whose names occur
    for several people (or, where nobody is known, in several splits); else the folder that holds the file."""
    parts = [path.split("/")[:-1] for path in paths]
    common = len(os.path.commonprefix(parts))
    left = [_classes(path[common:], *about) for path, *about in zip(parts, people, splits, strict=True)]
    if not any(left):  # with no class beside it, the last shared folder is the class itself
        only = _classes(parts[0][:common][-1:], people[0], splits[0]) if parts and not volumes else []
        return (only or [""]) * len(parts)
    units = people if all(people) else splits
    for level in range(1, max(map(len, left)) + 1):
        pairs = {(unit, path[-level]) for unit, path in zip(units, left, strict=True) if len(path) >= level}
        classes, of = {name for _, name in pairs}, {unit for unit, _ in pairs}
        nearly = len(pairs) <= 1.1 * len(of)  # everybody in one
        if 1 < len(classes) < (len(of) if units is people else len(pairs)) and (nearly or units is splits):
            return [path[-level] if len(path) >= level else "" for path in left]
    return [path[-1] if path and not volumes else "" for path in left]


def _classes(folders, who, split):
    """The folders, down to the person's own, that may name a class."""
    who = who.rpartition("/")[2].lower()
    own = [bool(who) and (part.lower() == who or len(who) > 3 and who in part.lower()) for part in folders]
    return [part for part in folders[: [*own, True].index(True)]
            if not words.split(part) and words.BARE.get(part.lower()) != split
            and not words.CONTAINER.search(words.words(part))]  # fmt: skip


def single(files: Iterable[File]) -> list[File]:
    """The files without copies, which a layout that lies twice in a folder has: of equal names, folders above, sizes
    and splits the least deep one. Copies in two splits stay, to be found as leaks."""
    deepest = sorted(files, key=lambda file: (len(file.parts), file.name), reverse=True)
    splits = zip(words.splits([file.name for file in deepest]), deepest, strict=True)
    return list({(split, *file.parts[-2:], file.size): file for split, file in splits}.values())
