"""Colour pictures of a folder through the whole of the VQ-VAE's stages: three channels in, three out."""

import json

import numpy as np
import pytest
from conftest import vq_lib
from PIL import Image

from vq_lib import data as datasets
from vq_lib.data import reading
from vq_lib.plots import data as plots
from vq_lib.report import evaluation
from vq_lib.report.card import card
from vq_lib.scores import baselines
from vq_lib.study import Study
from vq_lib.training import stages

RECIPE = """\
title: Colour
data: {size: 32, channels: 3, augment: {shift: 0.05, rotation: 5, flip: true, intensity: 0.1}}
vqvae:
  encoder: [{layer: conv, filters: 8, kernel: 4, stride: 4}]
  decoder: [{layer: transpose, filters: 8, kernel: 4, stride: 4}]
  codes: 16
  code_dim: 4
  batch: 4
  epochs: 1
prior: {filters: 8, blocks: 1, head: 1, kernel: 3, batch: 4, epochs: 1}
"""


def test_colour_through_training_scores_and_commands(tmp_path):
    rng = np.random.default_rng(0)
    for k in range(24):
        small = rng.integers(0, 256, (6, 5 + k % 3, 3)).astype(np.uint8)
        folder = tmp_path / "data" / ("test" if k > 17 else "train") / ("warm" if k % 2 else "cold")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(small).resize((40, 48), Image.Resampling.NEAREST).save(folder / f"{k}.{('png', 'webp')[k % 2]}")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    study = Study(str(tmp_path), str(tmp_path / "data"))
    slices = datasets.load(study)
    assert slices.images.shape == (24, 32, 32, 3)
    first = reading.read(tmp_path / "data" / slices.source[0], 32, channels=3)
    np.testing.assert_array_equal(slices.images[0], first)
    assert not np.array_equal(first[..., 0], first[..., 1])
    model, codes, summary = stages.train_vqvae(study, slices)
    assert model.decode(codes[:2]).shape == (2, 32, 32, 3)
    report, outputs, _ = evaluation.vqvae_metrics(study, slices, model, codes, summary)
    assert 0 < report["ssim"]["mean"] < 1 and outputs.shape[-1] == 3
    assert set(baselines.kept(study, slices)) == {"zeros", "mean_image", "position_mean", "nearest_training"}
    assert baselines.kept(study, slices) == baselines.predictions(slices)
    prior, found = next(iter(stages.train_priors(study, slices).values()))
    bits = evaluation.prior_metrics(found, report["bits_per_pixel"], model.quantizer.codes)["bits_per_pixel"]
    likelihood = evaluation.likelihood_metrics(study, slices, model, prior, codes, outputs)
    if likelihood is not None:  # a pixel is one, whatever its channels
        assert likelihood["codes"]["mean"] == pytest.approx(bits, rel=1e-6)
    document = evaluation.write_metrics(study, slices, report, {}, {}, summary["precision"])
    assert any("cannot vouch" in text for text in document["data"]["checks"]["warnings"])
    assert document["data"]["checks"]["layout"] == "image_folder"
    assert "32×32 colour slices" in card(study, document, "")
    for draw in (plots.by_position_and_class, plots.histograms, plots.mean_and_deviation):
        draw(slices).canvas.draw()
    model_file = study.vqvae / "model.keras"
    done = vq_lib("score", "--model", model_file, tmp_path / "data" / "test", "--json", tmp_path / "scores.json")
    assert done.returncode == 0, done.stderr
    assert abs(json.loads((tmp_path / "scores.json").read_text())["ssim"]["mean"] - report["ssim"]["mean"]) < 1e-5
    plain = Study(str(tmp_path), str(tmp_path / "data"), "data.augment=null")
    assert stages.vqvae_key(plain, slices) != stages.vqvae_key(study, slices)  # it must be trained anew
