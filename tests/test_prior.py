"""Masked layers and priors: causality by gradients, step = call, files, published sizes."""

import keras
import numpy as np
import pytest
from keras import ops
from layer_checks import array, check_layer, gradients

from vq_lib import recipe
from vq_lib.layers.attention import QUERIES, CausalAttention
from vq_lib.layers.codes import Conditioning, MaskedCodeConv
from vq_lib.layers.gated import GatedBlock
from vq_lib.layers.masked import Cell, MaskedConv2D
from vq_lib.layers.residual import GatedResidualBlock, MaskedResidualBlock
from vq_lib.models.build import KINDS, prior_from
from vq_lib.models.prior import Prior, code_lengths
from vq_lib.plots.influence import influence as changed

GRID = (4, 5)
VARIANTS = [
    {},
    {"embedding": 3},
    {"position": True, "head": 0},
    {"embedding": 3, "position": True, "head_filters": 4, "labels": ["a", "b"], "slices": 4},
]
KNOWN = np.array([[0, 1], [1, -1], [-1, 3]], np.int32)  # for three grids; -1 is unknown


def shake(model, seed=0):
    """Weights without symmetry or zeros, so that every connection that exists shows."""
    rng = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        weight.assign(rng.normal(0, 0.4, weight.shape))
    return model


def prior(kind="pixelcnn", grid=GRID, dtype="float32", **options):
    return shake(KINDS[kind](grid, 7, dtype=dtype, **{"filters": 8, "blocks": 2, "kernel": 5, **options}))


def known(model, count=3):
    return KNOWN[:count] if model.conditional else None


def influence(function, x):
    """Which cells' outputs depend on which cells' inputs, by gradients: bool (h·w, h·w).

    Every cell is asked at once: copy b of the batch gives the gradient of the outputs at cell b alone.
    """
    _, height, width, _ = x.shape
    cells = np.arange(height * width)
    copies = np.repeat(x, cells.size, axis=0).astype(np.float32)

    def asked(x):
        outputs = function(x)
        weights = np.random.default_rng(7).normal(size=outputs.shape[-1]).astype(np.float32)  # a sum could cancel
        chosen = np.eye(cells.size, dtype=np.float32).reshape(cells.size, height, width, 1)
        return ops.sum(outputs * ops.convert_to_tensor(chosen * weights))

    (gradient,) = gradients(asked, copies)
    return np.abs(gradient).sum(axis=-1).reshape(cells.size, cells.size) > 0


def offsets(height, width):
    """Row and column of each input cell relative to each output cell, and whether it comes before: three (n, n)."""
    rows, columns = (part.ravel() for part in np.mgrid[:height, :width])
    order = np.arange(height * width)
    return rows[None] - rows[:, None], columns[None] - columns[:, None], order[None] < order[:, None]


def test_layer_contracts():
    check_layer(MaskedConv2D, {"filters": 4, "kernel": 3, "mask": "B", "rows": 1}, (2, 4, 5, 3))
    check_layer(MaskedConv2D, {"filters": 4, "kernel": 5, "mask": "A", "rows": 0}, (2, 4, 5, 3))
    check_layer(MaskedResidualBlock, {"filters": 4, "dropout": 0.1}, (2, 4, 5, 4))
    check_layer(GatedResidualBlock, {"filters": 4, "dropout": 0.1, "conditioned": False}, (2, 4, 5, 4))
    check_layer(GatedResidualBlock, {"filters": 4}, (2, 4, 5, 4))
    check_layer(Conditioning, {"labels": 4, "slices": 4, "width": 3}, (2, 2), "int32")
    check_layer(MaskedCodeConv, {"codes": 4, "filters": 3, "kernel": 5, "embedding": None}, (2, 4, 5), "int32")
    check_layer(MaskedCodeConv, {"codes": 4, "filters": 3, "kernel": 5, "embedding": 2}, (2, 4, 5), "int32")


@pytest.mark.parametrize("seed", range(3))
def test_each_layer_sees_the_past_within_its_window_and_nothing_else(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(4, 8, 2)
    rows, columns, before = offsets(height, width)
    here = (rows == 0) & (columns == 0)
    x = rng.normal(size=(1, height, width, 4)).astype(np.float32)

    def found(layer, **options):
        layer(x, **{name: value[:1] for name, value in options.items()})
        shake(layer, seed)
        return influence(lambda x: layer(x, **options), x)

    for kernel, mask, above in (
        (1, "B", None),
        (3, "A", None),
        (5, "B", None),
        (7, "A", None),
        (5, "B", 0),
        (3, "A", 0),
    ):
        reach = kernel // 2
        window = (np.abs(columns) <= reach) & (rows >= -(reach if above is None else above))
        expected = window & (before | here if mask == "B" else before)
        np.testing.assert_array_equal(found(MaskedConv2D(3, kernel, mask, above)), expected)
    around = (np.abs(columns) <= 1) & (rows >= -1) & (before | here)
    np.testing.assert_array_equal(found(GatedResidualBlock(4)), around)
    codes = np.eye(3, dtype=np.float32)[rng.integers(0, 3, (1, height, width))]
    all_x, all_codes = (np.repeat(part, height * width, axis=0) for part in (x, codes))
    attention = CausalAttention((height, width), 3, 3, 2)
    np.testing.assert_array_equal(found(attention, codes=all_codes), before | here)
    np.testing.assert_array_equal(influence(lambda codes: attention(all_x, codes=codes), codes), before)
    assert not (found(MaskedResidualBlock(4)) & ~around).any()  # a ReLU may hide what it could see

    gated = GatedBlock(4)
    gated((x, x))
    shake(gated, seed)
    upright = (rows <= 0) & (rows >= -1) & (np.abs(columns) <= 1)
    np.testing.assert_array_equal(influence(lambda v: gated((v, all_x))[0], x), upright)
    np.testing.assert_array_equal(influence(lambda v: gated((v, all_x))[1], x), upright)
    level = (rows == 0) & (columns <= 0) & (columns >= -1)
    np.testing.assert_array_equal(influence(lambda h: gated((all_x, h))[1], x), level)
    assert not influence(lambda h: ops.convert_to_tensor(gated((all_x, h))[0] + 0 * h), x).any()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", KINDS)
def test_each_model_sees_the_past_within_its_field_and_nothing_else(kind, seed):
    """Gradients of the logits with respect to one-hot codes, on grids and in depths drawn at random."""
    rng = np.random.default_rng([seed, 1])
    height, width, blocks = *rng.integers(4, 9, 2), int(rng.integers(1, 4))
    model = prior(
        kind, (height, width), blocks=blocks, kernel=int(rng.choice([3, 5])), head=0, embedding=[None, 3][seed % 2]
    )
    codes = np.eye(7, dtype=np.float32)[rng.integers(0, 7, (1, height, width))]
    found = influence(model, codes)
    rows, columns, before = offsets(height, width)
    assert not (found & ~before).any(), "the future, or the cell itself"
    reach = model.settings["kernel"] // 2 + blocks
    if kind == "snail":
        np.testing.assert_array_equal(found, before)
    elif kind == "gated":
        np.testing.assert_array_equal(found, before & (np.abs(rows) <= reach) & (np.abs(columns) <= reach))
    else:  # the blind spot: a row up is a window further to the right, and no more
        further = model.settings["kernel"] // 2 - 1
        assert not (found & (columns > -rows + further)).any()
        assert found[before & (rows >= -1) & (np.abs(columns) <= 1)].all()


def test_attention_by_hand():
    """On a grid with more cells than are asked at once, against NumPy."""
    grid, rng = (3, QUERIES // 2), np.random.default_rng(1)
    layer = CausalAttention(grid, 5, 2, 3)
    x, codes = rng.normal(size=(2, *grid, 4)).astype(np.float32), rng.integers(0, 5, (2, *grid))
    layer(x, codes=codes)
    shake(layer)
    placed = np.concatenate([x, np.broadcast_to(layer.places, (2, *grid, 2))], -1).reshape(2, -1, 6)
    query = placed @ array(layer.ask.kernel) + array(layer.ask.bias)
    both = placed @ array(layer.tell.kernel) + array(layer.tell.bias)
    both = both + array(layer.table)[codes.reshape(2, -1)]
    weights = np.exp(np.einsum("bid,bjd->bij", query, both[..., :2]) / np.sqrt(2))
    weights = weights * np.tril(np.ones(weights.shape[1:]), -1)
    found = weights / np.maximum(weights.sum(-1, keepdims=True), 1e-30) @ both[..., 2:]
    elu = np.where(x > 0, x, np.expm1(x)).reshape(2, -1, 4)
    left = np.concatenate([elu, found], -1) @ array(layer.leave.kernel) + array(layer.leave.bias)
    expected = x + (left[..., :4] / (1 + np.exp(-left[..., 4:]))).reshape(x.shape)
    np.testing.assert_allclose(array(layer(x, codes=codes)), expected, rtol=1e-4, atol=1e-4)
    again = CausalAttention.from_config(layer.get_config())
    again(x, codes=codes)
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(array(again(x, codes=codes)), array(layer(x, codes=codes)))


def test_masked_convolution_equals_keras_with_a_masked_kernel():
    layer = MaskedConv2D(4, 5, "B", activation="relu")
    layer.build((None, 7, 7, 3))
    shake(layer)
    full = np.zeros((5, 5, 3, 4), np.float32)
    full.reshape(25, 3, 4)[:13] = np.concatenate([array(layer.above), array(layer.left)])
    reference = keras.layers.Conv2D(4, 5, padding="same", activation="relu")
    reference.build((None, 7, 7, 3))
    reference.set_weights([full, array(layer.bias)])
    x = np.random.default_rng(1).normal(size=(2, 7, 7, 3)).astype(np.float32)
    np.testing.assert_allclose(array(layer(x)), array(reference(x)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("embedding", [None, 3])
def test_look_up_equals_a_convolution_of_one_hot_codes(embedding):
    layer = MaskedCodeConv(6, 4, 5, embedding)
    layer.build((None, 7, 8))
    shake(layer)
    codes = np.random.default_rng(1).integers(0, 6, (2, 7, 8)).astype(np.int32)
    kernel = np.zeros((5, 5, 6, 4), np.float32)
    kernel.reshape(25, 6, 4)[:12] = array(layer.table()).reshape(-1, 7, 4)[:, :6]
    one_hot = np.eye(6, dtype=np.float32)[codes]
    expected = array(ops.conv(one_hot, kernel, padding="same")) + array(layer.bias)
    np.testing.assert_allclose(array(layer(codes)), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(array(layer(one_hot)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_masks_leave_the_weights_alone(kind):
    model = prior(kind)
    before = [array(w).copy() for w in model.weights]
    model(np.zeros((2, *GRID), np.int32))
    for weight, old in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(array(weight), old)


CONVOLUTIONS = {f"{mask} {rows}": (mask, rows) for mask in "AB" for rows in (None, 0, 1)}
BLOCKS = {
    "residual": lambda: MaskedResidualBlock(4),
    "gated residual": lambda: GatedResidualBlock(4, conditioned=True),
    "two stacks": lambda: GatedBlock(4, conditioned=True),
    "two stacks, unconditioned": lambda: GatedBlock(4, 5),
    "attention": lambda: CausalAttention(GRID, 7, 3, 2),
}


@pytest.mark.parametrize("name", [*CONVOLUTIONS, *BLOCKS])
def test_both_faces_of_a_layer_are_one_function(name):
    """`start`, `row` and `step`, cell after cell, against `call` on the whole grid."""
    rng = np.random.default_rng(1)
    v, x = (ops.convert_to_tensor(rng.normal(size=(2, *GRID, 4)).astype(np.float32)) for _ in range(2))
    codes, h = rng.integers(0, 7, (2, *GRID)).astype(np.int32), ops.convert_to_tensor(np.ones((2, 4), np.float32))
    if name in CONVOLUTIONS:
        layer = MaskedConv2D(3, 5, *CONVOLUTIONS[name], activation="relu")
        layer(x)
        expected = array(shake(layer)(x))
    else:
        layer = BLOCKS[name]()
        inputs = (v, x) if isinstance(layer, GatedBlock) else x
        layer(inputs, condition=h, codes=codes)
        expected = shake(layer)(inputs, condition=h, codes=codes)
        upright, expected = expected if isinstance(layer, GatedBlock) else (None, array(expected))
    cache = layer.start(2, GRID) if name in CONVOLUTIONS else layer.start(2, GRID, h)
    for row, column in np.ndindex(*GRID):
        index = row * GRID[1] + column
        if column == 0 and name in CONVOLUTIONS:
            cache = layer.row(cache)
        elif column == 0:
            out, cache = layer.row(cache, v[:, row])
            if isinstance(layer, GatedBlock):
                np.testing.assert_allclose(array(out), array(upright)[:, row], rtol=1e-4, atol=1e-5)
        cell = Cell(column, index, ops.convert_to_tensor(codes.reshape(2, -1)[:, max(index - 1, 0)]))
        out, cache = layer.step(cache, x[:, row, column], column if name in CONVOLUTIONS else cell)
        np.testing.assert_allclose(array(out), array(expected)[:, row, column], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_works_in_training_alone(kind):
    model, codes = prior(kind, dropout=0.5), np.zeros((2, *GRID), np.int32)
    calm = array(model(codes))
    np.testing.assert_array_equal(calm, array(model(codes, training=False)))
    assert np.abs(array(model(codes, training=True)) - calm).max() > 1e-3
    model.compile(keras.optimizers.SGD(0.0), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert abs(model.train_on_batch(codes, codes) - model.test_on_batch(codes, codes)) > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_a_summary_has_the_shape_and_size_of_every_layer(kind):
    model, lines = prior(kind, **VARIANTS[3]), []
    model.summary(print_fn=lines.append, line_length=120)
    text = "\n".join(map(str, lines))
    assert "?" not in text and f"(None, {GRID[0]}, {GRID[1]}, 7)" in text and f"{model.count_params():,}" in text
    for block in model.blocks:
        assert block.name in text and block.count_params() > 0


def test_a_prior_without_blocks_cannot_be_made():
    with pytest.raises(TypeError, match="make_blocks"):
        Prior(GRID, 7)


@pytest.mark.parametrize(("options", "dtype"), [*((o, "float32") for o in VARIANTS), (VARIANTS[3], "mixed_bfloat16")])
@pytest.mark.parametrize("kind", KINDS)
def test_step_equals_call(kind, options, dtype):
    model = prior(kind, dtype=dtype, **options)
    codes = np.random.default_rng(1).integers(0, 7, (3, *GRID)).astype(np.int32)
    expected = array(model(codes, known(model)))
    state, constants = model.start(3, ops.convert_to_tensor(KNOWN))
    tolerance = 1e-4 if dtype == "float32" else 0.1 * np.abs(expected).max()
    for row, column in np.ndindex(*GRID):
        if column == 0:
            state = model.row(state, constants, row)
        logits, state = model.step(state, constants, row, column)
        assert keras.backend.standardize_dtype(logits.dtype) == "float32"
        np.testing.assert_allclose(array(logits), expected[:, row, column], rtol=1e-4, atol=tolerance)
        state = model.put(state, ops.convert_to_tensor(codes[:, row, column]), row, column)
    np.testing.assert_array_equal(array(model.drawn(state)), codes)


@pytest.mark.parametrize("kind", KINDS)
def test_a_condition_matters_and_must_be_given(kind):
    model = prior(kind, **VARIANTS[3])
    codes = np.zeros((3, *GRID), np.int32)
    outputs = array(model(codes, KNOWN))
    np.testing.assert_array_equal(outputs, array(model((codes, KNOWN))))
    for cell in ((0, 0), (3, 4)):
        assert np.ptp(outputs[:, *cell], axis=0).max() > 1e-3
    with pytest.raises(ValueError, match="condition"):
        model(codes)
    assert model.condition_bits == pytest.approx(np.log2(3) + np.log2(5))


@pytest.mark.parametrize("kind", KINDS)
def test_file_round_trip(kind, tmp_path):
    model = prior(kind, **VARIANTS[3], dropout=0.2)
    codes = np.random.default_rng(1).integers(0, 7, (3, *GRID)).astype(np.int32)
    model.save(tmp_path / "prior.keras")
    again = keras.saving.load_model(tmp_path / "prior.keras", compile=False)
    np.testing.assert_array_equal(array(again(codes, KNOWN)), array(model(codes, KNOWN)))
    assert again.settings == model.settings


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_of_a_model_is_trained(kind):
    """The one exception: what the last gated block's vertical stack would hand on to a next one is not computed."""
    model = prior(kind, **VARIANTS[3], blocks=1)
    codes = np.random.default_rng(1).integers(0, 7, (3, *GRID)).astype(np.int32)
    found = gradients(
        lambda x: ops.sum(ops.square(model(codes, KNOWN))) + ops.sum(x),
        np.zeros(1, np.float32),
        *model.trainable_weights,
    )
    for gradient, weight in zip(found[1:], model.trainable_weights, strict=True):
        assert np.abs(gradient).max() > 0, weight.path


def test_changed_codes_show_what_gradients_show():
    model = prior("gated", embedding=3)
    codes = np.random.default_rng(1).integers(0, 7, GRID)
    gradient = influence(model, np.eye(7, dtype=np.float32)[codes][None])
    for cell in ((0, 0), (2, 3), (3, 4)):
        found = changed(lambda codes: array(model(codes)), codes, cell, 7)
        np.testing.assert_array_equal(found.ravel() > 0, gradient[cell[0] * GRID[1] + cell[1]])


def test_code_lengths_are_the_cross_entropy():
    model = prior("gated", **VARIANTS[3])
    codes = np.random.default_rng(1).integers(0, 7, (3, *GRID)).astype(np.int32)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(codes, model(codes, KNOWN))
    assert code_lengths(model, codes, KNOWN, batch=2).mean() == pytest.approx(float(array(loss)) / np.log(2), rel=1e-5)


def residual(filters):
    return (filters**2 + filters) + (5 * filters * filters // 2 + filters // 2) + (filters // 2 * filters + filters)


@pytest.mark.parametrize(("section", "codes", "expected"), [
    # 9x9 mask A of 256, six residual blocks, six 1x1 layers of 128; K = 32
    ({"kernel": 9, "filters": 256, "blocks": 6, "head": 6, "head_filters": 128}, 32,
     40 * 32 * 256 + 256 + 6 * residual(256) + (256 * 128 + 128) + 5 * (128 * 128 + 128) + 128 * 32 + 32),
    # 7x7 mask A of 128, two residual blocks, two 1x1 layers; K = 128
    ({"kernel": 7, "filters": 128, "blocks": 2, "head": 2}, 128,
     24 * 128 * 128 + 128 + 2 * residual(128) + 2 * (128 * 128 + 128) + 128 * 128 + 128),
    # 15 gated layers, 7x7 then 3x3, 64 wide, two classes, a 1x1 layer of 512; K = 512
    ({"name": "gated", "kernel": 7, "filters": 64, "embedding": 64, "blocks": 14, "head": 1, "head_filters": 512,
      "condition": ["label"]}, 512,
     512 * 64 + 24 * 64 * 128 + 128 + 128 * 128 + 64 * 256 + 2 * 64
     + 14 * ((6 * 64 * 128 + 128) + (2 * 64 * 128 + 128) + 128 * 128 + (64 * 64 + 64) + 64 * 256)
     + 64 * 512 + 512 + 512 * 512 + 512),
])  # fmt: skip
def test_the_published_priors_can_be_said_by_a_recipe(section, codes, expected):
    """Layer by layer; masked weights are not stored."""
    settings = recipe.PriorModel(**section)
    labels = ("AD", "NC") if settings.condition else ()
    model = prior_from(settings, (8, 8), codes, labels)
    assert model.count_params() == expected


def test_the_tutorials_blocks_are_the_published_ones():
    """1x1 (F), masked-B 3x3 (F/2), 1x1 (F), ReLU after each, plus the input: by Keras's own layers."""
    block = MaskedResidualBlock(4)
    block(np.zeros((1, *GRID, 4), np.float32))
    shake(block)
    kernel = np.zeros((3, 3, 4, 2), np.float32)
    kernel.reshape(9, 4, 2)[:5] = np.concatenate([array(block.masked.above), array(block.masked.left)])
    x = np.random.default_rng(1).normal(size=(2, *GRID, 4)).astype(np.float32)
    hidden = np.maximum(x @ array(block.enter.kernel) + array(block.enter.bias), 0)
    hidden = np.maximum(array(ops.conv(hidden, kernel, padding="same")) + array(block.masked.bias), 0)
    hidden = np.maximum(hidden @ array(block.leave.kernel) + array(block.leave.bias), 0)
    np.testing.assert_allclose(array(block(x)), x + hidden, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["pixelcnn", "gated", "snail"])
def test_adam_moves_every_weight_by_its_learning_rate_at_most(name):
    """Tables of codes too, of whose rows one is used by most cells."""
    own = {"attention": 1} if name == "snail" else {}
    settings = recipe.PriorModel(name=name, filters=8, blocks=1, head=1, kernel=3, embedding=4, **own)
    prior = prior_from(settings, (8, 8), 6)
    codes = np.zeros((16, 8, 8), np.int32)
    codes[:, ::3, ::3] = np.random.default_rng(0).integers(0, 6, (16, 3, 3))
    prior.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = prior.get_weights()
    prior.train_on_batch(codes, codes)
    for old, new in zip(before, prior.get_weights(), strict=True):
        assert np.abs(new - old).max() <= 0.01 * 1.001
