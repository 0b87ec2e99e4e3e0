"""`vq-lib sweep`: train the VQ-VAE of a report again with one thing changed at a time, and table what that did.

`reports/<name>/sweep.yaml` names the points and the overrides of each; every point is a report of its own under
`run/sweep/`, built by the same pipeline up to notebook 02, so that it resumes, and is not trained twice. Snakemake runs
them (`reports/sweep.smk`), here or on a cluster. The scores are those of the validation people: the test people choose
nothing. The table is `reports/<name>/sweep.csv`.
"""

import os
import re
import sys
from pathlib import Path

import pydantic
import yaml

from vq_lib import data as datasets
from vq_lib.errors import UserError
from vq_lib.files import lock, read_columns, read_json, whole_file, write_csv, write_json
from vq_lib.report import comparison, pipeline
from vq_lib.report.processes import end_with_starter
from vq_lib.study import Study

COLUMNS = ("change", "ssim", "ssim_foreground", "perplexity", "parameters", "images_per_second", "minutes", "epochs")


class Sweep(pydantic.BaseModel):
    """The file `sweep.yaml`."""

    model_config = pydantic.ConfigDict(extra="forbid")
    overrides: str = ""  # of every point, before its own
    points: dict[str, str]  # name of the change → its overrides
    conclusion: str = ""  # what the table says, in a sentence; shown below it


def load(study: Study) -> Sweep | None:
    """The sweep of a report, or None where it has none."""
    path = study.folder / "sweep.yaml"
    try:
        return Sweep.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        reason = f"{'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}"
    except (OSError, UnicodeDecodeError, RecursionError, yaml.YAMLError) as error:
        reason = str(error).splitlines()[0]
    raise UserError(f"{path} must hold `points:`, names with overrides such as 'vqvae.beta=1' ({reason}).")


def run(report: str | Path, data: str | Path = "") -> int:
    """Build every point and write the table of those that are done; returns the exit status."""
    study = Study(report, data)
    sweep = load(study)
    if sweep is None:
        raise UserError(f"{study.folder} has no sweep.yaml: write one with `points:`, as reports/oasis-best has.")
    signature = datasets.check(study)
    points = {name: _point(study, name, f"{sweep.overrides} {change}") for name, change in sweep.points.items()}
    folder = study.run / "sweep"
    with lock(folder / ".lock", f"The sweep of {study.folder} is being built by another process."):
        for point in points.values():
            if not (Study(str(point), data).vqvae / "summary.json").exists():
                (point / "done").unlink(missing_ok=True)
        names = [point.name for point in points.values()]
        plan = {"points": names, "signature": signature, "data": str(study.data_folder or "")}
        write_json(folder / pipeline.PLAN, plan)
        failure = pipeline.snakemake(folder, "sweep.smk", ["--keep-going"])
        done = {name: Study(str(point), data) for name, point in points.items() if (point / "done").exists()}
        if done:
            write_csv(study.folder / "sweep.csv", COLUMNS, [(name, *_result(point)) for name, point in done.items()])
    print(f"{len(done)} of {len(points)} points are done.")
    if failure:
        print(f"vq-lib: {failure['sentence']}", file=sys.stderr)
        return failure["status"]
    return 0


def build_point(point: str) -> None:
    """Build one point, in the folder that `run` has prepared: what a job does."""
    print(f"sweep: {point}", flush=True)
    os.environ.pop("SNAKEMAKE_PROFILE", None)  # the point is a job already
    try:
        status = pipeline.build(str(Path(point).resolve()), pipeline.read_plan()["data"], until="vqvae")
    except UserError as error:
        pipeline.fail(f"{point}: {error}", 2)
    if status:
        reason = Study(str(Path(point).resolve())).run / pipeline.FAILURE
        sentence = read_json(reason, "the job")["sentence"] if reason.exists() else "it stopped"
        pipeline.fail(f"{point}: {sentence}", status)


def _point(study, name, overrides):
    """The folder of one point, its recipe written; every recipe is checked before the first point is trained."""
    point = Study(str(study.folder), overrides=overrides)
    folder = study.run / "sweep" / f"{re.sub(r'[^a-z0-9]+', '-', name.lower())[:40]}-{point.recipe.sha256[:8]}"
    folder.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(point.recipe.model_dump(mode="json", exclude_defaults=True), sort_keys=False)
    with whole_file(folder / "recipe.yaml") as temporary:
        temporary.write_text(text, encoding="utf-8")
    return folder


def _result(point):
    summary = read_json(point.vqvae / "summary.json", "the sweep")
    history = read_columns(point.vqvae / "history.csv", "the sweep")
    best = min(range(len(history["val_loss"])), key=history["val_loss"].__getitem__)  # whose weights were kept
    scores = (history[f"val_{name}"][best] for name in ("ssim", "ssim_foreground", "perplexity"))
    return (*(round(float(score), 4) for score in scores), sum(summary["parameters"].values()),
            summary["images_per_second"], round(summary["seconds"] / 60, 1), summary["epochs"]["done"])  # fmt: skip


def missing(study: Study) -> str:
    """What to type where a report has no table of a sweep: it was not run, or there is nothing to run."""
    data = " --data folder" if study.data_folder else ""
    command = f"'vq-lib sweep {study.name}{data}'"
    if load(study) is None:
        return f"No other settings were tried: with a sweep.yaml beside the recipe, {command} would train them."
    return f"This report's sweep.yaml has not been run yet: {command} runs it."


def table(study: Study) -> tuple[list[str], list[list[str]], str] | None:
    """Header and rows of `sweep.csv` and the conclusion in `sweep.yaml`, or None; see `comparison.sweep`."""
    found = comparison.sweep(study.folder)
    return (found["header"], found["rows"], found["conclusion"]) if found else None


if __name__ == "__main__":
    end_with_starter()
    build_point(sys.argv[1])
