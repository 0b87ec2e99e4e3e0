"""The picture in the README is what the imports say: each module in one room, and no arrow missing or too many."""

import ast
import re

import licences
from conftest import REPOSITORY

TEXT = (REPOSITORY / "README.md").read_text(encoding="utf-8")
PICTURE = re.search(r"```mermaid\n(.*?)```", TEXT, re.S)[1]
ROOMS = {
    module.removesuffix("/"): room
    for room, modules in re.findall(r'(\w+)\["[^"]*<br>([^"]*)"\]', PICTURE)
    for module in modules.split(" · ")
}
ARROWS = {(start, end) for start, ends in re.findall(r"(\w+) --> ([\w &]+)", PICTURE) for end in ends.split(" & ")}

HOOKS = {
    "build",
    "call",
    "compute_loss",
    "compute_output_shape",
    "error",
    "get_config",
    "get_data_layout",  # others' names
    "row",
    "start",
    "step",  # told in layers/masked.py
}


def imports():
    """(module, imported module) inside vq_lib, wherever in a file the import stands; a package counts as one."""
    for path in (REPOSITORY / "vq_lib").rglob("*.py"):
        module = path.relative_to(REPOSITORY / "vq_lib").parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "vq_lib":
                inner = node.module.split(".")[1:2]
                yield from ((module, name) for name in inner or [alias.name for alias in node.names])


def test_every_module_is_in_one_room():
    modules = {path.stem for path in (REPOSITORY / "vq_lib").glob("*") if path.suffix == ".py" or path.is_dir()}
    assert modules - {"__init__", "__main__", "__pycache__"} == set(ROOMS)
    assert len(ROOMS) == PICTURE.count(" · ") + len(set(ROOMS.values())), "a module is named twice"


def test_the_arrows_are_the_imports():
    between = {(ROOMS[a], ROOMS[b]) for a, b in imports() if a in ROOMS and ROOMS[a] != ROOMS[b]}
    assert between - ARROWS == set(), "an import that the picture does not allow"
    assert ARROWS - between == set(), "an arrow that no import needs any more"


def test_layers_know_nothing_and_data_scores_and_plots_know_no_models():
    assert not any(start == "layers" for start, _ in ARROWS)
    assert {end for start, end in ARROWS if start == "data"} == {"ground"}
    assert {end for start, end in ARROWS if start in ("scores", "plots")} <= {"scores"}


def test_no_module_is_longer_than_a_reader_holds_in_mind():
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in (REPOSITORY / "vq_lib").rglob("*.py")}
    assert {path.name: length for path, length in lengths.items() if length > 350} == {}


def test_tensorflow_is_imported_inside_functions_of_three_files_only():
    found = set()
    for path in (REPOSITORY / "vq_lib").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.split(".")[0] in ("tensorflow", "tf_keras", "jax", "torch") for name in names):
                assert node.col_offset > 0, f"{path} needs a backend to be imported at all"
                found.add(path.name)
    assert found == {"device.py", "likelihood.py", "resume.py"}, "elsewhere keras.ops does"


def _undocumented(node, name):
    for inner in ast.iter_child_nodes(node):
        if isinstance(inner, ast.ClassDef | ast.FunctionDef) and not inner.name.startswith("_"):
            if not ast.get_docstring(inner) and inner.name not in HOOKS and not inner.name.startswith("on_"):
                yield f"{name}.{inner.name}"
            yield from _undocumented(inner, f"{name}.{inner.name}") if isinstance(inner, ast.ClassDef) else ()


def test_what_is_public_has_a_docstring():
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in (REPOSITORY / "vq_lib").rglob("*.py")}
    assert not [name for path, tree in trees.items() for name in _undocumented(tree, path.stem)]
    assert not [path for path, tree in trees.items() if path.name != "__init__.py" and not ast.get_docstring(tree)]


def test_every_pinned_package_has_its_licence_listed():
    listed = licences.listed()
    assert licences.pinned().keys() == listed.keys(), "run tests/licences.py"
    assert not [name for name, licence in listed.items() if "copyright" in licence.lower()]
