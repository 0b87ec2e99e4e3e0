"""From a data folder to rows: which layout it has, who is in it, and what names alone already tell."""

import functools
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from vq_lib.data import adni, checks, cohort, folders, image_folder, oasis, reading, subjects, volumes, voxels
from vq_lib.errors import UserError
from vq_lib.files import digest
from vq_lib.recipe import Data, Recipe
from vq_lib.study import Study

# Layouts that are read from a folder. An adapter has EXPECTED (what lies where), an ACKNOWLEDGEMENT for reports, and
# listing(files, data) -> `folders.Listing`, empty where the layout does not fit; it opens no file. It may have
# remark(person, split): what a reader should know of these people and splits.
ADAPTERS = {"oasis": oasis, "adni": adni, "volumes": volumes, "image_folder": image_folder}
FALLBACK = "image_folder"
LATER = ("allow_leaks", "skip", "augment")  # settings that change no slice


class Survey(NamedTuple):
    """What a recipe finds in its data folder; for the cohort all but layout and signature are empty."""

    layout: str
    rows: list[folders.Row]
    identity: str  # as in `folders.Listing`
    people: dict[str, dict[str, str]]  # {person: {"age", "sex"}}
    findings: list[dict]
    broken: dict[str, str]  # {name: reason} of what cannot be reached
    signature: str  # changes with the settings and with any file's name, size or time

    @property
    def files(self) -> list[folders.File]:
        """Each file once, in the order of the rows."""
        return list(dict.fromkeys(row.file for row in self.rows))


def settings(recipe: Recipe) -> dict:
    """The part of `data:` that decides how the slices look."""
    return {name: value for name, value in recipe.chosen("data").items() if name not in LATER}


def survey(study: Study) -> Survey:
    """Recognise the layout and list the slices; no image is opened.

    Raises:
        UserError: the folder is missing, empty, unwanted, or of no or of two layouts, or its table of people is broken.
    """
    data, section = study.recipe.data, settings(study.recipe)
    if data.layout == "cohort":
        if study.data_folder:
            raise UserError(f"This recipe makes its own people (data.layout: cohort) and cannot use "
                            f"{study.data_folder}: leave DATA (or --data) out, or take a recipe for images, as "
                            "oasis-best.")  # fmt: skip
        return Survey("cohort", [], "person", {}, [], {}, f"cohort:{digest([section, cohort.VERSION])}")
    folder = _folder(study)
    files, broken = folders.walk(folder)
    layout, listing = _recognise(folder, files, data)
    tables = _tables(folder, files, data)
    about: dict[str, dict[str, str]] = {}
    findings: list[dict] = []
    if tables:
        listing, about, without, spare = subjects.join(listing, tables[0])
        findings += [
            checks.finding("people without a row", "note", without, f"People who are not in {tables[0].name}"),
            checks.finding("rows without slices", "note", spare, f"Rows of {tables[0].name} without slices"),
        ]
    masks = [file.name for file in listing.masks]
    findings.append(checks.finding(
        "masks left out", "note" if layout == "oasis" else "warning", masks,
        "Files left out because their names say that they are masks"))  # fmt: skip
    read = list(dict.fromkeys(row.file for row in listing.rows))
    headers = {file.name[:-4] for file in read if file.name.lower().endswith(".hdr")}  # their voxels lie in an .img
    read += [file for file in files if file.name[:-4] in headers and file.name.lower().endswith(".img")]
    states = [(file.name, file.size, file.time) for file in read]
    states += [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in tables]
    return Survey(layout, listing.rows, listing.identity, about, findings, broken,
                  f"{layout}:{digest([section, states])}")  # fmt: skip


def _folder(study):
    if not study.data_folder:
        layout = study.recipe.data.layout
        raise UserError(
            f"This recipe needs a folder of images ({layout or 'any known layout'}): name it with DATA=folder (or "
            f"--data folder).\n{oasis.WHERE}; {adni.WHERE}.\n"
            f"Then type: make report REPORT={study.name} DATA=/path/to/folder, or make report REPORT=demo, which needs "
            "no data."
        )
    folder = Path(study.data_folder)
    if not folder.is_dir():
        raise UserError(f"The data folder {folder} {'is not a folder' if folder.exists() else 'does not exist'}.")
    try:
        if not os.listdir(folder):
            raise UserError(f"The data folder {folder} is empty.")
    except OSError as error:
        raise UserError(f"The data folder {folder} cannot be read: {error.strerror}.") from None
    return folder


def _recognise(folder, files, data):
    """Layout and listing: what the recipe says, else the specific one that fits, else an image folder."""
    wanted = data.layout
    found = {}
    for layout in [wanted] if wanted else [name for name in ADAPTERS if name != FALLBACK]:
        listing = ADAPTERS[layout].listing(files, data)
        if listing.rows:
            found[layout] = listing
    if len(found) > 1:
        raise UserError(f"The data folder {folder} holds two layouts, {' and '.join(found)}: set data.layout to one of "
                        "them, or name the folder of one.")  # fmt: skip
    if not found and not wanted:
        listing = ADAPTERS[FALLBACK].listing(files, data)
        found = {FALLBACK: listing} if listing.rows else {}
    if not found:
        expected = " or ".join(ADAPTERS[name].EXPECTED for name in ([wanted] if wanted else ADAPTERS))
        others = [name for name in ADAPTERS if name != wanted and ADAPTERS[name].listing(files, data).rows]
        hint = f" It looks like the layout {others[0]}: set data.layout, or leave it out." if wanted and others else ""
        only = " Its images are masks by their names." if any(map(folders.is_mask, files)) and not others else ""
        raise UserError(f"The data folder {folder} holds no slices of the layout {wanted or ' or '.join(ADAPTERS)}: "
                        f"expected {expected}.{hint}{only}")  # fmt: skip
    return next(iter(found.items()))


def _tables(folder, files, data):
    """The table of people: the one that the recipe names, else `subjects.csv` least deep, or beside the folder."""
    if data.subjects:
        places = [Path(folder, data.subjects), Path(os.path.expanduser(data.subjects))]
        named = next((place for place in places if place.is_file()), None)
        if named is None:
            raise UserError(f"There is no table of people {data.subjects} (data.subjects), in {folder} or from here.")
        return [named]
    inside = sorted((file for file in files if file.parts[-1] == "subjects.csv"), key=lambda file: len(file.parts))
    beside = Path(folder).parent / "subjects.csv"
    return [Path(file.path) for file in inside[:1]] or [beside] * beside.is_file()


def sources(survey: Survey, data: Data, header_only: bool = False) -> list[Callable]:
    """A function for each file: its slices as `reading.picture` returns them, or only a look at its header."""
    if survey.layout == "volumes":
        one = voxels.look if header_only else functools.partial(_volume, count=data.slices, span=data.range)
    else:
        one = functools.partial(_image, channels=data.channels, white=data.white, decode=not header_only)
    return [functools.partial(one, file.path) for file in survey.files]


def _image(path, **options):
    return [reading.picture(path, **options)]


def _volume(path, count, span):
    for image in voxels.pictures(path, count, span):
        yield image, "volume", False, zlib.crc32(image.tobytes())
