"""The recipes that this repository ships: each builds, and says what its metrics say."""

import json
import re

import pytest
from conftest import published

from vq_lib import recipe
from vq_lib.models.build import vqvae_from
from vq_lib.study import REPOSITORY

RECIPES = sorted((REPOSITORY / "reports").glob("*/recipe.yaml"))
# Encoder and decoder parameters of the published systems; those of OASIS-256 were published, layer by layer, and the
# others follow from their layers: Σ (kernel² · channels in + 1) · channels out.
PUBLISHED = {
    "oasis-128-generative": (1_280 + 295_168 + 4_112, 37_120 + 295_040 + 1_153),
    "oasisvq": (320 + 9_248 + 18_496 + 36_928 + 73_856 + 2_064, 18_560 + 73_792 + 36_928 + 18_464 + 9_248 + 289),
    "oasis-256": (96_542, 127_233),
    "image-folder": (
        3_136 + 131_200 + 147_584 + 2 * (36_896 + 4_224) + 8_256,
        73_856 + 2 * (36_896 + 4_224) + 131_136 + 3_075,
    ),
    "adni": (896 + 18_496 + 36_928 + 8_320, 73_792 + 36_928 + 18_464 + 867),
}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.parent.name)
def test_recipe_builds(path):
    settings = recipe.load(path)
    shape = (settings.data.size, settings.data.size, settings.data.channels)
    model = vqvae_from(settings.vqvae, shape, 0.05)
    assert model.grid == (settings.data.size // settings.vqvae.factor,) * 2
    if path.parent.name in PUBLISHED:
        assert tuple(model.parameter_counts.values()) == PUBLISHED[path.parent.name]


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
