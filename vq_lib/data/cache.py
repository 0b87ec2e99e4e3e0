"""From recipe and data folder to slices: the check, and the cache that a report's notebooks share.

`run/slices/` holds `images.npy` and `thumbnails.npy` (uint8, memory-mapped; rows beyond the table are of files that
could not be read), `slices.csv` (the table), `leaks.csv` (pictures on both sides) and `slices.json` (the settings and
files that they were made from, and what was found wrong). It is written whole, and trusted only where all fit.
"""

import functools
import hashlib
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from vq_lib.data import checks, cohort, duplicates, layouts, levels, reading, splits
from vq_lib.data.slices import Slices, conditions, table_of
from vq_lib.errors import UserError
from vq_lib.files import read_json, whole_folder, write_json
from vq_lib.study import Study

FORMAT = 3  # raised when the same files give other slices, or another kind of cache


def check(study: Study) -> str:
    """Whether recipe and data folder go together and every image is whole; nothing is decoded or written.

    Returns a signature that changes with the settings of `data:` and with any file's name, size or time. `UserError`
    where the folder does not fit the recipe, more images than allowed cannot be read, a person is in two splits, or
    what a prior shall know is not known."""
    survey, data = layouts.survey(study), study.recipe.data
    _judge(study, survey.findings, table_of(survey.rows))
    if survey.layout != "cohort" and _open(study, _key(study, survey)) is None:
        _left_out(survey, reading.read_all(_sources(survey, data, decode=False))[1], data)
    return survey.signature


def load(study: Study) -> Slices:
    """The slices of a report: from `run/slices/` where these fit recipe and data, else made and kept there; one printed
    line says which. `Slices.images` is memory-mapped and read-only. `UserError` as `check`; where pictures leak between
    splits or masks are among them, unless `data.allow_leaks`; where there is one test slice, or one training level."""
    survey, began = layouts.survey(study), time.monotonic()
    key = _key(study, survey)
    slices, made = _open(study, key), "as made before"
    if slices is None:
        _judge(study, survey.findings, table_of(survey.rows))
        with whole_folder(study.slices) as folder:
            _make(study.recipe.data, survey, folder, key)
        slices, made = _open(study, key), f"made in {time.monotonic() - began:.1f} s"
    print(f"{len(slices):,} slices of {len(np.unique(slices.person)):,} people ({survey.layout}), {made}.")
    _judge(study, findings(study), slices.table)
    if len(slices.where("test")) < 2:
        raise UserError("There is one test slice, and an evaluation compares two: add images, or raise data.test.")
    if (np.ptp(slices.thumbnails[slices.where("train")], axis=(1, 2)) == 0).all():
        raise UserError("All training slices are of one level: there is nothing to learn from them.")
    return slices


def opened(study: Study) -> Slices:
    """The slices that notebook 01 or 02 left in `run/slices/`, for those that need the same ones; `UserError` where
    there are none, or they were made with other settings or from other files."""
    known = study.data_folder is not None or study.recipe.data.layout == "cohort"
    slices = _open(study, _key(study, layouts.survey(study) if known else None))
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


def findings(study: Study) -> list[dict]:
    """What was found wrong with the slices in `run/slices/`: a list as `checks` describes it."""
    return _about(study)["findings"]


def people(study: Study) -> dict[str, dict[str, str]]:
    """What the table of people says: `{person: {"age", "sex"}}`, both text, either may be missing."""
    return _about(study)["people"]


def summary(study: Study) -> dict:
    """`metrics.json`'s `data.checks`: `layout`, `{check: {"count", "examples"}}`, and `warnings`, sentences to heed."""
    found = findings(study)
    counts = {one["check"]: {"count": one["count"], "examples": one["examples"]} for one in found}
    warnings = [one["sentence"] for one in found if one["count"] and one["kind"] != "note"]
    return {"layout": _about(study)["layout"], **counts, "warnings": warnings}


def _key(study, survey=None):
    signed = {"signature": survey.signature} if survey else {}
    return {"format": FORMAT, "data": layouts.settings(study.recipe), **signed}


def _judge(study, found, table):
    """Stop at leaks, naming them, unless the recipe allows them, and where a prior wishes to know what slices do not
    tell, long before it is trained."""
    stops = [one for one in found if one["kind"] == "leak" and one["count"]]
    if stops and not study.recipe.data.allow_leaks:
        print(*(f"  {line}" for one in stops for line in one["examples"]), sep="\n")
        more = any(one["count"] > len(one["examples"]) for one in stops if one["check"].endswith("across splits"))
        where = f" {study.slices / 'leaks.csv'} lists all pairs." if more else ""
        raise UserError(f"{'; '.join(one['sentence'] for one in stops)}: every score would be worthless. Remove one "
                        f"side, or go on with a warning in the report: data.allow_leaks: true.{where}")  # fmt: skip
    for prior in (study.recipe.prior.models() if study.recipe.prior else {}).values():
        conditions(prior.condition, table)


def _sources(survey, data, decode=True) -> list[Callable]:
    """A function for each file or synthetic person: its slices, `reading.Picture`s, or only a look at its header."""
    if survey.layout == "cohort":
        return [functools.partial(cohort.pictures, number, data.slices, data.size, data.seed, row.label)
                for number, row in enumerate(survey.rows[:: data.slices])]  # fmt: skip
    cut = {"count": data.slices if survey.layout == "volumes" else None, "span": data.range, "plane": data.plane,
           "volume": data.volume}  # fmt: skip
    return [functools.partial(reading.pictures, file.path, data.channels, data.white, decode, **cut)
            for file in survey.files]  # fmt: skip


def _left_out(survey, broken, data):
    """The finding about files that cannot be read, of which at most the share `data.skip` may be."""
    files = survey.files
    reasons = survey.broken | {files[number].name: why for number, why in broken.items()}
    share = len(reasons) / max(1, len(files) + len(survey.broken))
    if reasons and (share > data.skip or len(broken) == len(files)):
        name, why = next(iter(reasons.items()))
        others = f" ({len(reasons) - 1:,} more of {len(files):,} files are like that)" if len(reasons) > 1 else ""
        allow = f", or allow them with data.skip: {np.ceil(share * 1000) / 1000:g}" if len(broken) < len(files) else ""
        raise UserError(f"The image {name} cannot be read: {why}{others}; replace or remove it{allow}.")
    lines = [f"{name}: {why}" for name, why in reasons.items()]
    return checks.finding("files left out", "warning", lines, "Files that cannot be read and were left out")


def _make(data, survey, folder, key):
    """Read the slices into `folder`, and write the table and all that was found."""
    table, sources = table_of(survey.rows), _sources(survey, data)
    images = npy_file(folder / "images.npy", (len(table), data.size, data.size, data.channels))
    thumbs = npy_file(folder / "thumbnails.npy", (len(table), reading.THUMBNAIL, reading.THUMBNAIL))
    noted, broken = reading.read_all(sources, images, thumbs)
    found = [*survey.findings, _left_out(survey, broken, data)]
    kept = np.flatnonzero(~np.isin(np.arange(len(table)) * len(sources) // len(table), list(broken)))
    for place, row in enumerate(kept) if broken else ():
        images[place], thumbs[place] = images[row], thumbs[row]
    table = table.iloc[kept].reset_index(drop=True)
    levels.bright_enough(data.white, noted["top"], table["source"])
    if (unknown := table["person"] == "").any():
        pairs, side = duplicates.copies(thumbs[: len(table)])[0], table["split"].to_numpy()
        # Pictures that folders put on different sides are a leak to be named, not one person.
        first = splits.groups(len(table), pairs[side[pairs[:, 0]] == side[pairs[:, 1]]])
        table["person"] = table["person"].where(~unknown, table["source"].to_numpy()[first])
    if unknown.any() or survey.identity == "scan":
        found.append(checks.finding(
            "people unknown", "warning", sorted(table["person"].unique()),
            "Pictures or scans whose person is not known, near-identical pictures kept together",
            ": one person may be in two splits, for which this report cannot vouch; data.person, or a subjects.csv "
            "that names the person of each, settles it"))  # fmt: skip
    shares = {"test": data.test, "validation": data.validation}
    person, label, split = table[["person", "label", "split"]].to_numpy(dtype=str).T
    table["split"], cut = splits.assign(person, label, split, shares, data.seed)
    found.append(checks.finding(
        "splits cut from train", "note", [f"{count} people for {name}" for name, count in cut.items()],
        "Splits without a folder, cut from the training people"))  # fmt: skip
    table.to_csv(folder / "slices.csv", index=False, lineterminator="\r\n", encoding="utf-8")
    look = [data.size, data.channels, data.white, [data.range, data.plane, data.volume] * (survey.layout == "volumes")]
    content = json.dumps([FORMAT, look]).encode() + noted["crc"].to_numpy(np.uint32).tobytes()
    seen = hashlib.sha256(images.data if survey.layout == "cohort" else content)
    seen.update((folder / "slices.csv").read_bytes())
    slices = Slices.of(table, images[: len(table)], thumbnails=thumbs[: len(table)])
    pairs, leaks = checks.leaks(slices)
    pairs.round({"correlation": 4}).to_csv(folder / "leaks.csv", index=False, encoding="utf-8")
    write_json(folder / "slices.json", {
        "key": key, "rows": len(table), "fingerprint": seen.hexdigest(), "layout": survey.layout,
        "findings": [*found, *leaks, *checks.pictures(slices, noted)], "people": survey.people})  # fmt: skip


def npy_file(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """A `.npy` file of zeros of uint8, memory-mapped, and written, since a disk that is full later kills. `UserError`
    where there is no room."""
    try:
        np.save(path, np.zeros(shape, np.uint8))
    except OSError:
        raise UserError(f"{math.prod(shape) / 2**30:.1f} GiB of decoded slices do not fit into {path.parent.parent}: "
                        "make room, or lower data.size.") from None  # fmt: skip
    return np.load(path, mmap_mode="r+")


def _open(study, key):
    """The cached slices, or None where they are missing, broken, or made from anything but `key`."""
    folder, data = study.slices, study.recipe.data
    try:
        about = json.loads((folder / "slices.json").read_bytes())
        table = pd.read_csv(folder / "slices.csv", dtype=str, keep_default_na=False, encoding="utf-8")
        if any(about["key"].get(name) != value for name, value in key.items()) or len(table) != about["rows"]:
            return None
        images, thumbs = (np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)[: len(table)]
                          for name in ("images", "thumbnails"))  # fmt: skip
        slices = Slices.of(table, images, thumbnails=thumbs, fingerprint=about["fingerprint"])
    except (OSError, EOFError, ValueError, TypeError, KeyError, AttributeError):  # missing, cut off, or not by us
        return None
    return slices if slices.image_shape == (data.size, data.size, data.channels) and len(slices) else None
