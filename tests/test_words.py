"""What notebook 02 says in words follows from recipe and codes."""

import numpy as np
import pytest

from vq_lib import recipe
from vq_lib.figures import vqvae as words
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


def test_a_quantiser_without_codebook_is_not_given_one():
    base = Study("demo").recipe.vqvae.model_dump()
    settings = recipe.VQVAE(**{**base, "quantizer": "fsq", "levels": [16, 16], "code_dim": 2})
    assert "no third term" in " ".join(words.loss_in_words(settings)) and "fixed points" in words.start_in_words(
        settings
    )


def test_a_frame_of_codes_is_explained_where_there_is_one():
    codes = np.full((2, 9, 9), 4)
    background = np.ones_like(codes, bool)
    background[:, 4, 4] = False
    assert words.frame_in_words(codes, background, "centred") == ""
    codes[:, [0, -1]], codes[:, :, [0, -1]] = 1, 2
    text = words.frame_in_words(codes, background, "centred")
    assert "100% of the background" in text and "(2 codes)" in text and "mid grey" in text
    assert "but not so in later layers" in words.frame_in_words(codes, background, "zero")
    assert words.frame_in_words(codes, np.zeros_like(background), "zero") == ""
