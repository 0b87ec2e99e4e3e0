"""This library's VQ-VAE beside the tutorial's form of it, epoch for epoch.

Both have the layers of the published OASIS-256 system, begin with the same weights and see the same images of the
embedded cohort. The tutorial's form is what the published systems do: float32 arrays in memory, a codebook learned by
gradient, quantisation by a product with one-hot vectors, default settings. Each training runs in a process of its own,
so that its peak of memory is its own, in turns and with another seed each; the median epoch counts, and the first,
which compiles, does not. An epoch is timed from its first batch to its last, since tf.data may hold the tutorial's form
up between epochs. The validation loss is, in both forms alike, the squared error of the clipped reconstructions of
held-out people over the variance. What share of a matrix product's rate the training reaches is measured at the
published batch, in turns with the product.
"""

import json
import statistics
import subprocess
import sys
import time
from typing import Any

import keras
import numpy as np
from keras import ops

from bench import matmul_gflops
from vq_lib import recipe
from vq_lib.data import cohort
from vq_lib.models.build import vqvae_from
from vq_lib.study import REPOSITORY
from vq_lib.training.batches import Batches
from vq_lib.training.optimizer import optimizer, policy

PEOPLE, SLICES, BATCH, EPOCHS, TURNS = {"train": 12, "validation": 2}, 16, 16, 5, 3
# As published (batches of 128, a rate of 1e-3, codes from ±0.05), the encoder's outputs run away from the codebook in
# so few steps, in either form, and the losses would compare nothing.
SETTINGS = f"vqvae.batch={BATCH} vqvae.learning_rate=5e-4 vqvae.spread=1.0 vqvae.clip=1.0"


class OneHotQuantizer(keras.layers.Layer):
    """The tutorial's quantiser: all distances, one-hot vectors, and their product with the codebook."""

    def __init__(self, codes, dim, beta):
        super().__init__()
        self.codes, self.dim, self.beta = codes, dim, beta

    def build(self, input_shape):
        self.embeddings = self.add_weight((self.dim, self.codes), "random_uniform", name="embeddings")

    def call(self, x):
        flat = ops.reshape(x, (-1, self.dim))
        table = ops.convert_to_tensor(self.embeddings)
        squares = ops.sum(flat**2, axis=1, keepdims=True) + ops.sum(table**2, axis=0)
        codes = ops.argmin(squares - 2 * ops.matmul(flat, table), axis=1)
        quantized = ops.reshape(ops.matmul(ops.one_hot(codes, self.codes), ops.transpose(table)), ops.shape(x))
        self.add_loss(self.beta * ops.mean((ops.stop_gradient(quantized) - x) ** 2))
        self.add_loss(ops.mean((quantized - ops.stop_gradient(x)) ** 2))
        return x + ops.stop_gradient(quantized - x)


class Clock(keras.callbacks.Callback):
    """Seconds of each epoch, from its first batch to its last."""

    def __init__(self):
        super().__init__()
        self.seconds: list[float] = []

    def on_train_batch_begin(self, batch, logs=None):
        if batch == 0:
            self.began = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds.append(time.perf_counter() - self.began)


def _ours(settings, variance, precision):
    keras.utils.set_random_seed(settings.vqvae.seed)
    return vqvae_from(settings.vqvae, _shape(settings), variance, policy(precision))


def _shape(settings):
    return (settings.data.size, settings.data.size, settings.data.channels)


def _tutorial(settings, variance):
    """The same layers and weights around the one-hot quantiser; takes and gives floats in [-0.5, 0.5]."""
    model, s = _ours(settings, variance, "float32"), settings.vqvae
    quantizer = OneHotQuantizer(s.codes, s.code_dim, s.beta)
    quantizer.build(None)
    quantizer.embeddings.assign(ops.transpose(ops.convert_to_tensor(model.quantizer.embeddings)))
    inputs = keras.Input(model.settings["image_shape"])
    x = inputs
    for layer in [*model.encoder.layers[1:], quantizer, *model.decoder.layers]:  # [0] is the normalisation
        x = layer(x)
    return keras.Model(inputs, x)


def _material(overrides):
    """Settings of the architecture, training and validation images, and the former's variance."""
    settings = recipe.load(REPOSITORY / "reports" / "oasis-256" / "recipe.yaml", overrides)
    slices = cohort.make(PEOPLE, SLICES, settings.data.size, progress=False)
    train, held_out = (slices.images[slices.where(split)] for split in ("train", "validation"))
    return settings, train, held_out, float((train / 255).var())


def share():
    """Operations a second of the training at the published batch, as a share of a matrix product's: the median epoch's.

    The product is measured before and after each epoch, since other work may share the machine.
    """
    settings, train, _, variance = _material("")
    model = _ours(settings, variance, "auto")
    data = Batches(train, np.arange(len(train)), settings.vqvae.batch)
    model.compile(optimizer(settings.vqvae, len(data)))
    model.fit(data, verbose=0)  # compiles
    dtype = "bfloat16" if "bfloat16" in model.dtype_policy.name else "float32"
    rates, shares, clock = [matmul_gflops(dtype)], [], Clock()
    for _ in range(2 * EPOCHS):
        model.fit(data, verbose=0, callbacks=[clock])
        reached = operations(settings) * len(train) / clock.seconds[-1] / 1e9
        rates.append(matmul_gflops(dtype))
        shares.append(reached / np.mean(rates[-2:]))
    return statistics.median(shares)


def run(form, seed):
    """Train in one form; returns seconds of each epoch, the validation loss after them, and peak memory in MB."""
    settings, train, held_out, variance = _material(f"{SETTINGS} vqvae.seed={seed}")
    fitted: dict[str, Any]  # the arguments of `fit`
    truth, offset = held_out.astype(np.float32) / 255, 0.0
    if form == "ours":
        model = _ours(settings, variance, "auto")
        data = Batches(train, np.arange(len(train)), BATCH, seed=seed)
        model.compile(optimizer(settings.vqvae, len(data)))
        fitted = {"x": data, "shuffle": False}
    else:
        model = _tutorial(settings, variance)
        model.compile(
            keras.optimizers.Adam(settings.vqvae.learning_rate, global_clipnorm=settings.vqvae.clip),
            lambda x, y: ops.mean((x - y) ** 2) / variance,
        )
        train, held_out, offset = train.astype(np.float32) / 255 - 0.5, truth - 0.5, 0.5
        fitted = {"x": train, "y": train, "batch_size": BATCH}
    clock = Clock()
    model.fit(**fitted, epochs=EPOCHS, verbose=0, callbacks=[clock])
    outputs = np.clip(model.predict(held_out, batch_size=BATCH, verbose=0) + offset, 0, 1)
    loss = float(np.square(truth - outputs).mean() / variance)
    return {"seconds": clock.seconds, "loss": loss, "memory": _peak_memory()}


def _peak_memory():
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def operations(settings):
    """Multiplications and additions of one image in one training step, of encoder, decoder and distances.

    A layer costs as much for the gradient of its input and of its weights as forward; the first needs no gradient of
    its input.
    """
    model = vqvae_from(settings.vqvae, _shape(settings), 1.0)
    forward = []
    for layer in [*model.encoder.layers, *model.decoder.layers]:
        if isinstance(layer, keras.layers.Conv2DTranspose):
            forward.append(2 * np.prod(layer.input.shape[1:3]) * np.prod(layer.kernel.shape))
        elif isinstance(layer, keras.layers.Conv2D):
            forward.append(2 * np.prod(layer.output.shape[1:3]) * np.prod(layer.kernel.shape))
    distances = 2 * np.prod(model.grid) * model.quantizer.num_embeddings * model.quantizer.embedding_dim
    return float(3 * sum(forward) - forward[0] + distances)


def measure():
    """`benchmarks.json`'s `training`."""
    found: dict[str, list[dict]] = {"ours": [], "tutorial": []}
    for turn in range(TURNS):
        for form, runs in found.items():
            runs.append(_apart(form, turn))
            print(f"training, {form}: {statistics.median(runs[-1]['seconds'][1:]):.2f} s an epoch", flush=True)
    images = PEOPLE["train"] * SLICES
    rate = {
        form: images / statistics.median(s for one in runs for s in one["seconds"][1:]) for form, runs in found.items()
    }
    peaks = {form: max((one["memory"] or 0) for one in runs) for form, runs in found.items()}
    return {
        "ratio": round(rate["ours"] / rate["tutorial"], 2),
        "images_per_second": {form: round(value, 1) for form, value in rate.items()},
        "validation_loss": {
            form: round(statistics.median(one["loss"] for one in runs), 4) for form, runs in found.items()
        },
        "validation_loss_of_each": {form: [round(one["loss"], 4) for one in runs] for form, runs in found.items()},
        "precision": policy("auto"),
        "share_of_matmul": round(_apart("share"), 3),
        "peak_memory_mb": {form: round(value) for form, value in peaks.items()},
    }


def _apart(*arguments):
    """What this file prints for these arguments in a process of its own."""
    command = [sys.executable, "-m", __name__, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    print(json.dumps(share() if sys.argv[1:] == ["share"] else run(sys.argv[1], int(sys.argv[2]))))
