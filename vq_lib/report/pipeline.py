"""What the steps of a building share: the plan, the notebooks' sources, Snakemake in a process of its own, and its end.

    vq-lib report ── vq_lib.report.pipeline (Snakemake) ── vq_lib.report.execute (papermill) ── kernel

Nothing heavy is imported here: every step begins with it.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from vq_lib import environment
from vq_lib.errors import UserError
from vq_lib.files import read_json, write_json

REPORTS = Path(__file__).resolve().parents[2] / "reports"  # where Snakefiles lie
PLAN = "pipeline.json"  # in run/: what Snakemake, execute and html read instead of arguments
FAILURE = "failure.json"  # in run/: the sentence of the step that failed
LOG = "snakemake.log"


def short(path: Path) -> Path:
    """A path as the user would type it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def source(path: Path, without: Collection[str]) -> dict[str, Any]:
    """The notebook at `path`, as JSON, without the cells that have one of the tags `without`; `UserError` where it is
    none. (To import nbformat takes a second, which a report that is up to date need not wait for.)
    """
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        cells = [cell for cell in notebook["cells"] if not set(without) & set(cell["metadata"].get("tags", ()))]
    except FileNotFoundError:
        raise UserError(f"There is no notebook {path}: a report is built in a clone of the repository.") from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as a notebook: {line(error)}") from None
    return {**notebook, "cells": cells}


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
    settings = {**os.environ, **environment.places(run / "home"), "PYTHONUNBUFFERED": "1"}
    sys.stdout.flush()
    # In a process group of its own, so that Ctrl-C reaches this process alone, which then ends the others in order.
    with open(run / LOG, "wb") as log, subprocess.Popen(command, cwd=run, env=settings, stdin=subprocess.PIPE,
                                                        stderr=log, start_new_session=True) as process:  # fmt: skip
        try:
            status = process.wait()
        finally:
            process.communicate()  # closes its input, which ends it and all below
            with contextlib.suppress(OSError, AttributeError):  # AttributeError: Windows
                os.killpg(process.pid, signal.SIGKILL)  # what a Snakemake that was killed has left
    if status and not failure.exists():
        sentence = f"{_reason(run, status)}; {short(run / LOG)} has Snakemake's log."
        write_json(failure, {"status": 1, "sentence": sentence})
    return read_json(failure, "the step") if status else None


def _reason(run, status):
    """What ended a pipeline that left no sentence, from Snakemake's log; that one can go on only where one can."""
    log, again = (run / LOG).read_text(encoding="utf-8", errors="replace"), "the same command goes on from here"
    if status < 0:
        return f"The pipeline was ended by signal {-status}; {again}"
    step = re.search(r"^Command '.* -m vq_lib\.report\.(?:execute )?(\w+).*' (?:died|.* status (\d+))", log, re.M)
    if step and int(step[2] or 137) > 128:
        return f"{step[1]} was ended from outside; {again}"
    return "The pipeline stopped"


@contextlib.contextmanager
def step(name: str) -> Iterator[dict[str, Any]]:
    """Yield the plan in the current folder, `run/`; where the block fails, leave a sentence and end this process.

    A `UserError` is the user's mistake and has status 2; it and a `RuntimeError` tell the reason in their own words.
    """
    try:
        yield read_json(PLAN, "'vq-lib report NAME'")
    except Exception as error:
        sentence = str(error)
        if not isinstance(error, UserError | RuntimeError):  # papermill, Jupyter, a template or the disk
            traceback.print_exc()
            sentence = f"{name} could not be run: {type(error).__name__}: {line(error)}"
        status = 2 if isinstance(error, UserError) else 1
        write_json(FAILURE, {"status": status, "sentence": sentence})
        sys.exit(status)


def _end_with(starter):
    """Wait until nothing can come from the pipe `starter`, since `vq-lib` has ended, however it did; then end all."""
    os.read(starter, 1)
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    os._exit(1)


if __name__ == "__main__":
    starter = os.dup(0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # for the jobs
    threading.Thread(target=_end_with, args=[starter], daemon=True).start()
    from snakemake.cli import main

    main(sys.argv[1:])
