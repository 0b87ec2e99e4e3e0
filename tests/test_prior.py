"""Masked layers and the prior: causality by gradients, step = call, sampling = the naive loop."""

import keras
import numpy as np
import pytest
from keras import ops
from layer_checks import check_layer, gradients

from vq_lib import ladder, sampling, stages
from vq_lib.figures.prior import seen
from vq_lib.masked import MaskedCodeConv, MaskedConv2D, causal_taps
from vq_lib.pixelcnn import MaskedResidualBlock, PixelCNN

GRID = (5, 6)


def shake(model, seed=0):
    """Weights without symmetry or zeros, so that every connection that exists shows."""
    rng = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        weight.assign(rng.normal(0, 0.4, weight.shape))
    return model


def prior(**options):
    return shake(PixelCNN(GRID, 7, **{"filters": 8, "blocks": 2, "kernel": 5, **options}))


VARIANTS = [{}, {"embedding": 3}, {"position": True, "head": 0}, {"embedding": 3, "position": True, "head_filters": 4}]


def test_layer_contracts():
    check_layer(MaskedConv2D, {"filters": 4, "kernel": 3, "mask": "B"}, (2, 5, 6, 3))
    check_layer(MaskedResidualBlock, {"filters": 4, "dropout": 0.1}, (2, 5, 6, 4))
    check_layer(MaskedCodeConv, {"codes": 4, "filters": 3, "kernel": 5, "embedding": None}, (2, 5, 6), "int32")
    check_layer(MaskedCodeConv, {"codes": 4, "filters": 3, "kernel": 5, "embedding": 2}, (2, 5, 6), "int32")


@pytest.mark.parametrize("mask", ["A", "B"])
@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
def test_masked_convolution_by_gradients(kernel, mask):
    """The gradient of one output reaches exactly the past within the window, and with mask B the cell itself."""
    if (kernel, mask) == (1, "A"):
        return  # sees nothing at all
    layer = MaskedConv2D(2, kernel, mask)
    layer.build((None, 9, 10, 3))
    shake(layer)
    x = np.random.default_rng(1).normal(size=(1, 9, 10, 3)).astype(np.float32)
    for row, column in ((4, 5), (0, 0), (8, 9), (3, 9)):
        (gradient,) = gradients(lambda x, r=row, c=column: ops.sum(layer(x)[0, r, c]), x)
        rows, columns = np.mgrid[:9, :10]
        window = (np.abs(rows - row) <= kernel // 2) & (np.abs(columns - column) <= kernel // 2)
        order, here = rows * 10 + columns, row * 10 + column
        past = order <= here if mask == "B" else order < here
        np.testing.assert_array_equal(np.abs(gradient[0]).sum(-1) > 0, window & past)


def test_masked_convolution_equals_keras_with_a_masked_kernel():
    layer = MaskedConv2D(4, 5, "B", "relu")
    layer.build((None, 7, 7, 3))
    shake(layer)
    full = np.zeros((5, 5, 3, 4), np.float32)
    full.reshape(25, 3, 4)[: causal_taps(5, True)] = np.asarray(layer.weight).reshape(-1, 3, 4)[: causal_taps(5, True)]
    reference = keras.layers.Conv2D(4, 5, padding="same", activation="relu")
    reference.build((None, 7, 7, 3))
    reference.set_weights([full, np.asarray(layer.bias)])
    x = np.random.default_rng(1).normal(size=(2, 7, 7, 3)).astype(np.float32)
    np.testing.assert_allclose(layer(x), reference(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("embedding", [None, 3])
def test_look_up_equals_a_convolution_of_one_hot_codes(embedding):
    layer = MaskedCodeConv(6, 4, 5, embedding, activation=None)
    layer.build((None, 7, 8))
    shake(layer)
    codes = np.random.default_rng(1).integers(0, 6, (2, 7, 8)).astype(np.int32)
    table = np.asarray(layer.table()).reshape(-1, 7, 4)[:, :6]
    kernel = np.zeros((5, 5, 6, 4), np.float32)
    kernel.reshape(25, 6, 4)[: causal_taps(5, False)] = table
    one_hot = np.eye(6, dtype=np.float32)[codes]
    expected = np.asarray(ops.conv(one_hot, kernel, padding="same")) + np.asarray(layer.bias)
    np.testing.assert_allclose(layer(codes), expected, rtol=1e-4, atol=1e-5)


def test_masks_leave_the_weights_alone():
    model = prior()
    before = [np.asarray(w).copy() for w in model.weights]
    model(np.zeros((2, *GRID), np.int32))
    for weight, old in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight, old)


@pytest.mark.parametrize("options", VARIANTS)
def test_the_model_never_sees_the_future(options):
    model = prior(**options)
    codes = np.random.default_rng(1).integers(0, 7, GRID)
    order = np.arange(GRID[0] * GRID[1]).reshape(GRID)
    for cell in ((0, 0), (2, 3), (4, 5)):
        influence = seen(model, codes, cell)
        here = cell[0] * GRID[1] + cell[1]
        assert (influence[order >= here] == 0).all()
        if here:
            assert influence.ravel()[here - 1] > 0


@pytest.mark.parametrize("options", VARIANTS)
def test_step_equals_call(options):
    model = prior(**options)
    codes = np.random.default_rng(1).integers(0, 7, (3, *GRID)).astype(np.int32)
    expected = np.asarray(model(codes))
    state, constants = model.start(3)
    for i in range(GRID[0] * GRID[1]):
        row, column = divmod(i, GRID[1])
        logits, state = model.step(state, constants, row, column)
        np.testing.assert_allclose(logits, expected[:, row, column], rtol=1e-4, atol=1e-5)
        state = model.put(state, ops.convert_to_tensor(codes[:, row, column]), row, column)
    np.testing.assert_array_equal(model.drawn(state), codes)


@pytest.mark.parametrize("options", VARIANTS)
def test_sampler_returns_the_codes_of_the_naive_loop(options):
    model = prior(**options)
    noise = sampling.gumbel(3, model, seed=4)
    for temperature in (1.0, 0.5):
        drawn = np.asarray(sampling.Sampler(model, temperature).predict_on_batch(noise))
        np.testing.assert_array_equal(drawn, sampling.sample_naively(model, noise, temperature))
        logits = np.asarray(model(drawn)).reshape(3, -1, 7)  # exactness: every code is the argmax given all the others
        np.testing.assert_array_equal(np.argmax(logits / temperature + noise, -1), drawn.reshape(3, -1))


def test_a_sample_does_not_depend_on_how_many_are_drawn():
    model = prior()
    five = sampling.sample(model, 5, seed=1, batch=2)
    assert five.shape == (5, *GRID)
    np.testing.assert_array_equal(sampling.sample(model, 3, seed=1), five[:3])
    assert (sampling.sample(model, 3, seed=2) != five[:3]).any()


def test_samples_follow_the_models_probabilities():
    """The first code of many samples has the frequencies of the model's first softmax."""
    model = PixelCNN((2, 2), 4, filters=4, blocks=1, kernel=3)
    shake(model, 3)
    drawn = sampling.sample(model, 4000, seed=0, batch=500)[:, 0, 0]
    logits = np.asarray(model(np.zeros((1, 2, 2), np.int32)))[0, 0, 0]
    expected = np.exp(logits) / np.exp(logits).sum()
    assert np.abs(np.bincount(drawn, minlength=4) / 4000 - expected).max() < 4 * 0.5 / np.sqrt(4000)


def test_code_lengths_are_the_cross_entropy():
    model = prior()
    codes = np.random.default_rng(1).integers(0, 7, (3, *GRID)).astype(np.int32)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(codes, model(codes))
    assert stages.code_lengths(model, codes, batch=2).mean() == pytest.approx(float(loss) / np.log(2), rel=1e-5)


def test_file_round_trip(tmp_path):
    model = prior(embedding=3, position=True, dropout=0.2)
    codes = np.random.default_rng(1).integers(0, 7, (3, *GRID)).astype(np.int32)
    model.save(tmp_path / "prior.keras")
    again = keras.saving.load_model(tmp_path / "prior.keras", compile=False)
    np.testing.assert_array_equal(np.asarray(again(codes)), np.asarray(model(codes)))
    assert again.settings == model.settings


def test_tutorial_prior_has_the_published_function():
    """7x7 with 128 filters, two residual blocks, two 1x1 layers, K = 512; masked weights are not stored."""
    model = PixelCNN((32, 32), 512, filters=128, blocks=2, kernel=7, head=2)
    first = 24 * 512 * 128 + 128
    residual = (128 * 128 + 128) + (2 * 3 * 128 * 64 + 64) + (64 * 128 + 128)
    head = 2 * (128 * 128 + 128) + 128 * 512 + 512
    assert model.count_params() == first + 2 * residual + head


def grids(n, seed, size=5):
    """Codes that depend on place and left neighbour."""
    rng = np.random.default_rng(seed)
    codes = np.zeros((n, *GRID), int)
    for row, column in np.ndindex(*GRID):
        fresh = (rng.integers(0, 2, n) + row) % size
        codes[:, row, column] = np.where(rng.random(n) < 0.5, codes[:, row, column - 1], fresh) if column else fresh
    return codes


def test_ladder_gets_shorter_rung_by_rung_and_matches_a_hand_calculation():
    train, validation, test = grids(300, 0), grids(60, 1), grids(60, 2)
    found = ladder.ladder(train, validation, test, 5)
    assert found["uniform"] == pytest.approx(np.log2(5))
    assert found["uniform"] > found["unigram"] > found["position_unigram"] > found["markov"]
    p = (np.bincount(train.ravel(), minlength=5) + 1) / (train.size + 5)
    assert found["unigram"] == pytest.approx(-np.log2(p[test]).mean())
    best = min(
        (np.mean([-np.log2(((train == v[None]).sum(0) + a) / (300 + 5 * a)) for v in validation]), a)
        for a in ladder.ALPHAS
    )[1]
    by_hand = np.mean([-np.log2(((train == v[None]).sum(0) + best) / (300 + 5 * best)) for v in test])
    assert found["position_unigram"] == pytest.approx(by_hand)
