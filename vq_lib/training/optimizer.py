"""Optimiser, precision and number of devices of a training, as a recipe says them."""

import keras

from vq_lib import environment
from vq_lib.errors import UserError
from vq_lib.training.device import has_bfloat16


def optimizer(settings, steps):
    """Adam with the rate, schedule, warm-up and clipping of a recipe section, for `steps` batches an epoch.

    A warm-up takes half of all batches at most: with few slices a longer one would end before it reached the rate.
    """
    rate, total = settings.learning_rate, settings.epochs * steps
    warmup = min(settings.warmup, total // 2)
    if settings.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(
            0.0 if warmup else rate, max(total - warmup, 1), warmup_target=rate if warmup else None, warmup_steps=warmup
        )
    return keras.optimizers.Adam(rate, global_clipnorm=settings.clip)


def policy(precision: str) -> str:
    """The Keras dtype policy for a recipe's `precision`: "auto", "float32" or "bfloat16"."""
    faster = precision == "bfloat16" or precision == "auto" and has_bfloat16()
    return "mixed_bfloat16" if faster else "float32"


class Replicas(keras.distribution.DataParallel):
    """Keras's data parallelism, for a batch that cannot be shared evenly as well: every device then has all of it."""

    def get_data_layout(self, data_shape):
        if data_shape and data_shape[0] % self.device_mesh.shape[0] == 0:
            return super().get_data_layout(data_shape)
        return keras.distribution.TensorLayout([None] * len(data_shape), self.device_mesh)


def use_devices(count: int) -> None:
    """Build and train on so many devices from here on (the recipe's `devices`); 1 ends it. Call it before building.

    Each has the weights and a share of each batch; losses, statistics and gradients are those of the whole batch, to
    rounding. `UserError` where the backend is not JAX, or JAX has fewer devices.
    """
    if count == 1:
        keras.distribution.set_distribution(None)
        return
    environment.only_jax_shares(count)
    devices = keras.distribution.list_devices()
    if len(devices) < count:
        raise UserError(f"'devices: {count}' asks for more than JAX has here ({', '.join(devices)}): set "
                        f"devices={len(devices)}, or see README for JAX on GPUs.")  # fmt: skip
    keras.distribution.set_distribution(Replicas(devices=devices[:count], auto_shard_dataset=False))
