"""What the names of files and folders say: which split, whether a label map, which place in a volume, and who.

A name is read as words, `Train_images`, `trainSet` and `imagesTr` as `train images`, `train set` and `images tr`, so
that `latest` is no test and `masked` no mask. Who a picture is of, `data.person` says; else one table of patterns for
every layout; else, where the same file name lies in many folders, the folder. Names that are equal but for upper and
lower case are one person; `sub-1` and `sub-01` are two.
"""

import functools
import os
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from vq_lib.errors import UserError

KIND = r"(sets?|data|daten|images?|imgs?|slices?|split|folder)?\d*"  # what a name may append: trainset, testdata2
SPLITS = {name: re.compile(rf"\b({word}){KIND}\b|\b(images?|imgs?) ?({short})$") for name, word, short in (
    ("train", r"train(ings?)?|trn|entrena(r|miento)|treina(r|mento)|treino|entra[iî]\w*ment|apprentissage|allenamento|"
     r"addestramento|обуч\w*|трен\w*|训练\w*|訓練\w*|学習\w*|학습\w*", "tr"),  # imagesTr, imagesTs: nnU-Net, Decathlon
    ("validation", r"val(id(a(te|tion|r|[cçz]\w*)|ierungs?)?)?|dev(elopment)?|валид\w*|验证\w*|驗證\w*|検証\w*|검증\w*",
     "va?l?"),
    ("test", r"test(ing|en?)?|tst|prueba|prova|тест\w*|测试\w*|測試\w*|テスト\w*|테스트\w*", "ts"),
    # The test people, or beside a test folder those for validation; nothing is short for it.
    ("held out", "eval(uation)?|h[eo]ld ?out|unseen", "(?!)"),
)}  # fmt: skip
BARE = {"tr": "train", "va": "validation", "vl": "validation", "te": "test", "ts": "test"}
NO_SPLIT = re.compile(r"retest|^sub \w|^brats\d* \w+ \d")  # a repeated scan; names of people that hold such a word
MASK = (
    r"\b([a-z]{0,6}seg(s|m|mentations?)?\d*|[a-z]{0,2}parc(ellations?)?|labels( ?t[rs])?|label ?maps?|masks?( ?t[rs])?|"
    r"gt|ground ?truths?|annotations?|annots?|pve( ?seg)?|ribbon)\b"
)
MASK_FOLDER = re.compile(rf"{MASK}|^label$")  # label_0 is a class
TISSUE = r"^s?\d*(m?w|r)[cp][0-6](?=[a-z])|^[cp][0-6](?=sub|ixi|oas|adni)|\bprob\b|\btissues?\b"  # SPM, CAT12, FSL
MASK_FILE = re.compile(rf"{MASK}|{TISSUE}|\blabel\b|\brois?$")
CONTAINER = re.compile(  # folders that name neither a class nor a person
    r"^(dis[ck]|cd|part|batch|fold|set|archive|site|cent(er|re)|scanner|ses(sion)?|run|visit|raw|processed|original|pre|"
    r"data(set)?|image|slice|png|jpe?g|nii|nifti|volume|axial|coronal|sagittal|mris?|t1w?|t2w?|flair|anat|post)s? ?\d*$"
    r"|^((19|20)\d\d( \d\d){0,2}|.*\b(part|dis[ck]|batch|fold|chunk)s? ?\d+)$"  # 2013-10-05, OAS2_RAW_PART1
)
POSITION = re.compile(r"(?:slice[_ -]?|mpr-\d_(?=\d+\.))(\d+)", re.I)  # place in the volume: …_slice_12.png
# (pattern, what the person is called; "" as found). The first that matches, in the file's name or else in the deepest
# folder, decides. SCANS tell scans apart, of which one person may have several.
PERSONS = [(re.compile(pattern, re.I), form) for pattern, form in (
    (r"(?<![a-z0-9])OAS([12])[_-]?(\d{4})(?!\d)", "OAS{}_{}"),  # OASIS-1, OASIS-2: OAS1_0028_MR1
    (r"(?<![a-z0-9])OAS([34])(\d{4})(?!\d)", "OAS{}{}"),  # OASIS-3, OASIS-4: sub-OAS30001_ses-d0129, OAS30001_MR_d0129
    (r"(?:ADNI[_-]?|(?<![a-z0-9]))(\d{3})[_-]?(?-i:S)[_-]?(\d{4,5})(?!\d)", "{}_S_{}"),  # 002_S_0295, ADNI002S0295
    (r"(?<![a-z0-9])TCGA[_-][a-z0-9]{2}[_-][a-z0-9]{4}(?![a-z0-9])", ""),
    (r"(?<![a-z0-9])BraTS1[789]_[a-z0-9]+_[a-z0-9]+_1(?!\d)", ""),
    (r"(?<![a-z0-9])BraTS_[a-z0-9]+_pat\d+", ""),  # BraTS 2013 to 2015: brats_2013_pat0002_1
    (r"(?<![a-z0-9])(?:BraTS\d*|UPENN|UCSF|REMBRANDT|IBSR|MIRIAD|PPMI|AIBL)[_-](?:[a-z]+[_-])?\d+", ""),
    (r"(?<![a-z0-9])IXI\d{3}", ""),  # IXI012-HH-1211-T1
    (r"(?<!\d)\d{7}(?=_20\d{3}_\d_\d)", ""),  # UK Biobank: 1000012_20252_2_0
    (r"(?<![a-z0-9])sub-(?:[a-z]*\d+(?=(?:slice|sl|img|image|t[12]w|flair)\d+(?![a-z0-9]))|[a-z0-9]+)", ""),  # BIDS
    (r"(?<![a-z0-9])(?:subject|subj|sub|patient|pat|participant|person|volunteer|donor)[ _-]?\d+", ""),
    (r"(?<![a-z0-9])case[ _-]?\d+", ""),  # OASIS's PNG slices, HipMRI: case_004_week_0_slice_0
)]  # fmt: skip
SCANS = re.compile(  # ADNI's JPEG slices, 218391_78.jpeg; whatever has a number before its slice's
    r"^(\d{5,}(?=_\d{1,3}\.)|.*\d.*(?=[ _-]slice[ _-]?\d+))", re.I
)
NUMBERED = re.compile(  # a folder of a person
    rf"(?!{CONTAINER.pattern}|(class|grade|group|stage|label|cdr|score|cluster|type)\b).*\d"
)
CONTRAST = re.compile(r"([_-](t1\w{0,2}|t2\w?|flair|pdw?|dwi|adc|swi)|(?<=\d)_000\d)+$", re.I)  # nnU-Net: _0000, _0001


@functools.lru_cache(maxsize=65536)
def words(name: str) -> str:
    """The words of a name in lower case, a space between them."""
    return re.sub(r"[\W_]+", " ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)).strip().lower()


@functools.lru_cache(maxsize=65536)
def split(folder: str) -> str:
    """The split that a folder's name says: "train", "validation", "test", "held out", or "" (none, or several)."""
    text = words(folder)
    named = [] if NO_SPLIT.search(text) else [name for name, pattern in SPLITS.items() if pattern.search(text)]
    return named[0] if len(named) == 1 else ""


def is_mask(name: str) -> bool:
    """Whether a path says that the file is a label map: `seg35.nii`, `aseg.mgz`, `labelsTr/1.nii`, `x_dseg.nii.gz`."""
    *folders, file = name.split("/")
    stem = words(re.sub(r"(\.nii)?\.\w+$", "", file))
    return bool(MASK_FILE.search(stem)) or any(MASK_FOLDER.search(words(part)) for part in folders)


def splits(names: Sequence[str]) -> list[str]:
    """The split of each path by its folders; where these say none, by the files' first words, else any of
    theirs, else folders such as `tr`, if all have one: "train", "validation", "test", "" (nothing says), or two of them
    joined by " and " (folders disagree). A folder that all paths share tells nothing apart, and counts only where no
    other one names a split."""
    folders = [name.split("/")[:-1] for name in names]
    common = len(os.path.commonprefix(folders))
    named = [{split(part) for part in path[common:]} - {""} for path in folders]
    named = named if any(named) else [{split(part) for part in path} - {""} for path in folders]
    if not any(named):
        stems = [words(re.sub(r"(\.nii)?\.\w+$", "", name.rpartition("/")[2])) for name in names]
        bare = [next((BARE[part.lower()] for part in path if part.lower() in BARE), "") for path in folders]
        for said in ([split(stem.partition(" ")[0]) for stem in stems], list(map(split, stems)), bare):
            if all(said) and "train" in said and len(set(said)) > 1:
                named = [{one} for one in said]
                break
    held_out = "validation" if any("test" in some for some in named) else "test"
    return [" and ".join(sorted({held_out if one == "held out" else one for one in some}, reverse=True))
            for some in named]  # fmt: skip


def people(names: Sequence[str], pattern: str | None = None, volumes: bool = False) -> tuple[list[str], str]:
    """Who each of some paths below one folder, "/" between their parts, is of, "" where nothing tells, and what that is
    worth: "person", "scan" (of one person there may be several) or "" (nobody is known). By the first group of
    `pattern` (`data.person`; `UserError` where it finds nobody), else by `PERSONS`, else by folders. `volumes`: a file
    is a scan, so that a name which tells nothing is one's own."""
    if pattern:
        found = [match[1] or "" if (match := re.search(pattern, name)) else "" for name in names]
        if not all(found):
            raise UserError(f"data.person ({pattern}) finds nobody in the name of the image {names[found.index('')]}.")
        return found, "person"
    paths = [name.split("/") for name in names]
    common = len(os.path.commonprefix([path[:-1] for path in paths]))
    matches = [_search(path[common:]) for path in paths]
    if names and not any(matches):
        matches = [_search(paths[0][:common])] * len(paths)
    if _anew(paths, ["" if one is None or _search(path[:-1]) == one else one[0]
                     for path, one in zip(paths, matches, strict=True)]):  # fmt: skip
        matches = [None] * len(paths)
    spelling: dict[str, str] = {}
    who = [spelling.setdefault(re.sub("[ _-]", "", one[0].lower()), one[0]) if one else "" for one in matches]
    if names and all(matches):  # names of two schemes cannot be compared
        return who, "person" if len({scheme for _, scheme in filter(None, matches)}) == 1 else "scan"
    scans = iter(_scans([path for path, one in zip(paths, matches, strict=True) if not one], volumes))
    who = [name or next(scans) for name in who]
    return who, "scan" if any(who) else ""


def _search(path):
    """(person, number of the scheme) by the first of `PERSONS` that matches, the file's name first, or None."""
    whole = "/".join(path)
    for number, (pattern, form) in enumerate(PERSONS):
        if pattern.search(whole):
            match = next(filter(None, map(pattern.search, reversed(path))))
            return form.format(*match.groups()) if form else match[0], number
    return None


def _anew(paths, who):
    """Whether people by the files' names are numbered anew in each of five folders with numbers or more, so that these
    are the people: `HC001/case_3.png`, `HC002/case_3.png`."""
    for level in range(max(map(len, paths), default=1) - 1):
        pairs = {(path[level], name) for path, name in zip(paths, who, strict=True)
                 if name and len(path) - 1 > level and NUMBERED.match(words(path[level]))
                 and not split(path[level])}  # fmt: skip
        places, names = ({pair[k] for pair in pairs} for k in (0, 1))
        if len(places) >= 5 and 2 * len(pairs) >= len(places) * len(names):
            return True
    return False


def _scans(paths, volumes):
    """The scan, or "", of paths that no pattern of people knows: by a level of folders below which most files' names
    repeat, or begin as their folder does, and which has numbers, as classes seldom have (or, of volumes, the most
    names, if not fewer than files' names); else by the file's name."""
    folders = [[part for part in path[:-1] if not split(part)] for path in paths]
    stems = [re.sub(r"(\.nii)?\.\w+$", "", path[-1]) for path in paths]
    depth = range(len(os.path.commonprefix(folders)), max(map(len, folders), default=0))
    names = {level: {path[level] for path in folders if len(path) > level} for level in depth}
    names = {level: some for level, some in names.items() if len(some) >= (2 if volumes else 5)}
    levels = [level for level, some in names.items()
              if np.mean([bool(NUMBERED.match(words(name))) for name in some]) >= 0.5]  # fmt: skip
    if volumes and not levels:
        told = {level: {name for name in some if not CONTAINER.search(words(name))} for level, some in names.items()}
        levels = sorted(told, key=lambda level: -len(told[level]))[:1]
        levels = [level for level in levels if len(told[level]) >= max(2, len(set(stems)))]
    for level in levels:
        places = ["/".join(path[: level + 1]) for path in folders]
        repeated = pd.Series(places).groupby(stems).transform("nunique") > 1
        begun = [len(path) > level and stem.startswith(path[level]) for path, stem in zip(folders, stems, strict=True)]
        if (repeated | np.array(begun)).mean() >= 0.5:
            return [place if len(path) > level else "" for place, path in zip(places, folders, strict=True)]
    scans = [match[0] for path in paths if (match := SCANS.search(path[-1]))]
    if len(scans) == len(paths) and len(set(scans)) > 1:
        return scans
    return [CONTRAST.sub("", stem) if volumes else "" for stem in stems]
