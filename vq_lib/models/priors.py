"""The kinds of prior that a recipe can name."""

from vq_lib.models.gated import GatedPixelCNN
from vq_lib.models.pixelcnn import PixelCNN
from vq_lib.models.prior import Prior
from vq_lib.models.snail import PixelSNAIL

__all__ = ["KINDS", "Prior", "from_recipe"]

KINDS = {"pixelcnn": PixelCNN, "gated": GatedPixelCNN, "snail": PixelSNAIL}
SHARED = ("filters", "blocks", "kernel", "head", "head_filters", "embedding", "position", "dropout")
OWN = {"snail": ("attention", "key_dim", "value_dim")}


def from_recipe(section, grid, codes, labels=(), slices=0, dtype="float32"):
    """The untrained prior of a recipe's section, as a dict, on a `grid` of `codes` codes; see `prior.Prior`."""
    names = (*SHARED, *OWN.get(section["name"], ()))
    options = {name: section[name] for name in names}
    return KINDS[section["name"]](grid, codes, labels=labels, slices=slices, dtype=dtype, **options)
