"""The grain of draws from p(x | z), against noise of known strength and fineness."""

import numpy as np

from vq_lib.scores.grain import Grain, agreement


def noise(rng, shape, scale):
    """Gaussian noise of standard deviation `scale`, equal in pairs of neighbouring columns."""
    return rng.normal(0, scale, (*shape[:2], shape[2] // 2)).repeat(2, axis=2)[..., None]


def test_draws_are_as_strong_and_as_fine_as_what_was_left_out():
    rng, shape = np.random.default_rng(0), (20, 32, 32)
    mean = np.full((*shape, 1), 0.3)
    mean[:, 16:] = 0.6
    strength = np.where(mean < 0.5, 0.02, 0.05)
    grain = Grain(mean + noise(rng, shape, 1) * strength, mean)
    left = grain.draw(mean, seed=1)[..., 0] / 255 - mean[..., 0]
    np.testing.assert_allclose([left[:, :16].std(), left[:, 16:].std()], [0.02, 0.05], rtol=0.05)

    def alike(x, axis):
        """Correlation of neighbours."""
        one, other = (np.take(x, np.arange(start, 31 + start), axis).ravel() for start in (0, 1))
        return np.corrcoef(one, other)[0, 1]

    # Of neighbours in a row every other pair is equal: correlation 1/2. Those in a column are independent.
    np.testing.assert_allclose([alike(left[:, :16], 2), alike(left, 1)], [0.5, 0], atol=0.06)


def test_the_spectrum_has_unit_variance_and_white_noise_is_flat():
    rng = np.random.default_rng(0)
    mean = np.full((200, 16, 16, 1), 0.5)
    spectrum = Grain(mean + rng.normal(0, 0.05, mean.shape), mean).spectrum
    np.testing.assert_allclose(spectrum, 1, atol=0.45)
    np.testing.assert_allclose(spectrum.mean(), 1, atol=0.02)


def test_background_stays_black_and_the_seed_decides():
    rng = np.random.default_rng(0)
    decoded = np.zeros((4, 16, 16, 3), np.uint8)
    decoded[:, 4:12, 4:12] = 128
    real = decoded + (rng.integers(0, 30, decoded.shape) * (decoded > 0)).astype(np.uint8)
    grain = Grain(real, decoded)
    drawn = grain.draw(decoded, seed=3)
    assert (drawn[decoded == 0] == 0).all() and drawn[decoded > 0].std() > 3
    np.testing.assert_array_equal(drawn, grain.draw(decoded, seed=3))
    assert (drawn != grain.draw(decoded, seed=4)).any()
    inside = drawn[:, 4:12, 4:12].astype(int)
    assert (inside[..., 0] == inside[..., 1]).all(), "one grain for all channels"


def test_nothing_left_out_is_no_grain():
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1)).astype(np.uint8)
    np.testing.assert_array_equal(Grain(images, images).draw(images), images)
    black = np.zeros_like(images)
    np.testing.assert_array_equal(Grain(black, black).draw(black), black)


def test_structure_goes_on_from_slice_to_slice_and_noise_does_not():
    rng = np.random.default_rng(0)
    base, noise = rng.normal(0, 0.05, (3, 1, 32, 32, 1)), rng.normal(0, 0.05, (3, 6, 32, 32, 1))
    person, position = np.repeat(["a", "b", "c"], 6), np.tile(np.arange(6), 3)
    decoded = np.full((18, 32, 32, 1), 0.5)

    def of(rest):
        return agreement(
            decoded + np.broadcast_to(rest, (3, 6, 32, 32, 1)).reshape(-1, 32, 32, 1), decoded, person, position
        )

    np.testing.assert_allclose(of(base).loc["rest"], [1, 1, 0], atol=0.05)
    np.testing.assert_allclose(of(noise).loc["rest"], 0, atol=0.05)
    np.testing.assert_allclose(of(base + noise).loc["rest"], [0.5, 0.5, 0], atol=0.05)  # half of the variance is shared
    alone = agreement(decoded[:3], decoded[:3], ["a", "b", "c"], [-1, -1, -1])
    assert alone.isna().all(axis=None) and list(alone.columns) == [1, 4, "others"]
