"""`vq-lib sweep`: train the VQ-VAE of a report again with one thing changed at a time, and table what that did.

`reports/<name>/sweep.yaml` names the points and the overrides of each; every point is a report of its own under
`run/sweep/`, built by the same pipeline up to notebook 02, so that it resumes, and is not trained twice. Snakemake runs
them (`reports/sweep.smk`), here or on a cluster. The scores are those of the validation people: the test people choose
nothing. The table is `reports/<name>/sweep.csv`.
"""

import contextlib
import re
import sys
from pathlib import Path

import pandas as pd
import pydantic
import yaml

from vq_lib import data as datasets
from vq_lib.environment import start_keras
from vq_lib.errors import UserError, sentence
from vq_lib.files import digest, lock, read_json, read_yaml, whole_file, write_json
from vq_lib.report import pipeline
from vq_lib.study import Study

SCORES = ("ssim", "ssim_foreground", "perplexity")


class Sweep(pydantic.BaseModel, extra="forbid"):
    """The file `sweep.yaml`."""

    overrides: str = ""  # of every point, before its own
    points: dict[str, str]  # name of the change → its overrides
    conclusion: str = ""  # what its author reads in the table, shown below it


def load(folder: Path) -> Sweep:
    """The sweep of the report in `folder`; `UserError` where there is none, or it is not as it should be."""
    path = folder / "sweep.yaml"
    if not path.exists():
        raise UserError(f"{folder} has no sweep.yaml: write one with `points:`, as reports/oasis-best has.")
    try:
        return Sweep.model_validate(read_yaml(path))
    except pydantic.ValidationError as error:
        raise UserError(f"{path} must hold `points:`, names with overrides such as 'vqvae.beta=1': "
                        f"{sentence(error.errors()[0])}") from None  # fmt: skip


def run(report: str | Path, data: str | Path = "", overrides: str = "") -> int:
    """Build every point, `overrides` before its own, and write the table of those that are done; returns the exit
    status.
    """
    study = Study(report, data, overrides)
    sweep, folder = load(study.folder), study.run / "sweep"
    signature = datasets.check(study)
    points = {name: _point(study, name, f"{overrides} {sweep.overrides} {change}")
              for name, change in sweep.points.items()}  # fmt: skip
    with lock(folder / ".lock", f"The sweep of {study.folder} is being built by another process."):
        wanted = [point for point in points.values() if point != study.folder]
        for point in wanted:
            if not (point / "run" / "vqvae" / "summary.json").exists():
                (point / "done").unlink(missing_ok=True)
        plan = {"points": [point.name for point in wanted], "signature": digest(signature),
                "data": str(study.data_folder or "")}  # fmt: skip
        write_json(folder / pipeline.PLAN, plan)
        failure = pipeline.snakemake(folder, "sweep.smk", ["--keep-going"]) if wanted else None
        rows = [{"change": name, **_result(point)} for name, point in points.items()
                if point not in wanted or (point / "done").exists()]  # fmt: skip
        if rows:
            with whole_file(study.folder / "sweep.csv") as temporary:
                pd.DataFrame(rows).to_csv(temporary, index=False, float_format="%.6g")
    print(f"{len(rows)} of {len(points)} points are done.")
    if failure:
        print(f"vq-lib: {failure['sentence']}", file=sys.stderr)
    return failure["status"] if failure else 0


def _point(study, name, overrides):
    """The folder of one point, its recipe written; every recipe is checked before the first point is trained. A point
    that changes nothing is the report itself, where that is trained.
    """
    recipe = Study(study.folder, overrides=overrides).recipe
    if _is_trained_already(study, recipe):
        return study.folder
    key = digest([recipe.chosen("data"), recipe.chosen("vqvae")])[:8]  # a new title trains nothing anew
    folder = study.run / "sweep" / f"{re.sub(r'[^a-z0-9]+', '-', name.lower())[:40]}-{key}"
    with whole_file(folder / "recipe.yaml") as temporary:
        text = yaml.safe_dump(recipe.model_dump(mode="json", exclude_defaults=True), sort_keys=False)
        temporary.write_text(text, encoding="utf-8")
    return folder


def _is_trained_already(study, recipe):
    if any(recipe.chosen(section) != study.recipe.chosen(section) for section in ("data", "vqvae")):
        return False
    start_keras()
    from vq_lib.training.finished import summary_of, vqvae_identity

    with contextlib.suppress(UserError):
        return (summary_of(study.vqvae) or {}).get("recipe") == vqvae_identity(study, datasets.opened(study))
    return False


def _result(point):
    """One row of the table: the epoch of the lowest validation loss, whose weights were kept, and the cost."""
    summary = read_json(point / "run" / "vqvae" / "summary.json", "the sweep")
    history = pd.read_csv(point / "run" / "vqvae" / "history.csv")
    best = history.loc[history["val_loss"].idxmin()]
    return {**{name: round(float(best[f"val_{name}"]), 4) for name in SCORES},
            "parameters": sum(summary["parameters"].values()), "images_per_second": summary["images_per_second"],
            "minutes": round(summary["seconds"] / 60, 1), "epochs": summary["epochs"]["done"]}  # fmt: skip


def missing(study: Study) -> str:
    """What to type where a report has no table of a sweep: it was not run, or there is nothing to run."""
    command = f"vq-lib sweep {study.name}{' --data folder' if study.data_folder else ''}"
    command = f"'{command} --set \"{study.overrides}\"'" if study.overrides else f"'{command}'"
    if (study.folder / "sweep.yaml").exists():
        return f"This report's sweep.yaml has not been run yet: {command} runs it."
    return f"No other settings were tried: with a sweep.yaml beside the recipe, {command} would train them."
