"""Training that is interrupted ends as one that is not; budget, patience, checkpoints and locks."""

import json
import sys
import types

import keras
import numpy as np
import pytest

from vq_lib import recipe
from vq_lib.models.pixelcnn import PixelCNN
from vq_lib.models.vqvae import VQVAE
from vq_lib.training import training
from vq_lib.training.codebook import CodebookKeeper

BLOCK = {"repeat": 1, "hidden": None, "kernel": 4, "stride": 2, "filters": 4}


def settings(**options):
    return recipe.Prior(**{"batch": 4, "epochs": 4, "learning_rate": 0.01, **options})


class Stop(Exception):
    """Stands for a kill: nothing after it runs."""


class KillAt(keras.callbacks.Callback):
    def __init__(self, epoch, batch):
        super().__init__()
        self.at, self.epoch = (epoch, batch), 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == self.at:
            raise Stop


def train_prior(folder, chosen, kill=(), key="key"):
    keras.utils.set_random_seed(1)
    model = PixelCNN((3, 3), 5, filters=4, blocks=1, kernel=3, dropout=0.3)
    model.compile(training.optimizer(chosen, 3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    codes = np.random.default_rng(0).integers(0, 5, (12, 3, 3)).astype(np.int32)
    batches = training.Batches(codes, np.arange(9), 4, seed=2, targets=codes)
    held_out = training.Batches(codes, np.arange(9, 12), 4, targets=codes)
    return model, training.fit(model, chosen, folder, key, batches, held_out, [KillAt(*at) for at in kill])


def train_vqvae(folder, kill=()):
    keras.utils.set_random_seed(1)
    model = VQVAE((8, 8, 1), [{**BLOCK, "layer": "conv"}], [{**BLOCK, "layer": "transpose"}], codes=6, code_dim=2)
    chosen = settings(schedule="cosine")
    model.compile(training.optimizer(chosen, 3))
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 1)).astype(np.uint8)
    batches, held_out = training.Batches(images, np.arange(9), 4, seed=2), training.Batches(images, np.arange(9, 12), 4)
    callbacks = [CodebookKeeper(images, np.arange(9), 3, threshold=0.5, every=2), *(KillAt(*at) for at in kill)]
    return model, training.fit(model, chosen, folder, "key", batches, held_out, callbacks)


def equal(one, other):
    for a, b in zip(one[0].get_weights(), other[0].get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    values = [
        [{k: v for k, v in row.items() if k != "seconds"} for row in state["history"]] for _, state in (one, other)
    ]
    assert values[0] == values[1]


@pytest.mark.parametrize(
    "train", [train_vqvae, lambda folder, kill=(): train_prior(folder, settings(patience=2), kill)]
)
def test_a_killed_training_ends_as_an_undisturbed_one(train, tmp_path):
    """Dropout, restarts of codes, the schedule and early stopping included; killed twice, in the middle of epochs."""
    undisturbed = train(tmp_path / "a")
    for at in ((1, 1), (2, 0)):
        with pytest.raises(Stop):
            train(tmp_path / "b", [at])
    resumed = train(tmp_path / "b")
    equal(undisturbed, resumed)
    rows = [(tmp_path / name / "checkpoint" / "history.csv").read_text().splitlines() for name in "ab"]
    assert len(rows[0]) == len(rows[1]) == len(resumed[1]["history"]) + 1


def test_a_finished_training_is_not_repeated(tmp_path):
    first = train_prior(tmp_path, settings())
    again = train_prior(tmp_path, settings(), kill=[(epoch, 0) for epoch in range(4)])
    equal(first, again)


def test_another_key_starts_anew(tmp_path):
    train_prior(tmp_path, settings(epochs=2))
    with pytest.raises(Stop):
        train_prior(tmp_path, settings(epochs=2), kill=[(0, 0)], key="changed")


def test_a_warm_up_takes_half_of_a_short_training_at_most():
    few = recipe.Prior(epochs=7, schedule="cosine", warmup=300, learning_rate=0.003)
    rates = [float(keras.ops.convert_to_numpy(training.optimizer(few, 6)._learning_rate(step))) for step in range(43)]
    assert np.argmax(rates) == 21 and rates[21] == pytest.approx(0.003) and rates[42] == pytest.approx(0, abs=1e-9)
    long = [
        float(keras.ops.convert_to_numpy(training.optimizer(few, 1000)._learning_rate(step))) for step in (150, 300)
    ]
    assert long == pytest.approx([0.0015, 0.003])


@pytest.mark.parametrize(("backend", "module", "faster"), [
    ("jax", {"devices": lambda: [types.SimpleNamespace(platform="gpu", compute_capability="9.0")]}, True),
    ("jax", {"devices": lambda: [types.SimpleNamespace(platform="gpu", compute_capability="7.5")]}, False),
    ("jax", {"devices": lambda: [types.SimpleNamespace(platform="gpu", compute_capability="gfx90a")]}, False),
    ("jax", {"devices": lambda: [types.SimpleNamespace(platform="cpu")]}, False),
    ("torch", {"cuda": types.SimpleNamespace(is_available=lambda: False)}, False),
    ("torch", {"cuda": types.SimpleNamespace(is_available=lambda: True, get_device_capability=lambda: (8, 6))}, True),
])  # fmt: skip
def test_a_recent_gpu_computes_in_bfloat16_on_every_backend(backend, module, faster, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    monkeypatch.setitem(sys.modules, backend, types.SimpleNamespace(**module))
    assert training.policy("auto") == ("mixed_bfloat16" if faster else "float32")


@pytest.mark.parametrize("harm", ["truncate", "delete"])
def test_a_broken_checkpoint_is_not_taken_for_whole(harm, tmp_path):
    undisturbed = train_prior(tmp_path / "a", settings())
    with pytest.raises(Stop):
        train_prior(tmp_path / "b", settings(), kill=[(2, 0)])
    path = tmp_path / "b" / "checkpoint" / "variables.npz"
    path.write_bytes(path.read_bytes()[:100]) if harm == "truncate" else path.unlink()
    equal(undisturbed, train_prior(tmp_path / "b", settings()))


def test_the_best_weights_are_kept_and_patience_ends_the_training(tmp_path):
    chosen = settings(epochs=60, patience=3, learning_rate=0.3)
    model, state = train_prior(tmp_path, chosen)
    losses = [row["val_loss"] for row in state["history"]]
    assert len(losses) < 60 and "no better val_loss for 3 epochs" in state["stopped"]
    assert np.argmin(losses) == len(losses) - 4
    codes = np.random.default_rng(0).integers(0, 5, (12, 3, 3)).astype(np.int32)[9:]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(codes, model(codes))
    assert float(loss) == pytest.approx(min(losses), rel=1e-4)


def test_a_budget_ends_the_training_after_a_whole_epoch(tmp_path):
    _, state = train_prior(tmp_path, settings(epochs=50, minutes=1e-6))
    assert state["epoch"] == 1 and "budget of 1e-06 minutes" in state["stopped"]
    assert json.loads((tmp_path / "checkpoint" / "state.json").read_text())["epoch"] == 1


def test_batches_visit_every_row_once_in_an_order_that_seed_and_epoch_decide():
    inputs = np.arange(40).reshape(20, 2)
    orders = []
    for epoch in (0, 1, 0):
        batches = training.Batches(inputs, np.arange(3, 17), 4, seed=5)
        batches.start(epoch)
        rows = np.concatenate([batches[i][0][:, 0] // 2 for i in range(len(batches))])
        assert sorted(rows) == list(range(3, 17))
        orders.append(rows.tolist())
    assert orders[0] == orders[2] != orders[1]


def test_a_training_sees_each_batch_once_and_in_order():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(14, 2)).astype(np.float32), rng.normal(size=(14, 1)).astype(np.float32)
    seen, unseen = (
        training.Batches(x, rows, 4, seed, targets=y) for rows, seed in ((np.arange(11), 5), ([11, 12], None))
    )
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")])
    model.compile(keras.optimizers.SGD(0.1), "mean_squared_error")
    model.fit(seen, validation_data=unseen, epochs=3, verbose=0, shuffle=False)
    weights = np.ones((2, 1))
    for epoch in (1, 2, 3):  # Keras says `on_epoch_end` once before it begins
        seen.start(epoch)
        for a, b in (seen[index] for index in range(len(seen))):
            weights -= 0.1 * 2 * a.T @ (a @ weights - b) / len(a)
    np.testing.assert_allclose(model.get_weights()[0], weights, rtol=1e-5)


def test_cosine_schedule_by_hand():
    schedule = training.optimizer(settings(schedule="cosine", epochs=5), 10)._learning_rate
    for step in (0, 10, 25, 50):
        assert float(schedule(step)) == pytest.approx(0.01 * (1 + np.cos(np.pi * step / 50)) / 2, abs=1e-8)
