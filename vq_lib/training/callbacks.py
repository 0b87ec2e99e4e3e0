"""What happens between batches and epochs: the codebook's start, new life for its dead codes, validation scores."""

import keras
import numpy as np
from keras.ops import convert_to_numpy
from scipy.cluster.vq import kmeans2

from vq_lib.scores import codes as code_scores
from vq_lib.scores import images as image_scores


class _OfTheCodebook(keras.callbacks.Callback):
    """Looks at encoder outputs of training images, on the host, so that the quantiser stays a pure function."""

    def __init__(self, batches, sample=64):
        super().__init__()
        self.batches, self.sample = batches, sample

    def drawn(self, epoch, batch, level=0):
        """The random numbers of this moment, and what the quantiser of a level is given, finite vectors (n, D), as the
        codebook compares them.
        """
        rng = np.random.default_rng([self.batches.seed or 0, epoch, batch])
        rows = np.sort(rng.choice(self.batches.rows, min(self.sample, len(self.batches.rows)), replace=False))
        quantizer, vectors = self.model.vectors(self.batches.inputs[rows])[level]
        vectors = np.asarray(vectors, np.float32).reshape(-1, quantizer.embedding_dim)
        vectors = convert_to_numpy(quantizer.scaled(vectors))
        return rng, vectors[np.isfinite(vectors).all(axis=1)]


class KMeansStart(_OfTheCodebook):
    """Starts the codebook by k-means on encoder outputs (Łańcucki et al. 2020, arXiv 2005.08520, section 3).

    `batches` are the training's `Batches` of uint8 images, whose seed decides which `sample` of them is encoded.
    """

    def on_epoch_begin(self, epoch, logs=None):
        for level, quantizer in enumerate(self.model.quantizers):  # the coarse one first: what the fine one is given
            if not epoch and hasattr(quantizer, "replace"):  # depends on it
                self._start(quantizer, *self.drawn(0, 0, level))

    def _start(self, quantizer, rng, vectors):
        size = quantizer.num_embeddings
        if not len(vectors):
            return
        # Black background gives one and the same vector by the thousand; k-means would spend many codes on it.
        distinct = rng.permutation(np.unique(np.round(vectors, 4), axis=0))[: 64 * size]
        missing = max(size - len(distinct), 0)
        noise = rng.normal(vectors.mean(0), vectors.std(0) + 1e-3, (missing, vectors.shape[1]))
        distinct = np.concatenate([distinct, noise]).astype(np.float32)
        centres, _ = kmeans2(distinct, distinct[:size].copy(), iter=8, minit="matrix", missing="warn")
        quantizer.replace(np.arange(size), centres)


class RestartDeadCodes(_OfTheCodebook):
    """Restarts dead codes: those whose running count is below `threshold` times an even share, `every` so many batches.

    Each is put at an encoder output drawn with a probability proportional to its squared distance from its nearest code
    (as k-means++ does; Łańcucki et al. 2020, arXiv 2005.08520, section 3). A `threshold` of None never restarts.
    """

    def __init__(self, batches, threshold=0.1, sample=64, every=50):
        super().__init__(batches, sample)
        self.threshold, self.every = threshold, every

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.threshold is None or (self.epoch * self.params["steps"] + batch + 1) % self.every:
            return
        for level, quantizer in enumerate(self.model.quantizers):
            if hasattr(quantizer, "replace"):
                self._restart(quantizer, level, batch)

    def _restart(self, quantizer, level, batch):
        counts = convert_to_numpy(quantizer.counts)
        dead = np.flatnonzero(counts < self.threshold * counts.mean())
        if not dead.size:
            return
        rng, vectors = self.drawn(self.epoch, batch + 1, level)
        if len(vectors):  # none are finite where a training has run away: `Resume` stops it
            nearest = convert_to_numpy(quantizer.decode(quantizer.encode(vectors)))
            far = np.square(vectors - nearest, dtype=np.float64).sum(axis=1) + 1e-12
            picked = rng.choice(len(vectors), min(dead.size, len(vectors)), replace=False, p=far / far.sum())
            quantizer.replace(dead[: picked.size], vectors[picked], count=float(counts.mean()))


class Scores(keras.callbacks.Callback):
    """Adds SSIM, foreground SSIM, perplexity and usage of the codebook (that of the fine codes, where there are two
    levels) on uint8 `images[rows]` to each epoch's logs.
    """

    def __init__(self, images, rows):
        super().__init__()
        self.images, self.rows = images, rows

    def on_epoch_end(self, epoch, logs=None):
        if not all(np.isfinite(logs.get(name, 0.0)) for name in ("loss", "val_loss")):  # `Resume` stops the training
            return
        grids, scores = [], []
        for start in range(0, len(self.rows), 256):  # the validation people may not fit into memory
            images = np.asarray(self.images[self.rows[start : start + 256]])
            grids.append(self.model.encode(images))
            scores.append(image_scores.ssim(images, self.model.decode(grids[-1])))
        plain, foreground = np.concatenate(scores, axis=1)
        codes, size = self.model.fine(np.concatenate(grids)), self.model.quantizer.num_embeddings
        logs["val_ssim"], logs["val_ssim_foreground"] = float(plain.mean()), float(np.nanmean(foreground))
        logs["val_perplexity"] = float(code_scores.perplexity(codes, size))
        logs["val_usage"] = float(code_scores.usage(codes, size))
