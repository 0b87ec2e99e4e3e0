"""VQ-VAE: encoder, vector quantiser and decoder in one saved model."""

import inspect

import keras
import numpy as np
from keras import ops

from vq_lib.layers import autoencoder
from vq_lib.layers.fsq import FiniteScalarQuantizer
from vq_lib.layers.quantizer import VectorQuantizer, one_of
from vq_lib.layers.structure import ssim_map


@keras.saving.register_keras_serializable(package="vq_lib")
class VQVAE(keras.Model):
    r"""A vector-quantised variational autoencoder (van den Oord et al. 2017, arXiv 1711.00937).

    uint8 images go in, intensities in [0, 1] come out: the normalisation is part of the model, and so of its file.
    Training minimises, per batch,

        mean((x − x̂)²) / variance + structure · mean(1 − SSIM(x, x̂)) + quantiser loss,

    with x in [0, 1], `variance` that of the training images, and the quantiser's loss as `VectorQuantizer` has it. With
    loss="l1" the first term is mean(|x − x̂|) / √variance. With
    loss="clipped_mse" a black pixel's error is max(x̂, 0) and a white one's max(1 − x̂, 0): the output is clipped to
    [0, 1] anyway, and a decoder that may overshoot leaves the background truly black.

    Shapes: (B, H, W, C) uint8 → (B, H, W, C) float32; `encode` → codes (B, h, w) int32, where h = H / total stride.

    Args:
        image_shape: (H, W, C).
        encoder, decoder: blocks as in a recipe, plain dicts.
        codes, code_dim, beta, codebook, decay, distance, gradient, spread, seed: see `VectorQuantizer`.
        levels: of a `FiniteScalarQuantizer`, which then takes the place of the `VectorQuantizer`.
        activation: between the layers.
        normalise: "zero" or "centred", what black becomes inside; see `Normalise`.
        output: kind of the last layer, "transpose", "conv" or "block", and `final`, its activation; see
            `autoencoder.decoder`.
        loss: "mse", "clipped_mse" or "l1".
        structure: weight of the structural term; 0 leaves it out. See `structure.ssim_map`.
        variance: of the training images, in [0, 1] intensities.

    Raises:
        ValueError: an argument is none of the values above, or the decoder does not give images of `image_shape`.
    """

    def __init__(
        self,
        image_shape,
        encoder,
        decoder,
        codes=512,
        code_dim=8,
        beta=0.25,
        codebook="ema",
        decay=0.99,
        distance="euclidean",
        gradient="straight_through",
        spread=None,
        levels=None,
        activation="relu",
        normalise="zero",
        output="transpose",
        final="linear",
        loss="mse",
        structure=0.0,
        variance=1.0,
        seed=0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.settings = {
            "image_shape": list(image_shape), "encoder": encoder, "decoder": decoder, "codes": codes,
            "code_dim": code_dim, "beta": beta, "codebook": codebook, "decay": decay, "distance": distance,
            "gradient": gradient, "spread": spread, "levels": levels, "activation": activation,
            "normalise": normalise, "output": output, "final": final, "loss": loss, "structure": structure,
            "variance": variance, "seed": seed,
        }  # fmt: skip
        policy = self.dtype_policy
        one_of("loss", loss, ("mse", "clipped_mse", "l1"))
        one_of("output", output, ("transpose", "conv", "block"))
        self.offset = {"zero": 0.0, "centred": 0.5}[one_of("normalise", normalise, ("zero", "centred"))]
        self.encoder = autoencoder.encoder(encoder, image_shape, code_dim, activation, self.offset, policy)
        self.grid = tuple(self.encoder.output_shape[1:3])
        if levels:
            self.quantizer = FiniteScalarQuantizer(levels, dtype=policy, name="quantizer")
        else:
            self.quantizer = VectorQuantizer(
                codes, code_dim, beta, codebook, decay, seed, distance, gradient, spread, dtype=policy, name="quantizer"
            )
        self.quantizer.build((None, *self.grid, code_dim))
        self.decoder = autoencoder.decoder(
            decoder, (*self.grid, code_dim), image_shape[-1], activation, output, final, policy
        )
        if tuple(self.decoder.output_shape[1:]) != tuple(image_shape):
            raise ValueError(f"the decoder gives {self.decoder.output_shape[1:]} for images of {tuple(image_shape)}")
        self.error = keras.metrics.Mean(name="nmse")
        self.built = True

    @property
    def parameter_counts(self):
        """Of encoder and decoder; the codebook is apart. (On PyTorch a model's `parameters` are its module's.)"""
        return {"encoder": self.encoder.count_params(), "decoder": self.decoder.count_params()}

    @classmethod
    def from_recipe(cls, recipe, variance, dtype="float32"):
        """The model of a `Recipe`, for training images of `variance`."""
        known = inspect.signature(cls).parameters
        options = {name: value for name, value in recipe.section("vqvae").items() if name in known}
        shape = (recipe.data.size, recipe.data.size, recipe.data.channels)
        return cls(shape, variance=variance, dtype=dtype, **options)

    def call(self, inputs, training=False):
        if keras.backend.standardize_dtype(inputs.dtype) != "uint8":
            raise ValueError(
                f"VQVAE takes uint8 grey levels 0-255, not {inputs.dtype}: pass the images as they are on disk"
            )
        decoded = self.decoder(self.quantizer(self.encoder(inputs), training=training))
        images = ops.cast(decoded, "float32") + self.offset
        # Clipping would stop the gradient of a pixel that overshoots, so it waits until training is over.
        return images if training else ops.clip(images, 0.0, 1.0)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        x = ops.cast(x, "float32") / 255.0
        difference = x - y_pred
        if self.settings["loss"] == "clipped_mse":
            difference = ops.where(x <= 0.0, ops.minimum(difference, 0.0), difference)
            difference = ops.where(x >= 1.0, ops.maximum(difference, 0.0), difference)
        if self.settings["loss"] == "l1":
            error = ops.mean(ops.abs(difference)) / self.settings["variance"] ** 0.5
        else:
            error = ops.mean(ops.square(difference)) / self.settings["variance"]
        self.error.update_state(error)
        if self.settings["structure"]:
            similarity = ops.mean(ssim_map(x, ops.clip(y_pred, 0.0, 1.0)))
            error = error + self.settings["structure"] * (1.0 - similarity)
        return error + sum(self.losses)

    def encode(self, images, batch=64):
        """Codes of uint8 `images`: (N, H, W, C) → NumPy int32 (N, h, w).

        Raises:
            ValueError: the images are not uint8; floats would silently become zeros.
        """
        if images.dtype != np.uint8:
            raise ValueError(f"VQVAE takes uint8 grey levels 0-255, not {images.dtype}")
        codes = np.empty((len(images), *self.grid), np.int32)
        for i in range(0, len(images), batch):
            vectors = self.encoder.predict_on_batch(np.asarray(images[i : i + batch]))
            codes[i : i + batch] = ops.convert_to_numpy(self.quantizer.encode(vectors))
        return codes

    def decode(self, codes, batch=64):
        """Images of `codes`: (N, h, w) int → NumPy float32 (N, H, W, C) in [0, 1]."""
        codes = np.asarray(codes)
        if codes.shape[1:] != self.grid or (codes.size and not 0 <= codes.min() <= codes.max() < self.quantizer.codes):
            raise ValueError(
                f"codes must have shape (N, {self.grid[0]}, {self.grid[1]}) and lie below {self.quantizer.codes}"
            )
        images = np.empty((len(codes), *self.settings["image_shape"]), np.float32)
        for i in range(0, len(codes), batch):
            vectors = ops.convert_to_numpy(self.quantizer.decode(codes[i : i + batch]))
            decoded = np.asarray(self.decoder.predict_on_batch(vectors), np.float32)
            images[i : i + batch] = np.clip(decoded + self.offset, 0, 1)
        return images

    def get_config(self):
        return {**super().get_config(), **self.settings}


def as_float32(model):
    """A copy of `model` under a float32 policy, as it is saved and evaluated: any machine can then load it."""
    config = {**model.get_config(), "dtype": "float32"}
    copy = type(model).from_config(config)
    copy.set_weights(model.get_weights())
    return copy
