"""Training that can be stopped at any moment: one checkpoint of everything, and the files of a finished training."""

import contextlib
import json
import math
import random
import time
import weakref
import zipfile
import zlib
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from keras.ops import convert_to_numpy
from keras.src.utils.rng_utils import get_random_seed

from vq_lib import files
from vq_lib.errors import UserError
from vq_lib.models.saved import as_float32, load
from vq_lib.training.device import device
from vq_lib.training.finished import read_arrays, summary_of, write_arrays
from vq_lib.training.identity import describe
from vq_lib.training.optimizer import use_devices

FORMAT = 2  # raised when a change of the code makes what an earlier version trained unusable
TIME = "%Y-%m-%d %H:%M UTC"

_held: dict[Path, contextlib.AbstractContextManager] = {}  # this process's locks, so that a cell can be run again
_fresh: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()  # {model: {folder: {id: (variable, first value)}}}


class Resume(keras.callbacks.Callback):
    """Makes one `fit` serve training, resuming after a kill and, where all epochs are done, loading.

        resume = Resume(study.vqvae, batches, minutes=settings.minutes, patience=settings.patience)
        vqvae.fit(batches, validation_data=held_out, epochs=settings.epochs, initial_epoch=resume.restore(vqvae),
                  callbacks=[Scores(slices.images, rows), resume])
        vqvae, arrays = resume.finish(vqvae, codes=lambda model: model.encode(slices.images))

    `folder/checkpoint/` is replaced as a whole after each epoch; killed and run again, the training ends with the
    weights and history of an undisturbed one. It belongs to a key: model, optimiser, loss, batches, the seed given to
    `keras.utils.set_random_seed`, `recipe` (`vqvae_identity` or `prior_identity`) and `inputs`, whatever else it
    depends on; functions and classes of a notebook count with their code. Under another key it begins anew, a line says
    what will be replaced, and a finished model stays until the new one is finished. More epochs, `minutes` or
    `patience` than before go on: it stops where the next epoch would end beyond `minutes`, or after `patience` epochs
    without a better validation loss. `fit` ends with the best weights on the validation people. The history has each
    epoch's logs, with those of callbacks before this one, its last `learning_rate`, and `seconds` since the start.
    """

    def __init__(self, folder, batches, minutes=None, patience=None, recipe=None, commit=None, inputs=()):
        super().__init__()
        self.folder, self.batches, self.minutes, self.patience = Path(folder).resolve(), batches, minutes, patience
        self.recipe, self.commit, self.inputs = recipe, commit, inputs
        self.checkpoint = self.folder / "checkpoint"

    def restore(self, model):
        """Put the last checkpoint of this very training into the compiled `model`; returns the epoch to begin with.

        The folder is locked until `finish`; `UserError` where another process trains there.
        """
        self._unlock()
        busy = f"{self.folder} is being trained by another process: wait for it, or stop it."
        _held[self.folder] = files.lock(self.folder / ".lock", busy)
        if self.batches.devices > 1:
            use_devices(self.batches.devices)
        if not model.built:
            model.predict_on_batch(self.batches[0][0])
        model.optimizer.build(model.trainable_variables)
        fresh = _fresh.setdefault(model, {}).setdefault(self.folder, {})
        for variable in _variables(model):
            fresh.setdefault(id(variable), (variable, convert_to_numpy(variable)))
        shapes = [list(weight.shape) for weight in model.weights]
        self.key = files.digest([FORMAT, self.batches.key, get_random_seed(), self.recipe, shapes,
                                 describe([model, model.optimizer, model.loss, self.inputs])])  # fmt: skip
        self.state: dict[str, Any] = {"key": self.key, "planned": 0, "stopped": "", "history": []}
        self.best: list[np.ndarray] = []
        files.put_back(self.checkpoint, alone=True)
        if not self._read(model):
            for variable in _variables(model):  # a cell that was stopped may have left them half trained
                variable.assign(fresh[id(variable)][1])
            self._announce()
        done = len(self.state["history"])
        self.batches.start(done)
        self._seed(done)
        return self.state["planned"] if self.state["stopped"] else done

    def _read(self, model):
        """Whether there is a whole checkpoint of this training; model, state and best weights are then its."""
        try:
            state = files.read_json(self.checkpoint / "state.json", "a training")
            rows = state["history"]
            if state["key"] != self.key or any(self._reason(rows[:count]) for count in range(1, len(rows))):
                return False  # another training, or one that went further than patience and budget now allow
            paths = (self.checkpoint / f"{name}.npz" for name in ("best", "variables"))
            best, variables = (list(files.read_arrays(path, "a training").values()) for path in paths)
            for variable, array in zip(_variables(model), variables, strict=True):
                variable.assign(array)
        except Exception:  # something in it is broken: then there is no checkpoint
            return False
        self.state, self.best = state, best
        if state["stopped"] != "by a callback":
            state["stopped"] = self._reason(rows)
        return True

    def _announce(self):
        """Say which model, or which unfinished training, is going to be replaced."""
        with contextlib.suppress(Exception):  # there is nothing, or nothing that can be read
            if summary := summary_of(self.folder):
                done, when, after = summary["epochs"]["done"], summary["made"]["date"], "this training is finished"
            else:
                state = files.read_json(self.checkpoint / "state.json", "a training")
                done, when, after = len(state["history"]), state["date"], "its first epoch"
            print(f"{self.folder} holds another model of {done} epochs, of {when}: it is replaced after {after}.")

    def _reason(self, rows):
        """Why a training with this history is over, by patience or budget; "" where it is not."""
        last = rows[-1]["seconds"] - (rows[-2]["seconds"] if len(rows) > 1 else 0)
        if self.patience and len(rows) - 1 - _best(rows) >= self.patience:
            return f"no better val_loss for {self.patience} epochs"
        if self.minutes and rows[-1]["seconds"] + last > 60 * self.minutes:
            return f"the budget of {self.minutes:g} minutes"
        return ""

    def on_train_begin(self, logs=None):
        done, epochs, planned = len(self.state["history"]), self.params["epochs"], self.state["planned"]
        why = f" ({self.state['stopped']})" if self.state["stopped"] else ""
        if done > epochs or why and epochs > planned:
            raise UserError(f"{self.folder} holds this training after {done} of {planned} epochs{why}, and `fit` asks "
                            f"for {epochs}: set epochs={planned}, or delete the folder.")  # fmt: skip
        self.state["planned"] = epochs
        if why or done == epochs:
            print(f"already trained: {done} of {epochs} epochs{why}")
        elif done:
            print(f"continuing after epoch {done}")

    def on_epoch_begin(self, epoch, logs=None):
        self._began = time.monotonic()
        self._seed(epoch)

    def on_epoch_end(self, epoch, logs=None):
        rows = self.state["history"]
        seconds = time.monotonic() - self._began + (rows[-1]["seconds"] if rows else 0)
        logs["learning_rate"] = float(convert_to_numpy(self.model.optimizer.learning_rate))
        row = {"epoch": epoch + 1, "seconds": round(seconds, 3), **{name: float(value) for name, value in logs.items()}}
        for name in ("loss", "val_loss"):
            if not math.isfinite(row.get(name, 0.0)):
                self._put_best()
                self._unlock()
                raise UserError(f"{name} became {row[name]} in epoch {epoch + 1}: lower learning_rate. The weights of "
                                "the best epoch before it, where there is one, are kept.")  # fmt: skip
        rows.append(row)
        if _best(rows) == epoch:
            self.best = [np.array(convert_to_numpy(weight)) for weight in self.model.weights]
        self.state["stopped"] = self._reason(rows)
        self.model.stop_training |= bool(self.state["stopped"])
        self._keep()

    def _keep(self):
        with files.whole_folder(self.checkpoint) as place:
            np.savez(place / "variables.npz", *map(convert_to_numpy, _variables(self.model)))
            np.savez(place / "best.npz", *self.best)
            pd.DataFrame(self.state["history"]).to_csv(place / "history.csv", index=False)
            state = {**self.state, "date": time.strftime(TIME, time.gmtime())}
            (place / "state.json").write_text(json.dumps(state), encoding="utf-8")

    def on_train_end(self, logs=None):
        if not self.state["stopped"] and len(self.state["history"]) < self.params["epochs"]:
            self.state["stopped"] = "by a callback"
            self._keep()
        self._put_best()

    def finish(self, model, **arrays):
        """Keep the trained `model` and arrays made with it, and give the lock and further devices back.

        `model.keras` (float32, without optimiser), an `.npz` for each of `arrays` (`name=make`, where `make(model)`
        gives an array or a dictionary of them), `history.csv` and, last of all, `summary.json`; what was finished
        before under this key is read instead. Returns the model as others will load it, and `{name: what make gave}`.
        """
        path, rows, summary = self.folder / "model.keras", self.state["history"], summary_of(self.folder) or {}
        epochs = {"done": len(rows), "planned": self.state["planned"]}
        if self.batches.devices > 1:
            use_devices(1)
        try:
            if (summary.get("key"), summary.get("epochs")) != (self.key, epochs) or not zipfile.is_zipfile(path):
                for name in ("summary.json", *(f"{name}.npz" for name in arrays)):  # none may vouch for another model
                    (self.folder / name).unlink(missing_ok=True)
                with files.whole_file(self.folder / "history.csv") as temporary:
                    pd.DataFrame(rows).to_csv(temporary, index=False)
                with files.whole_file(path) as temporary:
                    _float32(model).save(temporary)
            try:
                saved = load(path)
            except UserError:  # a class of a notebook that is no prior of ours: only Keras can load it
                saved = _float32(model)
            made = {}
            for name, make in arrays.items():
                try:
                    made[name] = read_arrays(self.folder, name, self.key)
                except UserError:
                    made[name] = make(saved)
                    write_arrays(self.folder, name, self.key, made[name])
            if not (self.folder / "summary.json").exists():
                seconds = rows[-1]["seconds"]
                files.write_json(self.folder / "summary.json", {
                    "key": self.key, "recipe": self.recipe, "epochs": epochs, "stopped": self.state["stopped"],
                    "seconds": seconds, "precision": model.dtype_policy.name,
                    "images_per_second": round(len(self.batches.rows) * len(rows) / max(seconds, 1e-9), 1),
                    "parameters": getattr(model, "parameter_counts", None) or model.count_params(),
                    "made": {"commit": self.commit, "date": time.strftime(TIME, time.gmtime()), "device": device()},
                })  # fmt: skip
            return saved, made
        finally:
            self._unlock()

    def _seed(self, epoch):
        """Seed what no variable holds."""
        # Where `fit` has shuffle=True, Keras draws another order of the batches from Python's generator.
        random.seed(f"{self.batches.seed} {epoch}")
        if keras.backend.backend() == "torch":  # dropout draws from a global generator
            import torch

            torch.manual_seed(zlib.crc32(f"{self.key} {epoch}".encode()))

    def _put_best(self):
        if self.best:
            self.model.set_weights(self.best)

    def _unlock(self):
        with _held.pop(self.folder, contextlib.nullcontext()):
            pass


def _best(rows):
    return int(np.argmin([row.get("val_loss", row["loss"]) for row in rows]))


def _variables(model):
    """All that changes while `model` trains: weights, seeds of dropout, optimiser; metrics begin anew each epoch."""
    metrics = {id(variable) for variable in model.metrics_variables}
    found = {id(variable): variable for variable in [*model.variables, *model.optimizer.variables]}
    return [variable for key, variable in found.items() if key not in metrics]


def _float32(model):
    try:
        return as_float32(model)
    except (NotImplementedError, TypeError, ValueError):  # a class that cannot be built from its configuration
        return model
