"""Two levels of codes: what makes the coarse ones, and how both lie in one grid."""

import keras
import numpy as np
from keras import ops

from vq_lib.layers import blocks


def rows_of(coarse, fine):
    """How many rows as wide as the fine grid the coarse codes fill; a ValueError where they fill no whole ones."""
    cells, width = coarse[0] * coarse[1], fine[1]
    if cells % width:
        raise ValueError(
            f"a coarse grid of {coarse[0]}x{coarse[1]} codes fills no whole rows of the fine one's {width}"
        )
    return cells // width


def split(codes, coarse):
    """Codes in the order in which they are drawn, (B, rows + h, w, …), as the coarse and the fine ones: (B, h', w', …)
    and (B, h, w, …); `coarse` is (h', w'). The coarse ones come first, as rows of the fine grid's width.
    """
    rows, module = rows_of(coarse, codes.shape[1:3]), np if isinstance(codes, np.ndarray) else ops
    return module.reshape(codes[:, :rows], (-1, *coarse, *codes.shape[3:])), codes[:, rows:]


def join(coarse, fine):
    """The inverse of `split`."""
    module = np if isinstance(fine, np.ndarray) else ops
    flat = module.reshape(coarse, (-1, rows_of(coarse.shape[1:3], fine.shape[1:3]), *fine.shape[2:]))
    return module.concatenate([flat, fine], axis=1)


class CoarseLevel(keras.layers.Layer):
    """The upper level of a hierarchical VQ-VAE (Razavi et al. 2019, arXiv 1906.00446, section 3.1 and figure 2a).

    From the features f of the image encoder, with a quantiser q of its own,

        e = q(encoder(f)),    u = decoder(e),    z = 1x1([f, u]),

    so that the fine codes, those of z, hold what the coarse ones leave out. The image decoder is given the fine codes'
    vectors and u.

    Shapes: features (B, h, w, F) → z (B, h, w, D) and u (B, h, w, U); e: (B, h', w', D).
    """

    def __init__(self, features, encoder, decoder, quantizer, activation="relu", **kwargs):
        super().__init__(**kwargs)
        dim, dtype = quantizer.embedding_dim, self.dtype_policy
        self.quantizer = quantizer
        self.settings = {"features": list(features), "encoder": encoder, "decoder": decoder, "activation": activation}
        last = keras.layers.Conv2D(dim, 1, dtype=dtype)
        self.encoder = keras.Sequential(
            [keras.Input(features), *blocks.layers_of(encoder, activation, dtype), last], name="encoder"
        )
        self.grid = tuple(self.encoder.output_shape[1:3])
        quantizer(keras.Input((*self.grid, dim)))
        self.decoder = keras.Sequential(
            [keras.Input((*self.grid, dim)), *blocks.layers_of(decoder, activation, dtype)], name="decoder"
        )
        if tuple(self.decoder.output_shape[1:3]) != tuple(features[:2]):
            raise ValueError(f"the coarse level's decoder gives a grid of {self.decoder.output_shape[1:3]}, and its "
                             f"encoder was given {tuple(features[:2])}")  # fmt: skip
        width = features[-1] + self.decoder.output_shape[-1]
        self.link = keras.Sequential(
            [keras.Input((*features[:2], width)), keras.layers.Conv2D(dim, 1, dtype=dtype)], name="link"
        )
        self.built = True

    def call(self, features, training=False):
        up = self.decoder(self.quantizer(self.encoder(features, training=training), training=training))
        return self.link(ops.concatenate([ops.cast(features, up.dtype), up], axis=-1)), up

    def get_config(self):
        """What decides how it behaves; the VQ-VAE builds it anew from its own configuration."""
        return {**super().get_config(), **self.settings, "quantizer": self.quantizer.get_config()}

    def vectors(self, features):
        """On the host: what the coarse quantiser is given, (B, h', w', D), and what the fine one is, (B, h, w, D)."""
        coarse = np.asarray(self.encoder.predict_on_batch(features), np.float32)
        up = self.up(ops.convert_to_numpy(self.quantizer.encode(coarse)))
        return coarse, self.link.predict_on_batch(np.concatenate([np.asarray(features, up.dtype), up], axis=-1))

    def up(self, codes):
        """u of coarse codes (B, h', w'), on the host."""
        return np.asarray(self.decoder.predict_on_batch(ops.convert_to_numpy(self.quantizer.decode(codes))), np.float32)
