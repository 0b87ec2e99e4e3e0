"""What several test files share: the command line, a tiny report built with it, and what hostile files are made of."""

import contextlib
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import filelock
import pytest

from vq_lib import cli
from vq_lib.errors import UserError

REPOSITORY = Path(__file__).resolve().parent.parent
unlinked = pytest.mark.skipif(sys.platform == "win32", reason="on Windows only administrators make symbolic links")

TINY = """\
title: A tiny report
data: {layout: cohort, size: 32, slices: 3, people: {train: 4, validation: 2, test: 2}}
vqvae:
  encoder: [{layer: conv, filters: 8, kernel: 4, stride: 2}, {layer: conv, filters: 8, kernel: 4, stride: 2}]
  decoder: [{layer: transpose, filters: 8, kernel: 4, stride: 2}, {layer: transpose, filters: 8, kernel: 4, stride: 2}]
  codes: 16
  code_dim: 4
  batch: 4
  epochs: 1
prior: {filters: 8, blocks: 1, head: 1, kernel: 3, batch: 4, epochs: 1,
        condition: [label, position], compare: {gated: {}}}
evaluation: {samples: 4}
"""


def vq_lib(*arguments, **options):
    """Run `vq-lib` as a user does, in a process of its own; what it printed and its exit status."""
    options = {"capture_output": True, "text": True, "encoding": "utf-8", "timeout": 3600, **options}
    return subprocess.run([sys.executable, "-m", "vq_lib", *map(str, arguments)], check=False, **options)


def published():
    """The `metrics.json` of every report as it came with this repository; not of a reader's own, nor of one built anew.

    Another machine rounds otherwise, and its figures are not those in the README.
    """

    def git(*arguments):
        done = subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=True)
        return {REPOSITORY / line for line in done.stdout.splitlines()}

    try:
        return sorted(git("ls-files", "reports/*/metrics.json") - git("diff", "--name-only", "HEAD"))
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only git can say which reports are as they came")


@pytest.fixture
def command(monkeypatch):
    """`vq_lib` without a process of its own, which would load Keras anew: a function of the same arguments."""
    monkeypatch.setattr(cli, "_prepare", lambda: None)  # signals and places of the tests' own process stay

    def run(*arguments):
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
            try:
                status = cli.main([str(argument) for argument in arguments])
            except SystemExit as stopped:
                status = stopped.code
        return subprocess.CompletedProcess(arguments, status, out.getvalue(), err.getvalue())

    return run


def once(factory, name, make):
    """A folder that `make` fills once a run: the first of pytest-xdist's processes does, the others wait for it."""
    base = factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, outcome = base / name, base / f"{name}.txt"
    with filelock.FileLock(base / f"{name}.lock"):
        if not outcome.exists():
            folder.mkdir()
            try:
                make(folder)
            except BaseException as error:
                outcome.write_text(f"as in the process that made it: {error}", encoding="utf-8")
                raise
            outcome.touch()
    failure = outcome.read_text(encoding="utf-8")
    assert not failure, failure
    return folder


def _stamps(folder):
    """When the files of a folder were written, by name; locks are taken by whoever looks."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The folder of a report built from the recipe `TINY`; its name is one that a careless pipeline breaks on.

    All tests of all processes have the same one: who writes into it takes a copy.
    """
    name = "tiny 'ré port' $x"

    def make(base):
        (base / name).mkdir()
        (base / name / "recipe.yaml").write_text(TINY, encoding="utf-8")
        done = vq_lib("report", base / name)
        assert done.returncode == 0, done.stdout + done.stderr

    folder = once(tmp_path_factory, "reports", make) / name
    before = _stamps(folder)
    yield folder
    assert _stamps(folder) == before, "a test has written into the report that all of them share"


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A report of the same recipe whose VQ-VAE and priors were trained without its notebooks; shared as `tiny` is."""

    def make(folder):
        from stages import train_priors, train_vqvae

        from vq_lib import data
        from vq_lib.study import Study

        (folder / "recipe.yaml").write_text(TINY, encoding="utf-8")
        study = Study(folder)
        slices = data.load(study)
        train_vqvae(study, slices)
        train_priors(study, slices)

    return once(tmp_path_factory, "trained", make)


@pytest.fixture
def place(tmp_path):
    """A report's folder, beside a bystander. Afterwards neither has what the hostile files try to write."""
    folder, bystander = tmp_path / "report", tmp_path / "bystander"
    folder.mkdir()
    bystander.mkdir()
    (bystander / "precious.txt").write_text("untouched")
    (folder / "recipe.yaml").write_text(TINY, encoding="utf-8")
    yield folder
    assert [path.name for path in tmp_path.iterdir() if path not in (folder, bystander)] == []
    assert [path.read_text() for path in bystander.iterdir()] == ["untouched"]
    assert not (folder / "owned").exists()


class Payload:
    """Unpickled, it writes the file `owned`."""

    def __init__(self, folder):
        self.path = str(folder / "owned")

    def __reduce__(self):
        return open, (self.path, "w")


def refuses(call, *arguments):
    """The one sentence with which `call` refuses a file."""
    with pytest.raises(UserError) as caught:
        call(*arguments)
    sentence = str(caught.value)
    assert "\n" not in sentence and len(sentence) < 700 and sentence.rstrip().endswith((".", "?")), sentence
    return sentence


def pack(members):
    """A zip file of these members, as bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


# The longest files first, so that no process is left alone with one of them at the end. The first process builds the
# tiny report; what the second one begins with does not wait for it.
FIRST = "build published_models sweep resume prior sampling commands published".split()


def pytest_collection_modifyitems(items):
    rank = {f"test_{name}": number for number, name in enumerate(FIRST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


def pytest_configure():
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if os.environ.get("KERAS_BACKEND") == "torch":
        import torch

        def as_numpy(tensor, dtype=None, copy=None):
            array = tensor.detach().cpu().numpy()
            return array if dtype is None else array.astype(dtype)

        torch.Tensor.__array__ = as_numpy  # the tests compare results with NumPy; PyTorch wants them detached first
