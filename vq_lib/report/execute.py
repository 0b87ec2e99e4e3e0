"""Run one notebook of a report headless: `python -m vq_lib.report.execute 02_vqvae_training`, in the report's `run/`.

papermill's Python API is called here because its command line lets unknown parameters pass and writes one output
for every update of a stream.
"""

import datetime
import json
import logging
import os
import sys
import time
from pathlib import Path

import nbformat
import papermill
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from vq_lib import environment
from vq_lib.errors import UserError
from vq_lib.files import lock, whole_file
from vq_lib.report.pipeline import line, source, step


def execute(name, plan):
    """Run a notebook of the plan and write it to `notebooks/` once it is whole, or as `<name>.failed.ipynb`.

    Its standard output appears here as it comes. `RuntimeError`, in one sentence: a cell failed or the kernel died.
    """
    notebook = source(Path(plan["notebooks"]) / f"{name}.ipynb", plan["without"])
    notebook = nbformat.reads(json.dumps(notebook), as_version=4)
    parameters, target = {key: plan[key] for key in ("report", "data", "overrides")}, Path("notebooks", f"{name}.ipynb")
    failed, started = target.with_suffix(".failed.ipynb"), time.monotonic()
    with whole_file(target) as temporary:
        nbformat.write(notebook, temporary)
        path = os.path.relpath(temporary)  # papermill would expand braces in the folder's name
        if unknown := sorted(set(parameters) - set(papermill.inspect_notebook(path))):
            raise UserError(f"{target.name} has no parameter '{unknown[0]}' in its cell tagged 'parameters'.")
        try:
            notebook = papermill.execute_notebook(path, path, parameters, kernel_name="python3", progress_bar=False,
                                                  stdout_file=sys.stdout, coalesce_streams=True)  # fmt: skip
        except PapermillExecutionError as error:
            if error.ename == "UserError":
                raise UserError(error.evalue) from None
            temporary.chmod(0o644)
            os.replace(temporary, failed)
            where = f"{name} stopped in cell {error.cell_index + 1}: {error.ename}: {line(error.evalue)}"
            raise RuntimeError(f"{where} The notebook with its traceback is {failed.resolve()}.") from None
        except DeadKernelError:
            raise RuntimeError(f"The Python that ran {name} was ended from outside, perhaps for want of memory; "
                               "the same command goes on from here.") from None  # fmt: skip
        date = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC"
        seconds = round(time.monotonic() - started, 1)
        notebook.metadata["vq_lib"] = {"seconds": seconds, "date": date, "recipe_sha256": plan["recipe_sha256"]}
        nbformat.write(notebook, temporary)
    failed.unlink(missing_ok=True)


if __name__ == "__main__":
    logging.getLogger("papermill").setLevel(logging.ERROR)  # its one warning is an error above
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"  # a kernel "python3" of another environment must not be taken
    os.environ.update(environment.places(Path.cwd() / "home"))  # a job may run where another home cannot be written
    began, name = time.monotonic(), sys.argv[1]
    with step(name) as plan:
        # The process that holds this lock may outlive a killed `vq-lib` by a second or two.
        busy = f"A notebook of {plan['report']} is still being run by another process: wait until it is done."
        with lock(".notebook.lock", busy, patience=15):
            place = f"{plan['stages'].index(name) + 1}/{len(plan['stages'])} {name}"
            print(f"{place} …", flush=True)
            execute(name, plan)
            print(f"{place} done in {time.monotonic() - began:.0f} s", flush=True)
