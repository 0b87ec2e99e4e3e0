"""The small convolutional network that has to tell two sets of images apart in `realism`'s two-sample test."""

import functools

import keras
import numpy as np
from keras import layers

from vq_lib.scores.baselines import thumbnails

SIDE = 128  # pixels; larger images are averaged down to it, or nearly
STEPS, BATCH, SHIFT = 160, 32, 4  # each time an image is seen it is moved by up to so many pixels


def network(shape):
    """A network that gives one logit an image, floats (B, H, W, C) of 0 to 255 → (B, 1); 47,000 parameters.

    Beside the image it is given what a 3x3 mean leaves of it, x - mean(x), enlarged eightfold: noise, sharpness and
    quantisation are faint, and a network that has few images does not come upon them. The mean over all places, at the
    end, makes it a judge of texture and of parts of anatomy, more than of where they lie.
    """
    image = keras.Input(shape)
    x = layers.Rescaling(1 / 64, offset=-0.5)(image)
    detail = layers.Subtract()([x, layers.AveragePooling2D(3, strides=1, padding="same")(x)])
    x = layers.Concatenate()([x, layers.Rescaling(8.0)(detail)])
    for filters in (16, 32, 48, 64):
        x = layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    return keras.Model(image, layers.Dense(1)(layers.Dropout(0.3)(layers.GlobalAveragePooling2D()(x))))


@functools.cache
def _compiled(shape):
    """A network, all its variables and how they start: compiled once, it is trained again and again from there."""
    keras.utils.set_random_seed(0)
    model, rate = network(shape), keras.optimizers.schedules.CosineDecay(3e-3, STEPS)
    model.compile(keras.optimizers.AdamW(rate, weight_decay=0.01),
                  keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.05))  # fmt: skip
    model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables]
    return model, variables, [keras.ops.convert_to_numpy(variable) for variable in variables]


def classify(learned, labels, tested, seed=0):
    """Train the network on images and their labels, bool (n,), and give the logits of other images, (m,).

    uint8 (n, H, W, C) and (m, H, W, C). Cross-entropy, Adam with weight decay and a cosine schedule over `STEPS`
    batches; equal seeds give equal logits on one machine.
    """
    learned, tested = ((thumbnails(some, SIDE) * 255).astype(np.float16) for some in (learned, tested))
    (height, width), rng = learned.shape[1:3], np.random.default_rng(seed)
    padded = np.pad(learned, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)), mode="edge")
    rounds = -(-STEPS * BATCH // len(learned))
    order = np.concatenate([rng.permutation(len(learned)) for _ in range(rounds)])[: STEPS * BATCH]
    moves = rng.integers(0, 2 * SHIFT + 1, (2, len(order)))
    seen = np.stack([padded[i, y : y + height, x : x + width] for i, y, x in zip(order, *moves, strict=True)])
    model, variables, start = _compiled(learned.shape[1:])
    for variable, value in zip(variables, start, strict=True):
        variable.assign(value)
    model.fit(seen, np.asarray(labels, np.float32)[order], batch_size=BATCH, verbose=0, shuffle=False)
    return np.asarray(model.predict(tested, batch_size=BATCH, verbose=0))[:, 0]
