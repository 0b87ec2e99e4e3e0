"""The recipes that this repository ships say what their metrics say."""

import json
import re

import pytest
from conftest import published

from vq_lib.study import REPOSITORY

RECIPES = sorted((REPOSITORY / "reports").glob("*/recipe.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.parent.name)
def test_first_lines_give_the_command_and_the_measured_figures(path):
    comment = "\n".join(line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#"))
    assert comment.startswith("# make report")
    metrics = path.parent / "metrics.json"
    if metrics in published():
        scores = json.loads(metrics.read_text(encoding="utf-8"))["vqvae"]
        # The last figures are this repository's; a published system's own come before them.
        assert re.findall(r"(?<!foreground )SSIM\s+(?:# )?(0\.\d{3})", comment)[-1] == f"{scores['ssim']['mean']:.3f}"
        assert re.findall(r"foreground SSIM (0\.\d{3})", comment) == [f"{scores['ssim_foreground']['mean']:.3f}"]
