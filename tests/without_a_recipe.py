"""From NumPy images to generated ones with the layers alone: no recipe, no study, nothing written to disk."""

import keras
import numpy as np
from scipy.ndimage import gaussian_filter

from vq_lib.layers.quantizer import EMAVectorQuantizer
from vq_lib.models.pixelcnn import PixelCNN
from vq_lib.models.prior import code_lengths
from vq_lib.models.sampling import sample
from vq_lib.models.vqvae import VQVAE
from vq_lib.scores.images import ssim

keras.utils.set_random_seed(0)
rng = np.random.default_rng(0)
shapes = gaussian_filter(rng.normal(size=(96, 32, 32)), (0, 4, 4))[..., None]  # your images: uint8, (N, H, W, C)
images = np.clip(128 + 900 * shapes, 0, 255).astype(np.uint8)
train, test = images[:80], images[80:]

vqvae = VQVAE(
    image_shape=images.shape[1:],
    encoder=[{"layer": "conv", "filters": 16, "kernel": 4, "stride": 2}, {"layer": "residual", "filters": 16}],
    decoder=[{"layer": "residual", "filters": 8}, {"layer": "transpose", "filters": 16, "kernel": 4, "stride": 2}],
    quantizer=EMAVectorQuantizer(num_embeddings=32, embedding_dim=8),
    variance=(train / 255).var(),
)
vqvae.compile(keras.optimizers.Adam(3e-3))
vqvae.fit(train, validation_data=(test,), batch_size=4, epochs=15, verbose=0)
codes = vqvae.encode(images)

prior = PixelCNN(vqvae.grid, codes=32, filters=16, blocks=1, head=1)
prior.compile(keras.optimizers.Adam(3e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
prior.fit(codes[:80], codes[:80], batch_size=8, epochs=3, verbose=0)

samples = vqvae.decode(sample(prior, count=4, seed=0))
plain, foreground = ssim(test, vqvae.decode(codes[80:]))
bits = code_lengths(prior, codes[80:]).mean()
print(f"SSIM {plain.mean():.3f}, {bits:.2f} bits a code, {len(samples)} samples of {samples.shape[1:]}")
