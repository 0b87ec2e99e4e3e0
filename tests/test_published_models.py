"""The models that this repository publishes load, and score on the test people what their report says."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY, published

from vq_lib import recipe as recipes
from vq_lib.data import cohort, reading
from vq_lib.models import saved
from vq_lib.models.prior import code_lengths
from vq_lib.scores import images as scoring

REPORTS = [path.parent.parent.name for path in sorted((REPOSITORY / "reports").glob("*/models/vqvae.keras"))]


def _recipe(name):
    document = json.loads((REPOSITORY / "reports" / name / "metrics.json").read_text("utf-8"))
    overrides = document["provenance"].get("overrides", "")
    return recipes.load(REPOSITORY / "reports" / name / "recipe.yaml", overrides), document


def _test_slices(data):
    """Images and positions of the test people, and their labels by name, from OASIS or the embedded cohort."""
    if data.layout == "cohort":
        slices = cohort.make(data.people.model_dump(), data.slices, data.size, data.seed, progress=False)
        rows = slices.where("test")
        return slices.images[rows], slices.position[rows], slices.label[rows]
    folder = Path(os.environ["OASIS_DIR"]) / "keras_png_slices_data" / "keras_png_slices_test"
    paths = sorted(folder.glob("*.png"))
    positions = np.array([int(re.search(r"slice_(\d+)", path.name)[1]) for path in paths])
    return reading.read_any(paths, data.size, data.channels)[0], positions, np.repeat("", len(paths))


@pytest.mark.parametrize("name", REPORTS)
def test_published_models_give_the_published_figures(name):
    recipe, document = _recipe(name)
    if REPOSITORY / "reports" / name / "metrics.json" not in published():
        pytest.skip("this report was built anew here")
    if recipe.data.layout != "cohort" and "OASIS_DIR" not in os.environ:
        pytest.skip("OASIS_DIR does not name the real slices")
    images, positions, labels = _test_slices(recipe.data)
    assert len(images) == document["data"]["test"]["images"]
    model = saved.load(REPOSITORY / "reports" / name / "models" / "vqvae.keras", "VQ-VAE")
    codes = model.encode(images)
    scores = scoring.scores(images, model.decode(codes))
    for score, values in scores.items():
        assert np.nanmean(values) == pytest.approx(document["vqvae"][score]["mean"], abs=1e-3), score
    if "prior" not in document:
        return
    prior = saved.load(REPOSITORY / "reports" / name / "models" / "prior.keras", "prior")
    index = {label: number for number, label in enumerate(prior.labels)}
    condition = np.stack([[index.get(label, -1) for label in labels], positions], axis=1).astype(np.int32)
    condition[:, np.array([len(prior.labels), prior.slices]) == 0] = -1
    bits = code_lengths(prior, codes, condition).mean() + prior.condition_bits / codes[0].size
    assert bits == pytest.approx(document["prior"]["bits_per_code"]["test"], abs=1e-3)
