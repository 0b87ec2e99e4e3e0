"""The grain that codes leave out: from the decoder's image to a draw from p(x | z)."""

import numpy as np

from vq_lib.scores import metrics

LEVELS, SLOPES = 16, 8  # bands of the decoded grey level and of its slope, each pair with a scale of its own
BLACK = 0.02  # what is decoded darker is background, which has no grain


class Grain:
    """Noise as strong and as fine as what a decoder leaves out of real images.

    A decoder gives about the mean m of p(x | z), which is smoother than any x. A draw is x = m + s w, clipped to
    [0, 1]: s is the standard deviation of x - m where m has about this grey level and this slope (an edge hides more
    than an even area), and w stationary Gaussian noise of unit variance with the power spectrum of (x - m) / s. Colour
    images have one grain for all channels.

    Args:
        images: real ones that took no part in training, (N, H, W, C), uint8 or in [0, 1].
        decoded: their reconstructions, likewise.

    Attributes:
        edges: the bands' borders, equally many lit pixels in each: (LEVELS - 1,) and (SLOPES - 1,).
        scales: (LEVELS, SLOPES) standard deviations, in [0, 1].
        spectrum: (H, W // 2 + 1) powers; 1 everywhere is white noise.
    """

    def __init__(self, images, decoded):
        real, mean = (metrics.unit(x, "images").mean(axis=-1) for x in (images, decoded))
        rest, lit, slope = real - mean, mean > BLACK, _slope(mean)
        self.edges, self.scales = (np.zeros(LEVELS - 1), np.zeros(SLOPES - 1)), np.zeros((LEVELS, SLOPES))
        if lit.any():
            self.edges = tuple(
                np.quantile(values[lit], np.linspace(0, 1, bands + 1)[1:-1])
                for values, bands in ((mean, LEVELS), (slope, SLOPES))
            )
            band = self._band(mean, slope)[lit]
            count, power = (np.bincount(band, w, LEVELS * SLOPES).reshape(LEVELS, SLOPES)
                            for w in (None, rest[lit].astype(np.float64) ** 2))  # fmt: skip
            whole = power.sum(axis=1, keepdims=True) / np.maximum(count.sum(axis=1, keepdims=True), 1)
            self.scales = np.sqrt(np.where(count > 50, power / np.maximum(count, 1), whole))
        unit = np.where(lit, rest / np.maximum(self._scale(mean, slope), 1e-6), 0)
        power = sum((np.abs(np.fft.rfft2(one)) ** 2 for one in unit), np.zeros((unit.shape[1], unit.shape[2] // 2 + 1)))
        self.spectrum = power / max(lit.sum(), 1)

    def _band(self, mean, slope):
        return np.searchsorted(self.edges[0], mean) * SLOPES + np.searchsorted(self.edges[1], slope)

    def _scale(self, mean, slope):
        return self.scales.ravel()[self._band(mean, slope)]

    def draw(self, decoded, seed=0):
        """Draws from p(x | z): decoded images (N, H, W, C), uint8 or in [0, 1] → uint8 (N, H, W, C)."""
        decoded = metrics.unit(decoded, "images")
        rng, drawn = np.random.default_rng(seed), np.empty(decoded.shape, np.uint8)
        for i, image in enumerate(decoded):
            mean = image.mean(axis=-1)
            scale = np.where(mean > BLACK, self._scale(mean, _slope(mean)), 0)
            white = np.fft.rfft2(rng.standard_normal(mean.shape))
            noise = np.fft.irfft2(white * np.sqrt(self.spectrum), mean.shape) * scale
            drawn[i] = np.round(np.clip(image + noise[..., None], 0, 1) * 255)
        return drawn


def _slope(mean):
    return np.hypot(*np.gradient(mean, axis=(-2, -1)))
