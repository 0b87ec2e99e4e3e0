"""`vq-lib report`: from a recipe to a report, running only what changed.

The work is done by Snakemake (`reports/Snakefile`: a rule a notebook, one for the HTML) in a process of its own; this
module checks what the user gave and hands Snakemake a plan (see `pipeline`).

Everything that is made lies in `run/`, which git ignores; `publish` copies it up.
"""

import contextlib
import sys
import time
from pathlib import Path

from vq_lib import data as datasets
from vq_lib import environment
from vq_lib.errors import UserError
from vq_lib.files import digest, lock, read_json, write_json
from vq_lib.report import publish
from vq_lib.report.pipeline import PLAN, fail, read_plan, short, snakemake, source
from vq_lib.study import REPOSITORY, STAGES, Study

__all__ = ["STAGES", "build", "fail", "read_plan"]

PAGE = ("vq_lib/report/html.py", "vq_lib/report/display.py", "reports/template")  # what the HTML depends on


def build(
    report: str | Path,
    data: str | Path = "",
    overrides: str = "",
    force: bool = False,
    until: str | None = None,
    notebooks: str | Path = REPOSITORY / "notebooks",
) -> int:
    """Bring a report up to date; return the exit status.

    What is made lies in `run/`. Where nothing of the report is committed, it is also copied into the report's folder.

    Args:
        report, data, overrides: as for `Study`.
        force: run every notebook again, which draws and measures anew with the library as it is; its source is no
            input of a rule, since an edited docstring should not cost an hour. Finished models and decoded slices
            stay: after an edit of layers, training or reading, delete `run/`.
        until: the last stage to build, a key of `STAGES`. None: all, and the HTML.
        notebooks: folder of the notebooks.

    Raises:
        UserError: the recipe or the data are not right, or the report is being built by another process.
    """
    started = time.monotonic()
    study = Study(report, data, overrides)
    if not (study.vqvae / "summary.json").exists():  # there is something to train
        environment.only_jax_shares(study.recipe.devices)  # how many there are, only the machine that trains can say
    signature = datasets.check(study)
    busy = f"{short(study.folder)} is being built by another process: wait until it is done, or stop that one."
    with lock(study.run / ".lock", busy):
        _forget_strange(study)
        plan = _plan(study, signature, Path(notebooks))
        write_json(study.run / PLAN, plan)
        before = study.html.stat().st_mtime_ns if study.html.exists() else None
        own = publish.begin(study)
        if failure := snakemake(study.run, "Snakefile", ["--forceall"] * force + ([until] if until else [])):
            print(f"vq-lib: {failure['sentence']}", file=sys.stderr)
            return failure["status"]
        if until:
            return 0
        news = publish.end(study, own) or study.html.stat().st_mtime_ns != before
    if not own:
        print(f"The published report is as it was: 'make publish REPORT={study.name}' puts this one in its place.")
    spent = f"ready after {time.monotonic() - started:.0f} s" if news else "up to date, nothing had changed"
    print(f"{short((study.published if own else study.run) / study.html.name)} is {spent}.")
    return 0


def _forget_strange(study):
    """Delete executed notebooks whose stage is missing or was written by another hand since, and another's metrics.

    Stage files cannot be inputs of a rule, since no rule declares them (Snakemake would delete a half-trained model).
    Without this a deleted `run/vqvae/`, or notebook 02 run by hand with other settings, would go unnoticed.
    """
    made = {"data": [study.slices / "slices.json"], "vqvae": [study.vqvae / "summary.json"]}
    if study.recipe.prior:
        made["prior"] = [study.prior / name / "summary.json" for name in study.recipe.prior.models()]
    with contextlib.suppress(UserError, TypeError, KeyError):
        if read_json(study.metrics, "notebook 04")["report"] != study.name:  # of a folder that was copied or renamed
            study.metrics.unlink()
    for stage, paths in made.items():
        executed = study.notebooks / f"{STAGES[stage]}.ipynb"
        last = executed.stat().st_mtime if executed.exists() else 0
        if not all(path.exists() and path.stat().st_mtime <= last for path in paths):
            executed.unlink(missing_ok=True)


def _plan(study, signature, notebooks):
    """What Snakemake and its steps need to know. No text of the user's reaches a rule: what decides whether a step
    runs again is a digest, so that braces and quotes in recipes and paths mean nothing.
    """
    recipe = study.recipe
    conditioned = recipe.prior and any(model.condition for model in recipe.prior.models().values())
    without = [*([] if recipe.prior else ["prior"]), *([] if conditioned else ["conditioned"]),
               *([] if environment.backend() == "tensorflow" else ["likelihood"])]  # fmt: skip
    swept = [
        path.read_text("utf-8", "replace") for path in sorted(study.folder.glob("sweep.*"))
    ]  # notebook 02 shows it
    more = {"data": signature, "vqvae": swept}
    stages = [stage for stage in STAGES if stage != "appendix" or recipe.appendix]
    triggers = {}
    for stage in stages:
        cells = [(cell.cell_type, cell.source) for cell in source(notebooks / f"{STAGES[stage]}.ipynb", without).cells]
        triggers[stage] = digest([recipe.chosen(stage), more.get(stage), cells])
    notes = [study.folder / "notes.md", *(REPOSITORY / place for place in PAGE)]
    pages = [page.read_bytes().hex() for place in notes for page in ([place] if place.is_file() else place.glob("*"))]
    triggers["html"] = digest([recipe.title, recipe.author, sorted(pages)])
    return {"report": str(study.folder), "data": str(study.data_folder or ""), "overrides": study.overrides,
            "recipe_sha256": recipe.sha256, "notebooks": str(notebooks.resolve()), "without": without,
            "stages": [STAGES[stage] for stage in stages], "triggers": triggers}  # fmt: skip
