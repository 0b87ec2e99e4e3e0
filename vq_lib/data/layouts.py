"""From a data folder to rows: which layout it has, who is in it, and what names alone already tell."""

import contextlib
import os
import re
from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from vq_lib.data import adni, checks, cohort, folders, image_folder, oasis, slices_nifti, subjects, volumes
from vq_lib.data.words import is_mask, words
from vq_lib.errors import UserError
from vq_lib.files import digest
from vq_lib.recipe import People, Recipe
from vq_lib.study import Study

# Layouts that are read from a folder. An adapter has EXPECTED (what lies where), an ACKNOWLEDGEMENT for reports, and
# listing(files, data) -> `folders.Listing`, empty where the layout does not fit; it opens no file.
SPECIFIC = {"oasis": oasis, "adni": adni, "volumes": volumes, "slices_nifti": slices_nifti}
ADAPTERS = {**SPECIFIC, "image_folder": image_folder}
INSTEAD = {None: "image_folder", "volumes": "slices_nifti"}  # what is tried where a recipe's layout does not fit
LATER = ("allow_leaks", "skip", "augment")  # settings that change no slice
UNREAD = {  # what people have and nothing here reads, by suffix, and what makes it readable
    "dcm ima dicom": "dcm2niix converts them to NIfTI",
    "nrrd nhdr mha mhd": "SimpleITK or 3D Slicer converts them to NIfTI",
    "mnc": "mnc2nii converts them to NIfTI",
    "zip tar tar.gz tgz 7z rar bz2 xz": "unpack them",
    "npy npz h5 hdf5 mat parquet pkl gif pgm ppm jp2 svg pdf heic avif": "save each slice as a PNG",
}
ALTERED = re.compile(r"\b(augmented|augmentations?|augs?)\b")
ASIDE = {  # check: which files are left out, why, whether it stands in red, a word of data.files that takes them in
    "masks left out": (is_mask, "because their names say that they are masks", "warning", ""),
    "altered copies left out": (
        lambda name: any(map(ALTERED.search, map(words, name.split("/")[:-1]))),
        "because their folder says that they are augmented copies", "warning", "aug"),
    "derivatives left out": (
        lambda name: "derivatives" in name.split("/")[:-1], "because they are derivatives of others", "note", "deriv"),
}  # fmt: skip


class Survey(NamedTuple):
    """What a recipe finds in its data folder, or makes."""

    layout: str
    rows: list[folders.Row]
    identity: str  # as in `folders.Listing`
    people: dict[str, dict[str, str]]  # {person: {"age", "sex"}}
    findings: list[dict]
    broken: dict[str, str]  # {name: reason} of what cannot be reached
    signature: str  # changes with the settings and with any file's name, size or time
    files: list[folders.File]  # each once, in the order of the rows


def settings(recipe: Recipe) -> dict:
    """The part of `data:` that decides how the slices look."""
    return {name: value for name, value in recipe.chosen("data").items() if name not in LATER}


def survey(study: Study) -> Survey:
    """Recognise the layout and list the slices; no image is opened. `UserError` where folder, names or table of people
    do not fit."""
    data, section = study.recipe.data, settings(study.recipe)
    if data.layout == "cohort":
        if study.data_folder:
            raise UserError(f"This recipe makes its own people (data.layout: cohort) and cannot use "
                            f"{study.data_folder}: leave DATA (or --data) out, or take a recipe for images, as "
                            "oasis-best.")  # fmt: skip
        rows = cohort.rows((data.people or People()).model_dump(), data.slices)
        return Survey("cohort", rows, "person", {}, [checks.people_apart(rows)], {},
                      f"cohort:{digest([section, cohort.VERSION])}", [])  # fmt: skip
    folder = _folder(study)
    everything, broken = folders.walk(folder)
    files, aside = _chosen(everything, data)
    layout, listing = _recognise(folder, files, data, everything, broken)
    _one_split_each(listing.rows)
    quiet = layout in ("oasis", "slices_nifti")  # label maps lie beside the images there
    findings = [checks.finding(check, "note" if quiet else kind, aside[check], f"Files left out {why}")
                for check, (_, why, kind, _) in ASIDE.items()]  # fmt: skip
    read = list(dict.fromkeys(row.file for row in listing.rows))
    known = set(read)
    others = [file.name for file in folders.of_kind(files, folders.IMAGES + folders.VOLUMES) if file not in known]
    findings.append(checks.finding("other images left out", "note" if quiet or layout == "volumes" else "warning",
                                   others, f"Files left out, copies or none of the layout {layout}"))  # fmt: skip
    headers = {file.name[:-4] for file in folders.of_kind(read, (".hdr",))}  # their voxels lie in an .img
    beside = [file for file in folders.of_kind(everything, (".img",)) if file.name[:-4] in headers]
    states = [(file.name, file.size, file.time) for file in read + beside]
    people: dict[str, dict[str, str]] = {}
    if table := _table(folder, everything, data):
        listing, people, without, spare = subjects.join(listing, table)
        findings.append(checks.finding("people without a row", "note", without, f"People who are not in {table.name}"))
        findings.append(checks.finding("rows without slices", "note", spare, f"Rows of {table.name} without slices"))
        states.append((table.name, table.stat().st_size, table.stat().st_mtime_ns))
    findings.insert(0, checks.people_apart(listing.rows))
    signature = f"{layout}:{digest([section, states])}"
    return Survey(layout, listing.rows, listing.identity, people, findings, broken, signature, read)


def _folder(study):
    if not study.data_folder:
        raise UserError(
            f"This recipe needs a folder of images ({study.recipe.data.layout or 'any known layout'}): name it with "
            f"DATA=folder (or --data folder).\n{oasis.WHERE}; {adni.WHERE}.\nThen type: make report "
            f"REPORT={study.name} DATA=/path/to/folder, or make report REPORT=demo, which needs no data."
        )
    folder = Path(study.data_folder)
    try:
        if os.listdir(folder):
            return folder
        what = "is empty"
    except NotADirectoryError:
        what = f"is not a folder{_unread([folder])}"
    except OSError as error:
        what = f"cannot be read: {error.strerror}" if folder.exists() else "does not exist"
    raise UserError(f"The data folder {folder} {what}.")


def _chosen(files, data):
    """The files that `data.files` names, less what is no image of its own; and what that was, `{check: names}`. Altered
    copies and derivatives are left out where originals lie beside them."""
    wanted, aside = (data.files or "*").lower(), {}
    kept = [file for file in files if any(fnmatchcase(name.lower(), wanted) for name in (file.name, file.parts[-1]))]
    if files and not kept:
        raise UserError(f"data.files ({data.files}) fits none of the {len(files):,} files, such as {files[0].name}.")
    for check, (is_such, _, _, word) in ASIDE.items():
        images = folders.of_kind(kept, folders.IMAGES + folders.VOLUMES)
        left = {file for file in images if is_such(file.name)}
        if len(left) == len(images):  # what all share tells nothing: lgg-mri-segmentation/kaggle_3m/…
            shared = len(os.path.commonprefix([file.parts[:-2] for file in images]))
            left = {file for file in images if is_such("/".join(file.parts[shared:]))}
        if word and (word in wanted or len(left) == len(images)):
            left = set()
        kept, aside[check] = [file for file in kept if file not in left], sorted(file.name for file in left)
    return kept, aside


def _recognise(folder, files, data, everything=(), broken=None):
    """Layout and listing: what the recipe says, else the specific one that fits, else an image folder."""

    def fitting(names):
        return {name: listing for name in names if (listing := ADAPTERS[name].listing(files, data)).rows}

    wanted = data.layout
    found = fitting([wanted] if wanted else SPECIFIC)
    if len(found) > 1:
        raise UserError(f"The data folder {folder} holds two layouts, {' and '.join(found)}: set data.layout to one of "
                        "them, choose with data.files, or name the folder of one.")  # fmt: skip
    others = found or fitting(ADAPTERS)
    for name in (*found, INSTEAD.get(wanted)):
        if name in others:
            return name, others[name]
    if others:
        hint = f". It looks like the layout {next(iter(others))}: set data.layout, or leave it out"
    elif any(is_mask(file.name) for file in everything):
        hint = ". Its images are masks by their names"
    elif broken:
        hint = f". {len(broken):,} files cannot be reached, {': '.join(next(iter(broken.items())))}"
    else:
        hint = _unread([Path(file.path) for file in everything])
    kind = f"the layout {wanted}" if wanted else "a known layout"
    expected = " or ".join(adapter.EXPECTED for name, adapter in ADAPTERS.items() if wanted in (None, name))
    expected = f", {expected}" if wanted or not hint else ""
    raise UserError(f"The data folder {folder} holds no slices of {kind}{expected}{hint}.")


def _unread(paths):
    """The most frequent kind of file that is not read, as ": 6 .dcm files: dcm2niix …"; "" where there is none."""
    advice = {f".{suffix}": what for several, what in UNREAD.items() for suffix in several.split()}
    kinds: Counter = Counter()
    for path in paths:
        kinds.update([suffix for suffix in advice if path.name.lower().endswith(suffix)][:1])
        with contextlib.suppress(OSError), open(path, "rb") as file:
            kinds["DICOM"] += not path.suffix and file.read(132)[128:] == b"DICM"
    return "".join(f": {count:,} {kind} file{'s' * (count > 1)}: {advice.get(kind, advice['.dcm'])}"
                   for kind, count in kinds.most_common(1) if count)  # fmt: skip


def _one_split_each(rows):
    named = Counter(row.split for row in rows)
    others = ", ".join(sorted(filter(None, named)))
    for row in rows:
        if " and " in row.split or not row.split and len(named) > 1:
            lies = f"lies in folders of two splits, {row.split}" if row.split else (
                f"lies, as {named[''] - 1:,} more of {len(rows):,}, in none of the folders for {others}")  # fmt: skip
            raise UserError(f"{row.file.name} {lies}: which split is it? Rename or move its folder, or choose by "
                            "data.files.")  # fmt: skip


def _table(folder, files, data):
    """The table of people: what the recipe names, else a known one least deep, or beside the folder; or None."""
    inside = [file for file in files if file.parts[-1] in subjects.TABLES]
    inside.sort(key=lambda file: (subjects.TABLES.index(file.parts[-1]), len(file.parts)))
    places = [Path(file.path) for file in inside[:1]] or [Path(folder).parent / "subjects.csv"]
    if data.subjects:
        places = [Path(folder, data.subjects), Path(os.path.expanduser(data.subjects))]
    table = next(filter(Path.is_file, places), None)
    if data.subjects and not table:
        raise UserError(f"There is no table of people {data.subjects} (data.subjects), in {folder} or from here.")
    return table
