"""Encoder and decoder as Keras models, from blocks or from models of one's own."""

import keras

from vq_lib.layers.blocks import Normalise, layers_of


def encoder(blocks, image_shape, code_dim, activation="relu", offset=0.0, dtype="float32"):
    """Images (B, H, W, C) uint8 → vectors (B, h, w, code_dim): `Normalise`, `blocks`, then a 1x1 convolution; or a
    Keras model in the place of the blocks, from normalised images to the vectors.
    """
    if isinstance(blocks, keras.Model):
        layers = [blocks]
    else:
        layers = [*layers_of(blocks, activation, dtype), keras.layers.Conv2D(code_dim, 1, dtype=dtype)]
    return keras.Sequential([keras.Input(image_shape, dtype="uint8"), Normalise(offset), *layers], name="encoder")


def decoder(blocks, grid_shape, channels, activation="relu", output="transpose", final="linear", dtype="float32"):
    """Quantised vectors (B, h, w, D) → images (B, H, W, channels), short of the offset: `blocks`, then a 3x3 layer of
    the kind `output` with the activation `final`. With output="block" the last block gives the image itself; so does a
    Keras model in the place of the blocks.
    """
    if isinstance(blocks, keras.Model):
        layers = [blocks]
    elif output == "block":
        layers = [*layers_of(blocks[:-1], activation, dtype), *layers_of(blocks[-1:], final, dtype)]
    else:
        last = {"transpose": keras.layers.Conv2DTranspose, "conv": keras.layers.Conv2D}[output]
        layers = [*layers_of(blocks, activation, dtype), last(channels, 3, padding="same", activation=final, dtype=dtype)]
    return keras.Sequential([keras.Input(grid_shape), *layers], name="decoder")
