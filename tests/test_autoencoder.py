"""Encoder, decoder and the whole VQ-VAE: shapes, published parameter counts, losses, files."""

import keras
import numpy as np
import pytest
from layer_checks import check_layer
from skimage.metrics import structural_similarity

from vq_lib import recipe
from vq_lib.layers.blocks import DepthToSpace, ResidualBlock, decoder, encoder, receptive_field
from vq_lib.layers.quantizer import EMAVectorQuantizer
from vq_lib.models.build import prior_from, quantizer_from, vqvae_from
from vq_lib.models.saved import as_float32
from vq_lib.models.vqvae import VQVAE
from vq_lib.study import REPOSITORY


def block(layer, filters, **options):
    return recipe.Block(layer=layer, filters=filters, **options).model_dump()


SMALL = {
    "image_shape": (16, 16, 1),
    "encoder": [block("conv", 4, stride=2, kernel=4), block("residual", 4)],
    "decoder": [block("conv", 4), block("residual", 4), block("transpose", 4, stride=2, kernel=4)],
}


def small(**options):
    return VQVAE(**SMALL, quantizer=EMAVectorQuantizer(5, 3), **options)


def images(n=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 16, 16, 1)).astype(np.uint8)


def test_published_oasis_256_layer_table():
    down = [block("conv", filters, stride=2) for filters in (32, 64, 128)]
    up = [block("transpose", filters, stride=2) for filters in (128, 64, 32)]
    net = encoder(down, (256, 256, 1), 30)
    assert [layer.count_params() for layer in net.layers if layer.count_params()] == [320, 18_496, 73_856, 3_870]
    assert net.count_params() == 96_542 and net.output_shape == (None, 32, 32, 30)
    net = decoder(up, (32, 32, 30), 1)
    assert [layer.count_params() for layer in net.layers] == [34_688, 73_792, 18_464, 289]
    assert net.count_params() == 127_233 and net.output_shape == (None, 256, 256, 1)


def test_layer_contracts():
    check_layer(ResidualBlock, {"filters": 4, "hidden": 2, "activation": "silu"}, (2, 5, 5, 4))
    check_layer(DepthToSpace, {"factor": 2}, (2, 3, 3, 8))


def test_depth_to_space_by_hand():
    x = np.arange(2 * 3 * 4, dtype=np.float32).reshape(1, 2, 3, 4)
    expected = x.reshape(2, 3, 2, 2).transpose(0, 2, 1, 3).reshape(1, 4, 6, 1)
    np.testing.assert_array_equal(DepthToSpace(2)(x), expected)


def test_residual_block_by_hand():
    layer, x = ResidualBlock(2, 3), np.random.default_rng(0).normal(size=(1, 1, 1, 2)).astype(np.float32)
    layer.build(x.shape)
    w3, b3, w1, b1 = [np.random.default_rng(1).normal(size=w.shape).astype(np.float32) for w in layer.weights]
    layer.set_weights([w3, b3, w1, b1])
    hidden = np.maximum(np.maximum(x, 0).reshape(2) @ w3[1, 1] + b3, 0)  # one pixel: only the centre tap counts
    np.testing.assert_allclose(layer(x)[0, 0, 0], x.reshape(2) + hidden @ w1[0, 0] + b1, rtol=1e-5)


@pytest.mark.parametrize(("offset", "low"), [(0.0, 0.0), (0.5, -0.5)])
def test_normalisation_is_float32_even_under_bfloat16(offset, low):
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        output = np.asarray(encoder([], (16, 16, 1), 1, offset=offset).layers[0](levels))
    finally:
        keras.config.set_dtype_policy("float32")
    assert output.dtype == np.float32
    np.testing.assert_allclose(output.ravel(), np.arange(256) / 255 + low, atol=2e-7)


@pytest.mark.parametrize("normalise", ["zero", "centred"])
def test_call_equals_encode_then_decode(normalise):
    model, x = small(normalise=normalise), images()
    codes = model.encode(x)
    assert codes.shape == (3, 8, 8) and codes.dtype == np.int32
    output = np.asarray(model(x))
    np.testing.assert_allclose(model.decode(codes), output, atol=1e-5)
    assert 0 <= output.min() and output.max() <= 1


def test_floats_and_impossible_codes_are_refused():
    model = small()
    for call in (model, model.encode):
        with pytest.raises(ValueError, match="uint8"):
            call(images().astype(np.float32) / 255)
    with pytest.raises(ValueError, match="lie below 5"):
        model.decode(np.full((1, 8, 8), 5))


@pytest.mark.parametrize("loss", ["mse", "clipped_mse", "l1"])
def test_losses_by_hand(loss):
    model = small(loss=loss, variance=0.2)
    x = np.array([0, 0, 255, 255, 51], np.uint8)
    predicted = np.array([-0.5, 0.5, 1.5, 0.5, 0.5], np.float32)
    error = np.array({"clipped_mse": [0, 0.5, 0, 0.5, 0.3]}.get(loss, [0.5, 0.5, 0.5, 0.5, 0.3]))
    expected = error.mean() / 0.2**0.5 if loss == "l1" else np.square(error).mean() / 0.2
    assert float(model.compute_loss(x=x, y_pred=predicted)) == pytest.approx(expected, rel=1e-5)


def test_the_structural_term_by_hand():
    """λ (1 - SSIM) on top of the squared error, SSIM as scikit-image has it over pixels whose window fits."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (1, 24, 24, 1)).astype(np.uint8)
    predicted = np.clip(x / 255 + rng.normal(0, 0.1, x.shape), 0, 1).astype(np.float32)
    _, similarity = structural_similarity(
        x[0, :, :, 0] / 255.0, predicted[0, :, :, 0].astype(float), data_range=1.0, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False, full=True,
    )  # fmt: skip
    expected = np.square(x / 255 - predicted).mean() / 0.2 + 0.3 * (1 - similarity[5:-5, 5:-5].mean())
    model = small(variance=0.2, structure=0.3)
    assert float(model.compute_loss(x=x, y_pred=predicted)) == pytest.approx(expected, rel=1e-5)


def test_file_round_trip(tmp_path):
    model, x = small(dtype="mixed_bfloat16"), images()
    model = as_float32(model)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    assert again.settings == model.settings and again.dtype_policy.name == "float32"
    np.testing.assert_array_equal(again.encode(x), model.encode(x))
    np.testing.assert_array_equal(again.decode(model.encode(x)), model.decode(model.encode(x)))


# Encoder and decoder parameters of the published systems; those of OASIS-256 were published, layer by layer, and the
# others follow from their layers: Σ (kernel² · channels in + 1) · channels out.
PUBLISHED = {
    "oasis-128-generative": (1_280 + 295_168 + 4_112, 37_120 + 295_040 + 1_153),
    "oasisvq": (320 + 9_248 + 18_496 + 36_928 + 73_856 + 2_064, 18_560 + 73_792 + 36_928 + 18_464 + 9_248 + 289),
    "oasis-256": (96_542, 127_233),
    "image-folder": (
        3_136 + 131_200 + 147_584 + 2 * (36_896 + 4_224) + 8_256,
        73_856 + 2 * (36_896 + 4_224) + 131_136 + 3_075,
    ),
    "adni": (896 + 18_496 + 36_928 + 8_320, 73_792 + 36_928 + 18_464 + 867),
}


@pytest.mark.parametrize("path", sorted(REPOSITORY.glob("reports/*/recipe.yaml")), ids=lambda path: path.parent.name)
def test_every_recipe_builds_its_models(path):
    found = recipe.load(path)
    shape = (found.data.size, found.data.size, found.data.channels)
    model = vqvae_from(found.vqvae, shape, variance=0.05)
    assert model.grid == (found.data.size // found.vqvae.factor,) * 2
    if path.parent.name in PUBLISHED:
        assert tuple(model.parameter_counts.values()) == PUBLISHED[path.parent.name]
    assert model.quantizer.num_embeddings == found.vqvae.codes
    assert model.quantizer.get_config() | {"name": ""} == quantizer_from(found.vqvae).get_config() | {"name": ""}
    for settings in found.prior.models().values() if found.prior else ():
        labels = ("a",) if "label" in settings.condition else ()
        slices = 1 if "position" in settings.condition else 0
        prior = prior_from(settings, model.grid, model.quantizer.num_embeddings, labels, slices)
        logits = prior(np.zeros((1, *model.grid), np.int32), np.full((1, 2), -1, np.int32))
        assert logits.shape == (1, *model.grid, found.vqvae.codes)


def test_settings_as_a_dict_are_checked_and_none_is_dropped():
    blocks = {"encoder": [{"layer": "conv", "filters": 4}], "decoder": [{"layer": "conv", "filters": 4}]}
    layer = quantizer_from({**blocks, "codes": 9, "code_dim": 2, "beta": 0.5, "codebook": "gradient", "seed": 4})
    saved = layer.get_config()
    assert type(layer).__name__ == "VectorQuantizer" and saved["num_embeddings"] == 9 and saved["embedding_dim"] == 2
    assert saved["commitment_cost"] == 0.5 and saved["seed"] == 4
    for wrong in ({"coeds": 9}, {"codes": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            quantizer_from({**blocks, **wrong})
    with pytest.raises(ValueError, match="filtres"):
        prior_from({"name": "gated", "filtres": 8}, (4, 4), 9)


def test_what_a_block_leaves_out_is_at_its_default():
    down, up = ({"layer": layer, "filters": 4, "stride": 2} for layer in ("conv", "subpixel"))
    for given in (down, recipe.Block(**down)):
        model = VQVAE((16, 16, 1), [given], [up])
        assert model.settings["encoder"] == [{**down, "kernel": 3, "repeat": 1, "hidden": None}]
        assert model.grid == (8, 8) and model.quantizer.num_embeddings == 512


@pytest.mark.parametrize(("wrong", "sentence"), [
    ({"layer": "cnov", "filters": 4}, r"`encoder` .*layer' is 'cnov': .* Did you mean 'conv'\?"),
    ({"layer": "residal", "filters": 4}, "Did you mean 'residual'"),
    ({"layer": "conv", "fliters": 4}, "fliters'. Did you mean 'filters'"),
    ({"layer": "conv"}, "filters' is missing"),
    ({"filters": 4}, "layer' is missing"),
    ({"layer": "conv", "filters": 4, "repeat": 2}, "'repeat' has no effect with 'layer: conv'"),
    ({"layer": "residual", "filters": 4, "kernel": 5}, "'kernel' has no effect with 'layer: residual'"),
    ("conv", "'conv': input should be a valid dictionary"),
])  # fmt: skip
def test_a_wrong_block_is_told_in_a_sentence(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        VQVAE((16, 16, 1), [wrong], [{"layer": "conv", "filters": 4}])


def test_a_residual_block_keeps_its_channels():
    with pytest.raises(ValueError, match=r"`filters` \(=4\) was given 1 channels"):
        VQVAE((16, 16, 1), [{"layer": "residual", "filters": 4}], [{"layer": "conv", "filters": 4}])


def test_the_receptive_field_is_where_changes_of_pixels_change_codes():
    down = [block("conv", 4, kernel=4, stride=2), block("conv", 4, kernel=4, stride=2), block("residual", 4)]
    up = [block("subpixel", 4, stride=4)]
    model = VQVAE((32, 32, 1), down, up, EMAVectorQuantizer(8, 4), activation="silu")  # ReLU may pass nothing on
    low, high = model.receptive_field
    assert (low, high) == receptive_field(model.settings["encoder"])
    base = np.full((1, 32, 32, 1), 90, np.uint8)
    bright = np.repeat(base, 32, axis=0)
    bright[np.arange(32), :, np.arange(32)] = 250  # image i: another column i
    vectors = np.asarray(model.encoder(np.concatenate([base, bright])))[:, 4, 4]
    seen = np.flatnonzero(np.abs(vectors[1:] - vectors[0]).max(axis=-1) > 0)
    assert seen.min() >= 16 + low and seen.max() <= 16 + high and len(seen) > 10


def test_each_term_of_the_loss_is_in_the_logs_by_name():
    model = small(structure=0.3, variance=0.2)
    model.compile("adam")
    logs = model.evaluate(images(8), verbose=0, return_dict=True)
    assert set(logs) == {"loss", "reconstruction", "structural", "quantizer"}
    assert logs["loss"] == pytest.approx(logs["reconstruction"] + logs["structural"] + logs["quantizer"], rel=1e-5)


@pytest.mark.parametrize(("name", "value", "right"), [
    ("loss", "l2", "'mse' or 'clipped_mse' or 'l1'"),
    ("normalise", "center", "'zero' or 'centred'"),
    ("output", "dense", "'transpose' or 'conv' or 'block'"),
])  # fmt: skip
def test_a_misspelt_choice_is_named_with_what_is_allowed(name, value, right):
    with pytest.raises(ValueError, match=f"`{name}` \\(='{value}'\\) must be {right}"):
        small(**{name: value})


def test_fit_moves_the_codebook_and_evaluate_does_not():
    model = small()
    model.compile("adam")
    before = np.asarray(model.quantizer.counts).copy()
    model.evaluate(images(4), verbose=0)
    np.testing.assert_array_equal(model.quantizer.counts, before)
    model.fit(images(4), verbose=0)
    assert np.abs(np.asarray(model.quantizer.counts) - before).max() > 0.1
