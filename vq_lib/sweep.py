"""`vq-lib sweep`: train the VQ-VAE of a report again with one thing changed at a time, and table what that did.

`reports/<name>/sweep.yaml` names the points and the overrides of each; every point is a report of its own under
`run/sweep/`, built by the same pipeline up to notebook 02, so that it resumes, and is not trained twice. The scores are
those of the validation people: the test people choose nothing. The table is `reports/<name>/sweep.csv`.
"""

import csv
import re

import pydantic
import yaml

from vq_lib import pipeline, stages
from vq_lib.errors import UserError
from vq_lib.files import read_json, whole_file
from vq_lib.study import Study

COLUMNS = ("change", "ssim", "ssim_foreground", "perplexity", "parameters", "images_per_second", "minutes", "epochs")


class Sweep(pydantic.BaseModel):
    """The file `sweep.yaml`."""

    model_config = pydantic.ConfigDict(extra="forbid")
    overrides: str = ""  # of every point, before its own
    points: dict[str, str]  # name of the change → its overrides
    conclusion: str = ""  # what the table says, in a sentence; shown below it


def load(study):
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


def run(report, data=""):
    """Build every point, one after the other, and write the table after each; returns the exit status."""
    study = Study(report, data)
    sweep = load(study)
    if sweep is None:
        raise UserError(f"{study.folder} has no sweep.yaml: write one with `points:`, as reports/oasis-best has.")
    studies = {name: _point(study, name, f"{sweep.overrides} {change}") for name, change in sweep.points.items()}
    rows = []
    for number, (name, folder) in enumerate(studies.items(), 1):
        print(f"sweep {number}/{len(studies)}: {name}", flush=True)
        status = pipeline.build(str(folder), data, until="vqvae")
        if status:
            return status
        rows.append((name, *_result(Study(str(folder), data))))
        with (
            whole_file(study.folder / "sweep.csv") as temporary,
            open(temporary, "w", newline="", encoding="utf-8") as f,
        ):
            csv.writer(f).writerows([COLUMNS, *rows])
    return 0


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
    summary, history = read_json(point.vqvae / "summary.json", "the sweep"), stages.history(point.vqvae)
    best = history["val_loss"].argmin()  # the epoch whose weights were kept
    scores = (history[f"val_{name}"][best] for name in ("ssim", "ssim_foreground", "perplexity"))
    return (*(round(float(score), 4) for score in scores), sum(summary["parameters"].values()),
            summary["images_per_second"], round(summary["seconds"] / 60, 1), summary["epochs"]["done"])  # fmt: skip


def table(study):
    """Header and rows of `sweep.csv`, or None where there is none."""
    try:
        with open(study.folder / "sweep.csv", newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
    except (FileNotFoundError, ValueError):
        return None
    return header, rows
