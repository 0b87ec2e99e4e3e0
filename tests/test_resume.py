"""Training that is interrupted ends as one that is not; keys, budget, patience, checkpoints, locks, what is kept."""

import functools
import json
import re

import keras
import numpy as np
import pytest

from vq_lib import recipe
from vq_lib.errors import UserError
from vq_lib.files import lock
from vq_lib.models.vqvae import VQVAE
from vq_lib.training.batches import Batches
from vq_lib.training.callbacks import KMeansStart, RestartDeadCodes, Scores
from vq_lib.training.finished import history, read_arrays, summary_of
from vq_lib.training.optimizer import optimizer
from vq_lib.training.resume import Resume

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 1)).astype(np.uint8)
CODES = np.random.default_rng(0).integers(0, 5, (12, 3, 3)).astype(np.int32)
CROSS_ENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def settings(**options):
    return recipe.Prior(**{"batch": 4, "epochs": 4, "learning_rate": 0.01, **options})


class Stop(Exception):
    """Stands for a kill: nothing after it runs."""


class StopAt(keras.callbacks.Callback):
    """Stops at the given batches, (epoch, batch)."""

    def __init__(self, *at):
        super().__init__()
        self.at, self._epoch = at, 0

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self._epoch, batch) in self.at:
            raise Stop


def build(chosen, width=4):
    """A model of codes by Keras alone, with dropout, whose layers get other names each time."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((3, 3), dtype="int32")
    x = keras.layers.Flatten()(keras.layers.Embedding(5, 4)(inputs))
    x = keras.layers.Dropout(0.3)(keras.layers.Dense(width)(x))
    model = keras.Model(inputs, keras.layers.Reshape((3, 3, 5))(keras.layers.Dense(45)(x)))
    model.compile(optimizer(chosen, 3), CROSS_ENTROPY, jit_compile=False)  # compiling takes longer than the training
    return model


def train(folder, chosen=None, kill=(), model=None, callbacks=(), targets=CODES, **options):
    chosen = chosen or settings()
    model = model or build(chosen)
    batches = Batches(CODES, np.arange(9), 4, seed=2, targets=CODES)
    held_out = Batches(CODES, np.arange(9, 12), 4, targets=targets)
    resume = Resume(folder, batches, **{"minutes": chosen.minutes, "patience": chosen.patience, **options})
    model.fit(batches, validation_data=held_out, epochs=chosen.epochs, initial_epoch=resume.restore(model), verbose=0,
              callbacks=[StopAt(*kill), *callbacks, resume])  # fmt: skip
    return model, resume


def train_vqvae(folder, kill=()):
    keras.utils.set_random_seed(1)
    block = {"repeat": 1, "hidden": None, "kernel": 4, "stride": 2, "filters": 4}
    model = VQVAE((16, 16, 1), [{**block, "layer": "conv"}], [{**block, "layer": "transpose"}])
    model.compile(optimizer(settings(schedule="cosine"), 3), jit_compile=False)
    batches, held_out = Batches(IMAGES, np.arange(9), 4, seed=3), Batches(IMAGES, np.arange(9, 12), 4)
    resume = Resume(folder, batches)
    model.fit(batches, validation_data=held_out, epochs=4, initial_epoch=resume.restore(model), verbose=0,
              callbacks=[KMeansStart(batches), RestartDeadCodes(batches, threshold=0.5, every=2),
                         Scores(IMAGES, np.arange(9, 12)), StopAt(*kill), resume])  # fmt: skip
    return model, resume


def rows(resume):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in resume.state["history"]]


def equal(one, other):
    for a, b in zip(one[0].get_weights(), other[0].get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert rows(one[1]) == rows(other[1])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What `train` ends with where nothing stops it."""
    return train(tmp_path_factory.mktemp("undisturbed"))


def train_patiently(folder, kill=()):
    return train(folder, settings(patience=2), kill)


@pytest.mark.parametrize("train", [train_vqvae, train_patiently])
def test_a_killed_training_ends_as_an_undisturbed_one(train, tmp_path, capsys):
    """Dropout, restarts of codes, the schedule and early stopping included; killed three times, within epochs."""
    undisturbed = train(tmp_path / "a")
    for at in ((0, 2), (1, 1), (2, 0)):
        with pytest.raises(Stop):
            train(tmp_path / "b", [at])
    resumed = train(tmp_path / "b")
    equal(undisturbed, resumed)
    assert "continuing after epoch 2" in capsys.readouterr().out
    for folder in "ab":
        assert len(history(tmp_path / folder / "checkpoint")) == len(resumed[1].state["history"])


def test_a_cell_that_was_stopped_can_be_run_again_with_the_model_as_it_lies_there(undisturbed, tmp_path):
    for at in ((0, 2), (1, 1)):  # before and after the first checkpoint
        model = build(settings())
        with pytest.raises(Stop):
            train(tmp_path / f"b{at[0]}", kill=[at], model=model)
        equal(undisturbed, train(tmp_path / f"b{at[0]}", model=model))


def test_a_finished_training_is_not_repeated(tmp_path, capsys):
    first = train(tmp_path)
    again = train(tmp_path, kill=[(epoch, 0) for epoch in range(4)])
    equal(first, again)
    assert "already trained: 4 of 4 epochs" in capsys.readouterr().out


def loss_with(weight):
    def loss(codes, logits):
        return weight * CROSS_ENTROPY(codes, logits)

    return loss


class Scaled(keras.layers.Layer):
    """Stands for a class of a notebook, in which one number is changed."""

    factor = 2.0

    def call(self, inputs):
        return self.factor * inputs


def scaled(factor):
    """The same class with another number in it."""
    return type("Scaled", (Scaled,), {"factor": factor, "__module__": __name__})


@pytest.mark.parametrize("change", [
    "model", "rate", "seed", "loss", "loss's closure", "class", "batch", "data", "augmentation", "recipe", "callback",
])  # fmt: skip
def test_whatever_changes_in_a_cell_changes_the_key(change, tmp_path):
    def key(changed):
        keras.backend.clear_session()
        pick = lambda name, before, after: after if changed and change == name else before  # noqa: E731
        model = build(settings(learning_rate=pick("rate", 0.01, 0.02)), pick("model", 4, 6))
        if change == "class":
            model = keras.Sequential([model, scaled(pick("class", 2.0, 3.0))()])
        weight = pick("loss's closure", 1.0, 2.0)
        loss = loss_with(weight) if "closure" in change else pick("loss", CROSS_ENTROPY, loss_with(1.0))
        model.compile(optimizer(settings(learning_rate=pick("rate", 0.01, 0.02)), 3), loss)
        keras.utils.set_random_seed(pick("seed", 1, 7))
        codes = CODES + pick("data", 0, 1)
        batches = Batches(codes, np.arange(9), pick("batch", 4, 3), 2, CODES, lambda x, _: x + 0 * weight)
        batches.change = functools.partial(batches.change, more=pick("augmentation", 1, 2))
        early = keras.callbacks.EarlyStopping("loss", patience=pick("callback", 8, 9))
        resume = Resume(tmp_path, batches, recipe=pick("recipe", "a", "b"), inputs=[early])
        assert resume.restore(model) == 0
        return resume.key

    assert key(False) == key(False) != key(True)


def test_what_is_going_to_be_replaced_is_said(tmp_path, capsys):
    with pytest.raises(Stop):
        train(tmp_path, kill=[(2, 0)])
    model, resume = train(tmp_path, settings(learning_rate=0.02, epochs=2))
    said = rf"{tmp_path} holds another model of 2 epochs, of 20..-..-.. ..:.. UTC: it is replaced after"
    assert re.search(f"{said} its first epoch", capsys.readouterr().out)
    resume.finish(model)
    with pytest.raises(Stop):
        train(tmp_path, kill=[(0, 0)])
    assert re.search(f"{said} this training is finished", capsys.readouterr().out)


def test_names_that_keras_numbers_make_no_other_model(tmp_path, capsys):
    train(tmp_path)
    again = build(settings())
    train(tmp_path, kill=[(0, 0)], model=again)
    assert "already trained: 4 of 4" in capsys.readouterr().out and again.layers[1].name != "embedding"


@pytest.mark.parametrize("harm", ["truncate", "delete"])
def test_a_broken_checkpoint_is_not_taken_for_whole(harm, undisturbed, tmp_path):
    with pytest.raises(Stop):
        train(tmp_path / "b", kill=[(2, 0)])
    path = tmp_path / "b" / "checkpoint" / "variables.npz"
    path.write_bytes(path.read_bytes()[:100]) if harm == "truncate" else path.unlink()
    equal(undisturbed, train(tmp_path / "b"))


def test_the_best_weights_are_kept_and_patience_ends_the_training(tmp_path):
    model, resume = train(tmp_path, settings(epochs=60, patience=3, learning_rate=0.3))
    losses = [row["val_loss"] for row in resume.state["history"]]
    assert len(losses) < 60 and resume.state["stopped"] == "no better val_loss for 3 epochs"
    assert np.argmin(losses) == len(losses) - 4
    assert float(CROSS_ENTROPY(CODES[9:], model(CODES[9:]))) == pytest.approx(min(losses), rel=1e-4)
    model, again = train(tmp_path, settings(epochs=60, patience=3, learning_rate=0.3), kill=[(0, 0)])
    assert rows(again) == rows(resume)
    assert float(CROSS_ENTROPY(CODES[9:], model(CODES[9:]))) == pytest.approx(min(losses), rel=1e-4)


def test_a_budget_ends_the_training_after_a_whole_epoch_and_a_larger_one_goes_on(undisturbed, tmp_path):
    _, resume = train(tmp_path / "a", settings(minutes=1e-6))
    assert len(rows(resume)) == 1 and "budget of 1e-06 minutes" in resume.state["stopped"]
    assert json.loads((tmp_path / "a" / "checkpoint" / "state.json").read_text())["planned"] == 4
    equal(undisturbed, train(tmp_path / "a", settings(minutes=5)))


def test_more_epochs_go_on_and_fewer_are_refused(undisturbed, tmp_path):
    train(tmp_path / "a", settings(epochs=2))
    equal(undisturbed, train(tmp_path / "a"))
    with pytest.raises(UserError, match="after 4 of 4 epochs, and `fit` asks for 2: set epochs=4"):
        train(tmp_path / "a", settings(epochs=2))


def test_less_patience_than_a_training_had_starts_it_anew(tmp_path):
    chosen = dict(epochs=12, learning_rate=0.3)
    losses = [row["val_loss"] for row in rows(train(tmp_path, settings(**chosen))[1])]
    _, resume = train(tmp_path, settings(**chosen, patience=1))
    first = next(i for i in range(1, 12) if losses[i] >= min(losses[:i]))
    assert [row["val_loss"] for row in rows(resume)] == losses[: first + 1]


def test_a_callback_that_stops_early_has_stopped_for_good(tmp_path):
    early = keras.callbacks.EarlyStopping("loss", min_delta=10.0)
    _, resume = train(tmp_path, callbacks=[early])
    assert len(rows(resume)) < 4 and resume.state["stopped"] == "by a callback"
    equal(train(tmp_path, kill=[(1, 0)]), train(tmp_path, kill=[(1, 0)]))


class NotANumber(keras.callbacks.Callback):
    """Puts NaN into the weights, as a learning rate that is too high does."""

    def __init__(self, epoch, where):
        super().__init__()
        self.epoch, self.where = epoch, where

    def on_epoch_begin(self, epoch, logs=None):
        if (epoch, self.where) == (self.epoch, "loss"):
            self.model.weights[0].assign(np.nan * self.model.weights[0])

    def on_test_begin(self, logs=None):
        if self.where == "val_loss" and self.epoch == 0 or self.params.get("seen", 0) == self.epoch:
            self.model.weights[0].assign(np.nan * self.model.weights[0])
        self.params["seen"] = self.params.get("seen", 0) + 1


@pytest.mark.parametrize(("where", "epoch"), [("loss", 0), ("loss", 3), ("val_loss", 0), ("val_loss", 1)])
def test_what_is_not_a_number_stops_at_its_epoch_and_the_best_before_it_is_kept(where, epoch, undisturbed, tmp_path):
    model = build(settings())
    with pytest.raises(UserError, match=rf"{where} became nan in epoch {epoch + 1}: lower learning_rate"):
        train(tmp_path / "a", model=model, callbacks=[NotANumber(epoch, where)])
    assert (tmp_path / "a" / "checkpoint").exists() == bool(epoch)
    with lock(tmp_path / "a" / ".lock", "still held"):  # given back
        pass
    if epoch:
        before, _ = train(tmp_path / "b", settings(epochs=epoch))
        for a, b in zip(before.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
    else:
        equal(undisturbed, train(tmp_path / "a"))  # nothing of it remains


def test_the_rate_of_each_epoch_is_in_the_history(tmp_path):
    _, resume = train_vqvae(tmp_path)
    rates = [row["learning_rate"] for row in rows(resume)]
    assert rates == pytest.approx([0.01 * (1 + np.cos(np.pi * n / 4)) / 2 for n in (1, 2, 3, 4)], abs=1e-8)
    assert {"val_loss", "val_ssim", "val_ssim_foreground", "val_perplexity", "val_usage"} <= rows(resume)[0].keys()


def test_one_process_trains_and_another_is_told(tmp_path):
    with lock(tmp_path / ".lock", "busy"), pytest.raises(UserError, match="is being trained by another process: wait"):
        train(tmp_path)


def test_what_is_finished_is_kept_whole_and_read_again(tmp_path, capsys):
    model, resume = train(tmp_path, commit="abc", recipe="recipe")
    finished, arrays = resume.finish(model, sums=lambda m: np.asarray(m(CODES)).sum(-1), more=lambda m: {"a": CODES})
    with lock(tmp_path / ".lock", "still held"):
        pass
    summary = summary_of(tmp_path)
    assert summary["epochs"] == {"done": 4, "planned": 4} and summary["made"]["commit"] == "abc"
    assert summary["made"]["device"].startswith("CPU, ")
    assert (summary["recipe"], summary["precision"], summary["stopped"]) == ("recipe", "float32", "")
    assert summary["parameters"] == model.count_params() and len(history(tmp_path)) == 4
    model, resume = train(tmp_path, commit="abc", recipe="recipe")
    again, same = resume.finish(model, sums=lambda m: 1 / 0, more=lambda m: 1 / 0)
    np.testing.assert_array_equal(arrays["sums"], same["sums"])
    np.testing.assert_array_equal(same["more"]["a"], CODES)
    for a, b in zip(finished.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    (tmp_path / "sums.npz").write_bytes(b"broken")
    model, resume = train(tmp_path, commit="abc", recipe="recipe")
    resume.finish(model, sums=lambda m: np.asarray(m(CODES)).sum(-1))
    np.testing.assert_array_equal(read_arrays(tmp_path, "sums", summary["key"]), arrays["sums"])


def test_the_lock_is_held_until_the_last_file_is_written(tmp_path):
    model, resume = train(tmp_path)

    def busy(_):
        with pytest.raises(UserError, match="still held"), lock(tmp_path / ".lock", "still held"):
            pass
        return CODES

    resume.finish(model, sums=busy)
    assert (tmp_path / "summary.json").exists() and (tmp_path / "sums.npz").exists()


def test_a_finished_model_stays_until_the_new_one_is_finished(tmp_path):
    model, resume = train(tmp_path)
    resume.finish(model)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.*") if path.is_file() and path.stat().st_size}
    with pytest.raises(Stop):
        train(tmp_path, settings(learning_rate=0.02), kill=[(2, 0)])
    assert {name: (tmp_path / name).read_bytes() for name in before} == before and "model.keras" in before
    model, resume = train(tmp_path)  # its checkpoint is lost, and it is trained as before
    finished, _ = resume.finish(model)
    assert rows(resume) == [
        {k: v for k, v in row.items() if k != "seconds"} for row in history(tmp_path).to_dict("records")
    ]


def test_a_summary_never_vouches_for_another_model(tmp_path):
    """Broken off when the new model is in place and its arrays are not."""
    model, resume = train(tmp_path)
    resume.finish(model)
    model, resume = train(tmp_path, settings(learning_rate=0.02))
    with pytest.raises(Stop):
        resume.finish(model, sums=lambda m: (_ for _ in ()).throw(Stop))
    assert summary_of(tmp_path) is None
    with lock(tmp_path / ".lock", "still held"):
        pass
