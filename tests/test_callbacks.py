"""The codebook between epochs, and the scores that are added to the logs."""

import keras
import numpy as np
import pytest
from skimage.metrics import structural_similarity

from vq_lib.layers.fsq import FiniteScalarQuantizer
from vq_lib.layers.quantizer import EMAVectorQuantizer, VectorQuantizer
from vq_lib.models.vqvae import VQVAE
from vq_lib.training.batches import Batches
from vq_lib.training.callbacks import KMeansStart, RestartDeadCodes, Scores

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 1)).astype(np.uint8)
BLOCK = {"filters": 4, "kernel": 4, "stride": 2}
KINDS = {"ema": lambda: EMAVectorQuantizer(6, 2), "gradient": lambda: VectorQuantizer(6, 2)}


def model_with(quantizer):
    keras.utils.set_random_seed(1)
    return VQVAE((16, 16, 1), [{**BLOCK, "layer": "conv"}], [{**BLOCK, "layer": "transpose"}], quantizer)


def ready(callback, model):
    callback.set_model(model)
    callback.set_params({"steps": 5, "epochs": 2})
    callback.on_epoch_begin(0)
    return callback


def vectors(model):
    return np.asarray(model.encoder.predict_on_batch(IMAGES)).reshape(-1, 2)


def distance(model):
    """Mean squared distance of the encoder's outputs from their nearest codes."""
    z, table = vectors(model), keras.ops.convert_to_numpy(model.quantizer.embeddings)
    return np.square(z[:, None] - table).sum(-1).min(axis=1).mean()


@pytest.mark.parametrize("kind", KINDS)
def test_the_codebook_starts_among_the_encoders_outputs(kind):
    model = model_with(KINDS[kind]())
    before = distance(model)
    start = ready(KMeansStart(Batches(IMAGES, np.arange(20), 4, seed=3)), model)
    assert distance(model) < before / 3
    table = keras.ops.convert_to_numpy(model.quantizer.embeddings)
    start.on_epoch_begin(1)
    np.testing.assert_array_equal(table, keras.ops.convert_to_numpy(model.quantizer.embeddings))


@pytest.mark.parametrize("kind", KINDS)
def test_dead_codes_alone_are_put_on_outputs(kind):
    model = model_with(KINDS[kind]())
    model.quantizer.counts.assign([1.0, 9.0, 0.0, 5.0, 0.01, 5.0])
    before = keras.ops.convert_to_numpy(model.quantizer.embeddings).copy()
    restart = ready(RestartDeadCodes(Batches(IMAGES, np.arange(20), 4, seed=3), threshold=0.1, every=3), model)
    restart.on_train_batch_end(1)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(model.quantizer.embeddings), before)
    restart.on_train_batch_end(2)
    after = keras.ops.convert_to_numpy(model.quantizer.embeddings)
    np.testing.assert_array_equal(after[[0, 1, 3, 5]], before[[0, 1, 3, 5]])
    for code in after[[2, 4]]:
        assert np.abs(vectors(model) - code).sum(axis=1).min() < 1e-5
    counts = keras.ops.convert_to_numpy(model.quantizer.counts)
    np.testing.assert_allclose(counts, [1, 9, 20.01 / 6, 5, 20.01 / 6, 5], rtol=1e-6)


def test_none_never_restarts_and_what_has_no_codebook_is_left_alone():
    batches = Batches(IMAGES, np.arange(20), 4)
    model = model_with(EMAVectorQuantizer(6, 2))
    model.quantizer.counts.assign(np.zeros(6))
    before = model.get_weights()
    ready(RestartDeadCodes(batches, threshold=None, every=1), model).on_train_batch_end(0)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    model = model_with(FiniteScalarQuantizer([3, 3]))
    ready(KMeansStart(batches), model)
    ready(RestartDeadCodes(batches, every=1), model).on_train_batch_end(0)


@pytest.mark.parametrize("logs", [{"loss": np.nan}, {"loss": 1.0, "val_loss": np.nan}])
def test_what_is_not_a_number_is_left_to_the_loss(logs):
    batches, model = Batches(IMAGES, np.arange(20), 4), model_with(EMAVectorQuantizer(6, 2))
    model.set_weights([np.full(w.shape, np.nan, w.dtype) for w in model.get_weights()])
    model.quantizer.counts.assign([0.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    ready(KMeansStart(batches), model)
    ready(RestartDeadCodes(batches, every=1), model).on_train_batch_end(0)
    before = list(logs)
    ready(Scores(IMAGES, np.arange(5)), model).on_epoch_end(0, logs)
    assert list(logs) == before


def test_scores_are_those_of_the_reconstructions():
    model, logs, chosen = model_with(EMAVectorQuantizer(6, 2)), {"loss": 1.0}, np.arange(3, 9)
    ready(Scores(IMAGES, chosen), model).on_epoch_end(0, logs)
    codes = model.encode(IMAGES[chosen])
    outputs = model.decode(codes)
    expected = [
        structural_similarity(x[..., 0] / 255, y[..., 0], data_range=1.0, gaussian_weights=True, sigma=1.5,
                              use_sample_covariance=False)
        for x, y in zip(IMAGES[chosen], outputs, strict=True)
    ]  # fmt: skip
    share = np.bincount(codes.ravel(), minlength=6) / codes.size
    assert logs["val_ssim"] == pytest.approx(np.mean(expected), abs=1e-5)
    assert logs["val_usage"] == pytest.approx((share > 0).mean())
    used = share[share > 0]
    assert logs["val_perplexity"] == pytest.approx(np.exp(-(used * np.log(used)).sum()))
