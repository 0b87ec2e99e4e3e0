"""The learning rate's schedule, and the precision that a device gets."""

import sys
import types

import keras
import numpy as np
import pytest

from vq_lib import recipe
from vq_lib.training.device import device, repeatable
from vq_lib.training.optimizer import optimizer, policy


def rates(settings, batches, steps):
    schedule = optimizer(settings, batches)._learning_rate
    return [float(keras.ops.convert_to_numpy(schedule(step))) for step in steps]


def test_cosine_schedule_by_hand():
    chosen, steps = recipe.Prior(schedule="cosine", epochs=5, learning_rate=0.01), (0, 10, 25, 50)
    expected = [0.01 * (1 + np.cos(np.pi * step / 50)) / 2 for step in steps]
    assert rates(chosen, 10, steps) == pytest.approx(expected, abs=1e-8)


def test_a_warm_up_takes_half_of_a_short_training_at_most():
    few = recipe.Prior(epochs=7, schedule="cosine", warmup=300, learning_rate=0.003)
    short = rates(few, 6, range(43))
    assert np.argmax(short) == 21 and short[21] == pytest.approx(0.003) and short[42] == pytest.approx(0, abs=1e-9)
    assert rates(few, 1000, (150, 300)) == pytest.approx([0.0015, 0.003])


def test_clipping_and_a_constant_rate():
    made = optimizer(recipe.Prior(learning_rate=0.02, clip=0.5), 10)
    assert made.global_clipnorm == 0.5 and float(made.learning_rate) == pytest.approx(0.02)


def gpu(**options):
    return types.SimpleNamespace(platform="gpu", device_kind="a GPU", **options)


CUDA = types.SimpleNamespace(is_available=lambda: True, get_device_capability=lambda: (8, 6),
                             get_device_name=lambda: "a GPU")  # fmt: skip
NO_CUDA = types.SimpleNamespace(is_available=lambda: False)
MPS, NO_MPS = (types.SimpleNamespace(mps=types.SimpleNamespace(is_available=lambda one=one: one)) for one in (1, 0))


@pytest.mark.parametrize(("backend", "module", "name", "faster"), [
    ("jax", {"devices": lambda: [gpu(compute_capability="9.0")]}, "a GPU", True),
    ("jax", {"devices": lambda: [gpu(compute_capability="7.5")]}, "a GPU", False),
    ("jax", {"devices": lambda: [gpu(compute_capability="gfx90a")]}, "a GPU", False),
    ("jax", {"devices": lambda: [types.SimpleNamespace(platform="cpu")]}, "CPU", False),
    ("torch", {"cuda": NO_CUDA, "backends": NO_MPS}, "CPU", False),
    ("torch", {"cuda": NO_CUDA, "backends": MPS}, "Apple GPU (mps)", False),
    ("torch", {"cuda": CUDA}, "a GPU", True),
])  # fmt: skip
def test_a_recent_gpu_computes_in_bfloat16_on_every_backend(backend, module, name, faster, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    monkeypatch.setitem(sys.modules, backend, types.SimpleNamespace(**module))
    assert policy("auto") == ("mixed_bfloat16" if faster else "float32")
    assert device().startswith(name) and repeatable() == (name == "CPU")


def test_what_a_recipe_asks_for_is_taken():
    assert (policy("float32"), policy("bfloat16")) == ("float32", "mixed_bfloat16")
