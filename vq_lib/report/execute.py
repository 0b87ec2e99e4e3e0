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

from vq_lib.errors import UserError
from vq_lib.files import lock, whole_file
from vq_lib.report import provenance
from vq_lib.report.pipeline import STAGES, fail, read_plan
from vq_lib.report.processes import end_with_starter


def execute(source: Path, target: Path, parameters: dict[str, Any], recipe_sha256: str) -> float:
    """Run the notebook `source` with `parameters` and write it to `target` once it is whole.

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

    logging.getLogger("papermill").setLevel(logging.ERROR)  # its one warning here is the next line's error
    unknown = sorted(set(parameters) - set(papermill.inspect_notebook(_literal(source))))
    if unknown:
        raise UserError(f"{source} has no parameter '{unknown[0]}' in its cell tagged 'parameters'.")
    failed = target.with_suffix(".failed.ipynb")
    started = time.monotonic()
    with whole_file(target) as temporary:
        try:
            papermill.execute_notebook(
                _literal(source), _literal(temporary), parameters, kernel_name="python3", progress_bar=False,
                stdout_file=sys.stdout, coalesce_streams=True, cwd=str(target.parent.parent),
            )  # fmt: skip
        except PapermillExecutionError as error:
            if error.ename == "UserError":
                raise UserError(error.evalue) from None
            temporary.chmod(0o644)
            os.replace(temporary, failed)
            raise RuntimeError(
                f"{source.stem} stopped in cell {error.cell_index + 1}: {error.ename}: {_line(error.evalue)}"
                f" The notebook with its traceback is {failed}."
            ) from None
        except DeadKernelError:
            raise RuntimeError(
                f"The Python that ran {source.stem} was ended from outside, perhaps for want of memory;"
                " the same command goes on from here."
            ) from None
        seconds = time.monotonic() - started
        notebook = nbformat.read(temporary, as_version=4)
        notebook.metadata["vq_lib"] = {
            "seconds": round(seconds, 1),
            "date": provenance.now(),
            "recipe_sha256": recipe_sha256,
            "versions": provenance.versions(),
        }
        nbformat.write(notebook, temporary)
    failed.unlink(missing_ok=True)
    return seconds


def _literal(path):
    """A path that papermill's formatting of `{name}` in paths leaves as it is."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _line(message):
    first = (str(message).strip().splitlines() or ["no message"])[0]
    return first if first.endswith((".", "!", "?")) else f"{first}."


def main() -> None:
    """Run the notebook that the first argument names, on the plan in the current folder."""
    end_with_starter()
    name = sys.argv[1]
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"  # a kernel "python3" of another environment must not be taken
    try:
        plan = read_plan()
        parameters = {key: plan[key] for key in ("report", "data", "overrides")}
        # The process that holds this lock may outlive a killed `vq-lib` by a second or two.
        busy = f"A notebook of {plan['report']} is still being run by another process: wait until it is done."
        with lock(".notebook.lock", busy, patience=15):
            number = list(STAGES.values()).index(name) + 1
            print(f"{number}/{len(STAGES)} {name} …", flush=True)
            source, target = Path(plan["notebooks"]) / f"{name}.ipynb", Path.cwd() / "notebooks" / f"{name}.ipynb"
            seconds = execute(source.resolve(), target, parameters, plan["recipe_sha256"])
            print(f"{number}/{len(STAGES)} {name} done in {seconds:.0f} s", flush=True)
    except UserError as error:
        fail(str(error), status=2)
    except RuntimeError as error:
        fail(str(error))
    except Exception as error:  # papermill, Jupyter or the disk: named, and the trace is in Snakemake's log
        import traceback

        traceback.print_exc()
        fail(f"{name} could not be run: {type(error).__name__}: {_line(error)}")


if __name__ == "__main__":
    main()
