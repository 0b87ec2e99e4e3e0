"""Who a picture is of, as names tell it: one table of patterns for every layout.

`data.person` comes first; then the patterns; then, where the same file name lies in many folders, the folder. Names
that are equal but for upper and lower case are one person; `sub-1` and `sub-01` are two.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from vq_lib.data.words import CONTAINER, shared, split, words
from vq_lib.errors import UserError

# (pattern, what the person is called; "" as found). The first that matches, in the file's name or else in the deepest
# folder, decides. SCANS tell scans apart, of which one person may have several.
PERSONS = [(re.compile(pattern, re.I), form) for pattern, form in (
    (r"(?<![a-z0-9])OAS([12])[_-]?(\d{4})(?!\d)", "OAS{}_{}"),  # OASIS-1, OASIS-2: OAS1_0028_MR1
    (r"(?<![a-z0-9])OAS([34])(\d{4})(?!\d)", "OAS{}{}"),  # OASIS-3, OASIS-4: sub-OAS30001_ses-d0129, OAS30001_MR_d0129
    (r"(?<!\d)(\d{3})[_-]?S[_-]?(\d{4,5})(?!\d)", "{}_S_{}"),  # ADNI: 002_S_0295, sub-ADNI002S0295
    (r"(?<![a-z0-9])TCGA[_-][a-z0-9]{2}[_-][a-z0-9]{4}(?![a-z0-9])", ""),
    (r"(?<![a-z0-9])BraTS1[789]_[a-z0-9]+_[a-z0-9]+_1(?!\d)", ""),
    (r"(?<![a-z0-9])(?:BraTS\d*|UPENN|UCSF|REMBRANDT|IBSR|MIRIAD|PPMI|AIBL)[_-](?:[a-z]+[_-])?\d+", ""),
    (r"(?<![a-z0-9])IXI\d{3}", ""),  # IXI012-HH-1211-T1
    (r"(?<!\d)\d{7}(?=_20\d{3}_\d_\d)", ""),  # UK Biobank: 1000012_20252_2_0
    (r"(?<![a-z0-9])sub-[a-z0-9]+", ""),  # BIDS
    (r"(?<![a-z0-9])(?:subject|subj|sub|patient|pat|participant|person|volunteer|donor)[ _-]?\d+", ""),
    (r"(?<![a-z0-9])case[ _-]?\d+", ""),  # OASIS's PNG slices, HipMRI: case_004_week_0_slice_0
)]  # fmt: skip
SCANS = re.compile(  # ADNI's JPEG slices, 218391_78.jpeg; whatever has a number before its slice's
    r"^(\d{5,}(?=_\d{1,3}\.)|.*\d.*(?=[ _-]slice[ _-]?\d+))", re.I
)
KIND = re.compile(r"^(class|grade|group|stage|label|cdr|score|cluster|type)\b")
CONTRAST = re.compile(r"([_-](t1\w{0,2}|t2\w?|flair|pdw?|dwi|adc|swi)|(?<=\d)_000\d)+$", re.I)  # nnU-Net: _0000, _0001


class People(NamedTuple):
    """Who each of some paths is of, "" where nothing tells, and what that is worth: "person", "scan" (of one person
    there may be several) or "" (nobody is known)."""

    names: list[str]
    identity: str


def people(names: Sequence[str], pattern: str | None = None, volumes: bool = False) -> People:
    """Who each of some paths below one folder, "/" between their parts, is of: by `pattern` (`data.person`), whose
    first group is the person (`UserError` where it finds nobody), else by the table, else by folders. `volumes`: a file
    is a scan, so that a name which tells nothing is one's own.
    """
    if pattern:
        return People([_by_pattern(name, pattern) for name in names], "person")
    paths = [name.split("/") for name in names]
    common = shared([path[:-1] for path in paths])
    matches = [_search(path[common:]) for path in paths]
    if names and not any(matches):
        matches = [_search(paths[0][:common])] * len(paths)
    spelling: dict[str, str] = {}
    who = [spelling.setdefault(one[0].lower(), one[0]) if one else "" for one in matches]
    if names and all(matches):  # names of two schemes cannot be compared
        return People(who, "person" if len({scheme for _, scheme in filter(None, matches)}) == 1 else "scan")
    scans = iter(_scans([path for path, one in zip(paths, matches, strict=True) if not one], volumes))
    who = [name or next(scans) for name in who]
    return People(who, "scan" if any(who) else "")


def _by_pattern(name, pattern):
    match = re.search(pattern, name)
    if not match or not match[1]:
        raise UserError(f"data.person ({pattern}) finds nobody in the name of the image {name}.")
    return match[1]


def _search(path):
    """(person, number of the scheme) by the first of `PERSONS` that matches, the file's name first, or None."""
    whole = "/".join(path)
    for number, (pattern, form) in enumerate(PERSONS):
        if pattern.search(whole):
            match = next(filter(None, map(pattern.search, reversed(path))))
            return form.format(*match.groups()) if form else match[0], number
    return None


def _scans(paths, volumes):
    """The scan, or "", of paths that no pattern of people knows: by a folder, else by the file's name."""
    folders = [[part for part in path[:-1] if not split(part)] for path in paths]
    stems = [re.sub(r"(\.nii)?\.\w+$", "", path[-1]) for path in paths]
    level = _level(folders, stems, volumes)
    if level is not None:
        return ["/".join(path[: level + 1]) if len(path) > level else "" for path in folders]
    scans = [match[0] for path in paths if (match := SCANS.search(path[-1]))]
    if len(scans) == len(paths) and len(set(scans)) > 1:
        return scans
    return [CONTRAST.sub("", stem) if volumes else "" for stem in stems]


def _level(folders, stems, volumes):
    """The level of folders that tells people apart: most files' names repeat below it, or begin as their folder does.

    Folders of people have numbers in their names, which those of classes seldom have; where none has, and the files are
    volumes, it is the level with the most names.
    """
    depth = range(shared(folders), max(map(len, folders), default=0))
    names = {level: {path[level] for path in folders if len(path) > level} for level in depth}
    names = {level: some for level, some in names.items() if len(some) >= (2 if volumes else 5)}
    levels = [level for level, some in names.items() if sum(map(_numbered, some)) * 2 >= len(some)]
    if volumes and not levels:
        levels = sorted(names, key=lambda level: -len(names[level]))[:1]
    for level in levels:
        places = [path[: level + 1] for path in folders]
        repeated = pd.Series(map(tuple, places)).groupby(stems).transform("nunique") > 1
        begun = [len(path) > level and stem.startswith(path[level]) for path, stem in zip(folders, stems, strict=True)]
        if (repeated | np.array(begun)).sum() * 2 >= len(stems):
            return level
    return None


def _numbered(folder):
    name = words(folder)
    return bool(re.search(r"\d", name)) and not (CONTAINER.search(name) or KIND.search(name))
