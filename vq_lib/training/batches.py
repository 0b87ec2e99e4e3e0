"""Shuffled batches whose order a resumed training repeats."""

import functools
import hashlib
import math

import keras
import numpy as np

from vq_lib.errors import UserError
from vq_lib.training.identity import describe


class Batches(keras.utils.PyDataset):
    """Shuffled batches of the rows of arrays that may be memory-mapped, in an order that (seed, epoch) alone decide.

    Example: `Batches((codes, condition), slices.where("train"), batch=32, seed=0, targets=codes)`

    Args:
        inputs, targets: an array, or for inputs a tuple of arrays; a batch is `inputs[rows]`, beside `targets[rows]`.
        seed: None keeps the rows' own order.
        change: `change(batch, rng)` alters a batch of inputs at random, or None; rng depends on (seed, epoch, batch).
        devices: the last batch is cut to a multiple of it, since JAX shares batches evenly only.
    """

    def __init__(self, inputs, rows, batch, seed=None, targets=None, change=None, devices=1):
        # tf.data's tuning sleeps up to a minute, and an iterator that ends meanwhile waits until it wakes (TensorFlow
        # 2.21); Keras's own threads do without it. Elsewhere they would hand out the first batches once more.
        super().__init__(workers=2 if keras.backend.backend() == "tensorflow" else 1, max_queue_size=2)
        self.inputs, self.targets, self.rows, self.batch, self.seed = inputs, targets, np.asarray(rows), batch, seed
        self.change, self.devices, self.count = change, devices, len(self.rows) // devices * devices
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
        x = tuple(a[chosen] for a in self.inputs) if isinstance(self.inputs, tuple) else self.inputs[chosen]
        if self.change is not None:
            x = self.change(x, np.random.default_rng([self.seed or 0, self.epoch, index]))
        return (x,) if self.targets is None else (x, self.targets[chosen])

    def _parts(self, array):
        return (np.ascontiguousarray(array[self.rows[i : i + 256]]) for i in range(0, len(self.rows), 256))

    @functools.cached_property
    def key(self):
        """SHA-256 of all that decides which batches a training sees; arrays of any size are read once, in parts."""
        arrays = (*(self.inputs if isinstance(self.inputs, tuple) else (self.inputs,)), self.targets)
        settings = [self.batch, self.seed, describe(self.change)]
        kinds = [None if array is None else (array.dtype, array.shape[1:]) for array in arrays]
        content = hashlib.sha256(repr([settings, kinds]).encode())
        for array in arrays:
            for part in () if array is None else self._parts(array):
                content.update(part)
        return content.hexdigest()

    @functools.cached_property
    def variance(self):
        """Exact variance of intensities in [0, 1], of uint8 images; `UserError` where all their pixels are alike."""
        counts = np.sum([np.bincount(part.ravel(), minlength=256) for part in self._parts(self.inputs)], axis=0)
        if np.count_nonzero(counts) == 1:
            raise UserError(f"every pixel of the training images has the grey level {counts.argmax()}: look at them.")
        levels = np.arange(256) / 255
        mean = (counts * levels).sum() / counts.sum()
        return float((counts * np.square(levels - mean)).sum() / counts.sum())
