"""The grain that codes leave out: from the decoder's image to a draw from p(x | z)."""

import numpy as np

from vq_lib.metrics import _unit

BANDS = 32  # of the decoder's grey levels, each with a scale of its own
BLACK = 0.02  # what is decoded darker is background, which has no grain


class Grain:
    """Noise as strong and as fine as what a decoder leaves out of real images.

    A decoder gives about the mean m of p(x | z), which is smoother than any x. A draw is x = m + s(m) w, clipped to
    [0, 1]: s is the standard deviation of x - m where the decoded grey level is about m, and w stationary Gaussian
    noise of unit variance with the power spectrum of (x - m) / s(m). Errors along edges are taken for noise as well.
    Colour images have one grain for all channels.

    Args:
        images: real ones that took no part in training, (N, H, W, C), uint8 or in [0, 1].
        decoded: their reconstructions, likewise.

    Attributes:
        scales: (BANDS,) standard deviations, in [0, 1].
        spectrum: (H, W // 2 + 1) powers; 1 everywhere is white noise.
    """

    def __init__(self, images, decoded):
        real, mean = (_unit(x, "images").mean(axis=-1) for x in (images, decoded))
        rest, lit = real - mean, mean > BLACK
        band = np.minimum((mean[lit] * BANDS).astype(int), BANDS - 1)
        count = np.bincount(band, minlength=BANDS)
        found = np.sqrt(np.bincount(band, rest[lit].astype(np.float64) ** 2, BANDS) / np.maximum(count, 1))
        bands = np.arange(BANDS)
        self.scales = np.interp(bands, bands[count > 0], found[count > 0]) if lit.any() else np.zeros(BANDS)
        unit = np.where(lit, rest / np.maximum(self._scale(mean), 1e-6), 0)
        power = sum((np.abs(np.fft.rfft2(one)) ** 2 for one in unit), np.zeros((unit.shape[1], unit.shape[2] // 2 + 1)))
        self.spectrum = power / max(lit.sum(), 1)

    def _scale(self, mean):
        return np.interp(mean * BANDS - 0.5, np.arange(BANDS), self.scales)

    def draw(self, decoded, seed=0):
        """Draws from p(x | z): decoded images (N, H, W, C), uint8 or in [0, 1] → uint8 (N, H, W, C)."""
        decoded = _unit(decoded, "images")
        mean, rng = decoded.mean(axis=-1), np.random.default_rng(seed)
        drawn = np.empty(decoded.shape, np.uint8)
        for i, one in enumerate(mean):
            white = np.fft.rfft2(rng.standard_normal(one.shape))
            noise = np.fft.irfft2(white * np.sqrt(self.spectrum), one.shape) * self._scale(one) * (one > BLACK)
            drawn[i] = np.round(np.clip(decoded[i] + noise[..., None], 0, 1) * 255)
        return drawn
