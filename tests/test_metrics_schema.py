"""`metrics.json`: written whole and checked, added to, and read with one sentence where it is not as it should be."""

import json

import numpy as np
import pydantic
import pytest

from vq_lib import recipe
from vq_lib.errors import UserError
from vq_lib.report import metrics
from vq_lib.report.build import card
from vq_lib.study import REPOSITORY, Study

PUBLISHED = sorted((REPOSITORY / "reports").glob("*/metrics.json"))


def document():
    return json.loads((REPOSITORY / "reports" / "demo" / "metrics.json").read_text(encoding="utf-8"))


@pytest.fixture
def study(tmp_path):
    study = Study("demo")
    study.metrics = tmp_path / "metrics.json"
    return study


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.parent.name)
def test_published_files_are_read(path):
    found, plain = metrics.read(path), json.loads(path.read_text(encoding="utf-8"))
    assert found.report == path.parent.name
    assert found.rates["fixed_length"] == plain["vqvae"]["bits_per_pixel"]
    guesses = {name: entry["ssim"] for name, entry in plain["baselines"].items() if "bits_per_pixel" not in entry}
    assert found.best_guess()[1].ssim == max(guesses.values())
    for rate, codecs in plain["codecs"].items():
        near = [codec["ssim"] for codec in codecs.values()
                if abs(codec["bits_per_pixel_payload"] / found.rates[rate] - 1) <= 0.1]  # fmt: skip
        best = found.best_codec(rate)
        assert (best[1].ssim if best else None) == max(near, default=None)


def test_minutes_count_compared_priors():
    plain = document()
    plain["provenance"]["seconds"] = {"vqvae": 90.0, "prior": 30.0, "prior snail": 60.0, "evaluation": 999.0}
    assert metrics.Metrics.model_validate(plain).minutes == {"VQ-VAE": 1.5, "prior": 0.5, "compared priors": 1.0}


def test_notebooks_add_to_the_document(study):
    plain = document()
    with pytest.raises(UserError, match="notebook 04"):
        metrics.write(study, samples=plain["samples"])
    first = {name: plain[name] for name in ("provenance", "data", "vqvae", "baselines")}
    assert metrics.write(study, **first, prior=None).prior is None
    metrics.write(study, prior=plain["prior"], samples={"count": np.int64(4), "seconds": np.float32(0.5)})
    found = metrics.write(study, samples={"memorised_fraction": np.float64(0.25)}, likelihood={"codes": 1.5})
    assert (found.samples.count, found.samples.seconds, found.samples.memorised_fraction) == (4, 0.5, 0.25)
    assert found.prior.name == "gated" and metrics.read(study.metrics) == found
    assert json.loads(study.metrics.read_text(encoding="utf-8"))["samples"]["count"] == 4
    again = metrics.write(study, **first)
    assert again.prior is None and again.likelihood is None, "an evaluation begins anew"


def test_what_the_schema_does_not_know_is_not_written(study):
    plain = {name: document()[name] for name in ("provenance", "data", "vqvae", "baselines")}
    for wrong in ({"vqvea": {}}, {"vqvae": {**plain["vqvae"], "sim": 1}}, {"vqvae": {**plain["vqvae"], "psnr": 3}},
                  {"vqvae": {**plain["vqvae"], "perplexity": float("nan")}}):  # fmt: skip
        with pytest.raises(pydantic.ValidationError):
            metrics.write(study, **{**plain, **wrong})
    assert not study.metrics.exists()


@pytest.mark.parametrize(("text", "sentence"), [
    ("{", "not valid JSON"), ("[]", "the whole"), ('{"report": "x"}', "provenance: Field required"),
])  # fmt: skip
def test_a_broken_file_is_named_in_a_sentence(tmp_path, text, sentence):
    (tmp_path / "metrics.json").write_text(text)
    with pytest.raises(UserError, match=sentence) as error:
        metrics.read(tmp_path / "metrics.json")
    assert str(tmp_path / "metrics.json") in str(error.value) and "\n" not in str(error.value)


def test_stages_are_known_by_their_keys(tmp_path):
    text = (REPOSITORY / "reports" / "demo" / "recipe.yaml").read_text(encoding="utf-8")
    path = tmp_path / "recipe.yaml"

    def keys(change=lambda text: text):
        path.write_text(change(text), encoding="utf-8")
        return metrics.stage_keys(recipe.load(path))

    first = keys()
    assert keys(lambda text: text.replace("title: ", "title: New ") + "evaluation: {samples: 3}\n") == first
    other = keys(lambda text: text.replace("codes: 256", "codes: 128"))
    assert [name for name in first if first[name] != other[name]] == ["vqvae"]
    loaded, made = recipe.load(path), metrics.Provenance.model_validate(document()["provenance"])
    assert not metrics.fits(loaded, made)
    assert metrics.fits(loaded, made.model_copy(update={"keys": other, "recipe_sha256": "of another title"}))
    assert metrics.fits(Study("demo").recipe, made) == (Study("demo").recipe.sha256 == made.recipe_sha256)


def test_the_card_says_what_the_metrics_say():
    text = card(Study("demo"), document(), "From a template.")
    for part in ("64×64 grey slices to 16×16 codes of 256", "0.952 (0.951–0.954)", "96 training people", "3.90 (4.79)",
                 "Gated PixelCNN", "vq-lib generate --report demo", "From a template."):  # fmt: skip
        assert part in text
    alone = {name: part for name, part in document().items() if name not in ("prior", "samples", "codecs")}
    text = card(Study("demo"), alone, "")
    assert "prior" not in text.replace("preprocessing", "") and "generate" not in text and "None" not in text
