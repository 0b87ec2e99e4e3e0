"""From recipe and data folder to slices: the check, and the cache that a report's notebooks share.

`run/slices/` holds `images.npy` and `thumbnails.npy` (uint8, read through memory maps), `slices.csv` (the table),
`leaks.csv` (pictures on both sides, if any) and `slices.json` (the settings and files that they were made from, and
what was found wrong). It is written whole or not at all, and trusted only where all fit.
"""

import csv
import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vq_lib.data import checks, cohort, layouts, reading, splits
from vq_lib.data.slices import Slices, read_table, write_table
from vq_lib.errors import UserError
from vq_lib.files import read_json, whole_folder, write_json
from vq_lib.recipe import People
from vq_lib.study import Study

FORMAT = 2  # raised when the same files give other slices, or another kind of cache
PRINTED = 200  # lines of leaks that are printed; leaks.csv has all


def check(study: Study) -> str:
    """Whether recipe and data folder go together and every image is whole; nothing is decoded or written.

    Returns:
        A signature that changes with the settings of `data:` and with any file's name, size or time.

    Raises:
        UserError: the folder is missing, empty, unwanted or of another layout, more images than allowed cannot be read,
            or a person is in two splits.
    """
    survey = layouts.survey(study)
    _judge([_people_apart(survey)], study)
    if survey.layout != "cohort" and _open(study, _key(study, survey)) is None:
        looks = layouts.sources(survey, study.recipe.data, header_only=True)
        _enough(survey, reading.check_all(looks), study.recipe.data)
    return survey.signature


def load(study: Study) -> Slices:
    """The slices of a report: from `run/slices/` where these fit recipe and data, else made and kept there.

    Prints one line that says which. `Slices.images` is memory-mapped and read-only.

    Raises:
        UserError: as `check`, and where pictures leak between splits or masks are among them, unless
            `data.allow_leaks`.
    """
    survey, began = layouts.survey(study), time.monotonic()
    key = _key(study, survey)
    slices = _open(study, key)
    made = "as made before"
    if slices is None:
        _judge([_people_apart(survey)], study)
        with whole_folder(study.slices) as folder:
            (_make_cohort if survey.layout == "cohort" else _make)(study, survey, folder, key)
        slices = _open(study, key)
        made = f"made in {time.monotonic() - began:.1f} s"
    print(f"{len(slices):,} slices of {_people(slices)} people ({survey.layout}), {made}.")
    _judge(findings(study), study)
    return slices


def opened(study: Study) -> Slices:
    """The slices that notebook 01 or 02 left in `run/slices/`, for those that need the same ones.

    Raises:
        UserError: there are none, or they were made with other settings or from other files.
    """
    key = {"format": FORMAT, "data": layouts.settings(study.recipe)}
    if study.data_folder is not None or study.recipe.data.layout == "cohort":
        key["signature"] = layouts.survey(study).signature
    slices = _open(study, key)
    if slices is None:
        state = "were made with other settings or from other files" if study.slices.exists() else "are missing"
        raise UserError(f"The slices in {study.slices} {state}: run notebook 01 first "
                        f"(make report REPORT={study.name}, or papermill on 01_data_exploration.ipynb).")  # fmt: skip
    return slices


def _about(study):
    return read_json(study.slices / "slices.json", "notebook 01")


def acknowledgement(study: Study) -> str:
    """What every report on these slices must say about where they come from; plain text."""
    return acknowledged(_about(study)["layout"])


def acknowledged(layout: str) -> str:
    """The same for a layout, such as "oasis"."""
    return (cohort if layout == "cohort" else layouts.ADAPTERS[layout]).ACKNOWLEDGEMENT


def remark(study: Study, slices: Slices) -> str:
    """What the layout knows about who is missing or in another split than usual; plain text, "" where nothing."""
    said = getattr(layouts.ADAPTERS.get(_about(study)["layout"]), "remark", None)
    return said(slices.person, slices.split) if said else ""


def findings(study: Study) -> list[dict]:
    """What was found wrong with the slices in `run/slices/`: a list as `checks` describes it."""
    return _about(study)["findings"]


def people(study: Study) -> dict[str, dict[str, str]]:
    """What the table of people says: `{person: {"age", "sex"}}`, both text, either may be missing."""
    return _about(study)["people"]


def summary(study: Study) -> dict:
    """`metrics.json`'s `data.checks`: `{check: {"count", "examples"}}`, and under `warnings` the sentences to heed.

    Under `layout` stands which one the folder has, whose `acknowledged` goes with its pictures.
    """
    found = findings(study)
    return {
        "layout": _about(study)["layout"],
        **{one["check"]: {"count": one["count"], "examples": one["examples"]} for one in found},
        "warnings": [one["sentence"] for one in found if one["count"] and one["kind"] != "note"],
    }


def _key(study, survey):
    return {"format": FORMAT, "data": layouts.settings(study.recipe), "signature": survey.signature}


def _people_apart(survey):
    given = [(row.person, row.split) for row in survey.rows if row.split]
    both = splits.shared(*map(np.array, zip(*given, strict=True))) if given else {}
    lines = [f"{who} ({' and '.join(where)})" for who, where in both.items()]
    return checks.finding("people in two splits", "leak", lines,
                          "People with slices in two splits")  # fmt: skip


def _enough(survey, broken, data):
    """Raise unless at most `data.skip` of the files cannot be read; return the finding about them."""
    files = survey.files
    reasons = {**survey.broken, **{files[number].name: why for number, why in broken.items()}}
    lines = [f"{name}: {why}" for name, why in reasons.items()]
    share = len(lines) / max(1, len(files) + len(survey.broken))
    if share > data.skip or len(broken) == len(files):
        name, why = next(iter(reasons.items()))
        others = f" ({len(lines) - 1:,} more of {len(files):,} files are like that: {'; '.join(lines[1:4])}" \
                 f"{'; …' if lines[4:] else ''})" if lines[1:] else ""  # fmt: skip
        allow = f", or allow them with data.skip: {np.ceil(share * 1000) / 1000:g}" if len(broken) < len(files) else ""
        raise UserError(f"The image {name} cannot be read: {why}{others}; replace or remove it{allow}.")
    return checks.finding("files left out", "warning", lines, "Files that cannot be read and were left out")


def _judge(found, study):
    """Stop at leaks, naming them, unless the recipe allows them."""
    stops = [one for one in found if one["kind"] == "leak" and one["count"]]
    if not stops or study.recipe.data.allow_leaks:
        return
    pairs = [one for one in stops if one["check"].endswith("across splits")]
    lines = [line for one in stops if one not in pairs for line in one["examples"]]
    if pairs:
        with open(study.slices / "leaks.csv", newline="", encoding="utf-8") as file:
            lines += [_pair(**row) for row in csv.DictReader(file)]
    for line in lines[:PRINTED]:
        print(f"  {line}")
    where = f" {study.slices / 'leaks.csv'} lists all pairs." if len(lines) > PRINTED else ""
    raise UserError(f"{'; '.join(one['sentence'] for one in stops)}: every score would be worthless. Remove one "
                    f"side, or set data.allow_leaks: true to go on with a warning in the report.{where}")  # fmt: skip


def _make(study, survey, folder, key):
    data = study.recipe.data
    each = data.slices if survey.layout == "volumes" else 1
    write = npy_file(folder / "images.npy", (len(survey.rows), data.size, data.size, data.channels))
    thumbs = _thumbnails(folder, len(survey.rows))

    def put(row, block, odd):
        write(row, block)
        for place, picture in odd.items():
            thumbs[place] = picture

    noted, broken = reading.read_all(layouts.sources(survey, data), each, data.size, data.channels, put)
    found = [_enough(survey, broken, data), *survey.findings]
    rows = survey.rows
    if broken:
        kept = np.flatnonzero(~np.isin(np.arange(len(rows)) // each, list(broken)))
        del thumbs
        for name in ("images", "thumbnails"):
            _keep(folder / f"{name}.npy", kept)
        thumbs = np.load(folder / "thumbnails.npy", mmap_mode="r+", allow_pickle=False)
        rows, noted = [rows[i] for i in kept.tolist()], noted[kept]
    images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
    checks.thumbnails(images, thumbs, noted["width"] != noted["height"])
    columns = {name: np.array([getattr(row, name) for row in rows])
               for name in ("person", "position", "label", "split")}  # fmt: skip
    columns["source"] = np.array([row.file.name for row in rows])
    if (unknown := columns["person"] == "").any():
        found.append(_group(columns, thumbs, unknown))
    elif survey.identity == "scan":
        found.append(checks.finding(
            "people unknown", "warning", np.unique(columns["person"]).tolist(), "Scans whose person is not known",
            ": scans of one person may be in two splits, for which this report cannot vouch; a subjects.csv that names "
            "the person of each scan settles it"))  # fmt: skip
    shares = {"test": data.test, "validation": data.validation}
    columns["split"], cut = splits.assign(columns["person"], columns["label"], columns["split"], shares, data.seed)
    found.append(checks.finding(
        "splits cut from train", "note", [f"{count} people for {name}" for name, count in cut.items()],
        "Splits without a folder, cut from the training people"))  # fmt: skip
    slices = Slices(images=images, thumbnails=thumbs, fingerprint="", **columns)  # known once the table is written
    look = [data.size, data.channels, data.white, data.range if survey.layout == "volumes" else None]
    content = hashlib.sha256(json.dumps([FORMAT, look]).encode() + noted["crc"].tobytes())
    _finish(study, survey, folder, key, slices, noted, [_people_apart(survey), *found], content)


def _make_cohort(study, survey, folder, key):
    data = study.recipe.data
    slices = cohort.make((data.people or People()).model_dump(), data.slices, data.size, data.seed)
    np.save(folder / "images.npy", slices.images, allow_pickle=False)
    thumbs = _thumbnails(folder, len(slices))
    checks.thumbnails(slices.images, thumbs)
    slices = Slices(**{**slices.__dict__, "thumbnails": thumbs})
    _finish(study, survey, folder, key, slices, None, [], hashlib.sha256(np.ascontiguousarray(slices.images).data))


def _finish(study, survey, folder, key, slices, noted, found, content):
    """Look for leaks and odd pictures, and write the table and all that was found."""
    write_table(slices, folder / "slices.csv")
    content.update((folder / "slices.csv").read_bytes())
    pairs = [{"first": _named(slices, a), "second": _named(slices, b), "correlation": f"{value:.4f}", "identical": same}
             for a, b, value, same in checks.leaks(slices)]  # fmt: skip
    same, near = ([_pair(**pair) for pair in pairs if pair["identical"] is wanted] for wanted in (True, False))
    found = [
        *found,
        checks.finding("identical across splits", "leak", same, "Pairs of identical pictures in two splits"),
        checks.finding("near-identical across splits", "leak", near, "Pairs of near-identical pictures in two splits"),
        *checks.pictures(slices, noted),
    ]  # fmt: skip
    if pairs:
        with open(folder / "leaks.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(pairs[0]))
            writer.writeheader()
            writer.writerows(pairs)
    write_json(folder / "slices.json", {"key": key, "fingerprint": content.hexdigest(), "layout": survey.layout,
                                        "findings": found, "people": survey.people})  # fmt: skip


def _pair(first, second, correlation, identical):
    return f"{first} = {second}" if str(identical) == "True" else f"{first} ≈ {second} (correlation {correlation})"


def _named(slices, row):
    if slices.source[row]:
        where = slices.position[row]
        volume = (slices.source == slices.source[row]).sum() > 1
        return f"{slices.source[row]}{f' (slice {where})' if volume else ''}"
    return f"{slices.person[row]}, slice {slices.position[row]}"


def _group(columns, thumbs, unknown):
    """Give slices of nobody known a person each, near-identical ones the same; the finding that says so."""
    pairs, _ = checks.similar(thumbs)
    # Pictures that folders put on different sides are a leak to be named, not one person.
    pairs = pairs[columns["split"][pairs[:, 0]] == columns["split"][pairs[:, 1]]]
    first = splits.groups(len(thumbs), pairs)
    columns["person"] = np.where(unknown, columns["source"][first], columns["person"])
    return checks.finding(
        "people unknown", "warning", np.unique(columns["person"]).tolist(),
        "Pictures of unknown people, near-identical ones kept together",
        ": one person may be in two splits, for which this report cannot vouch; data.person or a subjects.csv "
        "names the people")  # fmt: skip


def npy_file(path: Path, shape: tuple[int, ...]) -> Callable[[int, np.ndarray], None]:
    """A `.npy` file of zeros of uint8, and the function that writes `block` from a row of it on.

    Plain writes: a memory map would fault in each page before it is overwritten.
    """
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    begin, row_bytes = array.offset, int(np.prod(shape[1:]))
    del array
    try:
        if hasattr(os, "posix_fallocate"):
            with open(path, "r+b") as file:
                os.posix_fallocate(file.fileno(), 0, begin + shape[0] * row_bytes)
    except OSError as error:
        need = f"{shape[0] * row_bytes / 2**30:.1f} GiB"
        raise UserError(f"{need} of decoded slices do not fit into {path.parent.parent} ({error.strerror}): make room, "
                        "or lower data.size.") from None  # fmt: skip

    def put(row, block):
        with open(path, "r+b", buffering=0) as file:
            file.seek(begin + row * row_bytes)
            file.write(block)

    return put


def _keep(path, rows):
    """Rewrite a `.npy` file with the given rows only, a part at a time."""
    old = np.load(path, mmap_mode="r", allow_pickle=False)
    put = npy_file(path.with_suffix(".kept.npy"), (len(rows), *old.shape[1:]))
    for start in range(0, len(rows), 256):
        put(start, old[rows[start : start + 256]])
    del old
    os.replace(path.with_suffix(".kept.npy"), path)


def _thumbnails(folder, count):
    shape = (count, reading.THUMBNAIL, reading.THUMBNAIL)
    return np.lib.format.open_memmap(folder / "thumbnails.npy", mode="w+", dtype=np.uint8, shape=shape)


def _open(study, key):
    """The cached slices, or None where they are missing, broken, or made from anything but `key`."""
    folder, data = study.slices, study.recipe.data
    shape = (data.size, data.size, data.channels)
    try:
        about = json.loads((folder / "slices.json").read_text(encoding="utf-8"))
        if any(about["key"].get(name) != value for name, value in key.items()) or "findings" not in about:
            return None
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
                  for name in ("images", "thumbnails")}  # fmt: skip
        slices = Slices(**arrays, **read_table(folder / "slices.csv"), fingerprint=about["fingerprint"])
    except (OSError, EOFError, ValueError, TypeError, KeyError, AttributeError):  # missing, cut off, or not by us
        return None
    return slices if slices.images.shape[1:] == shape and len(slices) else None


def _people(slices):
    return f"{len(np.unique(slices.person)):,}"
