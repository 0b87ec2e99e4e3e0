"""`devices:` in a recipe: two devices train what one trains, and the other backends say what to type."""

import importlib.util
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from conftest import TINY

from vq_lib import environment, recipe
from vq_lib.errors import UserError
from vq_lib.report import build
from vq_lib.training.optimizer import use_devices

TRAIN = """
import sys
import numpy as np
import keras
from vq_lib import recipe
from vq_lib.layers.quantizer import EMAVectorQuantizer
from vq_lib.models.pixelcnn import PixelCNN
from vq_lib.models.vqvae import VQVAE
from vq_lib.training.batches import Batches
from vq_lib.training.callbacks import KMeansStart, RestartDeadCodes, Scores
from vq_lib.training.optimizer import optimizer, use_devices
from vq_lib.training.resume import Resume
import pathlib

folder, devices = pathlib.Path(sys.argv[1]), int(sys.argv[2])
images = np.random.default_rng(0).integers(0, 256, (30, 16, 16, 1)).astype(np.uint8)
codes = np.random.default_rng(1).integers(0, 5, (30, 4, 4)).astype(np.int32)
rows, held_out = np.arange(20), np.arange(20, 30)
settings = recipe.Prior(batch=8, epochs=3, schedule="cosine", warmup=2, learning_rate=0.003)
block = {"filters": 4, "kernel": 4, "stride": 2}
use_devices(devices)
keras.utils.set_random_seed(1)
model = VQVAE((16, 16, 1), [{**block, "layer": "conv"}], [{**block, "layer": "transpose"}], EMAVectorQuantizer(6, 2))
model.compile(optimizer(settings, 3))
prior = PixelCNN((4, 4), 5, filters=4, blocks=1, kernel=3)
prior.compile(optimizer(settings, 3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
batches = Batches(images, rows, 8, 2, devices=devices)
callbacks = [KMeansStart(batches, sample=15), RestartDeadCodes(batches, threshold=0.5, sample=15, every=2),
             Scores(images, held_out[:7])]
found = {}
for name, built, data, targets, some in (("vqvae", model, images, None, callbacks), ("prior", prior, codes, codes, [])):
    train, validation = (Batches(data, r, 8, 2, targets=targets, devices=devices) for r in (rows, held_out))
    resume = Resume(folder / name, train)
    built.fit(train, validation_data=validation, epochs=3, initial_epoch=resume.restore(built), verbose=0,
              shuffle=False, callbacks=[*some, resume])
    saved, _ = resume.finish(built)
    found |= {f"{name}/{v.path}": np.asarray(v) for v in saved.weights}
    found |= {f"{name}/{k}": [row[k] for row in resume.state["history"]] for k in ("loss", "val_loss")}
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


def test_one_device_shares_nothing():
    use_devices(1)
    assert keras.distribution.distribution() is None


def test_more_devices_than_there_are_is_one_sentence():
    with pytest.raises(UserError) as caught:
        use_devices(64)
    wanted = "set devices=" if keras.backend.backend() == "jax" else "type KERAS_BACKEND=jax"
    assert wanted in str(caught.value) and "devices: 64" in str(caught.value)


@pytest.mark.parametrize("asked", ["torch", "tensorflow"])
def test_devices_that_no_backend_shares_stop_before_anything_is_built(tmp_path, monkeypatch, asked):
    (tmp_path / "recipe.yaml").write_text(TINY, encoding="utf-8")
    monkeypatch.setenv("KERAS_BACKEND", asked)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)  # as where it is installed
    with pytest.raises(UserError, match=f"needs JAX and this is {asked}: type KERAS_BACKEND=jax"):
        build.build(tmp_path, overrides="devices=2")
    assert not (tmp_path / "run").exists()


def test_the_backend_is_named_without_keras(tmp_path, monkeypatch):
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
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
