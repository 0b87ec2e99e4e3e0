"""The grain that codes leave out: from the decoder's image to a draw from p(x | z)."""

import numpy as np
import pandas as pd

from vq_lib.scores.images import unit

LEVELS, SLOPES = 16, 8  # bands of the decoded grey level and of its slope, each pair with a scale of its own
BLACK = 0.02  # what is decoded darker is background, which has no grain


class Grain:
    """Noise as strong and as fine as what a decoder leaves out of real images.

    A decoder gives about the mean m of p(x | z), which is smoother than any x. A draw is x = m + s w, clipped to
    [0, 1]: s is the standard deviation of x - m where m has about this grey level and this slope (an edge hides more
    than an even area), and w stationary Gaussian noise of unit variance with the power spectrum of (x - m) / s, one for
    all channels. Fitted on real images (N, H, W, C) that took no part in training and their reconstructions.
    """

    def __init__(self, images, decoded):
        real, mean = (unit(x).mean(axis=-1) for x in (images, decoded))
        rest, lit = real - mean, mean > BLACK
        self.edges, self.scales = [np.zeros(LEVELS - 1), np.zeros(SLOPES - 1)], np.zeros(LEVELS * SLOPES)
        if lit.any():
            self.edges = [np.quantile(values[lit], np.linspace(0, 1, len(edges) + 2)[1:-1])
                          for values, edges in zip(_looks(mean), self.edges, strict=True)]  # fmt: skip
            count, power = (np.bincount(self._band(mean)[lit], weights, LEVELS * SLOPES).reshape(LEVELS, SLOPES)
                            for weights in (None, rest[lit].astype(np.float64) ** 2))  # fmt: skip
            whole = power.sum(axis=1, keepdims=True) / np.maximum(count.sum(axis=1, keepdims=True), 1)
            self.scales = np.sqrt(np.where(count > 50, power / np.maximum(count, 1), whole)).ravel()
        white = np.where(lit, rest / np.maximum(self.scales[self._band(mean)], 1e-6), 0)
        self.spectrum = sum(np.abs(np.fft.rfft2(one)) ** 2 for one in white) / max(lit.sum(), 1)

    def _band(self, mean):
        level, slope = (np.searchsorted(*pair) for pair in zip(self.edges, _looks(mean), strict=True))
        return level * SLOPES + slope

    def draw(self, decoded, seed=0):
        """Draws from p(x | z): decoded images (N, H, W, C), uint8 or in [0, 1] → uint8 (N, H, W, C)."""
        decoded, rng = unit(decoded), np.random.default_rng(seed)
        drawn = np.empty(decoded.shape, np.uint8)
        for i, image in enumerate(decoded):
            mean = image.mean(axis=-1)
            white = np.fft.rfft2(rng.standard_normal(mean.shape))
            noise = np.fft.irfft2(white * np.sqrt(self.spectrum), mean.shape)
            noise *= np.where(mean > BLACK, self.scales[self._band(mean)], 0)
            drawn[i] = np.round(np.clip(image + noise[..., None], 0, 1) * 255)
        return drawn


def agreement(images, decoded, person, position, apart=(1, 4)):
    """Whether what is left out is noise: mean correlations inside the head, a frame, NaN where there are no such pairs.

    Rows: "slice", and "rest", image minus decoded; columns: with the slice of the same person so many positions
    `apart`, and with another person's at the same position, "others". Structure goes on from slice to slice; noise does
    not, but into the nearest ones of a volume that was resampled.
    """
    real, mean = (unit(x).mean(axis=-1) for x in (images, decoded))
    rows = {pair: row for row, pair in enumerate(zip(person, position, strict=True)) if pair[1] >= 0}
    names = sorted({name for name, _ in rows})
    following = dict(zip(names, names[1:] + names[:1], strict=True))
    pairs = {by: [(row, rows.get((name, place + by))) for (name, place), row in rows.items()] for by in apart}
    pairs["others"] = [(row, rows.get((following[name], place))) for (name, place), row in rows.items()]

    def correlation(x, first, second):
        inside = (mean[first] > BLACK) & (mean[second] > BLACK)
        with np.errstate(invalid="ignore"):  # where one of them is constant
            return np.corrcoef(x[first][inside], x[second][inside])[0, 1] if inside.sum() > 2 else np.nan

    def average(x, both):
        found = [correlation(x, *pair) for pair in both if None not in pair and pair[0] != pair[1]]
        return np.nanmean(found) if np.isfinite(found).any() else np.nan

    kinds = {"slice": real, "rest": real - mean}
    return pd.DataFrame({kind: {name: average(x, both) for name, x in kinds.items()} for kind, both in pairs.items()})


def _looks(mean):
    return mean, np.hypot(*np.gradient(mean, axis=(-2, -1)))
