"""One trained float32 model gives one and the same on every backend."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from conftest import REPOSITORY

BACKENDS = dict(entry.split("=", 1) for entry in os.environ.get("VQ_BACKENDS", "").split())
DEMO = REPOSITORY / "reports" / "demo" / "models" / "vqvae.keras"
USE = """
import sys
import numpy as np
from vq_lib.models import sampling, saved
from vq_lib.models.build import KINDS

folder, demo, target = sys.argv[1:]
images, codes = (np.load(f"{folder}/{name}.npy", allow_pickle=False) for name in ("images", "codes"))
model, found = saved.load(demo), {}
found["codes"] = model.encode(images)
found["images"], found["called"] = model.decode(found["codes"]), model.predict_on_batch(images)
for kind in KINDS:
    prior = saved.load(f"{folder}/{kind}.keras")
    found[f"logits {kind}"] = prior.predict_on_batch(codes)
    found[f"drawn {kind}"] = sampling.sample(prior, 3, seed=1)
np.savez(target, **found)
"""


@pytest.mark.skipif(not BACKENDS, reason="one environment has one backend (make test-backends has all)")
def test_one_model_on_all_backends(tmp_path):
    """The published demo VQ-VAE, on slices of the kind that it was trained on, and a prior of each kind."""
    from vq_lib.data import cohort
    from vq_lib.models.build import KINDS

    first, *others = BACKENDS
    assert len(others) == 2
    people = {"train": 1, "validation": 1, "test": 1}
    np.save(tmp_path / "images.npy", cohort.make(people, 4, 64, 5).images)
    np.save(tmp_path / "codes.npy", np.random.default_rng(2).integers(0, 16, (4, 6, 6)).astype(np.int32))
    for kind in KINDS:
        prior = KINDS[kind]((6, 6), 16, filters=8, blocks=1, head=1, kernel=5, embedding=4)
        rng = np.random.default_rng(0)
        prior.set_weights([rng.normal(0, 0.3, weight.shape).astype("float32") for weight in prior.get_weights()])
        prior.save(tmp_path / f"{kind}.keras")
    own, started = {**os.environ, "PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "2"}, {}
    for name, python in BACKENDS.items():
        command = [python, "-c", USE, tmp_path, DEMO, tmp_path / f"{name}.npz"]
        started[name] = subprocess.Popen(command, env={**own, "KERAS_BACKEND": name}, stderr=subprocess.PIPE, text=True)
    said = {name: process.communicate()[1] for name, process in started.items()}
    assert not any(process.returncode for process in started.values()), said
    found = {name: dict(np.load(tmp_path / f"{name}.npz", allow_pickle=False)) for name in BACKENDS}
    expected = found.pop(first)
    assert np.unique(expected["codes"]).size > 50
    for name, result in found.items():
        for what, values in expected.items():
            if what == "codes" or what.startswith("drawn"):
                np.testing.assert_array_equal(result[what], values, err_msg=f"{what} on {name} and {first}")
            else:
                np.testing.assert_allclose(result[what], values, atol=1e-4, err_msg=f"{what} on {name} and {first}")


@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="this is TensorFlow")
def test_no_other_backend_needs_tensorflow():
    """Everything but the TensorFlow Probability edge imports without TensorFlow, whether it is installed or not."""
    code = """
import sys
sys.modules["tensorflow"] = None
from vq_lib import cli, data, plots, scores
from vq_lib.models import build, sampling, saved
from vq_lib.report import commands, sweep
from vq_lib.training import callbacks, finished, resume
"""
    subprocess.run([sys.executable, "-c", code], check=True)
