"""`devices:` in a recipe: two devices train what one trains, and the other backends say what to type."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from conftest import TINY

from vq_lib import environment, recipe
from vq_lib.errors import UserError
from vq_lib.report import pipeline
from vq_lib.training import training

TRAIN = """
import sys
import numpy as np
import keras
from vq_lib import recipe
from vq_lib.training import training
from vq_lib.training.codebook import CodebookKeeper, Watch
from vq_lib.models.pixelcnn import PixelCNN
from vq_lib.models.vqvae import VQVAE
import pathlib

folder, devices = pathlib.Path(sys.argv[1]), int(sys.argv[2])
images = np.random.default_rng(0).integers(0, 256, (30, 16, 16, 1)).astype(np.uint8)
codes = np.random.default_rng(1).integers(0, 5, (30, 4, 4)).astype(np.int32)
rows, held_out = np.arange(20), np.arange(20, 30)
settings = recipe.Prior(batch=8, epochs=3, schedule="cosine", warmup=2, learning_rate=0.003)
block = {"filters": 4, "kernel": 4, "stride": 2, "repeat": 1, "hidden": None}
found = {}
with training.across(devices):
    keras.utils.set_random_seed(1)
    model = VQVAE((16, 16, 1), [{**block, "layer": "conv"}], [{**block, "layer": "transpose"}], codes=6, code_dim=2)
    model.compile(training.optimizer(settings, 3))
    state = training.fit(
        model, settings, folder / "vqvae", "key", training.Batches(images, rows, 8, 2, devices=devices),
        training.Batches(images, held_out, 4, devices=devices),
        [CodebookKeeper(images, rows, 3, threshold=0.5, sample=15, every=2), Watch(images, held_out[:7])],
    )
    found |= {f"vqvae/{v.path}": np.asarray(v) for v in model.weights}
    found |= {f"vqvae/{k}": [row[k] for row in state["history"]] for k in ("loss", "val_loss", "val_ssim")}
    keras.utils.set_random_seed(1)
    prior = PixelCNN((4, 4), 5, filters=4, blocks=1, kernel=3)
    prior.compile(training.optimizer(settings, 3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    batches = [training.Batches(codes, r, 8, 2, targets=codes, devices=devices) for r in (rows, held_out)]
    state = training.fit(prior, settings, folder / "prior", "key", *batches)
    found |= {f"prior/{v.path}": np.asarray(v) for v in prior.weights}
    found |= {f"prior/{k}": [row[k] for row in state["history"]] for k in ("loss", "val_loss")}
np.savez(folder / "found.npz", **{name.replace("/", "|"): value for name, value in found.items()})
"""


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="several devices need JAX (make test-backends has it)")
def test_two_devices_train_what_one_does(tmp_path):
    """Losses, weights, running statistics and restarted codes, at one global batch; 20 rows leave a batch of 4."""
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    results = []
    for devices in (1, 2):
        folder = tmp_path / str(devices)
        folder.mkdir()
        command = [sys.executable, "-c", TRAIN, str(folder), str(devices)]
        subprocess.run(command, check=True, env=environment)
        results.append(dict(np.load(folder / "found.npz", allow_pickle=False)))
    one, two = results
    assert one.keys() == two.keys() and len(one) > 10
    for name in one:
        np.testing.assert_allclose(two[name], one[name], rtol=1e-3, atol=1e-4, err_msg=name)


def test_more_devices_than_there_are_is_one_sentence():
    with pytest.raises(UserError) as caught:
        training.across(64)
    wanted = "set devices=" if keras.backend.backend() == "jax" else "type KERAS_BACKEND=jax"
    assert wanted in str(caught.value) and "devices: 64" in str(caught.value)


@pytest.mark.parametrize("asked", ["torch", "tensorflow"])
def test_devices_that_no_backend_shares_stop_before_anything_is_built(tmp_path, monkeypatch, asked):
    (tmp_path / "recipe.yaml").write_text(TINY, encoding="utf-8")
    monkeypatch.setenv("KERAS_BACKEND", asked)
    with pytest.raises(UserError, match=f"needs JAX and this is {asked}: type KERAS_BACKEND=jax"):
        pipeline.build(tmp_path, overrides="devices=2")
    assert not (tmp_path / "run").exists()


def test_the_backend_is_named_without_keras(tmp_path, monkeypatch):
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert environment.backend() == "tensorflow"
    (tmp_path / "keras.json").write_text('{"backend": "jax"}')
    assert environment.backend() == "jax"
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    assert environment.backend() == "torch"


def test_a_batch_that_cannot_be_shared_stops_the_recipe(tmp_path):
    (tmp_path / "recipe.yaml").write_text(TINY, encoding="utf-8")
    with pytest.raises(UserError, match=r"the batch of vqvae \(=4\) must be divisible by devices \(=3\)"):
        recipe.load(tmp_path / "recipe.yaml", "devices=3")
    one, two = (recipe.load(tmp_path / "recipe.yaml", change) for change in ("", "devices=2"))
    assert one.chosen("vqvae") == two.chosen("vqvae")  # a model need not be trained again for it


def test_the_last_batch_is_cut_to_what_can_be_shared():
    batches = training.Batches(np.arange(11), np.arange(11), 4, seed=1, devices=2)
    assert [len(batches[i][0]) for i in range(len(batches))] == [4, 4, 2]
    assert len(training.Batches(np.arange(9), np.arange(9), 8, devices=2)) == 1
