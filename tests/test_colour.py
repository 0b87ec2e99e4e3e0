"""Colour pictures of a folder: three channels in, three out, in slices, model, scores and commands."""

import json

import keras
import numpy as np
import pytest
from PIL import Image

from vq_lib import data as datasets
from vq_lib.data import reading
from vq_lib.data.augment import augment
from vq_lib.models.build import prior_from, vqvae_from
from vq_lib.scores.images import scores
from vq_lib.study import Study
from vq_lib.training.batches import Batches

RECIPE = """\
title: Colour
data: {size: 32, channels: 3, augment: {shift: 0.05, rotation: 5, flip: true, intensity: 0.1}}
vqvae:
  encoder: [{layer: conv, filters: 8, kernel: 4, stride: 4}]
  decoder: [{layer: transpose, filters: 8, kernel: 4, stride: 4}]
  codes: 16
  code_dim: 4
prior: {filters: 8, blocks: 1, head: 1, kernel: 3}
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("colour"), np.random.default_rng(0)
    for k in range(24):
        small = rng.integers(0, 256, (6, 5 + k % 3, 3)).astype(np.uint8)
        place = folder / "data" / ("test" if k > 17 else "train") / ("warm" if k % 2 else "cold")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(small).resize((40, 48), Image.Resampling.NEAREST).save(place / f"{k}.{('png', 'webp')[k % 2]}")
    (folder / "recipe.yaml").write_text(RECIPE)
    return Study(str(folder), str(folder / "data"))


def test_slices_keep_their_colour(study):
    slices = datasets.load(study)
    assert slices.image_shape == (32, 32, 3) and len(slices) == 24
    first = reading.read(study.data_folder / slices.source[0], 32, channels=3)
    np.testing.assert_array_equal(slices.images[0], first)
    assert not np.array_equal(first[..., 0], first[..., 1])
    assert set(slices.label) == {"warm", "cold"} and slices.counts()["test"]["images"] == 6
    summary = datasets.summary(study)
    assert summary["layout"] == "image_folder" and any("cannot vouch" in text for text in summary["warnings"])
    assert "colour read as grey" not in summary


def test_colour_through_model_scores_prior_and_command(study, tmp_path, command):
    slices, recipe = datasets.load(study), study.recipe
    train, test = slices.where("train"), slices.where("test")
    keras.utils.set_random_seed(0)
    model = vqvae_from(recipe.vqvae, slices.image_shape, variance=0.08)
    model.compile(keras.optimizers.Adam(1e-3))
    batches = Batches(slices.images, train, 4, seed=0, change=lambda x, rng: augment(x, rng, shift=0.05, flip=True))
    model.fit(batches, epochs=1, verbose=0)
    codes = model.encode(slices.images)
    outputs = model.decode(codes[test])
    assert codes.shape == (24, 8, 8) and outputs.shape == (6, 32, 32, 3)
    found = scores(slices.images[test], outputs)
    assert 0 < found["ssim"].mean() < 1
    prior = prior_from(recipe.prior.models()["pixelcnn"], model.grid, model.quantizer.num_embeddings)
    assert prior(codes[:2]).shape == (2, 8, 8, 16)
    model.save(tmp_path / "model.keras")
    done = command("score", "--model", tmp_path / "model.keras", study.data_folder / "test",
                   "--json", tmp_path / "scores.json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "scores.json").read_text())
    assert abs(told["ssim"]["mean"] - found["ssim"].mean()) < 1e-5
