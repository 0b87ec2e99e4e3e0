"""Untrained models from a recipe's settings: a section, or a dict that is checked as a recipe is."""

from vq_lib import recipe
from vq_lib.models.gated import GatedPixelCNN
from vq_lib.models.pixelcnn import PixelCNN
from vq_lib.models.snail import PixelSNAIL
from vq_lib.models.two_level import TwoLevelPrior
from vq_lib.models.vqvae import VQVAE, quantizer_of

KINDS = {"pixelcnn": PixelCNN, "gated": GatedPixelCNN, "snail": PixelSNAIL}
SHARED = {"filters", "blocks", "kernel", "head", "head_filters", "embedding", "position", "dropout"}
OWN = {"snail": {"attention", "key_dim", "value_dim"}}


def quantizer_from(settings):
    """The quantiser layer of `recipe.vqvae`: by `codebook`, or FSQ where there are `levels`."""
    return quantizer_of(recipe.VQVAE.model_validate(settings).model_dump())


def vqvae_from(settings, image_shape, variance, dtype="float32"):
    """The VQ-VAE of `recipe.vqvae` for training images of `variance`; see `VQVAE`."""
    names = {"encoder", "decoder", "activation", "normalise", "output", "final", "loss", "structure", "coarse"}
    options = recipe.VQVAE.model_validate(settings).model_dump(include=names)
    return VQVAE(image_shape, quantizer=quantizer_from(settings), variance=variance, dtype=dtype, **options)


def prior_from(settings, levels, num_codes, labels=(), slices=0, dtype="float32"):
    """The prior of one of the `recipe.prior.models()` over the `levels` of a VQ-VAE's codes, or a grid (h, w) of them;
    see `Prior` and `TwoLevelPrior`.
    """
    settings = recipe.Prior.model_validate(settings)
    options = settings.model_dump(include=SHARED | OWN.get(settings.name, set()))
    options |= {"labels": labels, "slices": slices, "dtype": dtype}
    *coarse, grid = levels if isinstance(levels[0], tuple) else (levels,)
    if coarse:
        return TwoLevelPrior(KINDS[settings.name], coarse[0], grid, num_codes, **options)
    return KINDS[settings.name](grid, num_codes, **options)
