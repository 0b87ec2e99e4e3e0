"""Run one notebook of a report headless: `python -m vq_lib.report.execute 02_vqvae_training`, in the report's `run/`.

papermill's Python API is called here because its command line lets unknown parameters pass and writes one output
for every update of a stream.
"""

import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

from vq_lib import environment
from vq_lib.errors import UserError
from vq_lib.files import lock, whole_file
from vq_lib.report import provenance
from vq_lib.report.pipeline import fail, line, read_plan, source
from vq_lib.report.processes import end_with_starter


def execute(notebook: Any, target: Path, parameters: dict[str, Any], recipe_sha256: str) -> float:
    """Run `notebook` with `parameters` in the folder above that of `target`, and write it there once it is whole.

    Its standard output appears here as it comes. A notebook that fails is left as `<name>.failed.ipynb`.

    Returns: seconds it took.
    Raises:
        UserError: the notebook does not know a parameter, or raised a `UserError` itself.
        RuntimeError: a cell failed or the kernel died; the message is one sentence.
    """
    import nbformat
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    logging.getLogger("papermill").setLevel(logging.ERROR)  # its one warning here is an error below
    failed = target.with_suffix(".failed.ipynb")
    started = time.monotonic()
    with whole_file(target) as temporary:
        nbformat.write(notebook, temporary)
        path = str(temporary).replace("{", "{{").replace("}", "}}")  # papermill formats `{name}` in paths
        if unknown := sorted(set(parameters) - set(papermill.inspect_notebook(path))):
            raise UserError(f"{target.name} has no parameter '{unknown[0]}' in its cell tagged 'parameters'.")
        try:
            papermill.execute_notebook(path, path, parameters, kernel_name="python3", progress_bar=False,
                                       stdout_file=sys.stdout, coalesce_streams=True,
                                       cwd=str(target.parent.parent))  # fmt: skip
        except PapermillExecutionError as error:
            if error.ename == "UserError":
                raise UserError(error.evalue) from None
            temporary.chmod(0o644)
            os.replace(temporary, failed)
            where = f"{target.stem} stopped in cell {error.cell_index + 1}: {error.ename}: {line(error.evalue)}"
            raise RuntimeError(f"{where} The notebook with its traceback is {failed}.") from None
        except DeadKernelError:
            raise RuntimeError(f"The Python that ran {target.stem} was ended from outside, perhaps for want of memory; "
                               "the same command goes on from here.") from None  # fmt: skip
        seconds = time.monotonic() - started
        notebook = nbformat.read(temporary, as_version=4)
        notebook.metadata["vq_lib"] = {"seconds": round(seconds, 1), "date": provenance.now(),
                                       "recipe_sha256": recipe_sha256, "versions": provenance.versions()}  # fmt: skip
        nbformat.write(notebook, temporary)
    failed.unlink(missing_ok=True)
    return seconds


def main() -> None:
    """Run the notebook that the first argument names, on the plan in the current folder."""
    end_with_starter()
    name = sys.argv[1]
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"  # a kernel "python3" of another environment must not be taken
    os.environ.update(environment.places(Path.cwd() / "home"))  # a job may run where another home cannot be written
    try:
        plan = read_plan()
        parameters = {key: plan[key] for key in ("report", "data", "overrides")}
        # The process that holds this lock may outlive a killed `vq-lib` by a second or two.
        busy = f"A notebook of {plan['report']} is still being run by another process: wait until it is done."
        with lock(".notebook.lock", busy, patience=15):
            place = f"{plan['stages'].index(name) + 1}/{len(plan['stages'])} {name}"
            print(f"{place} …", flush=True)
            notebook = source((Path(plan["notebooks"]) / f"{name}.ipynb").resolve(), plan["without"])
            target = Path.cwd() / "notebooks" / f"{name}.ipynb"
            seconds = execute(notebook, target, parameters, plan["recipe_sha256"])
            print(f"{place} done in {seconds:.0f} s", flush=True)
    except UserError as error:
        fail(str(error), status=2)
    except RuntimeError as error:
        fail(str(error))
    except Exception as error:  # papermill, Jupyter or the disk: named, and the trace is in Snakemake's log
        import traceback

        traceback.print_exc()
        fail(f"{name} could not be run: {type(error).__name__}: {line(error)}")


if __name__ == "__main__":
    main()
