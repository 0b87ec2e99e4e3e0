"""A prior over two levels of codes: the coarse ones first, and the fine ones given those."""

from typing import Any

import keras

from vq_lib.models.levels import join, rows_of, split
from vq_lib.models.prior import Prior


@keras.saving.register_keras_serializable(package="vq_lib")
class TwoLevelPrior(keras.Model):
    """p(coarse | c) p(fine | coarse, c) (Razavi et al. 2019, arXiv 1906.00446, section 3.2), each factor a `Prior`.

    Codes lie as `VQVAE.encode` gives them, the coarse ones in the first rows, so that they are drawn in raster order,
    and all that takes a `Prior` takes this as well. Both are trained at once; they share no weights.

    Shapes: codes (B, rows + h, w) int, or floats (…, K) as one-hot codes, and condition (B, 2) → logits (…, K) float32.

    Args:
        kind: a subclass of `Prior`, or its name.
        coarse, grid: (h', w') of the coarse codes, and (h, w) of the fine ones. Other arguments are those of `Prior`.
    """

    def __init__(self, kind: type[Prior] | str, coarse, grid, codes, dtype=None, **options: Any):
        super().__init__(dtype=dtype)
        kind = keras.saving.get_registered_object(f"vq_lib>{kind}") if isinstance(kind, str) else kind
        self.codes, self.grid = codes, (rows_of(coarse, grid) + grid[0], grid[1])
        self.coarse = kind(coarse, codes, **options, dtype=self.dtype_policy, name="coarse")
        self.fine = kind(grid, codes, coarse=coarse, **options, dtype=self.dtype_policy, name="fine")
        self.labels, self.slices, self.conditional = self.fine.labels, self.fine.slices, self.fine.conditional
        self.condition_bits = self.fine.condition_bits
        self.settings = {"kind": kind.__name__, "coarse": list(coarse), "grid": list(grid), "codes": codes, **options}
        inputs = keras.Input(self.grid, dtype="int32"), keras.Input((2,), dtype="int32")
        TwoLevelPrior.call(self, *inputs[: 1 + self.conditional])  # tells `summary` the parts' shapes
        self.built = True

    def call(self, inputs, condition=None, training=False):
        codes, condition = inputs if isinstance(inputs, (tuple, list)) else (inputs, condition)
        coarse, fine = split(codes, self.coarse.grid)
        known = {"condition": condition, "training": training}
        return join(self.coarse(coarse, **known), self.fine(fine, coarse=coarse, **known))

    def get_config(self):
        return {**super().get_config(), **self.settings}

    @classmethod
    def from_config(cls, config):
        """The prior of a configuration; its name goes, for Keras numbers names."""
        return cls(**{key: value for key, value in config.items() if key not in ("name", "trainable")})
