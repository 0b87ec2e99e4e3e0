"""Training that can be stopped at any moment: batches, budget, progress, and one checkpoint of everything."""

import contextlib
import csv
import json
import math
import os
import sys
import time
import zlib

import keras
import numpy as np
import psutil
from tqdm import tqdm

from vq_lib import environment
from vq_lib.errors import UserError
from vq_lib.files import put_back, whole_file, whole_folder


class Replicas(keras.distribution.DataParallel):
    """Keras's data parallelism, for a batch that cannot be shared evenly as well: every device then has all of it."""

    def get_data_layout(self, data_shape):
        if data_shape and data_shape[0] % self.device_mesh.shape[0] == 0:
            return super().get_data_layout(data_shape)
        return keras.distribution.TensorLayout([None] * len(data_shape), self.device_mesh)


def across(devices):
    """The context in which a model is built and trained on so many devices (the recipe's `devices`).

    The weights are on each of them and a batch is shared among them; losses, running statistics and gradients are those
    of the whole batch, as on one device, to rounding.

    Raises:
        UserError: the backend is not JAX, or JAX has fewer devices.
    """
    if devices == 1:
        return contextlib.nullcontext()
    environment.only_jax_shares(devices)
    found = keras.distribution.list_devices()
    if len(found) < devices:
        raise UserError(f"'devices: {devices}' asks for more than JAX has here ({', '.join(found)}): set "
                        f"devices={len(found)}, or see README for JAX on GPUs.")  # fmt: skip
    return Replicas(devices=found[:devices], auto_shard_dataset=False).scope()


class Batches(keras.utils.PyDataset):
    """Shuffled batches of the rows of an array that may be memory-mapped.

    The order of an epoch depends on (seed, epoch) alone, so that a resumed training sees what an undisturbed one
    would have.

    Args:
        inputs: array; a batch is `inputs[rows]`.
        rows: indices to draw from.
        batch: rows a batch; the last one may be smaller.
        seed: seed of the order; None keeps the rows' own.
        targets: array beside `inputs`, or None where the model needs none.
        change: `change(batch, rng)` alters a batch of inputs at random, or None; rng depends on (seed, epoch, batch).
        devices: the last batch is cut to a multiple of it, since JAX shares batches evenly only.
    """

    def __init__(self, inputs, rows, batch, seed=None, targets=None, change=None, devices=1):
        # tf.data's tuning sleeps 10 ms, 20, 40 … up to a minute, and an iterator that ends meanwhile often waits until
        # it wakes (TensorFlow 2.21): up to as long again as it has run. Keras's own threads do without it. Elsewhere
        # they would hand out the batches of Keras's first look at the data once more.
        super().__init__(workers=2 if keras.backend.backend() == "tensorflow" else 1, max_queue_size=2)
        self.change = change
        self.inputs, self.targets, self.rows, self.batch, self.seed = inputs, targets, np.asarray(rows), batch, seed
        self.count = len(self.rows) // devices * devices
        self.start(0)

    def start(self, epoch):
        """Set the order of `epoch`."""
        self.epoch, self.order = epoch, self.rows
        if self.seed is not None:
            self.order = np.random.default_rng([self.seed, epoch]).permutation(self.rows)

    def on_epoch_end(self):
        self.start(self.epoch + 1)

    def __len__(self):
        return math.ceil(self.count / self.batch)

    def __getitem__(self, index):
        last = min((index + 1) * self.batch, self.count)
        chosen = np.sort(self.order[index * self.batch : last])  # sorted: faster from a disk
        x = self.inputs[chosen]
        if self.change is not None:
            x = self.change(x, np.random.default_rng([self.seed or 0, self.epoch, index]))
        return (x,) if self.targets is None else (x, self.targets[chosen])


def headless():
    """Whether nobody watches: outside a notebook, or in a kernel that papermill, nbclient or nbconvert started."""
    if "ipykernel" not in sys.modules:
        return True
    try:
        parents = " ".join(" ".join(parent.cmdline()) for parent in psutil.Process().parents()[:2])
    except psutil.Error:
        return True
    return any(name in parents for name in ("papermill", "vq_lib.report.execute", "nbconvert", "nbclient", "pytest"))


def has_bfloat16():
    """Whether this device multiplies bfloat16 matrices faster than float32 ones.

    An NVIDIA GPU of compute capability 8 or more does, and on TensorFlow a processor with AVX512_BF16 or AMX; on the
    other backends a processor is taken to gain nothing.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow

        gpus = tensorflow.config.list_physical_devices("GPU")
        if gpus:
            major, _ = tensorflow.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0))
            return major >= 8
        try:
            with open("/proc/cpuinfo", encoding="utf-8") as file:
                flags = next((line for line in file if line.startswith("flags")), "")
        except OSError:
            return False
        return "avx512_bf16" in flags or "amx_bf16" in flags
    if backend == "jax":
        import jax

        capability = str(getattr(jax.devices()[0], "compute_capability", "")).split(".")[0]  # "9.0"; a CPU has none
        return capability.isdigit() and int(capability) >= 8
    import torch

    return torch.cuda.is_available() and torch.cuda.get_device_capability()[0] >= 8


def policy(precision):
    """The Keras dtype policy for a recipe's `precision`."""
    if precision == "auto":
        precision = "bfloat16" if has_bfloat16() else "float32"
    return "mixed_bfloat16" if precision == "bfloat16" else "float32"


class Progress(keras.callbacks.Callback):
    """One line an epoch; in a notebook that somebody watches, a bar of the batches above it."""

    def __init__(self, planned, shown):
        super().__init__()
        self.planned, self.shown, self.bar = planned, shown, None
        self.live = not headless()

    def on_epoch_begin(self, epoch, logs=None):
        self.began = time.monotonic()
        if self.live:
            total = self.params.get("steps")
            self.bar = tqdm(
                total=total, desc=f"epoch {epoch + 1}/{self.planned}", leave=False, file=sys.stdout, mininterval=0.5
            )

    def on_train_batch_end(self, batch, logs=None):
        if self.bar is not None:
            self.bar.update()

    def on_epoch_end(self, epoch, logs=None):
        if self.bar is not None:
            self.bar.close()
        values = "  ".join(f"{name} {logs[name]:.4f}" for name in self.shown if name in (logs or {}))
        print(f"epoch {epoch + 1}/{self.planned}  {values}  {time.monotonic() - self.began:.1f} s", flush=True)


class Checkpoint(keras.callbacks.Callback):
    """Everything that a training needs to go on, written whole after each epoch; it also stops early and at the budget.

    A checkpoint is a folder `checkpoint/` with all variables of model and optimiser (the seeds of dropout among them),
    the best weights so far, `state.json` (key, epoch, seconds spent, best value, patience used, history) and
    `history.csv`, for a look at a training that runs. It is written to a temporary folder and renamed. A checkpoint
    with another key is left behind: the recipe or the data have changed.

    Args:
        folder: where `checkpoint/` goes.
        key: what the training depends on; a resumed one must have the same.
        minutes: budget; None: none. patience: see the recipe. monitor: the value that the best epoch has lowest.
    """

    def __init__(self, folder, key, minutes=None, patience=None, monitor="val_loss"):
        super().__init__()
        self.folder, self.key, self.minutes, self.patience, self.monitor = folder, key, minutes, patience, monitor
        self.state = {"key": key, "epoch": 0, "seconds": 0.0, "best": None, "wait": 0, "stopped": "", "history": []}

    def restore(self):
        """Put the last checkpoint with our key into the model; True if there was one."""
        path = self.folder / "checkpoint"
        put_back(path, alone=True)  # the stage's lock is held
        try:
            state = json.loads((path / "state.json").read_text(encoding="utf-8"))
            if state["key"] != self.key:
                return False
            arrays = _load(path / "variables.npz")
            self.best = _load(path / "best.npz")
            _assign(self._variables(), arrays)
        except Exception:  # NumPy, zipfile and json raise a dozen kinds for broken files: then there is no checkpoint
            return False
        self.state = state
        return True

    def _variables(self):
        return list({id(v): v for v in [*self.model.variables, *self.model.optimizer.variables]}.values())

    def on_epoch_begin(self, epoch, logs=None):
        self.began = time.monotonic()
        if keras.backend.backend() == "torch":  # its dropout draws from a global generator, which no variable holds
            keras.utils.set_random_seed(zlib.crc32(f"{self.key} {epoch}".encode()))

    def on_epoch_end(self, epoch, logs=None):
        state, logs = self.state, {name: float(value) for name, value in (logs or {}).items()}
        seconds = time.monotonic() - self.began
        state["epoch"], state["seconds"] = epoch + 1, state["seconds"] + seconds
        state["history"].append({"epoch": epoch + 1, "seconds": round(state["seconds"], 2), **logs})
        value = logs.get(self.monitor, math.inf)
        if not math.isfinite(logs.get("loss", 0.0)):
            raise UserError(
                f"The training loss became {logs['loss']} in epoch {epoch + 1}: lower learning_rate in the recipe."
            )
        if state["best"] is None or value < state["best"]:
            state["best"], state["wait"] = value, 0
            self.best = [np.array(v) for v in map(keras.ops.convert_to_numpy, self.model.weights)]
        else:
            state["wait"] += 1
        if self.patience and state["wait"] >= self.patience:
            state["stopped"] = f"no better {self.monitor} for {self.patience} epochs"
        elif self.minutes and state["seconds"] + seconds > 60 * self.minutes:
            state["stopped"] = f"the budget of {self.minutes:g} minutes"
        if state["stopped"]:
            self.model.stop_training = True
        with whole_folder(self.folder / "checkpoint") as temporary:
            _save(temporary / "variables.npz", self._variables())
            _save(temporary / "best.npz", self.best)
            (temporary / "state.json").write_text(json.dumps(state), encoding="utf-8")
            write_history(temporary / "history.csv", state["history"])

    def on_train_end(self, logs=None):
        _assign(self.model.weights, self.best)


def write_history(path, rows):
    """Write `rows`, one `{name: value}` an epoch, as CSV."""
    with whole_file(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _save(path, variables):
    np.savez(path, *(keras.ops.convert_to_numpy(variable) for variable in variables))


def _load(path):
    with np.load(path, allow_pickle=False) as file:
        return [file[f"arr_{i}"] for i in range(len(file.files))]


def _assign(variables, arrays):
    if [tuple(v.shape) for v in variables] != [a.shape for a in arrays]:
        raise ValueError("the saved variables have other shapes")
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def optimizer(settings, steps):
    """The optimiser of a recipe section, for `steps` batches an epoch.

    A warm-up takes half of all batches at most: with few slices a longer one would end before it reached the rate.
    """
    rate, total = settings.learning_rate, settings.epochs * steps
    warmup = min(settings.warmup, total // 2)
    if settings.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(
            0.0 if warmup else rate, max(total - warmup, 1),
            warmup_target=rate if warmup else None, warmup_steps=warmup,
        )  # fmt: skip
    return keras.optimizers.Adam(rate, global_clipnorm=settings.clip)


def fit(model, settings, folder, key, train, validation, callbacks=(), shown=("loss", "val_loss")):
    """Train `model` as `settings` say, from the last checkpoint in `folder` if it has the same `key`.

    Afterwards the model holds the weights of its best epoch on the validation people.

    Returns:
        The state of the training: epoch, seconds, history, and in `stopped` why it ended early, or "".
    """
    os.makedirs(folder, exist_ok=True)
    checkpoint = Checkpoint(folder, key, settings.minutes, settings.patience)
    checkpoint.set_model(model)
    model.optimizer.build(model.trainable_variables)
    if checkpoint.restore():
        print(f"continuing after epoch {checkpoint.state['epoch']} of {settings.epochs}", flush=True)
    state = checkpoint.state
    train.start(state["epoch"])
    if state["epoch"] < settings.epochs and not state["stopped"]:
        progress = Progress(settings.epochs, shown)
        # Progress and checkpoint come last: they see what the others add to the logs.
        model.fit(train, validation_data=validation, epochs=settings.epochs, initial_epoch=state["epoch"], verbose=0,
                  shuffle=False, callbacks=[*callbacks, progress, checkpoint])  # fmt: skip
    else:
        checkpoint.on_train_end()
    return checkpoint.state
