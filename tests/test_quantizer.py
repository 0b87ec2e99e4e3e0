"""The quantiser against NumPy, and the ways that its gradients flow."""

import keras
import numpy as np
import pytest
from keras import ops
from layer_checks import check_layer, gradients

from vq_lib.layers.quantizer import EMAVectorQuantizer, VectorQuantizer

KINDS = {"gradient": VectorQuantizer, "ema": EMAVectorQuantizer}


def quantizer(kind="ema", **options):
    layer = KINDS[kind](6, 3, seed=1, **options)
    layer.build((None, 4, 4, 3))
    rng = np.random.default_rng(0)
    layer.replace(np.arange(6), rng.normal(size=(6, 3)).astype(np.float32))
    return layer, rng.normal(size=(2, 4, 4, 3)).astype(np.float32)


def nearest(z, table):
    return np.square(z[..., None, :] - table).sum(-1).argmin(-1)


@pytest.mark.parametrize("kind", KINDS)
def test_layer_contract(kind):
    options = {"commitment_cost": 0.5, "distance": "cosine", "gradient": "rotation", "spread": 0.5, "seed": 3}
    layer = check_layer(KINDS[kind], {"num_embeddings": 6, "embedding_dim": 3, **options}, (2, 4, 4, 3))
    assert len(layer.trainable_weights) == (kind == "gradient")
    assert KINDS[kind](6, 3, **{"decay": 0.9} if kind == "ema" else {}).get_config().get("decay", 0.9) == 0.9


@pytest.mark.parametrize("spread, half", [(None, 1 / 512), (0.05, 0.05)])
def test_the_first_codebook_is_uniform(spread, half):
    layer = EMAVectorQuantizer(512, 8, spread=spread)
    layer.build((None, 8))
    table = np.asarray(layer.embeddings)
    assert half * 0.99 < np.abs(table).max() <= half
    np.testing.assert_allclose(table.std(), half / np.sqrt(3), rtol=0.03)  # the variance of U(-a, a) is a² / 3
    np.testing.assert_array_equal(layer.sums, table)
    np.testing.assert_array_equal(layer.counts, 1)


def test_codes_and_output_are_the_nearest():
    layer, z = quantizer()
    table = np.asarray(layer.embeddings)
    codes = nearest(z, table)
    np.testing.assert_array_equal(layer.encode(z), codes)
    np.testing.assert_allclose(layer(z), table[codes], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(layer.decode(codes), table[codes])


@pytest.mark.parametrize("kind", KINDS)
def test_loss_by_hand(kind):
    layer, z = quantizer(kind, commitment_cost=0.3)
    layer(z)
    squared = np.square(z - np.asarray(layer.embeddings)[nearest(z, np.asarray(layer.embeddings))]).mean()
    assert float(layer.losses[0]) == pytest.approx((0.3 + (kind == "gradient")) * squared, rel=1e-5)


def test_beta_pulls_the_encoder_and_the_codebook_term_pulls_the_codes():
    """β weighs the gradient that reaches the encoder and leaves the codebook's alone."""
    found = {}
    for beta in (0.25, 1.0):
        layer, z = quantizer("gradient", commitment_cost=beta)

        def loss(z, layer=layer):
            layer(z)
            return layer.losses[0]

        found[beta] = gradients(loss, z, layer.embeddings)
    np.testing.assert_allclose(found[1.0][0], 4 * found[0.25][0], rtol=1e-5)
    np.testing.assert_allclose(found[1.0][1], found[0.25][1], rtol=1e-5)
    assert np.abs(found[0.25][0]).max() > 0 and np.abs(found[0.25][1]).max() > 0
    layer, z = quantizer("gradient", commitment_cost=0.25)
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


def test_a_code_that_nobody_chooses_stays_where_it_is():
    """However long: after 200 batches at decay 0.5 counts and sums have both vanished."""
    layer, z = quantizer(decay=0.5)
    table = np.asarray(layer.embeddings).copy()
    table[1] += 100
    layer.replace(np.arange(6), table)
    z = np.repeat(table[:1], 64, axis=0) + np.random.default_rng(0).normal(0, 0.01, (64, 3)).astype(np.float32)
    codes = ops.zeros(64, "int32")
    for _ in range(200):
        layer._follow(ops.convert_to_tensor(z), codes)
    np.testing.assert_array_equal(np.asarray(layer.embeddings)[1:], table[1:])
    np.testing.assert_allclose(np.asarray(layer.embeddings)[0], z.mean(axis=0), rtol=1e-4)
    assert np.asarray(layer.counts)[1] < 1e-37
    layer(table[1].reshape(1, 1, 1, 3) + np.float32(1), training=True)  # chosen at last, it goes there at once
    np.testing.assert_allclose(np.asarray(layer.embeddings)[1], table[1] + 1, rtol=1e-5)


def test_float32_inside_mixed_precision():
    layer = EMAVectorQuantizer(6, 3, dtype="mixed_bfloat16")
    output = layer(np.ones((2, 4, 4, 3), np.float32), training=True)
    assert keras.backend.standardize_dtype(output.dtype) == "bfloat16"
    assert {keras.backend.standardize_dtype(w.dtype) for w in layer.weights} == {"float32"}


def test_an_empty_batch_and_wrong_arguments():
    layer, _ = quantizer()
    assert layer.encode(np.zeros((0, 4, 4, 3), np.float32)).shape == (0, 4, 4)
    with pytest.raises(ValueError, match=r"`num_embeddings` \(=1\)"):
        VectorQuantizer(1, 3)
    with pytest.raises(ValueError, match=r"must be `embedding_dim` \(=3\)"):
        VectorQuantizer(6, 3).build((None, 4, 4, 5))


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
    layer = VectorQuantizer(3, 2)
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
    ("distance", "cosin", "'euclidean' or 'cosine'"),
    ("gradient", "rotaton", "'straight_through' or 'rotation'"),
])  # fmt: skip
def test_a_misspelt_choice_is_named_with_what_is_allowed(name, value, right):
    with pytest.raises(ValueError, match=f"`{name}` \\(='{value}'\\) must be {right}. Did you mean"):
        VectorQuantizer(6, 3, **{name: value})
