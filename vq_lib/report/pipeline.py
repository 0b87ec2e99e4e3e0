"""`vq-lib report`: from a recipe to a report, running only what changed.

The work is done by Snakemake (`reports/Snakefile`: a rule a notebook, one for the HTML) in a process of its own;
this module checks what the user gave, hands Snakemake a plan, and copies the finished report up.

    vq-lib report ── vq_lib.report.pipeline (Snakemake) ── vq_lib.report.execute (papermill) ── kernel

Everything that is made lies in `run/`: Snakemake deletes declared outputs before each job, and a report that
was published stays whole until the next one is.
"""

import contextlib
import filecmp
import html
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from vq_lib import data as datasets
from vq_lib.environment import only_jax_shares
from vq_lib.errors import UserError
from vq_lib.files import digest, lock, made_for, whole_file, whole_folder, write_json
from vq_lib.report import comparison
from vq_lib.report.card import card
from vq_lib.report.processes import end_descendants, end_with_starter, starter
from vq_lib.study import REPOSITORY, Study

STAGES = {
    "data": "01_data_exploration",
    "vqvae": "02_vqvae_training",
    "prior": "03_pixelcnn_prior",
    "evaluation": "04_evaluation",
}
PLAN = "pipeline.json"  # in run/: what Snakemake, execute and html read instead of arguments
FAILURE = "failure.json"  # in run/: the sentence of the step that failed
LOG = "snakemake.log"


def build(
    report: str | Path,
    data: str | Path = "",
    overrides: str = "",
    force: bool = False,
    until: str | None = None,
    notebooks: str | Path = REPOSITORY / "notebooks",
) -> int:
    """Bring `report.html`, `metrics.json`, `figures/` and `models/` of a report up to date; return the exit status.

    Args:
        report, data, overrides: as for `Study`.
        force: run every notebook again, which draws and measures anew with the library as it is; its source is no
            input of a rule, since an edited docstring should not cost an hour. Finished models and decoded slices
            stay: after an edit of layers, training or reading, delete `run/`.
        until: the last stage to build, a key of `STAGES`; nothing is then copied up. None: all.
        notebooks: folder of the four notebooks.

    Raises:
        UserError: the recipe or the data are not right, or the report is being built by another process.
    """
    started = time.monotonic()
    study = Study(report, data, overrides)
    if not (study.vqvae / "summary.json").exists():  # there is something to train
        only_jax_shares(study.recipe.devices)  # how many there are, only the machine that trains can say
    signature = datasets.check(study)
    busy = f"{_short(study.folder)} is being built by another process: wait until it is done, or stop that one."
    with lock(study.run / ".lock", busy):
        _forget_strange(study)
        write_json(study.run / PLAN, _plan(study, signature, Path(notebooks)))
        targets = [f"notebooks/{STAGES[until]}.ipynb"] if until else []
        failure = snakemake(study.run, "Snakefile", ["--forceall"] * force + targets)
        if failure:
            print(f"vq-lib: {failure['sentence']}", file=sys.stderr)
            return failure["status"]
        if until:
            return 0
        news = publish(study)
        if study.folder.parent == comparison.REPORTS:  # beside reports elsewhere, an index.html may be the user's own
            comparison.write()
    spent = f"ready after {time.monotonic() - started:.0f} s" if news else "up to date, nothing had changed"
    print(f"{_short(study.published / study.html.name)} is {spent}.")
    return 0


def _relative(path, start):
    """A path as seen from the folder `start`; whole where none leads there."""
    try:
        return os.path.relpath(path, start)
    except ValueError:  # Windows: another drive
        return str(path)


def _short(path):
    """A path as the user would type it: relative where that is shorter."""
    return min(str(path), _relative(path, os.curdir), key=len)


def _forget_strange(study):
    """Delete executed notebooks whose stage is missing or was written by another hand since, and another's metrics.

    Stage files cannot be inputs of a rule, since no rule declares them (Snakemake would delete a half-trained model).
    Without this a deleted `run/vqvae/`, or notebook 02 run by hand with other settings, would go unnoticed.
    """
    made = {"data": study.slices / "slices.json", "vqvae": study.vqvae / "summary.json"}
    if study.recipe.prior is not None:
        made["prior"] = study.prior / "summary.json"
    if made_for(study.metrics) not in ("", study.name):  # a copied or renamed folder: its figures are another report's
        study.metrics.unlink()
    for stage, file in made.items():
        executed = study.notebooks / f"{STAGES[stage]}.ipynb"
        if executed.exists() and not (file.exists() and file.stat().st_mtime <= executed.stat().st_mtime):
            executed.unlink()


def _plan(study, signature, notebooks):
    recipe = study.recipe
    triggers = {stage: json.dumps(recipe.chosen(stage), sort_keys=True) for stage in STAGES}
    triggers["data"] += json.dumps(signature, sort_keys=True)
    swept = [path for path in (study.folder / "sweep.yaml", study.folder / "sweep.csv") if path.exists()]
    if swept:  # notebook 02 shows them
        triggers["vqvae"] += digest([path.read_bytes().hex() for path in swept])
    return {
        "report": str(study.folder),
        "data": str(study.data_folder or ""),
        "overrides": study.overrides,
        "recipe_sha256": recipe.sha256,
        # Relative, so that a moved or renamed clone is not built again.
        "notebooks": _relative(notebooks, study.run),
        "html_sources": [
            _relative(path, study.run)
            for path in [
                REPOSITORY / "vq_lib" / "report" / "html.py",
                *sorted((REPOSITORY / "reports" / "template").iterdir()),
            ]
            if path.name != comparison.TEMPLATE
        ],
        "triggers": {**triggers, "html": recipe.title},
    }


def snakemake(run: Path, snakefile: str, arguments: Sequence[str] = ()) -> dict[str, Any] | None:
    """Run a Snakefile of `reports/` in the folder `run`, on its plan; None, or `{"status", "sentence"}` of what failed.

    On this machine, or where the environment's `SNAKEMAKE_PROFILE` sends jobs to.
    """
    failure = run / FAILURE
    failure.unlink(missing_ok=True)
    command = [sys.executable, "-m", "vq_lib.report.pipeline", "--snakefile", str(REPOSITORY / "reports" / snakefile),
               "--directory", str(run), "--configfile", str(run / PLAN), "--scheduler", "greedy",
               "--nolock", "--rerun-incomplete", "--nocolor", *arguments]  # fmt: skip
    if not os.environ.get("SNAKEMAKE_PROFILE"):  # a cluster's profile says how many cores a job may have
        command += ["--cores", "all"]
    # The library runs from source in the repository; its own process group lets Ctrl-C reach this process alone,
    # which then ends the others in order.
    environment = {**os.environ, **starter(), "PYTHONUNBUFFERED": "1"}
    sys.stdout.flush()
    with open(run / LOG, "wb") as log:
        process = subprocess.Popen(command, cwd=run, env=environment, stdin=subprocess.DEVNULL, stderr=log,
                                   start_new_session=True)  # fmt: skip
        try:
            status = process.wait()
        finally:
            handlers = {name: signal.signal(name, signal.SIG_IGN) for name in (signal.SIGINT, signal.SIGTERM)}
            end_descendants()
            if sys.platform != "win32":  # what a killed Snakemake left is no descendant any more
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
            for name, handler in handlers.items():
                signal.signal(name, handler)
    if status == 0:
        return None
    if failure.exists():
        return json.loads(failure.read_text(encoding="utf-8"))
    return {"status": 1, "sentence": f"{_reason(run, status)}; the same command goes on from here, "
            f"and {_short(run / LOG)} has Snakemake's log."}  # fmt: skip


def _reason(run, status):
    """What ended a pipeline that left no sentence, from Snakemake's log."""
    log = (run / LOG).read_text(encoding="utf-8", errors="replace")
    if status < 0:
        return f"The pipeline was ended by signal {-status}"
    error = re.search(r"^(?!RuleException|WorkflowError|CalledProcessError)\w*(Error|Exception)\b.*\w.*$", log, re.M)
    if error:
        return f"The pipeline stopped ({error[0].strip()})"
    step = re.search(r"^Command '.* -m vq_lib\.(?:execute )?(\w+)'", log, re.M)
    return f"{step[1]} was ended from outside" if step else "The pipeline stopped"


def publish(study: Study) -> bool:
    """Copy what is finished up to the report's folder; True if any is new.

    That is the report, its metrics, the models and their card, the training's histories, and the figures that the
    report shows.

    The figures are swapped as a whole folder, so that one that the report no longer shows is gone.
    """
    news = False
    copies = {source: study.published / source.name for source in (study.html, study.metrics)}
    for stage in (study.vqvae, study.prior):
        model, history = study.models / f"{stage.name}.keras", study.published / f"history-{stage.name}.csv"
        if getattr(study.recipe, stage.name) is None:  # a prior of before, which knows the codes of another VQ-VAE
            model.unlink(missing_ok=True)
            history.unlink(missing_ok=True)
        else:
            copies |= {stage / "model.keras": model, stage / "history.csv": history}
    for source, target in copies.items():
        if source.exists() and not (target.exists() and filecmp.cmp(source, target, shallow=False)):
            with whole_file(target) as temporary:
                shutil.copyfile(source, temporary)
            news = True
    metrics = json.loads(study.metrics.read_text(encoding="utf-8"))
    with whole_file(study.models / "README.md") as temporary:
        temporary.write_text(card(study, metrics, datasets.acknowledgement(study)), encoding="utf-8")
    names = re.findall(r'<figure class="vq-figure" id="figure-([^"]+)"', study.html.read_text(encoding="utf-8"))
    shown = {html.unescape(name) for name in names}
    sources = sorted(path for path in study.figures.glob("*") if path.stem in shown)
    target = study.published / study.figures.name
    present = sorted(path.name for path in target.glob("*"))
    _, different, unreadable = filecmp.cmpfiles(study.figures, target, [path.name for path in sources], shallow=False)
    if present != [path.name for path in sources] or different or unreadable:
        with whole_folder(target) as temporary:
            for path in sources:
                shutil.copyfile(path, temporary / path.name)
        news = True
    return news


def fail(sentence: str, status: int = 1) -> NoReturn:
    """Leave the reason of a failed step for `vq-lib report`, in the current folder, and end this process."""
    write_json(FAILURE, {"status": status, "sentence": sentence})
    sys.exit(status)


def read_plan() -> dict[str, Any]:
    """The plan in the current folder, which is `run/` for everything that Snakemake starts."""
    try:
        return json.loads(Path(PLAN).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"There is no {PLAN} in {Path.cwd()}: 'vq-lib report NAME' starts this step.") from None


if __name__ == "__main__":
    end_with_starter()
    from snakemake.cli import main

    main(sys.argv[1:])
