"""From recipe and data folder to slices: the check, and the cache that a report's notebooks share.

`run/slices/` holds `images.npy` and `thumbnails.npy` (uint8, read through memory maps), `slices.csv` (the table),
`leaks.csv` (pictures on both sides, if any) and `slices.json` (the settings and files that they were made from, and
what was found wrong). It is written whole or not at all, and trusted only where all fit.
"""

import dataclasses
import functools
import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from vq_lib.data import checks, cohort, duplicates, layouts, levels, reading, splits
from vq_lib.data.slices import COLUMNS, Slices, conditions, read_table, write_table
from vq_lib.errors import UserError
from vq_lib.files import read_json, whole_folder, write_json
from vq_lib.recipe import People
from vq_lib.study import Study

FORMAT = 3  # raised when the same files give other slices, or another kind of cache
PRINTED = 200  # lines of leaks that are printed; leaks.csv has all


def check(study: Study) -> str:
    """Whether recipe and data folder go together and every image is whole; nothing is decoded or written.

    Returns:
        A signature that changes with the settings of `data:` and with any file's name, size or time.

    Raises:
        UserError: the folder does not fit the recipe, more images than allowed cannot be read, a person is in two
            splits, or what a prior shall know is not known.
    """
    survey = layouts.survey(study)
    _judge([_people_apart(survey)], study)
    if survey.layout != "cohort":
        label, position, split = (np.array([row[at] for row in survey.rows]) for at in (3, 2, 4))
        _possible(study, functools.partial(conditions, label=label, position=position,
                                           train=np.flatnonzero(np.isin(split, ("", "train")))))  # fmt: skip
        if _open(study, _key(study, survey)) is None:
            _enough(survey, reading.check_all(sources(survey, study.recipe.data, header_only=True)), study.recipe.data)
    return survey.signature


def load(study: Study) -> Slices:
    """The slices of a report: from `run/slices/` where these fit recipe and data, else made and kept there.

    Prints one line that says which. `Slices.images` is memory-mapped and read-only.

    Raises:
        UserError: as `check`; where pictures leak between splits or masks are among them, unless `data.allow_leaks`;
            and for whatever else would stop a later stage: one test slice, constant training images.
    """
    survey, began = layouts.survey(study), time.monotonic()
    key = _key(study, survey)
    slices, made = _open(study, key), "as made before"
    if slices is None:
        _judge([_people_apart(survey)], study)
        with whole_folder(study.slices) as folder:
            (_make_cohort if survey.layout == "cohort" else _make)(study, survey, folder, key)
        slices, made = _open(study, key), f"made in {time.monotonic() - began:.1f} s"
    print(f"{len(slices):,} slices of {len(np.unique(slices.person)):,} people ({survey.layout}), {made}.")
    _judge(findings(study), study)
    _possible(study, slices.conditions)
    if len(slices.where("test")) < 2:
        raise UserError("There is one test slice, and an evaluation compares two: add images, or raise data.test.")
    if (np.ptp(slices.thumbnails[slices.where("train")], axis=(1, 2)) == 0).all():
        raise UserError("All training slices are of one level: there is nothing to learn from them.")
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


def acknowledged(layout: str) -> str:
    """What every report on slices of a layout, such as "oasis", must say about where they come from; plain text."""
    return (cohort if layout == "cohort" else layouts.ADAPTERS[layout]).ACKNOWLEDGEMENT


def acknowledgement(study: Study) -> str:
    """The same for the slices in `run/slices/`."""
    return acknowledged(_about(study)["layout"])


def remark(study: Study, slices: Slices) -> str:
    """What the layout knows about who is missing or in another split than usual; plain text, "" where nothing."""
    words = getattr(layouts.ADAPTERS.get(_about(study)["layout"]), "remark", None)
    return words(slices.person, slices.split) if words else ""


def findings(study: Study) -> list[dict]:
    """What was found wrong with the slices in `run/slices/`: a list as `checks` describes it."""
    return _about(study)["findings"]


def people(study: Study) -> dict[str, dict[str, str]]:
    """What the table of people says: `{person: {"age", "sex"}}`, both text, either may be missing."""
    return _about(study)["people"]


def summary(study: Study) -> dict:
    """`metrics.json`'s `data.checks`: `layout`, `{check: {"count", "examples"}}`, and `warnings`, sentences to heed."""
    about = _about(study)
    counts = {one["check"]: {"count": one["count"], "examples": one["examples"]} for one in about["findings"]}
    warnings = [one["sentence"] for one in about["findings"] if one["count"] and one["kind"] != "note"]
    return {"layout": about["layout"], **counts, "warnings": warnings}


def sources(survey: layouts.Survey, data, header_only: bool = False) -> list[Callable]:
    """A function for each file: its slices, `reading.Picture`s, or only a look at its header."""
    cut = {"count": data.slices if survey.layout == "volumes" else None, "span": data.range, "plane": data.plane,
           "volume": data.volume}  # fmt: skip
    return [functools.partial(reading.pictures, file.path, data.channels, data.white, not header_only, **cut)
            for file in survey.files]  # fmt: skip


def _key(study, survey):
    return {"format": FORMAT, "data": layouts.settings(study.recipe), "signature": survey.signature}


def _possible(study, conditions_for):
    """Raise where a prior wishes to know what the slices do not tell, long before it is trained."""
    for prior in (study.recipe.prior.models() if study.recipe.prior else {}).values():
        conditions_for(prior.condition)


def _people_apart(survey):
    known = [(row.person, row.split) for row in survey.rows if row.split]
    both = splits.shared(*map(np.array, zip(*known, strict=True))) if known else {}
    lines = [f"{who} ({' and '.join(where)})" for who, where in both.items()]
    return checks.finding("people in two splits", "leak", lines, "People with slices in two splits")


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
        lines += _pairs(pd.read_csv(study.slices / "leaks.csv", keep_default_na=False))
    for line in lines[:PRINTED]:
        print(f"  {line}")
    where = f" {study.slices / 'leaks.csv'} lists all pairs." if len(lines) > PRINTED else ""
    raise UserError(f"{'; '.join(one['sentence'] for one in stops)}: every score would be worthless. Remove one "
                    f"side, or set data.allow_leaks: true to go on with a warning in the report.{where}")  # fmt: skip


def _pairs(table):
    """The rows of `leaks.csv` as lines."""
    return [f"{row.first} = {row.second}" if row.identical
            else f"{row.first} ≈ {row.second} (correlation {row.correlation:.4f}{row.how and f', {row.how}'})"
            for row in table.itertuples()]  # fmt: skip


def _make(study, survey, folder, key):
    """Read a folder's slices into `folder`."""
    data, rows = study.recipe.data, survey.rows
    each = data.slices if survey.layout == "volumes" else 1
    images = npy_file(folder / "images.npy", (len(rows), data.size, data.size, data.channels))
    thumbs = npy_file(folder / "thumbnails.npy", (len(rows), reading.THUMBNAIL, reading.THUMBNAIL))

    def put(row, block, odd):
        images[row : row + len(block)] = block
        for place, picture in odd.items():
            thumbs[place] = picture

    noted, broken = reading.read_all(sources(survey, data), each, data.size, data.channels, put)
    found = [_enough(survey, broken, data), *survey.findings]
    if broken:
        kept = np.flatnonzero(~np.isin(np.arange(len(rows)) // each, list(broken)))
        images, thumbs = _kept(folder / "images.npy", images, kept), _kept(folder / "thumbnails.npy", thumbs, kept)
        rows, noted = [rows[i] for i in kept.tolist()], noted[kept]
    wide = np.flatnonzero(noted["top"])
    if data.white is None and wide.size and (top := noted["top"].max()) < levels.DARK:
        raise UserError(f"{levels.too_dark(top, rows[wide[0]].file.name)}.")
    duplicates.thumbnails(images, thumbs, noted["width"] != noted["height"])
    table = pd.DataFrame({**{name: [getattr(row, name) for row in rows] for name in COLUMNS[:-1]},
                          "source": [row.file.name for row in rows]})  # fmt: skip
    if (unknown := table.person == "").any():
        found.append(_group(table, thumbs, unknown))
    elif survey.identity == "scan":
        found.append(checks.finding(
            "people unknown", "warning", sorted(table.person.unique()), "Scans whose person is not known",
            ": scans of one person may be in two splits, for which this report cannot vouch; a subjects.csv that names "
            "the person of each scan settles it"))  # fmt: skip
    columns = {name: table[name].to_numpy(dtype=np.int64 if name == "position" else str) for name in COLUMNS}
    columns["split"], cut = splits.assign(columns["person"], columns["label"], columns["split"],
                                          {"test": data.test, "validation": data.validation}, data.seed)  # fmt: skip
    found.append(checks.finding(
        "splits cut from train", "note", [f"{count} people for {name}" for name, count in cut.items()],
        "Splits without a folder, cut from the training people"))  # fmt: skip
    look = [data.size, data.channels, data.white, [data.range, data.plane, data.volume] * (survey.layout == "volumes")]
    content = hashlib.sha256(json.dumps([FORMAT, look]).encode() + noted["crc"].tobytes())
    slices = Slices(images=images, thumbnails=thumbs, **columns)
    _finish(survey, folder, key, slices, noted, [_people_apart(survey), *found], content)


def _make_cohort(study, survey, folder, key):
    """Make synthetic people into `folder`."""
    data = study.recipe.data
    slices = cohort.make((data.people or People()).model_dump(), data.slices, data.size, data.seed)
    np.save(folder / "images.npy", slices.images, allow_pickle=False)
    thumbs = npy_file(folder / "thumbnails.npy", (len(slices), reading.THUMBNAIL, reading.THUMBNAIL))
    duplicates.thumbnails(slices.images, thumbs)
    content = hashlib.sha256(np.ascontiguousarray(slices.images).data)
    _finish(survey, folder, key, dataclasses.replace(slices, thumbnails=thumbs), None, [], content)


def _finish(survey, folder, key, slices, noted, found, content):
    """Look for leaks and odd pictures, and write the table and all that was found."""
    write_table(slices, folder / "slices.csv")
    content.update((folder / "slices.csv").read_bytes())
    pairs = checks.leaks(slices)
    pairs.round({"correlation": 4}).to_csv(folder / "leaks.csv", index=False, encoding="utf-8")
    same, near = _pairs(pairs[pairs.identical]), _pairs(pairs[~pairs.identical])
    found = [
        *found,
        checks.finding("identical across splits", "leak", same, "Pairs of identical pictures in two splits"),
        checks.finding("near-identical across splits", "leak", near, "Pairs of near-identical pictures in two splits"),
        *checks.pictures(slices, noted),
    ]
    write_json(folder / "slices.json", {"key": key, "fingerprint": content.hexdigest(), "layout": survey.layout,
                                        "findings": found, "people": survey.people})  # fmt: skip


def _group(table, thumbs, unknown):
    """Give slices of nobody known a person each, copies the same; the finding that says so."""
    pairs, _, _ = duplicates.copies(thumbs)
    side = table.split.to_numpy()
    # Pictures that folders put on different sides are a leak to be named, not one person.
    first = splits.groups(len(thumbs), pairs[side[pairs[:, 0]] == side[pairs[:, 1]]])
    table["person"] = table.person.where(~unknown, table.source.to_numpy()[first])
    return checks.finding(
        "people unknown", "warning", sorted(table.person.unique()),
        "Pictures of unknown people, near-identical ones kept together",
        ": one person may be in two splits, for which this report cannot vouch; data.person or a subjects.csv "
        "names the people")  # fmt: skip


def npy_file(path: Path, shape: tuple[int, ...]) -> np.memmap:
    """A `.npy` file of zeros of uint8, memory-mapped, all of whose room is taken at once: a full disk would later kill.

    Raises:
        UserError: there is not enough.
    """
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    try:
        if hasattr(os, "posix_fallocate"):
            with open(path, "r+b") as file:
                os.posix_fallocate(file.fileno(), 0, array.offset + array.size)
    except OSError as error:
        raise UserError(f"{array.size / 2**30:.1f} GiB of decoded slices do not fit into {path.parent.parent} "
                        f"({error.strerror}): make room, or lower data.size.") from None  # fmt: skip
    return array


def _kept(path, array, rows):
    """Rewrite a `.npy` file with the given rows only, a part at a time."""
    new = npy_file(path.with_suffix(".kept.npy"), (len(rows), *array.shape[1:]))
    for start in range(0, len(rows), 256):
        new[start : start + 256] = array[rows[start : start + 256]]
    os.replace(path.with_suffix(".kept.npy"), path)
    return new


def _open(study, key):
    """The cached slices, or None where they are missing, broken, or made from anything but `key`."""
    folder, data = study.slices, study.recipe.data
    try:
        about = json.loads((folder / "slices.json").read_text(encoding="utf-8"))
        if any(about["key"].get(name) != value for name, value in key.items()) or "findings" not in about:
            return None
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
                  for name in ("images", "thumbnails")}  # fmt: skip
        slices = Slices(**arrays, **read_table(folder / "slices.csv"), fingerprint=about["fingerprint"])
    except (OSError, EOFError, ValueError, TypeError, KeyError, AttributeError):  # missing, cut off, or not by us
        return None
    return slices if slices.image_shape == (data.size, data.size, data.channels) and len(slices) else None
