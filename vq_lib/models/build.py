"""Untrained models from a recipe's settings."""

from vq_lib import recipe
from vq_lib.models.gated import GatedPixelCNN
from vq_lib.models.pixelcnn import PixelCNN
from vq_lib.models.snail import PixelSNAIL
from vq_lib.models.vqvae import FLAT, VQVAE, quantizer_of

KINDS = {"pixelcnn": PixelCNN, "gated": GatedPixelCNN, "snail": PixelSNAIL}
SHARED = ("filters", "blocks", "kernel", "head", "head_filters", "embedding", "position", "dropout")
OWN = {"snail": ("attention", "key_dim", "value_dim")}


def _checked(settings, section):
    """Settings as attributes; a dict is checked as a recipe is, so that nothing in it is dropped."""
    return section.model_validate(settings) if isinstance(settings, dict) else settings


def _options(settings, names):
    return {name: getattr(settings, name) for name in names}


def quantizer_from(settings):
    """The quantiser layer of `recipe.vqvae`, a section or a dict: by `codebook`, or FSQ where there are `levels`."""
    return quantizer_of(_options(_checked(settings, recipe.VQVAE), (*FLAT, "codebook", "levels")))


def vqvae_from(settings, image_shape, variance, dtype="float32"):
    """The VQ-VAE of `recipe.vqvae`, a section or a dict, for training images of `variance`; see `VQVAE`."""
    settings = _checked(settings, recipe.VQVAE)
    options = _options(settings, ("activation", "normalise", "output", "final", "loss", "structure"))
    parts = settings.encoder, settings.decoder, quantizer_from(settings)
    return VQVAE(image_shape, *parts, variance=variance, dtype=dtype, **options)


def prior_from(settings, grid, num_codes, labels=(), slices=0, dtype="float32"):
    """The prior of one of the `recipe.prior.models()`, a section or a dict, on a `grid` of codes; see `Prior`."""
    settings = _checked(settings, recipe.Prior)
    options = _options(settings, (*SHARED, *OWN.get(settings.name, ())))
    return KINDS[settings.name](grid, num_codes, labels=labels, slices=slices, dtype=dtype, **options)
