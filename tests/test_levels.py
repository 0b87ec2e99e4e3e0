"""Two levels of codes: the model by hand, its codebooks, the prior over both, and all notebooks with them."""

import keras
import numpy as np
import pytest
from conftest import vq_lib
from keras import ops

from vq_lib import recipe
from vq_lib.errors import UserError
from vq_lib.layers.quantizer import EMAVectorQuantizer
from vq_lib.models.build import KINDS, prior_from
from vq_lib.models.levels import join, split
from vq_lib.models.prior import code_lengths
from vq_lib.models.sampling import FREE, complete, gumbel, sample
from vq_lib.models.saved import load
from vq_lib.models.two_level import TwoLevelPrior
from vq_lib.models.vqvae import VQVAE
from vq_lib.report import metrics
from vq_lib.training.batches import Batches
from vq_lib.training.callbacks import KMeansStart, RestartDeadCodes
from vq_lib.training.identity import describe

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 1), dtype=np.uint8)
CONDITION = np.stack([np.full(12, -1), np.arange(12) % 5], axis=1).astype(np.int32)
COARSE = {"encoder": [{"layer": "conv", "filters": 8, "stride": 2}],
          "decoder": [{"layer": "subpixel", "filters": 6, "stride": 2}]}  # fmt: skip
ENCODER = [{"layer": "conv", "filters": 8, "stride": 2}, {"layer": "conv", "filters": 8, "stride": 2}]
DECODER = [{"layer": "conv", "filters": 8}, {"layer": "subpixel", "filters": 1, "stride": 4}]


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    model = VQVAE((32, 32, 1), ENCODER, DECODER, EMAVectorQuantizer(16, 4), output="block", coarse=COARSE)
    model.compile("adam")
    batches = Batches(IMAGES, np.arange(12), 4, seed=0)
    model.fit(batches, epochs=3, verbose=0, callbacks=[KMeansStart(batches), RestartDeadCodes(batches, every=2)])
    return model


def prior(kind, levels, **options):
    keras.utils.set_random_seed(1)
    settings = {"name": kind, "filters": 8, "blocks": 2, "kernel": 5, "embedding": 4, "head": 1, "position": True}
    made = prior_from({**settings, "condition": ["position"], **options}, levels, 16, slices=5)
    rng = np.random.default_rng(0)
    for weight in made.trainable_weights:
        weight.assign(rng.normal(0, 0.4, weight.shape))
    return made


def test_split_and_join_are_inverse_and_coarse_codes_come_first():
    codes = np.arange(2 * 10 * 8).reshape(2, 10, 8)
    coarse, fine = split(codes, (4, 4))
    assert coarse.shape == (2, 4, 4) and fine.shape == (2, 8, 8)
    np.testing.assert_array_equal(coarse[1].ravel(), np.arange(80, 96))
    np.testing.assert_array_equal(join(coarse, fine), codes)
    np.testing.assert_array_equal(ops.convert_to_numpy(join(*split(ops.convert_to_tensor(codes), (4, 4)))), codes)
    with pytest.raises(ValueError, match="3x3 codes fills no whole rows of the fine one's 8"):
        split(codes, (3, 3))


def test_the_model_is_what_the_paper_says(model):
    """By hand, part for part: each code the nearest of its own codebook, the fine ones given the coarse ones."""

    def nearest(z, quantizer):
        book = ops.convert_to_numpy(quantizer.embeddings)
        codes = np.square(z[..., None, :] - book).sum(axis=-1).argmin(axis=-1)
        return codes, book[codes]

    level, run = model.coarse, lambda part, x: ops.convert_to_numpy(part(x))
    features = run(model.encoder, IMAGES)
    coarse, e = nearest(run(level.encoder, features), level.quantizer)
    up = run(level.decoder, e)
    fine, q = nearest(run(level.link, np.concatenate([features, up], axis=-1)), model.quantizer)
    np.testing.assert_array_equal(model.encode(IMAGES), join(coarse, fine))
    np.testing.assert_array_equal(model.fine(model.encode(IMAGES)), fine)
    image = np.clip(run(model.decoder, np.concatenate([q, up], axis=-1)), 0, 1)
    np.testing.assert_allclose(model.decode(join(coarse, fine)), image, atol=1e-5)
    np.testing.assert_allclose(model.predict(IMAGES, verbose=0), image, atol=1e-5)
    assert (model.levels, model.grid) == (((4, 4), (8, 8)), (10, 8))
    assert {"coarse encoder", "coarse decoder", "coarse link"} < model.parameter_counts.keys()


def test_both_codebooks_are_used_and_all_weights_learn(model):
    coarse, fine = split(model.encode(IMAGES), model.levels[0])
    assert len(np.unique(coarse)) > 4 and len(np.unique(fine)) > 4
    before = [np.array(ops.convert_to_numpy(weight)) for weight in model.trainable_weights]
    model.fit(IMAGES, epochs=1, verbose=0)
    for weight, old in zip(model.trainable_weights, before, strict=True):
        assert np.abs(ops.convert_to_numpy(weight) - old).max() > 0, weight.path


def test_both_models_are_read_as_they_were_written(model, tmp_path):
    codes, drawn = model.encode(IMAGES), prior("gated", model.levels)
    model.save(tmp_path / "vqvae.keras")
    drawn.save(tmp_path / "prior.keras")
    again, other = load(tmp_path / "vqvae.keras", "VQ-VAE"), load(tmp_path / "prior.keras", "prior")
    np.testing.assert_array_equal(again.encode(IMAGES), codes)
    np.testing.assert_allclose(again.decode(codes), model.decode(codes), atol=1e-6)
    lengths = [code_lengths(one, codes, CONDITION) for one in (drawn, other)]
    np.testing.assert_allclose(*lengths, atol=1e-4)
    assert isinstance(other, TwoLevelPrior) and type(other.fine).__name__ == "GatedPixelCNN"


@pytest.mark.parametrize("kind", KINDS)
def test_the_prior_is_the_product_of_both_and_sees_no_future(model, kind):
    codes, made = model.encode(IMAGES)[:3], prior(kind, model.levels)
    coarse, fine = split(codes, model.levels[0])
    lengths, known = code_lengths(made, codes, CONDITION[:3]), CONDITION[:3]
    np.testing.assert_allclose(split(lengths, (4, 4))[0], code_lengths(made.coarse, coarse, known), atol=1e-4)
    logits = lambda codes: ops.convert_to_numpy(made(codes, condition=known))  # noqa: E731
    for cell in ((0, 3), (1, 7), (2, 0), (5, 4)):  # coarse ones in the first two rows, then fine ones
        changed = codes.copy()
        changed[:, *cell] = (changed[:, *cell] + 1) % 16
        differ = (np.abs(logits(changed) - logits(codes)) > 1e-6).any(axis=-1).reshape(3, -1)
        place = cell[0] * 8 + cell[1]
        assert not differ[:, : place + 1].any(), "a cell sees itself or a later one"
        assert cell[0] > 1 or differ[:, 16:].any(), "fine codes know the coarse ones"


@pytest.mark.parametrize("kind", KINDS)
def test_the_cached_sampler_draws_what_the_network_does(model, kind):
    made, known = prior(kind, model.levels), CONDITION[:4]
    drawn, grid, noise = sample(made, 4, seed=3, condition=known), np.zeros((4, 10, 8), np.int32), gumbel(4, made, 3)
    for place in range(80):
        row, column = divmod(place, 8)
        logits = np.asarray(made.predict_on_batch((grid, known)))
        grid[:, row, column] = (logits[:, row, column] + noise[:, place]).argmax(axis=-1)
    np.testing.assert_array_equal(drawn, grid)


def test_given_codes_stay_in_a_completion(model):
    made, code = prior("gated", model.levels), model.encode(IMAGES[:1])[0]
    free = join(*(np.arange(side)[None, :, None].repeat(side, 2) >= side // 2 for side in (4, 8)))[0]
    grids = complete(made, np.where(free, FREE, code), 3, tries=2, condition=CONDITION[:3])
    assert (grids[:, ~free] == code[~free]).all() and (grids[:, free] != code[free]).any()


RECIPE = """\
title: Two levels
data: {layout: cohort, size: 32, slices: 3, people: {train: 4, validation: 2, test: 2}}
vqvae:
  encoder: [{layer: conv, filters: 8, kernel: 4, stride: 2}, {layer: conv, filters: 8, kernel: 4, stride: 2}]
  coarse:
    encoder: [{layer: conv, filters: 8, kernel: 4, stride: 2}]
    decoder: [{layer: subpixel, filters: 4, stride: 2}]
  decoder: [{layer: transpose, filters: 8, kernel: 4, stride: 2}, {layer: transpose, filters: 8, kernel: 4, stride: 2}]
  codes: 16
  code_dim: 4
  batch: 4
  epochs: 1
prior: {name: gated, filters: 8, blocks: 1, head: 1, kernel: 3, batch: 4, epochs: 1, condition: [position]}
evaluation: {samples: 4}
appendix: false
"""


@pytest.mark.parametrize(("change", "sentence"), [
    ("appendix=true", "set 'appendix: false': notebook 05 looks at one level"),
    ("vqvae.coarse.decoder=[]", "shrinks the grid 2 times and coarse.decoder enlarges it 1 times"),
    ("data.size=24", "the encoder's grid \\(=6\\) must be divisible by the square of its stride \\(=2\\)"),
    ('vqvae.coarse.encoder=[{"layer":"residual","filters":4},{"layer":"conv","filters":8,"stride":2}]',
     "vqvae.coarse.encoder has 4 filters, and is given 8"),
])  # fmt: skip
def test_impossible_levels_are_refused(tmp_path, change, sentence):
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    assert recipe.load(tmp_path / "recipe.yaml").vqvae.coarse.factor == 2
    with pytest.raises(UserError, match=sentence):
        recipe.load(tmp_path / "recipe.yaml", change)


def test_all_notebooks_work_with_two_levels(tmp_path):
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    done = vq_lib("report", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    found = metrics.read(tmp_path / "metrics.json")
    # 16 coarse and 64 fine codes of log2(16) bits, for 32 x 32 pixels
    assert found.vqvae.bits_per_pixel == 4 * 80 / 32**2 and "coarse link" in found.vqvae.parameters
    with np.load(tmp_path / "run" / "prior" / "gated" / "lengths.npz") as stored:
        coarse, fine = stored["test"][:, :2].mean(), stored["test"][:, 2:].mean()
    assert found.prior.levels_bits_per_code == pytest.approx({"coarse": coarse, "fine": fine})
    codes = np.load(tmp_path / "run" / "evaluation" / "samples.npz")["codes"]
    assert codes.shape == (4, 10, 8)
    done = vq_lib("generate", "--report", tmp_path, "-n", "2", "--complete", tmp_path / "figures" / "samples.webp",
                  "--out", tmp_path / "new.png")  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_training_is_known_again_by_both_levels(model):
    def described(coarse):
        return describe(
            [VQVAE((32, 32, 1), ENCODER, DECODER, EMAVectorQuantizer(16, 4), output="block", coarse=coarse)]
        )

    wider = {**COARSE, "encoder": [{"layer": "conv", "filters": 9, "stride": 2}]}
    assert described(COARSE) == describe([model]) != described(wider)
