"""What happens between batches and epochs: the codebook's start, new life for its dead codes, validation scores."""

import keras
import numpy as np
from scipy.cluster.vq import kmeans2

from vq_lib.scores import codes as code_scores
from vq_lib.scores import images as image_scores


class _OfTheCodebook(keras.callbacks.Callback):
    """What both callbacks of a codebook need: encoder outputs of training images, drawn by (seed, epoch, batch).

    They run on the host, so that the quantiser stays a pure function, and do nothing where it has no codebook.
    """

    def __init__(self, batches, sample=64):
        super().__init__()
        self.batches, self.sample = batches, sample

    def vectors(self, rng):
        """Encoder outputs of some training images, (n, D), those that are finite, as the codebook compares them."""
        rows = np.sort(rng.choice(self.batches.rows, min(self.sample, len(self.batches.rows)), replace=False))
        vectors = self.model.encoder.predict_on_batch(np.asarray(self.batches.inputs[rows]))
        vectors = np.asarray(vectors, np.float32).reshape(-1, self.model.quantizer.embedding_dim)
        vectors = keras.ops.convert_to_numpy(self.model.quantizer.scaled(vectors))
        return vectors[np.isfinite(vectors).all(axis=1)]


class KMeansStart(_OfTheCodebook):
    """Starts the codebook by k-means on encoder outputs (Łańcucki et al. 2020, arXiv 2005.08520, section 3).

    Args:
        batches: the training's `Batches`, of uint8 images; its seed decides what is drawn.
        sample: how many images to encode.
    """

    def on_epoch_begin(self, epoch, logs=None):
        quantizer = self.model.quantizer
        if epoch or not hasattr(quantizer, "replace"):
            return
        size, rng = quantizer.num_embeddings, np.random.default_rng([self.batches.seed or 0, 0, 0])
        vectors = self.vectors(rng)
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
    """Restarts dead codes: those whose running count is below `threshold` times an even share.

    Each is put where the encoder's outputs lie farthest from the codebook's reach: at an output drawn with a
    probability proportional to its squared distance from its nearest code (as k-means++ does). Re-initialisation:
    Łańcucki et al. 2020, arXiv 2005.08520, section 3.

    Args:
        batches, sample: see `KMeansStart`.
        threshold: see above; None never restarts.
        every: batches between restarts, counted from the first epoch on.
    """

    def __init__(self, batches, threshold=0.1, sample=64, every=50):
        super().__init__(batches, sample)
        self.threshold, self.every = threshold, every

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        due = (self.epoch * self.params["steps"] + batch + 1) % self.every == 0
        if self.threshold is None or not due or not hasattr(self.model.quantizer, "replace"):
            return
        quantizer, rng = self.model.quantizer, np.random.default_rng([self.batches.seed or 0, self.epoch, batch + 1])
        counts = keras.ops.convert_to_numpy(quantizer.counts)
        dead = np.flatnonzero(counts < self.threshold * counts.mean())
        vectors = self.vectors(rng) if dead.size else ()
        if len(vectors):  # none are finite where a training has run away: `Resume` stops it
            nearest = keras.ops.convert_to_numpy(quantizer.decode(quantizer.encode(vectors)))
            far = np.square(vectors - nearest, dtype=np.float64).sum(axis=1) + 1e-12
            picked = rng.choice(len(vectors), min(dead.size, len(vectors)), replace=False, p=far / far.sum())
            quantizer.replace(dead[: picked.size], vectors[picked], count=float(counts.mean()))


class Scores(keras.callbacks.Callback):
    """Adds SSIM, foreground SSIM, perplexity and usage of the codebook to each epoch's logs, as `val_…`.

    Args:
        images: uint8, (N, H, W, C). rows: those of the validation people.
    """

    def __init__(self, images, rows):
        super().__init__()
        self.images, self.rows = images, rows

    def on_epoch_end(self, epoch, logs=None):
        if not np.isfinite(logs["loss"]):
            return
        grids, scores = [], []
        for start in range(0, len(self.rows), 256):  # the validation people may not fit into memory
            images = np.asarray(self.images[self.rows[start : start + 256]])
            grids.append(self.model.encode(images))
            scores.append(image_scores.ssim(images, self.model.decode(grids[-1])))
        plain, foreground = np.concatenate(scores, axis=1)
        codes, size = np.concatenate(grids), self.model.quantizer.num_embeddings
        logs["val_ssim"], logs["val_ssim_foreground"] = float(plain.mean()), float(np.nanmean(foreground))
        logs["val_perplexity"] = float(code_scores.perplexity(codes, size))
        logs["val_usage"] = float(code_scores.usage(codes, size))
