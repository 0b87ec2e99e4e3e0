"""The notebooks as files: paired, without outputs, with three parameters, in short cells that show the work."""

import ast
import re

import jupytext
import nbformat
import papermill
import pytest
from conftest import REPOSITORY

from vq_lib.study import STAGES

NOTEBOOKS = [REPOSITORY / "notebooks" / f"{name}.ipynb" for name in STAGES.values()]
# What turns results into text or pictures; a cell that has more of it than of anything else teaches formatting.
PLUMBING = re.compile(r"show|table\(|caption|title|alt=|formats|format|print|display|f\"|\"$|\",$|^\)|fmt: skip|rename")


def code_cells(path):
    """The code cells of a notebook."""
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def lines(path):
    """The lines of code of a notebook, without blanks, comments, and the cells of set-up and parameters."""
    own = [cell for cell in code_cells(path) if "parameters" not in cell.metadata.get("tags", [])][1:]
    return [line for cell in own for line in cell.source.splitlines() if line.strip() and not line.startswith("#")]


def test_all_five_are_there_and_no_other():
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
    code = code_cells(path)
    assert not any(cell.outputs or cell.execution_count for cell in code), "outputs belong into reports/"
    assert max(len(cell.source.splitlines()) for cell in code) <= 15
    titles = [cell for cell in notebook.cells if cell.cell_type == "markdown" and cell.source.startswith("# ")]
    assert titles == notebook.cells[:1]
    assert not any(line.startswith("def ") for cell in code for line in cell.source.splitlines()), (
        "functions belong into vq_lib"
    )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_shown_is_seen(path):
    """Jupyter displays the last line of a cell alone: a figure or table elsewhere would be made and lost."""
    for cell in code_cells(path):
        tree = ast.parse(cell.source)
        for made in (node for node in ast.walk(tree) if isinstance(node, ast.Expr)):
            if isinstance(made.value, ast.Call) and ast.unparse(made.value.func) in ("show", "shown.table"):
                assert made is tree.body[-1], ast.unparse(made)[:80]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_parameters_explain_themselves(path):
    parameters = papermill.inspect_notebook(str(path))
    assert list(parameters) == ["report", "data", "overrides"]
    assert [parameter["default"] for parameter in parameters.values()] == ['"demo"', '""', '""']
    for parameter in parameters.values():
        assert parameter["inferred_type_name"] == "str" and len(parameter["help"]) > 10


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_parameters_are_heeded(path):
    assert sum("study = Study(report, data, overrides)" in cell.source for cell in code_cells(path)) == 1


@pytest.mark.parametrize("number, layer", [(1, "VQVAE("), (2, "MaskedConv2D(")])
def test_training_stands_in_view(number, layer):
    text = [cell.source for cell in code_cells(NOTEBOOKS[number])]
    for word in (layer, ".compile(", ".fit(", "resume.restore("):
        assert any(word in cell for cell in text), f"{NOTEBOOKS[number].name} hides {word}"


def test_two_lines_in_three_do_something_else_than_to_show():
    every = [line for path in NOTEBOOKS for line in lines(path) if not line.startswith(("import ", "from "))]
    shown = [line for line in every if PLUMBING.search(line.strip())]
    assert 3 * len(shown) < len(every), f"{len(shown)} of {len(every)} lines show what others computed"


def test_most_cells_are_short():
    sizes = [len(cell.source.splitlines()) for path in NOTEBOOKS for cell in code_cells(path)]
    assert sum(size < 8 for size in sizes) > len(sizes) / 2
