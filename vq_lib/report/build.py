"""`vq-lib report`: from a recipe to a report, running only what changed; and `vq-lib publish`.

The work is done by Snakemake (`reports/Snakefile`: a rule a notebook, one for the HTML) on a plan that is made here.
Everything that is made lies in `run/`, which git ignores; what is finished is copied up.
"""

import contextlib
import html
import os
import re
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from vq_lib import data as datasets
from vq_lib import environment
from vq_lib.errors import UserError
from vq_lib.files import digest, lock, read_json, whole_file, whole_folder, write_json
from vq_lib.report import comparison, display, metrics
from vq_lib.report.pipeline import FAILURE, PLAN, short, snakemake, source, step
from vq_lib.study import REPOSITORY, STAGES, Study

PAGE = ("vq_lib/report/html.py", "vq_lib/report/display.py", "reports/template/*")  # what the HTML depends on


def build(
    report: str | Path, data: str | Path = "", overrides: str = "", force: bool = False, until: str | None = None,
    notebooks: str | Path = REPOSITORY / "notebooks",
) -> int:  # fmt: skip
    """Bring a report up to date, in `run/` and, where nothing of it is committed, in its folder; the exit status.

    `until` is the last of `STAGES` to build; None: all, and the HTML. `force` runs every notebook again, which draws
    and measures anew with the library as it is; its source is no input of a rule, since an edited docstring should not
    cost an hour. Finished models and decoded slices stay: after an edit of layers, training or reading, delete `run/`.

    Raises:
        UserError: the recipe or the data are not right, or the report is being built by another process.
    """
    started = time.monotonic()
    study = Study(report, data, overrides)
    if not (study.vqvae / "summary.json").exists():  # there is something to train
        environment.only_jax_shares(study.recipe.devices)  # how many there are, only the machine that trains can say
    signature = datasets.check(study)
    with _locked(study):
        _forget_strange(study)
        before, plan = _last(study), _plan(study, signature, Path(notebooks))
        plan |= {"own": _is_own(study, before), "whole": False}
        write_json(study.run / PLAN, plan)
        page = (study.published if plan["own"] else study.run) / study.html.name
        whole = before.get("whole") and page.exists() and study.html.exists()
        made = study.html.stat().st_mtime_ns if whole else None
        arguments = ["--forceall"] * force + ([until] if until else [])
        if (force or not _current(study, plan, before)) and (failure := snakemake(study.run, "Snakefile", arguments)):
            print(f"vq-lib: {failure['sentence']}", file=sys.stderr)
            return failure["status"]
        if until:
            return 0
        news = study.html.stat().st_mtime_ns != made
        if news and plan["own"]:
            _copy(study)
            if study.folder.parent == comparison.REPORTS:  # elsewhere there is nothing to compare it with
                comparison.write(path=comparison.OWN)
        write_json(study.run / PLAN, {**plan, "whole": True})
    if not plan["own"]:
        print(f"The published report is as it was: 'make publish REPORT={study.name}' puts this one in its place.")
    spent = f"ready after {time.monotonic() - started:.0f} s" if news else "up to date, nothing had changed"
    print(f"{short(page)} is {spent}.")
    return 0


def publish(report: str | Path) -> int:
    """Put what was last built in the place of the published report, and write `reports/index.html` anew.

    `UserError` where nothing was built, the last building did not end, or the recipe has changed since.
    """
    study = Study(report)
    folder, build = study.folder, f"run 'make report REPORT={study.name}' first."
    if not study.run.is_dir():
        raise UserError(f"There is nothing to publish in {folder}: {build}")
    with _locked(study):
        plan = _last(study)
        if not plan.get("whole"):
            raise UserError(f"The last building of {folder} did not end: {build}")
        study = Study(folder, plan["data"], plan["overrides"])
        if plan["recipe_sha256"] != study.recipe.sha256:
            raise UserError(f"The recipe in {folder} has changed since the report was built: {build}")
        _copy(study)
    if folder.parent == comparison.REPORTS:
        comparison.write()
    print(f"{study.published / study.html.name} is what was built last.")
    return 0


def _locked(study):
    busy = f"{short(study.folder)} is being built by another process: wait until it is done, or stop that one."
    return lock(study.run / ".lock", busy)


def _forget_strange(study):
    """Delete executed notebooks whose stage is missing or was written by another hand since.

    Stage files cannot be inputs of a rule, since no rule declares them (Snakemake would delete a half-trained model).
    Without this a deleted `run/vqvae/`, or notebook 02 run by hand with other settings, would go unnoticed.
    """
    made = {"data": [study.slices / "slices.json"], "vqvae": [study.vqvae / "summary.json"]}
    if study.recipe.prior:
        made["prior"] = [study.prior / name / "summary.json" for name in study.recipe.prior.models()]
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
    needed = {"prior": recipe.prior, "conditioned": conditioned, "likelihood": environment.backend() == "tensorflow"}
    without = [tag for tag, there in needed.items() if not there]
    # Notebook 02 shows the sweep; the metrics that 04 writes bear the folder's name, which may be that of a copy.
    swept = [path.read_text("utf-8", "replace") for path in sorted(study.folder.glob("sweep.*"))]
    more = {"data": signature, "vqvae": swept, "evaluation": study.name}
    triggers = {}
    for stage in (stage for stage in STAGES if stage != "appendix" or recipe.appendix):
        cells = source(notebooks / f"{STAGES[stage]}.ipynb", without)["cells"]
        cells = [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
        triggers[stage] = digest([recipe.chosen(stage), more.get(stage), cells])
    stages = [STAGES[stage] for stage in triggers]
    pages = [*study.folder.glob("notes.md"), *(path for pattern in PAGE for path in sorted(REPOSITORY.glob(pattern)))]
    triggers["html"] = digest([recipe.title, recipe.author, [page.read_bytes().hex() for page in pages]])
    return {"report": str(study.folder), "data": str(study.data_folder or ""), "overrides": study.overrides,
            "recipe_sha256": recipe.sha256, "notebooks": str(notebooks.resolve()), "without": without,
            "stages": stages, "triggers": triggers}  # fmt: skip


def _last(study):
    """The plan of the last building; `whole`: it ended, `own`: see `_is_own`. Empty where there was none."""
    with contextlib.suppress(UserError, TypeError, ValueError):
        return dict(read_json(study.run / PLAN, "'vq-lib report'"))
    return {}


def _current(study, plan, before):
    """Whether all was built by an equal plan and lies there in that order: Snakemake would find nothing to do."""
    made = [*(study.notebooks / f"{name}.ipynb" for name in plan["stages"]), study.html]
    times = [path.stat().st_mtime_ns for path in made if path.exists()]
    return before == {**plan, "whole": True} and study.metrics.exists() and times == sorted(times) and len(
        times) == len(made)  # fmt: skip


def _is_own(study, before):
    """Whether a report is the user's own: nothing of it is committed, so that it may be copied up at once."""
    status, _ = metrics.git("ls-files", "--error-unmatch", "metrics.json", folder=study.folder)
    if status in (0, 1):
        return status == 1
    # No checkout: what lies there and was not copied up by an earlier building came with the repository.
    return before.get("own", not (study.published / "metrics.json").exists())


def _copy(study):
    """Copy what is finished up to the report's folder: the report, its metrics, the models and their card, the
    training's histories, and the figures that the report shows.
    """
    copies = {made: study.published / made.name for made in (study.html, study.metrics)}
    for stage, folder in (("vqvae", study.vqvae), ("prior", study.main_prior)):
        model, history = study.models / f"{stage}.keras", study.published / f"history-{stage}.csv"
        if folder is None:  # a prior of before, which knows the codes of another VQ-VAE
            model.unlink(missing_ok=True)
            history.unlink(missing_ok=True)
        else:
            copies |= {folder / "model.keras": model, folder / "history.csv": history}
    for made, target in copies.items():
        with whole_file(target) as temporary:
            shutil.copyfile(made, temporary)
    with whole_file(study.models / "README.md") as temporary:
        text = card(study, metrics.read(study.metrics), datasets.acknowledgement(study))
        temporary.write_text(text, encoding="utf-8")
    shown = set(map(html.unescape, re.findall(r'<figure[^>]* id="figure-([^"]+)"', study.html.read_text("utf-8"))))
    with whole_folder(study.published / study.figures.name) as temporary:  # one that is no longer shown is gone
        for path in study.figures.glob("*"):
            if path.stem in shown:
                shutil.copyfile(path, temporary / path.name)


def card(study: Study, document: Any, acknowledgement: str) -> str:
    """The model card beside published models as Markdown, for a finished `study` with its `metrics.json`."""
    return display.templates(autoescape=False).get_template("card.md.j2").render(
        recipe=study.recipe, name=study.name, metrics=metrics.Metrics.model_validate(document),
        acknowledgement=acknowledgement,
    )  # fmt: skip


if __name__ == "__main__":  # one point of a sweep, in the folder that `sweep.run` has prepared: what a job does
    point = sys.argv[1]
    print(f"sweep: {point}", flush=True)
    os.environ.pop("SNAKEMAKE_PROFILE", None)  # the point is a job already
    with step(point) as plan:
        if status := build(Path(point).resolve(), plan["data"], until="vqvae"):
            reason = read_json(Path(point, "run", FAILURE), "the job")["sentence"]
            raise (UserError if status == 2 else RuntimeError)(f"{point}: {reason}")
