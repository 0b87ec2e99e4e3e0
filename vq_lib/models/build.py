"""Untrained models from a recipe's settings: a section, or a dict that is checked as a recipe is."""

from vq_lib import recipe
from vq_lib.models.gated import GatedPixelCNN
from vq_lib.models.pixelcnn import PixelCNN
from vq_lib.models.snail import PixelSNAIL
from vq_lib.models.vqvae import VQVAE, quantizer_of

KINDS = {"pixelcnn": PixelCNN, "gated": GatedPixelCNN, "snail": PixelSNAIL}
SHARED = {"filters", "blocks", "kernel", "head", "head_filters", "embedding", "position", "dropout"}
OWN = {"snail": {"attention", "key_dim", "value_dim"}}


def quantizer_from(settings):
    """The quantiser layer of `recipe.vqvae`: by `codebook`, or FSQ where there are `levels`."""
    return quantizer_of(recipe.VQVAE.model_validate(settings).model_dump())


def vqvae_from(settings, image_shape, variance, dtype="float32"):
    """The VQ-VAE of `recipe.vqvae` for training images of `variance`; see `VQVAE`."""
    names = {"encoder", "decoder", "activation", "normalise", "output", "final", "loss", "structure"}
    options = recipe.VQVAE.model_validate(settings).model_dump(include=names)
    return VQVAE(image_shape, quantizer=quantizer_from(settings), variance=variance, dtype=dtype, **options)


def prior_from(settings, grid, num_codes, labels=(), slices=0, dtype="float32"):
    """The prior of one of the `recipe.prior.models()` on a `grid` of codes; see `Prior`."""
    settings = recipe.Prior.model_validate(settings)
    options = settings.model_dump(include=SHARED | OWN.get(settings.name, set()))
    return KINDS[settings.name](grid, num_codes, labels=labels, slices=slices, dtype=dtype, **options)
