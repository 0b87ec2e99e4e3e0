"""What happens to a codebook between epochs: its start from data, and new life for codes that nobody chooses."""

import keras
import numpy as np
from scipy.cluster.vq import kmeans2


class CodebookKeeper(keras.callbacks.Callback):
    """Starts the codebook by k-means on encoder outputs, and restarts dead codes every few batches.

    Both need data, so they run on the host and the layer stays a pure function. A code is dead when its running count
    is below `threshold` times an even share; it is put where the encoder's outputs lie farthest from the codebook's
    reach: at outputs drawn with a probability proportional to their squared distance from their nearest code (as
    k-means++ does). Data-dependent start and re-initialisation: Łańcucki et al. 2020, arXiv 2005.08520, section 3.

    Args:
        images: uint8 training images; some are drawn each time.
        seed: with epoch and batch, decides everything that is drawn.
        threshold: see above; None never restarts.
        sample: how many images to encode.
        every: batches between restarts, counted from the first epoch on.
        start: whether to start by k-means; otherwise the layer's own start stays.
    """

    def __init__(self, images, rows, seed=0, threshold=0.1, sample=64, every=50, start=True):
        super().__init__()
        self.images, self.rows, self.seed = images, rows, seed
        self.threshold, self.sample, self.every, self.start = threshold, sample, every, start

    def _vectors(self, rng):
        chosen = np.sort(rng.choice(self.rows, min(self.sample, len(self.rows)), replace=False))
        vectors = self.model.encoder.predict_on_batch(np.asarray(self.images[chosen]))
        vectors = np.asarray(vectors, np.float32).reshape(-1, self.model.quantizer.dim)
        return keras.ops.convert_to_numpy(self.model.quantizer.scaled(vectors))

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
        if epoch == 0 and self.start:
            self._start(np.random.default_rng([self.seed, 0, 0]))

    def on_train_batch_end(self, batch, logs=None):
        if self.threshold is not None and (self.epoch * self.params["steps"] + batch + 1) % self.every == 0:
            self._restart(np.random.default_rng([self.seed, self.epoch, batch + 1]))

    def _start(self, rng):
        quantizer = self.model.quantizer
        vectors = self._vectors(rng)
        # Black background gives one and the same vector by the thousand; k-means would spend many codes on it.
        distinct = rng.permutation(np.unique(np.round(vectors, 4), axis=0))[: 64 * quantizer.codes]
        missing = max(quantizer.codes - len(distinct), 0)
        noise = rng.normal(vectors.mean(0), vectors.std(0) + 1e-3, (missing, quantizer.dim))
        distinct = np.concatenate([distinct, noise]).astype(np.float32)
        centres, _ = kmeans2(distinct, distinct[: quantizer.codes].copy(), iter=8, minit="matrix", missing="warn")
        quantizer.replace(np.arange(quantizer.codes), centres)

    def _restart(self, rng):
        quantizer = self.model.quantizer
        counts = keras.ops.convert_to_numpy(quantizer.counts)
        dead = np.flatnonzero(counts < self.threshold * counts.mean())
        if dead.size:
            vectors = self._vectors(rng)
            nearest = keras.ops.convert_to_numpy(quantizer.decode(quantizer.encode(vectors)))
            far = np.square(vectors - nearest).sum(axis=1) + 1e-12
            picked = rng.choice(len(vectors), min(dead.size, len(vectors)), replace=False, p=far / far.sum())
            quantizer.replace(dead[: picked.size], vectors[picked], count=float(counts.mean()))


class Watch(keras.callbacks.Callback):
    """Adds validation SSIM, foreground SSIM and perplexity to each epoch's logs."""

    def __init__(self, images, rows):
        super().__init__()
        self.images, self.rows = images, rows

    def on_epoch_end(self, epoch, logs=None):
        from vq_lib.scores import metrics

        codes, scores = [], []
        for start in range(0, len(self.rows), 256):  # the validation people may not fit into memory
            images = np.asarray(self.images[self.rows[start : start + 256]])
            codes.append(self.model.encode(images))
            scores.append(metrics.ssim(images, self.model.decode(codes[-1])))
        plain, foreground = np.concatenate(scores, axis=1)
        whole, size = np.concatenate(codes), self.model.quantizer.codes
        logs["val_ssim"], logs["val_ssim_foreground"] = plain.mean(), np.nanmean(foreground)
        logs["val_perplexity"], logs["val_usage"] = metrics.perplexity(whole, size), metrics.usage(whole, size)
