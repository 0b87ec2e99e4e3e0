"""The first cell of the notebooks, on an emulated Google Colab and elsewhere."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version

import jupytext
import pytest
from conftest import REPOSITORY, unlinked

from vq_lib import environment
from vq_lib.errors import UserError

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.py"))
COLAB = """
import os, sys, types
sys.modules["google"] = types.ModuleType("google")
sys.modules["google.colab"] = types.ModuleType("google.colab")
sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry or ".") != os.environ["HIDDEN"]]
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in str(finder)]
os.chdir(sys.argv[1])
"""


def first_cell(path):
    return next(cell.source for cell in jupytext.read(path).cells if cell.cell_type == "code")


def run(folder, code):
    """`code` in a fresh Python that has all packages but not vq_lib, with a stub of `google.colab`."""
    (folder / "cell.py").write_text(COLAB + code, encoding="utf-8")  # a file, so that an error shows its line
    environment = {**os.environ, "HIDDEN": str(REPOSITORY), "PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([sys.executable, folder / "cell.py", folder], env=environment, capture_output=True,
                          text=True, timeout=120, check=False)  # fmt: skip


def test_every_notebook_begins_with_the_same_short_cell():
    cells = {first_cell(path) for path in NOTEBOOKS}
    assert len(cells) == 1
    (cell,) = cells
    assert len(cell.splitlines()) <= 8 and "drive.mount" not in cell


@unlinked
@pytest.mark.parametrize("clone", ["vq_lib", "some repository", "drive/MyDrive/mine", ".", "above"])
def test_the_cell_finds_the_library(clone, tmp_path):
    """A clone below the working folder (Colab's /content), in a mounted Drive, the folder itself, or one above it."""
    content = tmp_path / "content"
    root = {".": content, "above": tmp_path}.get(clone, content / clone)
    root.mkdir(parents=True, exist_ok=True)
    content.mkdir(exist_ok=True)
    (root / "vq_lib").symlink_to(REPOSITORY / "vq_lib", target_is_directory=True)
    done = run(content, first_cell(NOTEBOOKS[0]) + "\nprint(environment.__file__)")
    assert done.returncode == 0, done.stderr
    assert os.path.samefile(done.stdout.strip(), environment.__file__)


def test_without_the_library_the_error_says_what_to_do(tmp_path):
    done = run(tmp_path, first_cell(NOTEBOOKS[0]))
    assert done.returncode == 1 and "clone or upload the whole repository" in done.stderr


def test_on_colab_what_is_missing_is_installed_and_the_rest_stays(tmp_path, monkeypatch):
    asked = []

    def pip(command, **options):
        with open(command[command.index("--constraint") + 1], encoding="utf-8") as file:
            asked.append((command, file.read().splitlines()))
        return subprocess.CompletedProcess(command, 0)

    found = importlib.util.find_spec
    absent = ("nilearn", "nibabel")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in absent else found(name))
    monkeypatch.setattr(subprocess, "run", pip)
    with pytest.raises(UserError, match=r"nibabel is not installed in .*: type 'make lab'"):
        environment.ready()
    assert not asked, "outside Colab nothing is installed unasked"
    monkeypatch.setitem(sys.modules, "google.colab", sys)
    environment.ready()
    ((command, kept),) = asked
    assert command[-2:] == ["nibabel", "nilearn"] and "--upgrade" not in command
    assert {f"keras=={version('keras')}", f"numpy=={version('numpy')}"} <= set(kept)


def test_an_old_keras_is_named(monkeypatch):
    monkeypatch.setattr(environment, "version", lambda package: "3.5.0")
    with pytest.raises(UserError, match=r"keras 3.5.0 is too old: .*pip install \"keras>="):
        environment.ready()


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """A fresh Python that starts Keras where another tutorial has left its settings, and then writes to stderr."""
    home = tmp_path_factory.mktemp("home")
    (home / ".keras").mkdir()
    settings = {"floatx": "float16", "epsilon": 0.1, "backend": "nonesuch", "image_data_format": "channels_first"}
    (home / ".keras" / "keras.json").write_text(json.dumps(settings))
    code = ("import os; from vq_lib.environment import start_keras; keras = start_keras(); c = keras.config; "
            "print(c.floatx(), c.epsilon(), c.image_data_format(), c.dtype_policy().name, c.backend(), "
            "os.environ['TF_FORCE_GPU_ALLOW_GROWTH'], os.environ['XLA_PYTHON_CLIENT_PREALLOCATE']); "
            "os.write(2, b'heard')")  # fmt: skip
    unset = ("KERAS_BACKEND", "KERAS_HOME", "TF_CPP_MIN_LOG_LEVEL", "TF_FORCE_GPU_ALLOW_GROWTH")
    own = {name: value for name, value in os.environ.items() if name not in unset}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True,
                          env={**own, "HOME": str(home), "XLA_PYTHON_CLIENT_PREALLOCATE": "true"})  # fmt: skip


def test_what_another_tutorial_wrote_into_keras_json_changes_nothing(started):
    *settings, backend = started.stdout.split()[:5]
    assert settings == ["float32", "1e-07", "channels_last", "float32"] and backend in environment.BACKENDS


def test_keras_starts_in_silence_and_what_is_said_later_is_heard(started):
    assert started.stderr == "heard"


def test_a_gpu_is_shared_among_open_notebooks_unless_told_otherwise(started):
    assert started.stdout.split()[5:] == ["true", "true"]


def test_a_backend_that_is_asked_for_and_not_there_is_named(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "jax" else found(name))
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    with pytest.raises(UserError, match="KERAS_BACKEND=jax, and jax is not installed"):
        environment.backend()


def test_places_that_cannot_be_written_are_led_elsewhere_and_no_others(tmp_path, monkeypatch):
    home, free = tmp_path / "home", tmp_path / "free"
    home.mkdir()
    for name in environment.PLACES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    assert environment.places(free) == {}
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: os.fspath(path) != str(home) and access(path, mode))
    assert environment.places(free) == {name: str(free / name.lower()) for name in environment.PLACES}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "mine"))
    assert set(environment.places(free)) == set(environment.PLACES) - {"XDG_CACHE_HOME"}


def test_what_is_needed_is_what_the_project_depends_on():
    with open(REPOSITORY / "pyproject.toml", "rb") as file:
        wanted = dict(re.match(r"([\w-]+)(?:>=([\d.]+))?", entry).groups()
                      for entry in tomllib.load(file)["project"]["dependencies"])  # fmt: skip
    assert set(environment.NEEDED.values()) <= set(wanted)
    assert environment.MINIMUM == {package: wanted[package] for package in environment.MINIMUM}


def test_every_place_asks_for_the_same_versions_of_python():
    names = ("pyproject.toml", "Makefile", "README.md")  # the last two in words
    read = {name: (REPOSITORY / name).read_text(encoding="utf-8") for name in names}
    least, most = re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', read["pyproject.toml"]).groups()
    assert f"(3, {least}) <= sys.version_info < (3, {most})" in read["Makefile"]
    for name in ("Makefile", "README.md"):
        assert f"Python 3.{least} to 3.{int(most) - 1}" in read[name]


PYTHON = """#!/bin/sh
case "$*" in
"-m venv --clear .venv") rm -rf .venv; mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
*"pip install"*) test ! -e offline ;;
esac
"""


@pytest.mark.skipif(sys.platform == "win32" or not shutil.which("make"), reason="needs make and a shell")
def test_a_failed_update_keeps_the_environment_and_a_broken_first_one_is_begun_again(tmp_path):
    shutil.copy(REPOSITORY / "Makefile", tmp_path)
    for name in ("pyproject.toml", "constraints.txt", "offline"):
        (tmp_path / name).touch()
    (tmp_path / "python").write_text(PYTHON)  # stands in for Python, venv and pip
    (tmp_path / "python").chmod(0o755)

    def make():
        command = ["make", "-C", tmp_path, ".venv", f"PYTHON={tmp_path / 'python'}"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    half, whole = tmp_path / ".venv" / "half", tmp_path / ".venv" / ".whole"
    assert not make()
    half.touch()
    assert not make() and not half.exists()
    half.touch()
    (tmp_path / "offline").unlink()
    assert make() and whole.exists() and not half.exists()
    mine = tmp_path / ".venv" / "mine"
    mine.touch()
    (tmp_path / "offline").touch()
    os.utime(whole, (1, 1))  # pyproject.toml is newer
    assert not make() and mine.exists()
    (tmp_path / "offline").unlink()
    assert make() and whole.exists() and mine.exists()
