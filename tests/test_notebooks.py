"""The notebooks as files: paired, without outputs, with three parameters, in short cells."""

import jupytext
import nbformat
import papermill
import pytest
from conftest import REPOSITORY

from vq_lib.report.pipeline import STAGES

NOTEBOOKS = [REPOSITORY / "notebooks" / f"{name}.ipynb" for name in STAGES.values()]


def test_all_four_are_there_and_no_other():
    assert sorted((REPOSITORY / "notebooks").glob("*.ipynb")) == NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_pair_is_in_step(path):
    def cells(notebook):
        return [(cell.cell_type, cell.source.strip(), tuple(cell.metadata.get("tags", []))) for cell in notebook.cells]

    notebook, script = nbformat.read(path, as_version=4), jupytext.read(path.with_suffix(".py"))
    assert cells(notebook) == cells(script), f"jupytext --sync {path}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_source_notebook(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code), "outputs belong into reports/"
    assert max(len(cell.source.splitlines()) for cell in code) <= 30
    titles = [cell for cell in notebook.cells if cell.cell_type == "markdown" and cell.source.startswith("# ")]
    assert titles == notebook.cells[:1]
    assert not any(line.startswith("def ") for cell in code for line in cell.source.splitlines()), (
        "functions belong into vq_lib"
    )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_parameters_explain_themselves(path):
    parameters = papermill.inspect_notebook(str(path))
    assert list(parameters) == ["report", "data", "overrides"]
    assert [parameter["default"] for parameter in parameters.values()] == ['"demo"', '""', '""']
    for parameter in parameters.values():
        assert parameter["inferred_type_name"] == "str" and len(parameter["help"]) > 10
