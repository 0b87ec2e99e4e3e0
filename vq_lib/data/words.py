"""What the words in file and folder names say: which split, whether a label map, whether an altered copy, which place.

A name is read as words, `Train_images`, `trainSet` and `imagesTr` as `train images`, `train set` and `images tr`, so
that `latest` is no test and `masked` no mask.
"""

import functools
import os
import re
from collections.abc import Sequence

SPLIT = {
    "train": r"(train(ing)?|trn)",
    "validation": r"(val(id(ate|ation)?)?|dev(elopment)?)",
    "test": r"(test(ing)?|tst)",
    "held out": r"(eval(uation)?|h[eo]ld ?out|unseen)",  # the test people, or beside a test folder those for validation
}
KIND = r"(sets?|data|images?|imgs?|slices?|split|folder)?\d*"  # what a name may append: trainset, testdata2
SHORT = {"train": "tr", "validation": "va?l?", "test": "ts"}  # nnU-Net and the Decathlon: imagesTr, imagesTs
SPLITS = {name: re.compile(rf"\b{pattern}{KIND}\b" + (rf"|\b(images?|imgs?) ?{SHORT[name]}$" if name in SHORT else ""))
          for name, pattern in SPLIT.items()}  # fmt: skip
NO_SPLIT = re.compile(r"retest|^sub \w|^brats\d* \w+ \d")  # a repeated scan; names of people that hold such a word
MASK = (
    r"\b([a-z]{0,6}seg(s|m|mentations?)?\d*|[a-z]{0,2}parc(ellations?)?|labels( ?t[rs])?|label ?maps?|masks?( ?t[rs])?|"
    r"gt|ground ?truths?|annotations?|annots?|pve( ?seg)?|ribbon)\b"
)
MASK_FOLDER = re.compile(rf"{MASK}|^label$")  # label_0 is a class
MASK_FILE = re.compile(rf"{MASK}|\blabel\b|\brois?$|\btissues?\b")
ALTERED = re.compile(r"\b(augmented|augmentations?|augs?)\b")
CONTAINER = re.compile(  # folders that name neither a class nor a person
    r"^(dis[ck]|cd|part|batch|fold|set|archive|site|cent(er|re)|scanner|ses(sion)?|run|visit|raw|processed|original|pre|"
    r"data(set)?|image|slice|png|jpe?g|nii|nifti|volume|axial|coronal|sagittal|mris?|t1w?|t2w?|flair|anat|post)s? ?\d*$"
)
POSITION = re.compile(r"slice[_ -]?(\d+)|mpr-\d_(\d+)(?=\.)", re.I)


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


def is_altered(name: str) -> bool:
    """Whether a folder in the path says that it holds augmented copies."""
    return any(ALTERED.search(words(part)) for part in name.split("/")[:-1])


def position(name: str) -> int:
    """The place in the volume that a file's name says (`…_slice_12.png`); -1 where it says none."""
    match = POSITION.search(name.rpartition("/")[2])
    return int(match[1] or match[2]) if match else -1


def shared(folders: Sequence[list[str]]) -> int:
    """How many leading folders all paths have in common."""
    return len(os.path.commonprefix(folders))


def splits(names: Sequence[str]) -> list[str]:
    """The split of each path by its folders; where these say none, by the files' first words, if all have one: "train",
    "validation", "test", "" (nothing says), or two of them joined by " and " (folders disagree). A folder that all
    paths share tells nothing apart, and counts only where no other one names a split.
    """
    folders = [name.split("/")[:-1] for name in names]
    common = shared(folders)
    named = [{split(part) for part in path[common:]} - {""} for path in folders]
    named = named if any(named) else [{split(part) for part in path} - {""} for path in folders]
    if not any(named):
        first = [split(words(name.rpartition("/")[2]).partition(" ")[0]) for name in names]
        if all(first) and "train" in first and len(set(first)) > 1:
            named = [{one} for one in first]
    held_out = "validation" if any("test" in some for some in named) else "test"
    return [" and ".join(sorted({held_out if one == "held out" else one for one in some}, reverse=True))
            for some in named]  # fmt: skip
