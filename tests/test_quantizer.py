"""The quantiser against NumPy, and the ways that its gradients flow."""

import keras
import numpy as np
import pytest
from keras import ops
from layer_checks import check_layer, gradients

from vq_lib.layers.quantizer import VectorQuantizer
from vq_lib.training.codebook import CodebookKeeper


def quantizer(**options):
    layer = VectorQuantizer(6, 3, seed=1, **options)
    layer.build((None, 4, 4, 3))
    rng = np.random.default_rng(0)
    layer.replace(np.arange(6), rng.normal(size=(6, 3)).astype(np.float32))
    return layer, rng.normal(size=(2, 4, 4, 3)).astype(np.float32)


def nearest(z, table):
    return np.square(z[..., None, :] - table).sum(-1).argmin(-1)


@pytest.mark.parametrize("codebook", ["ema", "gradient"])
def test_layer_contract(codebook):
    check_layer(VectorQuantizer, {"codes": 6, "dim": 3, "codebook": codebook}, (2, 4, 4, 3))


@pytest.mark.parametrize("spread, half", [(None, 1 / 512), (0.05, 0.05)])
def test_the_first_codebook_is_uniform(spread, half):
    layer = VectorQuantizer(512, 8, spread=spread)
    layer.build((None, 8))
    table = np.asarray(layer.embeddings)
    assert half * 0.99 < np.abs(table).max() <= half
    np.testing.assert_allclose(table.std(), half / np.sqrt(3), rtol=0.03)  # the variance of U(-a, a) is a² / 3


def test_codes_and_output_are_the_nearest():
    layer, z = quantizer()
    table = np.asarray(layer.embeddings)
    codes = nearest(z, table)
    np.testing.assert_array_equal(layer.encode(z), codes)
    np.testing.assert_allclose(layer(z), table[codes], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(layer.decode(codes), table[codes])


@pytest.mark.parametrize("codebook", ["ema", "gradient"])
def test_loss_by_hand(codebook):
    layer, z = quantizer(codebook=codebook, beta=0.3)
    layer(z)
    squared = np.square(z - np.asarray(layer.embeddings)[nearest(z, np.asarray(layer.embeddings))]).mean()
    assert float(layer.losses[0]) == pytest.approx((0.3 + (codebook == "gradient")) * squared, rel=1e-5)


def test_beta_pulls_the_encoder_and_the_codebook_term_pulls_the_codes():
    """β weighs the gradient that reaches the encoder and leaves the codebook's alone."""
    found = {}
    for beta in (0.25, 1.0):
        layer, z = quantizer(codebook="gradient", beta=beta)

        def loss(z, layer=layer):
            layer(z)
            return layer.losses[0]

        found[beta] = gradients(loss, z, layer.embeddings)
    np.testing.assert_allclose(found[1.0][0], 4 * found[0.25][0], rtol=1e-5)
    np.testing.assert_allclose(found[1.0][1], found[0.25][1], rtol=1e-5)
    assert np.abs(found[0.25][0]).max() > 0 and np.abs(found[0.25][1]).max() > 0
    layer, z = quantizer(codebook="gradient", beta=0.25)
    table = np.asarray(layer.embeddings)
    pull = 0.25 * 2 * (z - table[nearest(z, table)]) / z.size
    np.testing.assert_allclose(found[0.25][0], pull, rtol=1e-4, atol=1e-7)


def test_the_gradient_goes_straight_through():
    layer, z = quantizer()
    weights = np.random.default_rng(2).normal(size=z.shape).astype(np.float32)
    (gradient,) = gradients(lambda z: ops.sum(ops.multiply(layer(z), weights)), z)
    np.testing.assert_allclose(gradient, weights, rtol=1e-6)


def test_moving_averages_by_hand_and_only_in_training():
    layer, z = quantizer(decay=0.9)
    table, counts, sums = (np.asarray(w).copy() for w in (layer.embeddings, layer.counts, layer.sums))
    layer(z, training=False)
    np.testing.assert_array_equal(layer.embeddings, table)
    layer(z, training=True)
    codes, flat = nearest(z, table).ravel(), z.reshape(-1, 3)
    chosen = np.bincount(codes, minlength=6)
    total = np.stack([flat[codes == j].sum(axis=0) for j in range(6)])
    expected = (0.9 * sums + 0.1 * total) / (0.9 * counts + 0.1 * chosen)[:, None]
    np.testing.assert_allclose(layer.embeddings, expected, rtol=1e-5)
    unused = np.flatnonzero(chosen == 0)
    np.testing.assert_allclose(np.asarray(layer.embeddings)[unused], table[unused], rtol=1e-5)


def test_float32_inside_mixed_precision():
    layer = VectorQuantizer(6, 3, dtype="mixed_bfloat16")
    output = layer(np.ones((2, 4, 4, 3), np.float32), training=True)
    assert keras.backend.standardize_dtype(output.dtype) == "bfloat16"
    assert {keras.backend.standardize_dtype(w.dtype) for w in layer.weights} == {"float32"}


def test_an_empty_batch_and_wrong_arguments():
    layer, _ = quantizer()
    assert layer.encode(np.zeros((0, 4, 4, 3), np.float32)).shape == (0, 4, 4)
    with pytest.raises(ValueError, match=r"`codebook` \(='mean'\)"):
        VectorQuantizer(6, 3, codebook="mean")
    with pytest.raises(ValueError, match=r"must be `dim` \(=3\)"):
        VectorQuantizer(6, 3).build((None, 4, 4, 5))


class Owner:
    """As much of a model as the keeper needs: an encoder that scales pixels, and a quantiser."""

    class encoder:
        @staticmethod
        def predict_on_batch(images):
            return np.repeat(images / 255.0, 3, axis=-1)

    def __init__(self, layer):
        self.quantizer = layer


def keeper(layer, **options):
    images = np.random.default_rng(3).integers(0, 256, (8, 4, 4, 1)).astype(np.uint8)
    found = CodebookKeeper(images, np.arange(8), seed=5, **options)
    found.set_model(Owner(layer))
    found.set_params({"steps": 3})
    return found, images


def test_the_codebook_starts_from_data():
    layer, _ = quantizer()
    found, images = keeper(layer)
    found.on_epoch_begin(0)
    z = np.repeat(images / 255.0, 3, axis=-1)
    table = np.asarray(layer.embeddings)
    assert np.square(z - table[nearest(z, table)]).mean() < np.square(z - z.mean((0, 1, 2))).mean() / 20
    np.testing.assert_allclose(layer.sums, table * np.asarray(layer.counts)[:, None])


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_dead_codes_are_restarted_at_encoder_outputs_and_others_stay(distance):
    """Every five batches, of which an epoch has three: first after the second batch of the second epoch."""
    layer, _ = quantizer(distance=distance)
    found, images = keeper(layer, threshold=0.1, every=5, start=False)
    layer.counts.assign([5, 5, 5, 5, 0.01, 0.01])
    before = np.asarray(layer.embeddings).copy()
    for epoch, batches in ((0, 3), (1, 1)):
        found.on_epoch_begin(epoch)
        for batch in range(batches):
            found.on_train_batch_end(batch)
    np.testing.assert_array_equal(layer.embeddings, before)
    found.on_train_batch_end(1)
    after = np.asarray(layer.embeddings)
    np.testing.assert_array_equal(after[:4], before[:4])
    outputs = np.repeat(images / 255.0, 3, axis=-1).reshape(-1, 3).astype(np.float32)
    if distance == "cosine":  # codes are learned from vectors of length 1
        outputs /= np.maximum(np.linalg.norm(outputs, axis=1, keepdims=True), 1e-6)
    assert all(np.isclose(outputs, row, atol=1e-6).all(axis=1).any() for row in after[4:])


def test_cosine_takes_the_smallest_angle_whatever_the_lengths():
    layer, z = quantizer(distance="cosine")
    table = np.asarray(layer.embeddings)
    unit = lambda v: v / np.linalg.norm(v, axis=-1, keepdims=True)  # noqa: E731
    codes = (unit(z) @ unit(table).T).argmax(-1)
    np.testing.assert_array_equal(layer.encode(z), codes)
    np.testing.assert_array_equal(layer.encode(3 * z), codes)
    np.testing.assert_allclose(layer(z), unit(table)[codes], atol=1e-5)


def test_rotation_gives_the_code_and_turns_the_gradient_back():
    """The Jacobian is ‖q‖/‖z‖ times the rotation that takes z to q: it keeps angles to z, as the paper has it."""
    layer, z = quantizer(gradient="rotation")
    table = np.asarray(layer.embeddings)
    codes = nearest(z, table)
    np.testing.assert_allclose(layer(z), table[codes], atol=1e-5)
    z, q = z[0, 0, 0], table[codes[0, 0, 0]]
    turned = np.array(
        [gradients(lambda x, i=i: ops.sum(layer(x)[..., i]), z[None])[0][0] for i in range(3)]
    )  # row i: d output_i / d z
    ratio = np.linalg.norm(q) / np.linalg.norm(z)
    np.testing.assert_allclose(turned @ turned.T, ratio**2 * np.eye(3), atol=1e-4)
    np.testing.assert_allclose(turned @ z, q, atol=1e-4)
    assert np.linalg.det(turned) > 0


def test_adam_moves_a_code_that_many_cells_use_by_its_learning_rate():
    """Adam's first step is the learning rate times the gradient's sign: for a code with one cell as with a thousand."""
    layer = VectorQuantizer(3, 2, codebook="gradient")
    layer.build((None, 2))
    table = np.array([[0, 0], [10, 10], [-10, 10]], np.float32)
    layer.embeddings.assign(table)
    z = np.concatenate([np.full((1000, 2), 1.0), np.full((1, 2), 9.0)]).astype(np.float32)
    model = keras.Sequential([keras.Input((2,)), layer])
    model.compile(keras.optimizers.Adam(0.01), lambda y_true, y_pred: 0 * ops.mean(y_pred), jit_compile=False)
    model.train_on_batch(z, z)
    moved = ops.convert_to_numpy(layer.embeddings) - table
    np.testing.assert_allclose(moved, [[0.01, 0.01], [-0.01, -0.01], [0, 0]], atol=1e-4)


@pytest.mark.parametrize(("name", "value", "right"), [
    ("codebook", "emma", "'ema' or 'gradient'"),
    ("distance", "cosin", "'euclidean' or 'cosine'"),
    ("gradient", "rotaton", "'straight_through' or 'rotation'"),
])  # fmt: skip
def test_a_misspelt_choice_is_named_with_what_is_allowed(name, value, right):
    with pytest.raises(ValueError, match=f"`{name}` \\(='{value}'\\) must be {right}"):
        VectorQuantizer(6, 3, **{name: value})
