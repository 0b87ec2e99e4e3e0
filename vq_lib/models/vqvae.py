"""VQ-VAE: encoder, vector quantiser and decoder in one saved model."""

import keras
import numpy as np
import pydantic
from keras import ops

from vq_lib import recipe
from vq_lib.errors import sentence
from vq_lib.layers import blocks
from vq_lib.layers.base import one_of
from vq_lib.layers.fsq import FiniteScalarQuantizer
from vq_lib.layers.quantizer import EMAVectorQuantizer, VectorQuantizer
from vq_lib.layers.ssim import ssim_map
from vq_lib.models.levels import CoarseLevel, join, rows_of, split

FLAT = {  # a recipe's words for the quantiser, and those of the layers
    "codes": "num_embeddings", "code_dim": "embedding_dim", "beta": "commitment_cost", "distance": "distance",
    "gradient": "gradient", "spread": "spread", "seed": "seed", "decay": "decay",
}  # fmt: skip
BLOCKS = pydantic.TypeAdapter(list[recipe.Block])


class Term(keras.metrics.Mean):
    """The running mean of one term of the loss; no part of a saved model."""

    save_own_variables = load_own_variables = lambda self, store: None


@keras.saving.register_keras_serializable(package="vq_lib")
class VQVAE(keras.Model):
    r"""A vector-quantised variational autoencoder (van den Oord et al. 2017, arXiv 1711.00937).

    uint8 images go in, intensities in [0, 1] come out: the normalisation is part of the model. Training minimises

        mean((x − x̂)²) / variance + structure · mean(1 − SSIM(x, x̂)) + quantiser loss,

    which the logs have term by term: `reconstruction`, `structural` and `quantizer`. With loss="l1" the first term is
    mean(|x − x̂|) / √variance; with "clipped_mse" a black pixel's error is max(x̂, 0) and a white one's max(1 − x̂, 0),
    so that a decoder may overshoot and leave the background truly black. A loss given to `compile` takes its place.

    Shapes: (B, H, W, C) uint8 → (B, H, W, C) float32; `encode` → codes (B, h, w) int32, where h = H / total stride.
    With two levels (see `CoarseLevel`) the coarse codes are the first rows of codes (B, rows + h, w), `levels` are the
    grids of both, and `fine` leaves the coarse codes out.

    Args:
        encoder, decoder: blocks as in a recipe (`recipe.Block`), or Keras models: normalised images → (B, h, w, D), and
            the way back.
        quantizer: a quantiser layer; None: `EMAVectorQuantizer(512, 8)`.
        normalise: what black becomes inside, "zero" (0) or "centred" (-½).
        activation, output, final: of blocks; kind ("transpose", "conv" or "block") and activation of the last layer.
        variance: of the training images, in [0, 1] intensities.
        coarse: {"encoder": blocks, "decoder": blocks} of a coarse level, from the encoder's features to a smaller grid
            and back, with a quantiser like the other one; None: one level.

    Raises:
        ValueError: an argument is none of the values above, or encoder, quantiser, decoder and images do not fit.

    Example: `VQVAE((64, 64, 1), [{"layer": "conv", "filters": 32, "stride": 2}], [{"layer": "subpixel", "filters": 32,
    "stride": 2}])`, then `compile("adam")` and `fit(images, epochs=2)`.
    """

    def __init__(self, image_shape, encoder, decoder, quantizer=None, activation="relu", normalise="zero",
                 output="transpose", final="linear", loss="mse", structure=0.0, variance=1.0, coarse=None,
                 **kwargs):  # fmt: skip
        super().__init__(**kwargs)
        shape, policy = tuple(image_shape), self.dtype_policy
        one_of("loss", loss, ("mse", "clipped_mse", "l1"))
        one_of("output", output, ("transpose", "conv", "block"))
        self.offset = {"zero": 0.0, "centred": 0.5}[one_of("normalise", normalise, ("zero", "centred"))]
        quantizer = quantizer or EMAVectorQuantizer(512, 8, name="quantizer")
        dim = quantizer.embedding_dim
        encoder, decoder = _complete("encoder", encoder), _complete("decoder", decoder)
        self.encoder = blocks.encoder(encoder, shape, None if coarse else dim, activation, self.offset, policy)
        found = tuple(self.encoder.output_shape[1:])
        self.coarse = None
        if coarse:
            coarse = {name: _complete(f"coarse {name}", coarse[name]) for name in ("encoder", "decoder")}
            other = type(quantizer).from_config({**quantizer.get_config(), "name": "coarse_quantizer"})
            self.coarse = CoarseLevel(found, **coarse, quantizer=other, activation=activation, dtype=policy)
            found = *found[:2], dim
        if len(found) != 3 or found[-1] != dim or None in found:
            raise ValueError(f"the encoder gives {found}, and a quantiser of codes of length {dim} wants (h, w, {dim})")
        self.quantizer, self.grid = quantizer, found[:2]
        self.levels: tuple[tuple[int, int], ...] = (self.grid,)
        quantizer(keras.Input(found))  # builds it, and tells `summary` its shape
        if self.coarse:
            self.levels = self.coarse.grid, found[:2]
            self.grid = found[0] + rows_of(self.coarse.grid, found[:2]), found[1]
            found = *found[:2], dim + self.coarse.decoder.output_shape[-1]
        self.decoder = blocks.decoder(decoder, found, shape[-1], activation, output, final, policy)
        if tuple(self.decoder.output_shape[1:]) != shape:
            raise ValueError(f"the decoder gives {self.decoder.output_shape[1:]} for images of {shape}")
        self.settings = {
            "image_shape": list(shape), "encoder": _plain(encoder), "decoder": _plain(decoder),
            "quantizer": _plain(quantizer), "activation": activation, "normalise": normalise, "output": output,
            "final": final, "loss": loss, "structure": structure, "variance": variance,
            **({"coarse": coarse} if coarse else {}),
        }  # fmt: skip
        has_loss = not isinstance(quantizer, FiniteScalarQuantizer)
        names = ["reconstruction", *["structural"] * bool(structure), *["quantizer"] * has_loss]
        self.terms = {name: Term(name=name) for name in names}
        self.built = True

    @property
    def parameter_counts(self):
        """Of encoder and decoder; the codebook is apart. (On PyTorch a model's `parameters` are its module's.)"""
        parts = {"encoder": self.encoder, "decoder": self.decoder}
        if self.coarse:
            parts |= {f"coarse {name}": getattr(self.coarse, name) for name in ("encoder", "decoder", "link")}
        return {name: part.count_params() for name, part in parts.items()}

    @property
    def quantizers(self):
        """The quantiser of each level, the coarse one first."""
        return (self.coarse.quantizer, self.quantizer) if self.coarse else (self.quantizer,)

    @property
    def receptive_field(self):
        """(low, high): the pixels that a code sees, from the first pixel of its patch; None with an own encoder, or two
        levels.
        """
        own = self.settings["encoder"]
        return None if self.coarse or isinstance(own, dict) else blocks.receptive_field(own)

    def compile(self, optimizer="adam", loss=None, **options):
        """As Keras's. `loss`: loss(x, x̂) of float batches in [0, 1], or its name, in the reconstruction error's place.
        What a model that is trained without targets cannot heed is a ValueError.
        """
        unheeded = [name for name in ("loss_weights", "metrics", "weighted_metrics") if options.get(name)]
        unheeded += ["several losses"] * isinstance(loss, (list, tuple, dict))
        if unheeded:
            raise ValueError(f"VQVAE.compile takes one loss(x, x̂) and cannot heed {unheeded[0]}: it is trained without "
                             "targets; measure with a callback, or override compute_loss.")  # fmt: skip
        super().compile(optimizer=optimizer, loss=loss and keras.losses.get(loss), **options)

    def call(self, inputs, training=False):
        # `training` is handed on: JAX's stateless calls do not tell it to the layers inside.
        x = self.encoder(_only_uint8(inputs), training=training)
        if self.coarse:
            x, up = self.coarse(x, training=training)
        x = self.quantizer(x, training=training)
        if self.coarse:
            x = ops.concatenate([x, ops.cast(up, x.dtype)], axis=-1)
        x = self.decoder(x, training=training)
        images = ops.cast(x, "float32") + self.offset
        # Clipping would stop the gradient of a pixel that overshoots, so it waits until training is over.
        return images if training else ops.clip(images, 0.0, 1.0)

    def reconstruction(self, x, output):
        """The error of `output` for intensities x, both (B, H, W, C) float: a scalar."""
        if getattr(self, "loss", None) is not None:
            return ops.mean(self.loss(x, output))
        difference, kind = x - output, self.settings["loss"]
        if kind == "l1":
            return ops.mean(ops.abs(difference)) / self.settings["variance"] ** 0.5
        if kind == "clipped_mse":
            difference = ops.where(x <= 0.0, ops.minimum(difference, 0.0), difference)
            difference = ops.where(x >= 1.0, ops.maximum(difference, 0.0), difference)
        return ops.mean(ops.square(difference)) / self.settings["variance"]

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        x = ops.cast(x, "float32") / 255.0
        terms = {"reconstruction": self.reconstruction(x, y_pred)}
        if self.settings["structure"]:
            similarity = ops.mean(ssim_map(x, ops.clip(y_pred, 0.0, 1.0)))
            terms["structural"] = self.settings["structure"] * (1.0 - similarity)
        if self.losses:
            terms["quantizer"] = sum(self.losses)
        for name in self.terms.keys() & terms.keys():
            self.terms[name].update_state(terms[name])
        return sum(terms.values())

    def encode(self, images, batch=64):
        """Codes of uint8 `images`: (N, H, W, C) → NumPy int32 (N, h, w)."""
        _only_uint8(images)
        codes = np.empty((len(images), *self.grid), np.int32)
        for i in range(0, len(images), batch):
            levels = [ops.convert_to_numpy(quantizer.encode(z)) for quantizer, z in self.vectors(images[i : i + batch])]
            codes[i : i + batch] = join(*levels) if self.coarse else levels[0]
        return codes

    def vectors(self, images):
        """`[(quantiser, what it is given)]` of each level, the coarse one first, of a batch of images: (B, h, w, D)."""
        features = self.encoder.predict_on_batch(np.asarray(images))
        return list(zip(self.quantizers, self.coarse.vectors(features) if self.coarse else [features], strict=True))

    def fine(self, codes):
        """The codes of the fine level alone, (N, h, w): all where there is one level."""
        return codes[:, self.grid[0] - self.levels[-1][0] :]

    def decode(self, codes, batch=64):
        """Images of `codes`: (N, h, w) int → NumPy float32 (N, H, W, C) in [0, 1]."""
        codes, size = np.asarray(codes), self.quantizer.num_embeddings
        if codes.shape[1:] != self.grid or (codes.size and not 0 <= codes.min() <= codes.max() < size):
            raise ValueError(f"codes must have shape (N, {self.grid[0]}, {self.grid[1]}) and lie below {size}")
        images = np.empty((len(codes), *self.settings["image_shape"]), np.float32)
        for i in range(0, len(codes), batch):
            vectors = ops.convert_to_numpy(self.quantizer.decode(self.fine(codes[i : i + batch])))
            if self.coarse:
                up = self.coarse.up(split(codes[i : i + batch], self.levels[0])[0])
                vectors = np.concatenate([vectors, up], axis=-1)
            decoded = np.asarray(self.decoder.predict_on_batch(vectors), np.float32)
            images[i : i + batch] = np.clip(decoded + self.offset, 0, 1)
        return images

    def get_config(self):
        return {**super().get_config(), **self.settings}

    @classmethod
    def from_config(cls, config):
        """The model of a configuration, of this version or of before the quantiser became an object of its own."""
        config = dict(config)
        if "codes" in config:
            config["quantizer"] = quantizer_of({name: config.pop(name, None) for name in (*FLAT, "codebook", "levels")})
        for name in ("encoder", "decoder", "quantizer"):
            if isinstance(config.get(name), dict):
                config[name] = keras.saving.deserialize_keras_object(config[name])
        return cls(**config)


def quantizer_of(settings):
    """The quantiser layer of a recipe's settings: a dict of its words; what is missing or None is at its default."""
    if settings.get("levels"):
        return FiniteScalarQuantizer(settings["levels"], name="quantizer")
    options = {name: settings[word] for word, name in FLAT.items() if settings.get(word) is not None}
    if one_of("codebook", settings.get("codebook", "ema"), ("ema", "gradient")) == "gradient":
        options.pop("decay", None)
        return VectorQuantizer(**options, name="quantizer")
    return EMAVectorQuantizer(**options, name="quantizer")


def _complete(name, part):
    """A Keras model as it is; blocks as dicts with all that they leave at its default."""
    if isinstance(part, keras.Model):
        return part
    try:
        return [block.model_dump() for block in BLOCKS.validate_python(part)]
    except pydantic.ValidationError as error:
        why = sentence(error.errors()[0])
        raise ValueError(f"`{name}` must be a list of blocks or a Keras model: {why}") from None


def _plain(part):
    """A part as plain values, but for what it was built and compiled with."""
    if isinstance(part, list):
        return part
    config = keras.saving.serialize_keras_object(part)
    return {key: value for key, value in config.items() if key not in ("build_config", "compile_config")}


def _only_uint8(images):
    """Floats would silently become zeros."""
    if keras.backend.standardize_dtype(images.dtype) != "uint8":
        raise ValueError(f"VQVAE takes uint8 grey levels 0-255, not {images.dtype}: pass the images as on disk")
    return images
