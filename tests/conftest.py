"""What several test files share: the command line in a process of its own, and one tiny report built with it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
    """Run `vq-lib` as a user does; what it printed and its exit status."""
    options = {"capture_output": True, "text": True, "encoding": "utf-8", "timeout": 500, **options}
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


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The folder of a report built from the recipe `TINY`; its name is one that a careless pipeline breaks on."""
    folder = tmp_path_factory.mktemp("reports") / "tiny 'ré port' $x"
    folder.mkdir()
    (folder / "recipe.yaml").write_text(TINY, encoding="utf-8")
    done = vq_lib("report", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def pytest_configure():
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if os.environ.get("KERAS_BACKEND") == "torch":
        import torch

        def as_numpy(tensor, dtype=None, copy=None):
            array = tensor.detach().cpu().numpy()
            return array if dtype is None else array.astype(dtype)

        torch.Tensor.__array__ = as_numpy  # the tests compare results with NumPy; PyTorch wants them detached first
