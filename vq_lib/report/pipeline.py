"""What the steps of a building share: the plan, the notebooks' sources, Snakemake in a process of its own, and its end.

    vq-lib report ── vq_lib.report.pipeline (Snakemake) ── vq_lib.report.execute (papermill) ── kernel

Nothing heavy is imported here: every step begins with it.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NoReturn

from vq_lib import environment
from vq_lib.errors import UserError
from vq_lib.files import read_json, write_json
from vq_lib.report.processes import end_descendants, end_with_starter, starter

REPORTS = Path(__file__).resolve().parents[2] / "reports"  # where Snakefiles lie
PLAN = "pipeline.json"  # in run/: what Snakemake, execute and html read instead of arguments
FAILURE = "failure.json"  # in run/: the sentence of the step that failed
LOG = "snakemake.log"


def short(path: Path) -> str:
    """A path as the user would type it: relative where that is shorter."""
    try:
        return min(str(path), os.path.relpath(path), key=len)
    except ValueError:  # Windows: another drive
        return str(path)


def source(path: Path, without: Collection[str]) -> Any:
    """The notebook at `path` without the cells that have one of the tags `without`.

    Raises:
        UserError: there is no such notebook, or it is none.
    """
    import nbformat

    try:
        notebook = nbformat.read(path, as_version=4)
    except FileNotFoundError:
        raise UserError(f"There is no notebook {path}: a report is built in a clone of the repository.") from None
    except Exception as error:  # nbformat and json raise a dozen kinds
        raise UserError(f"{path} cannot be read as a notebook: {line(error)}") from None
    notebook.cells = [cell for cell in notebook.cells if not set(without) & set(cell.metadata.get("tags", ()))]
    return notebook


def line(message: object) -> str:
    """The first line of an error, as a sentence."""
    first = (str(message).strip().splitlines() or ["no message"])[0]
    return first if first.endswith((".", "!", "?")) else f"{first}."


def snakemake(run: Path, snakefile: str, arguments: Sequence[str] = ()) -> dict[str, Any] | None:
    """Run a Snakefile of `reports/` in the folder `run`, on its plan; None, or `{"status", "sentence"}` of what failed.

    On this machine, or where the environment's `SNAKEMAKE_PROFILE` sends jobs to. All its paths are relative to `run`.
    """
    failure = run / FAILURE
    failure.unlink(missing_ok=True)
    shutil.copyfile(REPORTS / snakefile, run / "Snakefile")
    command = [sys.executable, "-m", "vq_lib.report.pipeline", "--configfile", PLAN, "--scheduler", "greedy",
               "--nolock", "--rerun-incomplete", "--nocolor", *arguments]  # fmt: skip
    if not os.environ.get("SNAKEMAKE_PROFILE"):  # a cluster's profile says how many cores a job may have
        command += ["--cores", "all"]
    # The library runs from source in the repository; its own process group lets Ctrl-C reach this process alone,
    # which then ends the others in order.
    settings = {**os.environ, **environment.places(run / "home"), **starter(), "PYTHONUNBUFFERED": "1"}
    sys.stdout.flush()
    with open(run / LOG, "wb") as log:
        process = subprocess.Popen(command, cwd=run, env=settings, stdin=subprocess.DEVNULL, stderr=log,
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
        return read_json(failure, "the step")
    return {"status": 1, "sentence": f"{_reason(run, status)}; {short(run / LOG)} has Snakemake's log."}


def _reason(run, status):
    """What ended a pipeline that left no sentence, from Snakemake's log; that one can go on only where one can."""
    log, again = (run / LOG).read_text(encoding="utf-8", errors="replace"), "the same command goes on from here"
    if status < 0:
        return f"The pipeline was ended by signal {-status}; {again}"
    step = re.search(r"^Command '.* -m vq_lib\.report\.(?:execute )?(\w+).*' (?:died|.* status (\d+))", log, re.M)
    if step and int(step[2] or 137) > 128:
        return f"{step[1]} was ended from outside; {again}"
    ours = r"^(?!RuleException|WorkflowError|CalledProcessError)(?:\w+\.)*\w*(Error|Exception)\b.*\w.*$"
    error = re.search(ours, log, re.M)
    return f"The pipeline stopped ({error[0].strip()})" if error else "The pipeline stopped"


def fail(sentence: str, status: int = 1) -> NoReturn:
    """Leave the reason of a failed step for `vq-lib report`, in the current folder, and end this process."""
    write_json(FAILURE, {"status": status, "sentence": sentence})
    sys.exit(status)


def read_plan() -> dict[str, Any]:
    """The plan in the current folder, which is `run/` for everything that Snakemake starts."""
    if not Path(PLAN).exists():
        raise UserError(f"There is no {PLAN} in {Path.cwd()}: 'vq-lib report NAME' starts this step.")
    return read_json(PLAN, "'vq-lib report NAME'")


if __name__ == "__main__":
    end_with_starter()
    from snakemake.cli import main

    main(sys.argv[1:])
