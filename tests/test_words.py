"""What notebook 02 says in words, and in colours, follows from recipe and codes."""

import numpy as np
import pytest

from vq_lib import recipe
from vq_lib.plots import prior as priors
from vq_lib.plots import vqvae as words
from vq_lib.study import REPOSITORY, Study

RECIPES = sorted(path.parent for path in (REPOSITORY / "reports").glob("*/recipe.yaml"))


@pytest.mark.parametrize("folder", RECIPES, ids=lambda path: path.name)
def test_every_recipe_is_described_as_it_is(folder):
    settings = Study(folder).recipe.vqvae
    text, start = " ".join(words.loss_in_words(settings)), words.start_in_words(settings)
    assert ("one side only" in text) == (settings.loss == "clipped_mse")
    assert ("λ = 0." in text and "no structural" in text) == (settings.structure == 0)
    assert ("by gradient" in text) == (settings.codebook == "gradient")
    assert ("cosine wave" in text) == (settings.schedule == "cosine")
    assert ("scaled down" in text) == (settings.clip is not None)
    assert ("k-means" in start) == (settings.start == "kmeans")
    assert ("are restarted" in start) == (settings.restart is not None)


@pytest.mark.parametrize("folder", RECIPES, ids=lambda path: path.name)
def test_every_prior_is_described_as_it_is(folder):
    prior = Study(folder).recipe.prior
    for name, settings in prior.models().items() if prior else []:
        text = priors.in_words(settings)
        assert text.startswith(
            f"A first window of {settings.kernel} × {settings.kernel} cells; {settings.blocks} block"
        )
        assert ("attention" in text) == (name == "snail") and ("dropout" in text) == (settings.dropout > 0)
        assert ("one-hot" in text) == (settings.embedding is None) and ("each cell" in text) == settings.position
        assert text.endswith("told nothing of a slice." if not settings.condition else f"{settings.condition[-1]}.")


def test_a_quantiser_without_codebook_is_not_given_one():
    base = Study("demo").recipe.vqvae.model_dump()
    settings = recipe.VQVAE(**{**base, "quantizer": "fsq", "levels": [16, 16], "code_dim": 2})
    assert "no third term" in " ".join(words.loss_in_words(settings)) and "fixed points" in words.start_in_words(
        settings
    )


def test_codes_are_ranked_by_the_grey_level_of_their_cells():
    images = np.zeros((1, 4, 6, 2), np.uint8)  # two channels, and 2 by 3 cells of 2 by 2 pixels
    images[0, :2, 2:4], images[0, 2:, :2, 0], images[0, 2:, 4:] = 90, 100, 200
    codes = np.array([[[5, 2, 5], [3, 5, 0]]])  # 2 has 90, 3 has 50 (its other channel is black), 0 has 200
    np.testing.assert_allclose(words.brightness_ranks(images, codes, 7), [1, 0, 2 / 3, 1 / 3, 0, 0, 0])
    assert words.brightness_ranks(images, np.full_like(codes, 1), 2).tolist() == [0, 0]
