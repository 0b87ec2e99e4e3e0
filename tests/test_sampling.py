"""The sampler against the naive loop; completion, conditions, temperature, top-k and top-p; memory."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import ops
from layer_checks import array
from scipy.stats import chi2
from test_prior import GRID, KNOWN, VARIANTS, known, prior, shake

from vq_lib.models import sampling
from vq_lib.models.build import KINDS
from vq_lib.models.pixelcnn import PixelCNN
from vq_lib.models.prior import code_lengths
from vq_lib.models.sampling import FREE


def naively(prior, noise, temperature=1.0, top_k=None, top_p=None, condition=None, given=None):
    """The same codes from the same noise by one full forward pass a cell: slow, and the reference for `Sampler`."""
    height, width = prior.grid
    codes = np.zeros((len(noise), height, width), np.int32)
    for i in range(height * width):
        row, column = divmod(i, width)
        inputs = (codes, condition) if prior.conditional else codes
        logits = np.asarray(prior.predict_on_batch(inputs))[:, row, column]
        logits = np.asarray(sampling.likely(ops.convert_to_tensor(logits / temperature), top_k, top_p))
        codes[:, row, column] = np.argmax(logits + noise[:, i], axis=-1)
        if given is not None:
            known = given[:, row, column]
            codes[:, row, column] = np.where(known == FREE, codes[:, row, column], known)
    return codes


SETTINGS = [{}, {"temperature": 0.5, "top_k": 3}, {"temperature": 2.0, "top_p": 0.6}]


def half_given(seed=5):
    given = np.random.default_rng(seed).integers(0, 7, (3, *GRID)).astype(np.int32)
    given[:, :, GRID[1] // 2 :] = FREE
    return given


@pytest.mark.parametrize(("options", "chosen", "given"), [
    (VARIANTS[0], SETTINGS[0], None), (VARIANTS[1], SETTINGS[1], None), (VARIANTS[3], SETTINGS[2], half_given()),
])  # fmt: skip
@pytest.mark.parametrize("kind", KINDS)
def test_sampler_returns_the_codes_of_the_naive_loop(kind, options, chosen, given):
    model = prior(kind, **options)
    noise = sampling.gumbel(3, model, seed=4)
    free = np.full((3, *GRID), FREE, np.int32) if given is None else given
    condition = known(model)
    inputs = (noise, free, KNOWN)
    drawn = array(sampling.Sampler(model, **chosen).predict_on_batch(inputs))
    slowly = naively(model, noise, condition=condition, given=given, **chosen)
    np.testing.assert_array_equal(drawn, slowly)
    np.testing.assert_array_equal(drawn[free != FREE], free[free != FREE])
    if chosen == SETTINGS[0]:  # exactness: every code is the argmax given all the others
        logits = array(model(drawn, condition)).reshape(3, -1, 7)
        np.testing.assert_array_equal(np.argmax(logits + noise, -1), drawn.reshape(3, -1))


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_under_mixed_precision_can_be_sampled(kind):
    drawn = sampling.sample(prior(kind, **VARIANTS[3], dtype="mixed_bfloat16"), 2, condition=KNOWN[:2])
    assert drawn.shape == (2, *GRID) and 0 <= drawn.min() <= drawn.max() < 7


def test_likely_by_hand():
    logits = np.log(np.array([[0.1, 0.4, 0.2, 0.3], [0.7, 0.1, 0.1, 0.1]], np.float32))

    def kept(**options):
        return (array(sampling.likely(ops.convert_to_tensor(logits), **options)) > -np.inf).astype(int).tolist()

    assert kept(top_k=2)[0] == [0, 1, 0, 1] and kept(top_k=9) == [[1] * 4] * 2
    assert kept(top_p=0.6) == [[0, 1, 0, 1], [1, 0, 0, 0]]  # 0.4 alone is not enough, 0.7 is
    assert kept(top_p=0.75)[0] == [0, 1, 1, 1] and kept(top_p=1.0) == [[1] * 4] * 2
    assert kept(top_k=1, top_p=0.9)[0] == [0, 1, 0, 0]


def test_noise_is_gumbel_and_belongs_to_its_grid():
    model = PixelCNN((8, 8), 64, filters=2, blocks=1, kernel=3)
    noise = sampling.gumbel(8, model, seed=1)
    assert noise.dtype == np.float32 and np.isfinite(noise).all()
    assert noise.mean() == pytest.approx(np.euler_gamma, abs=0.03) and noise.var() == pytest.approx(
        np.pi**2 / 6, rel=0.03
    )
    np.testing.assert_array_equal(sampling.gumbel(2, model, seed=1, first=3), noise[3:5])


def test_a_sample_does_not_depend_on_how_many_are_drawn():
    model = prior()
    five = sampling.sample(model, 5, seed=1, batch=2)
    assert five.shape == (5, *GRID)
    np.testing.assert_array_equal(sampling.sample(model, 3, seed=1), five[:3])
    assert (sampling.sample(model, 3, seed=2) != five[:3]).any()


def test_noise_of_a_float32_zero_never_comes():
    """Among 5·10⁷ draws a true maximum lies near 18; a float32 exponential of 0 would have been 69."""
    model = SimpleNamespace(grid=(50, 100), codes=1000)
    largest = [float(sampling.gumbel(1, model, seed=0, first=i).max()) for i in range(10)]
    assert 15 < max(largest) < 25


def test_the_law_of_the_draws_is_the_models():
    """χ² of all pairs of codes on a grid of two cells against the exact product of softmaxes, at p = 0.001."""
    model, count = shake(PixelCNN((1, 2), 5, filters=8, blocks=1, kernel=3), 3), 20_000
    pairs = np.stack(np.meshgrid(range(5), range(5), indexing="ij"), -1).reshape(25, 1, 2).astype(np.int32)
    logits = array(ops.log_softmax(model(pairs)))
    expected = count * np.exp(np.take_along_axis(logits, pairs[..., None], -1)[..., 0].sum(axis=(1, 2)))
    drawn = sampling.sample(model, count, seed=1, batch=2000)[:, 0] @ [5, 1]
    statistic = (np.square(np.bincount(drawn, minlength=25) - expected) / expected).sum()
    assert expected.min() > 5 and statistic < chi2.ppf(0.999, 24)


def test_the_batch_follows_from_the_models_size_alone():
    def size(side, codes):
        return sampling.batch_size(SimpleNamespace(grid=(side, side), codes=codes))

    assert [size(32, 512), size(8, 32), size(64, 512), size(512, 65536)] == [64, 64, 16, 1]


@keras.saving.register_keras_serializable(package="tests")
class OnlyCall(keras.Model):
    """A prior of somebody who knows nothing of `start`, `row` and `step`."""

    def __init__(self, inner, **kwargs):
        super().__init__(**kwargs)
        self.inner, self.grid, self.codes = inner, inner.grid, inner.codes

    def call(self, codes):
        return self.inner(codes)


def test_any_model_of_codes_is_sampled_and_scored_by_the_same_functions():
    inner, given = prior(embedding=3), half_given()
    model = OnlyCall(inner)
    for options in ({}, {"temperature": 0.5, "top_k": 3, "given": given}):
        np.testing.assert_array_equal(
            sampling.sample(model, 3, seed=4, batch=2, **options), sampling.sample(inner, 3, seed=4, batch=2, **options)
        )
    drawn = sampling.sample(model, 3, seed=4)
    np.testing.assert_allclose(code_lengths(model, drawn), code_lengths(inner, drawn), rtol=1e-4)
    np.testing.assert_array_equal(
        sampling.complete(model, given[0], 2, tries=2), sampling.complete(inner, given[0], 2, tries=2)
    )


def test_samples_follow_the_models_probabilities():
    """The first code of many samples has the frequencies of the model's first softmax."""
    model = shake(PixelCNN((2, 2), 4, filters=4, blocks=1, kernel=3), 3)
    drawn = sampling.sample(model, 4000, seed=0, batch=500)[:, 0, 0]
    logits = array(model(np.zeros((1, 2, 2), np.int32)))[0, 0, 0]
    expected = np.exp(logits) / np.exp(logits).sum()
    assert np.abs(np.bincount(drawn, minlength=4) / 4000 - expected).max() < 4 * 0.5 / np.sqrt(4000)


def test_completion_weighs_what_is_given_later():
    """Two cells, the second one given: the first must follow p(z_1 | z_2), which one pass from left to right cannot."""
    model = shake(PixelCNN((1, 2), 3, filters=8, blocks=1, kernel=3), 5)
    model.logits.kernel.assign(4 * array(model.logits.kernel))
    both = np.stack(np.meshgrid(range(3), range(3), indexing="ij"), -1).reshape(9, 1, 2).astype(np.int32)
    logits = array(ops.log_softmax(model(both)))
    joint = np.exp(np.take_along_axis(logits, both[..., None], -1)[..., 0].sum(axis=(1, 2))).reshape(3, 3)
    first = joint.sum(axis=1)
    second = int(np.abs(joint / joint.sum(axis=0) - first[:, None]).sum(axis=0).argmax())
    expected = joint[:, second] / joint[:, second].sum()
    given = np.array([[FREE, second]], np.int32)
    drawn = sampling.complete(model, given, 1500, tries=32)
    assert (drawn[:, 0, 1] == second).all()
    found = np.bincount(drawn[:, 0, 0], minlength=3) / 1500
    assert np.abs(expected - first).max() > 0.1, "otherwise this test shows nothing"
    assert np.abs(found - expected).max() < 0.05


def test_completion_keeps_what_is_given_and_needs_one_try_where_it_comes_first():
    model = prior("gated")
    given = np.full(GRID, FREE, np.int32)
    given[:2] = np.random.default_rng(0).integers(0, 7, (2, GRID[1]))
    drawn = sampling.complete(model, given, 2, seed=3)
    np.testing.assert_array_equal(drawn[:, :2], np.repeat(given[None, :2], 2, 0))
    np.testing.assert_array_equal(drawn, sampling.sample(model, 2, seed=3, given=np.repeat(given[None], 2, 0)))


def test_impossible_requests_are_refused():
    model, conditioned = prior(), prior(**VARIANTS[3])
    for wrong in ({"temperature": 0.0}, {"top_k": 0}, {"top_p": 1.5}, {"given": np.full((1, *GRID), 7)}):
        with pytest.raises(ValueError):
            sampling.sample(model, 1, **wrong)
    for wrong in (None, [[2, 0]], [[0, 4]], [[0, -2]]):
        with pytest.raises(ValueError, match="condition"):
            sampling.sample(conditioned, 1, condition=wrong)


def test_the_samplers_state_does_not_grow_with_the_number_of_rows():
    """Caches of convolutions hold as many rows as they reach; only attention and the codes themselves keep the grid."""

    def cached(kind, height):
        model = KINDS[kind]((height, 4), 7, filters=8, blocks=2, kernel=5)
        state = model.start(1)
        return sum(int(np.prod(part.shape)) for part in keras.tree.flatten((state.context, state.caches)))

    assert all(cached(kind, 4) == cached(kind, 16) for kind in ("pixelcnn", "gated"))
