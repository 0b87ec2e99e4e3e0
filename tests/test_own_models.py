"""What a student does in a notebook: own encoder and decoder, a subclass, another loss; trained, saved, loaded."""

import keras
import numpy as np
import pytest
from layer_checks import array

from vq_lib.layers.blocks import ResidualBlock
from vq_lib.layers.quantizer import EMAVectorQuantizer, VectorQuantizer
from vq_lib.models.saved import as_float32, load
from vq_lib.models.vqvae import VQVAE

layers = keras.layers
DOWN = [{"layer": "conv", "filters": 4, "kernel": 4, "stride": 2}]
UP = [{"layer": "transpose", "filters": 4, "kernel": 4, "stride": 2}]


def images(n=8):
    return np.random.default_rng(0).integers(0, 256, (n, 16, 16, 1)).astype(np.uint8)


def functional_encoder():
    inputs = keras.Input((16, 16, 1))
    x = layers.Conv2D(4, 4, 2, padding="same", activation="silu", kernel_regularizer=keras.regularizers.L2(1e-4))(
        inputs
    )
    x = layers.BatchNormalization()(x)
    x = layers.Dropout(0.1)(ResidualBlock(4, 2)(x)) + x
    return keras.Model(inputs, layers.Concatenate()([x, layers.Conv2D(4, 1)(x)]))


def own(**options):
    """An encoder of several branches, with layers of Keras and of ours, and a decoder that was never built."""
    decoder = keras.Sequential([layers.UpSampling2D(2), layers.Conv2D(8, 3, padding="same"), layers.LeakyReLU(),
                                layers.Conv2D(1, 3, padding="same")])  # fmt: skip
    return VQVAE((16, 16, 1), functional_encoder(), decoder, EMAVectorQuantizer(6, 8), **options)


def trained(model, loss=None):
    model.compile(keras.optimizers.Adam(1e-3), loss)
    history = model.fit(images(), batch_size=4, epochs=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    return model, history


def test_own_encoder_and_decoder_are_trained_saved_by_keras_and_loaded(tmp_path):
    model, _ = trained(own())
    assert np.abs(np.asarray(model.quantizer.counts) - 1).max() > 0.01  # in training, as dropout is
    assert model.grid == (8, 8) and model.receptive_field is None
    assert model.parameter_counts["encoder"] == sum(int(np.prod(w.shape)) for w in model.encoder.weights)
    model.save(tmp_path / "own.keras")  # with optimizer and all
    again = load(tmp_path / "own.keras", "VQ-VAE")
    np.testing.assert_array_equal(again.encode(images()), model.encode(images()))
    np.testing.assert_allclose(again.decode(model.encode(images())), array(model(images())), atol=1e-5)


@pytest.mark.parametrize("make", [own, lambda **options: VQVAE((16, 16, 1), DOWN, UP, **options)])
def test_mixed_precision_is_saved_as_float32_and_loads_as_it_is_too(make, tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")  # as a notebook may have done: own layers follow it
    try:
        model = make(dtype="mixed_bfloat16")
        model.save(tmp_path / "mixed.keras")
    finally:
        keras.config.set_dtype_policy("float32")
    again = load(tmp_path / "mixed.keras")
    np.testing.assert_array_equal(again.encode(images()), model.encode(images()))
    copy = as_float32(model)
    assert "mixed" not in str(copy.get_config()) and {layer.dtype_policy.name for layer in copy._flatten_layers()} == {
        "float32"
    }
    assert (copy.encode(images()) == model.encode(images())).mean() > 0.9


@pytest.mark.parametrize(("parts", "sentence"), [
    ((functional_encoder, UP, 7), "the encoder gives .8, 8, 8., and a quantiser of codes of length 7 wants"),
    ((lambda: keras.Sequential([layers.Flatten(), layers.Dense(8)]), UP, 8), r"the encoder gives \(8,\)"),
    ((DOWN, lambda: keras.Sequential([layers.Conv2D(1, 3)]), 8), "the decoder gives"),
    (("conv", UP, 8), "`encoder` must be a list of blocks or a Keras model"),
])  # fmt: skip
def test_parts_that_do_not_fit_are_told_in_a_sentence(parts, sentence):
    encoder, decoder, dim = (part() if callable(part) else part for part in parts)
    with pytest.raises(ValueError, match=sentence):
        VQVAE((16, 16, 1), encoder, decoder, VectorQuantizer(6, dim))


@keras.saving.register_keras_serializable(package="tests")
class Brighter(VQVAE):
    """A subclass with a call, a loss and an argument of its own."""

    def __init__(self, *args, gain=2.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.gain = gain

    def call(self, inputs, training=False):
        return self.gain * super().call(inputs, training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return 3.0 * super().compute_loss(x=x, y_pred=y_pred, training=training)

    def get_config(self):
        return {**super().get_config(), "gain": self.gain}


class Unregistered(VQVAE):
    """As somebody writes it who has never heard of a register."""


def test_a_subclass_is_trained_saved_and_loaded_while_its_class_is_here(tmp_path, monkeypatch):
    model, history = trained(Brighter((16, 16, 1), DOWN, UP, gain=0.5))
    np.testing.assert_allclose(
        history["loss"], 3 * (np.add(history["reconstruction"], history["quantizer"])), rtol=1e-4
    )
    plain, _ = trained(Unregistered((16, 16, 1), DOWN, UP))
    for made in (model, plain):
        made.save(tmp_path / "model.keras")
        again = load(tmp_path / "model.keras", "VQ-VAE")
        assert type(again) is type(made)
        np.testing.assert_allclose(array(again(images())), array(made(images())), atol=1e-6)
    monkeypatch.delattr(f"{__name__}.Unregistered")
    with pytest.raises(Exception, match="holds a Unregistered, not a model of vq_lib, nor of a class that is defined"):
        load(tmp_path / "model.keras")


@pytest.mark.parametrize("loss", [lambda x, y: keras.ops.abs(x - y), "mae", keras.losses.MeanAbsoluteError()])
def test_a_loss_given_to_compile_takes_the_place_of_the_reconstruction_error(loss):
    model = VQVAE((16, 16, 1), DOWN, UP, variance=0.01, structure=0.5)
    model.compile("adam", loss)
    logs = model.evaluate(images(), verbose=0, return_dict=True)
    expected = np.abs(images() / 255 - array(model(images()))).mean()
    assert logs["reconstruction"] == pytest.approx(expected, rel=1e-4)
    assert logs["loss"] == pytest.approx(logs["reconstruction"] + logs["structural"] + logs["quantizer"], rel=1e-4)


def test_a_model_compiled_with_an_own_loss_is_loaded_without_it(tmp_path):
    model, _ = trained(VQVAE((16, 16, 1), DOWN, UP), lambda x, y: keras.ops.square(x - y))
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(load(tmp_path / "model.keras").encode(images()), model.encode(images()))


@pytest.mark.parametrize(("options", "word"), [
    ({"metrics": ["mae"]}, "metrics"), ({"loss": ["mse", "mae"]}, "several losses"),
    ({"loss": "mse", "loss_weights": [2.0]}, "loss_weights"), ({"weighted_metrics": ["mae"]}, "weighted_metrics"),
])  # fmt: skip
def test_what_compile_cannot_heed_is_refused_in_a_sentence(options, word):
    with pytest.raises(ValueError, match=f"cannot heed {word}"):
        VQVAE((16, 16, 1), DOWN, UP).compile("adam", **options)


@pytest.mark.parametrize("make", [own, lambda: VQVAE((16, 16, 1), DOWN, UP)])
def test_summaries_have_shapes_and_sizes(make):
    model = make()
    for part, shape in ((model, None), (model.encoder, (8, 8)), (model.decoder, (16, 16, 1))):
        lines = []
        part.summary(print_fn=lines.append, line_length=120)
        text = "\n".join(map(str, lines))
        assert "?" not in text and f"{part.count_params():,}" in text
        assert shape is None or ", ".join(map(str, (None, *shape))) in text
