"""Sentences are true of the numbers that they are drawn from."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest

from vq_lib import recipe
from vq_lib.plots import latent, points
from vq_lib.plots.names import NAMES
from vq_lib.report import conclusions
from vq_lib.scores import baselines


def interval(mean, spread=0.01):
    return {"mean": mean, "low": mean - spread, "high": mean + spread}


OWN = {"ssim": interval(0.970), "ssim_foreground": interval(0.944), "psnr": interval(33.3)}


def codec(ssim, foreground, psnr, rate):
    scores = {"ssim": ssim, "ssim_foreground": foreground, "psnr": psnr}
    lead = {name: interval(OWN[name]["mean"] - value, 0.002) for name, value in scores.items()}
    return {**scores, "bits_per_pixel": rate + 0.01, "bits_per_pixel_payload": rate, "quality": 5, "lead": lead}


CODECS = {
    "fixed_length": {"webp": codec(0.960, 0.950, 34.7, 0.55), "avif": codec(0.971, 0.900, 32.0, 0.56)},
    "prior": {"webp": codec(0.81, 0.75, 27.5, 0.20), "jpeg": codec(0.46, 0.71, 24.9, 0.31)},
}
RATES = {"fixed_length": 0.5625, "prior": 0.2}


def test_the_verdict_on_codecs():
    fixed, prior, last = conclusions.against_codecs(CODECS, RATES, OWN)
    assert fixed.startswith(
        "At 0.56 bits per pixel, fixed-length codes: WebP is better on foreground SSIM (0.950 against "
    )
    assert "PSNR (34.7 against 33.3 dB) and worse on SSIM (0.960 against 0.970); AVIF is worse on" in fixed
    assert fixed.endswith("and not to be told apart on SSIM (0.971 against 0.970).")
    assert (
        "better" not in prior and "WebP and JPEG (at 0.31, as near as it comes) are worse on all three scores." in prior
    )
    assert "its prior" in last
    alone = conclusions.against_codecs({"fixed_length": CODECS["fixed_length"]}, RATES, OWN)
    assert alone == [fixed]
    assert len(conclusions.against_codecs({"prior": CODECS["prior"], "fixed_length": CODECS["prior"]}, RATES, OWN)) == 2
    ahead = {"webp": codec(0.96, 0.95, 34.7, 0.2)}
    assert "even with the prior" in conclusions.against_codecs({**CODECS, "prior": ahead}, RATES, OWN)[-1]


def test_the_scale_in_words():
    points = {name: {"ssim": value, "ssim_foreground": value - 0.1} for name, value in (
        ("blur_1", 0.92), ("blur_2", 0.75), ("blur_3", 0.60), ("mean_image", 0.64), ("another_person", 0.62),
        ("zeros", 0.41))}  # fmt: skip
    first, second = conclusions.on_the_scale(points, OWN)
    assert "at σ = 3 it scores 0.600, no more than another person's slice (0.620) and the mean image (0.640)" in first
    assert first.endswith("This model (0.970) scores above σ = 1 (0.920).")
    low = {"ssim": interval(0.80), "ssim_foreground": interval(0.40)}
    between, below = conclusions.on_the_scale(points, low)
    assert between.endswith("lies between σ = 1 and σ = 2.") and below.endswith("scores below every blur.")
    alone = {name: value for name, value in points.items() if name not in ("mean_image", "another_person")}
    assert "still more than every guess" in conclusions.on_the_scale(alone, OWN)[0]


def test_jpegs_black_is_grey_at_quality_5():
    rows = [{"codec": "jpeg", "quality": quality, "ssim": ssim} for quality, ssim in ((1, 0.66), (5, 0.46), (10, 0.87))]
    (found,) = conclusions.black_turned_grey(rows)
    # The step of the DC coefficient at quality 5 is 160: black, -1024, becomes -960, which is 8 grey levels up.
    assert "from 0.66 to 0.46 between quality 1 and 5" in found and "grey level 8" in found
    assert conclusions.black_turned_grey(rows[::2]) == []


def metrics(**changes):
    document = {
        "data": {"train": {"images": 40, "people": 4}, "validation": {"images": 20, "people": 2},
                 "test": {"images": 20, "people": 2}},
        "vqvae": {**OWN, "codebook_usage": 1.0, "perplexity": 116.0, "perplexity_cap": 244.0,
                  "perplexity_foreground": 458.0, "bits_per_pixel": 0.5625, "epochs": {"done": 12, "planned": 12}},
        "baselines": {name: {"ssim": i / 10, "ssim_foreground": i / 10} for i, name in enumerate(conclusions.GUESSES)},
        "codecs": CODECS,
        "prior": {"name": "gated", "bits_per_code": {"train": 2.9, "validation": 3.06, "test": 3.21},
                  "models": {"gated": {"test": 3.21},
                             "snail": {"train": 3.2, "validation": 3.264, "test": 3.3}}, "bits_per_pixel": 0.2,
                  "gaps": {"gated": {"validation": {"beyond": interval(0.083)}, "test": {"beyond": interval(0.097)}}},
                  "baselines_bits_per_code": {"position_unigram": 4.22}, "epochs": {"done": 7, "planned": 7}},
        "samples": {"count": 128, "two_sample_auc": interval(0.65, 0.09), "memorised_fraction": 0.008,
                    "memorised_by_chance": 0.022, "failed_fraction": 0.0625, "failed_beyond_chance": True,
                    "pair_ms_ssim_interval": {"generated": interval(0.594), "real": interval(0.538)}},
    }  # fmt: skip
    return {**document, **changes}


FOUND = {
    "metrics": metrics(),
    "reconstruction": {
        "tissues": {"background": {"ssim": interval(0.5), "absolute_error": 0.5},
                    "grey matter": {"ssim": interval(0.933), "absolute_error": 0.024, "above_worst": interval(0, 0)},
                    "white matter": {"ssim": interval(0.941), "absolute_error": 0.031,
                                     "above_worst": interval(0.008, 0.005)}},
        "people": {"case_425": 0.933, "case_441": 0.951}, "positions": {"0": 0.936, "27": 0.949},
    },
    "generation": {
        "anatomy": {"training": {"white matter": interval(0.319), "ventricles": interval(0.07)},
                    "generated": {"white matter": interval(0.289), "ventricles": interval(0.065)}},
        "two_sample_auc": {"samples with grain against test slices": interval(0.96, 0.02),
                           "samples with grain against reconstructions with grain": interval(0.70, 0.05),
                           "test people against other test people": interval(0.6, 0.1)}},
    "memorisation": {"exact": 0, "kind": "copies", "verdict": "The verdict."},
}  # fmt: skip


def recipe_of(**vqvae):
    return SimpleNamespace(vqvae=SimpleNamespace(**{"quantizer": "vq", "start": "kmeans", "restart": None, **vqvae}))


RECIPE = recipe_of()


def test_what_went_wrong_is_named_with_its_figures():
    text = "\n".join(conclusions.went_wrong(FOUND))
    for part in ("By SSIM grey matter (0.933) is served worst; white matter 0.941.", "0.031, is in white matter",
                 "case_425, with a foreground SSIM of 0.933; the best, case_441, has 0.951", "position is 0 (0 is the",
                 "of WebP (0.950) is above this model's (0.944)", "3.06 (+5.5%) on validation people and 3.21 (+10.7%)",
                 "+8.3% and +9.7% are left", "6.2% of the samples failed", "The verdict.",
                 "in training people: white matter 28.9% (27.9–29.9) and 31.9% (30.9–32.9).",
                 "Samples are less varied than people: MS-SSIM 0.594 of two samples, 0.538",
                 "AUC 0.96 (0.940–0.980). From reconstructions with the same grain, 0.70: so much is the"):  # fmt: skip
        assert part in text, part
    assert "collapsed" not in text and "stopped" not in text and "AVIF" not in text and "ventricles" not in text
    steps = "\n".join(conclusions.next_steps(RECIPE, FOUND))
    for part in ("5.5% more bits", "6.2% of the samples", "PixelSNAIL came to 3.30", "people of 2.0% and 5.5%"):
        assert part in steps, part


def test_what_chance_explains_did_not_go_wrong():
    fair = copy.deepcopy(FOUND)
    fair["metrics"]["samples"] |= {
        "failed_beyond_chance": False,
        "pair_ms_ssim_interval": dict.fromkeys(("generated", "real"), interval(0.5)),
    }
    fair["memorisation"]["kind"] = "none"
    fair["generation"]["two_sample_auc"] |= {
        "samples with grain against test slices": interval(0.58, 0.1),
        "samples with grain against reconstructions with grain": interval(0.6),
    }
    text = "\n".join(conclusions.went_wrong(fair))
    for part in ("failed", "The verdict", "varied", "can be told from"):
        assert part not in text
    fair["generation"]["two_sample_auc"]["samples with grain against test slices"] = interval(0.62, 0.1)
    text = "\n".join(conclusions.went_wrong(fair))
    assert "AUC 0.62 (0.520–0.720); two halves of the test people, few as they are, reach 0.50 to 0.70 by" in text
    fair["generation"]["two_sample_auc"] |= {
        "samples with grain against test slices": interval(0.9),
        "samples with grain against reconstructions with grain": interval(0.505),
    }
    assert "0.51: what tells them from slices is decoder and grain, not the" in "\n".join(conclusions.went_wrong(fair))
    fair["metrics"]["vqvae"]["codebook_usage"] = 0.1
    steps = "\n".join(conclusions.next_steps(RECIPE, fair))
    assert "failed" not in steps and "Restart codes that nothing uses (`vqvae.restart`): 90%" in steps
    assert "k-means" not in steps  # the recipe has it already
    assert "codes do nothing" not in "\n".join(conclusions.next_steps(recipe_of(quantizer="fsq"), fair))


def test_tissues_that_cannot_be_told_apart_are_named_together():
    close = copy.deepcopy(FOUND)
    close["reconstruction"]["tissues"]["white matter"] |= {"ssim": interval(0.934), "above_worst": interval(0.001)}
    text = "\n".join(conclusions.went_wrong(close))
    assert "By SSIM grey matter (0.933) and white matter (0.934) are served worst and cannot be told apart." in text


def test_a_poor_recipe_without_prior_masks_labels_or_positions():
    bare = copy.deepcopy(FOUND)
    bare["metrics"]["vqvae"] |= {"codebook_usage": 0.1, "epochs": {"done": 3, "planned": 75}}
    for name in ("prior", "samples", "codecs"):
        del bare["metrics"][name]
    bare |= {"generation": {}, "memorisation": {}, "reconstruction": {"positions": {"-1": 0.9}, "people": {"": 0.9}}}
    assert conclusions.went_wrong(bare) == [
        "The VQ-VAE was stopped after 3 of 75 epochs.", "The codebook collapsed: 10% of the codes are used."
    ]  # fmt: skip
    steps = conclusions.next_steps(RECIPE, bare)
    assert len(steps) == 3 and "3 of 75" not in steps[0] and "restart" in steps[1] and "Train a prior" in steps[2]


def test_a_model_below_a_guess_and_a_codec_above_the_rate():
    poor = copy.deepcopy(FOUND)
    poor["metrics"]["baselines"]["position_mean"]["ssim_foreground"] = 0.95
    poor["metrics"]["codecs"]["fixed_length"]["webp"]["bits_per_pixel_payload"] = 0.7
    text = "\n".join(conclusions.went_wrong(poor))
    assert "no better than a guess: foreground SSIM 0.944, and 0.950 for the mean image of the position" in text
    assert "WebP" not in text


@pytest.mark.parametrize("told", ["", "condition: [position]"])
def test_the_summary_has_the_headline_figures(told, tmp_path):
    block = "[{layer: conv, filters: 8, kernel: 4, stride: 2}]"
    up = "[{layer: transpose, filters: 8, kernel: 4, stride: 2}]"
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "title: T\ndata: {layout: cohort, size: 32, people: {train: 4, validation: 2, test: 2}}\n"
        f"vqvae: {{encoder: {block}, decoder: {up}, structure: 0.3}}\nprior: {{name: gated, {told}}}\n"
    )
    rows = dict(conclusions.summary(recipe.load(path), FOUND))
    assert list(rows) == ["Data", "Model", "Reconstruction", "Prior", "Samples"]
    assert "80 slices of 32 × 32 pixels, of 8 synthetic people: 4 for training, 2 for validation and 2" in rows["Data"]
    assert "16 × 16 codes out of 512; it is trained on the squared error and on SSIM." in rows["Model"]
    assert ("told each slice's position" in rows["Model"]) == bool(told)
    assert (
        "the nearest training slice, the best guess without a model by foreground SSIM, 0.300 and 0.300"
        in rows["Reconstruction"]
    )
    assert "0.960 and 0.950 at the rate of fixed-length codes (WebP at 0.55 bits per pixel)" in rows["Reconstruction"]
    assert "3.21 bits a code" in rows["Prior"] and "0.20 instead of 0.56" in rows["Prior"]
    assert "6.2% of 128 failed" in rows["Samples"] and "none has all the codes of one" in rows["Samples"]
    without = {**FOUND, "metrics": metrics()}
    del without["metrics"]["samples"]["failed_fraction"]
    assert "failed" not in dict(conclusions.summary(recipe.load(path), without))["Samples"]


def test_what_the_curves_did_is_said():
    history = {name: np.array(values) for name, values in {
        "loss": [4.0, 2.0, 0.9], "val_loss": [3.0, 2.0, 1.0], "val_ssim": [0.5, 0.8, 0.81]}.items()}  # fmt: skip
    cosine, constant = (SimpleNamespace(epochs=3, schedule=name) for name in ("cosine", "constant"))
    text = conclusions.learning(history, cosine)
    assert text.startswith("Validation loss falls in every epoch, to 1.0000; training loss (the mean over that epoch) ")
    assert "is 10.0% below it. SSIM goes from 0.500 after the first epoch to 0.810; the last epoch changes" in text
    assert "by +0.0100. The learning rate is then 0" in text
    assert "learning rate" not in conclusions.learning(history, constant) and "ended" not in text
    short = conclusions.learning(history, SimpleNamespace(epochs=9, schedule="cosine"), "the budget of 2 minutes")
    assert "after 3 of 9 epochs (the budget of 2 minutes), while validation loss still fell: by 50.0%" in short
    jumps = {"loss": np.linspace(3, 1, 12), "val_loss": np.linspace(3, 1, 12), "val_ssim": np.tile([0.4, 0.55], 6)}
    assert "anywhere from 0.400 to 0.550" in conclusions.learning(jumps, SimpleNamespace(epochs=12, schedule="cosine"))
    jumps["val_ssim"] = np.linspace(0.3, 0.9, 12)  # a rise is no unsteadiness
    assert "unsteady" not in conclusions.learning(jumps, SimpleNamespace(epochs=12, schedule="cosine"))
    bumpy = {**history, "val_loss": np.array([1.5, 2.0, 1.0]), "val_ssim": np.array([0.5, 0.8, 0.80001])}
    text = conclusions.learning(bumpy, cosine)
    assert "lowest after the last epoch, at 1.0000" in text and "changes it by less than 0.0001." in text


def test_a_prior_that_turns_is_said_to_turn_in_bits():
    history = {"loss": np.log(2) * np.array([4.0, 2.2, 2.1]), "val_loss": np.log(2) * np.array([4.0, 2.5, 2.8])}
    settings = SimpleNamespace(epochs=3, schedule="cosine", dropout=0.3)
    assert conclusions.learning(history, settings) == (
        "Validation loss is lowest after epoch 2 of 3, at 2.50 bits per code, and that model is kept. By the end it "
        "has risen by 12.0%; training loss (the mean over that epoch, with dropout) is 25.0% below it."
    )
    settings.epochs = 9
    stopped = conclusions.learning(history, settings, "no better val_loss for 1 epochs")
    assert stopped.endswith("The training ended after 3 of 9 epochs (no better val_loss for 1 epochs).")
    one = {name: values[:1] for name, values in history.items()}
    assert conclusions.learning(one, settings).startswith(
        "Validation loss is lowest after the last epoch, at 4.00 bits"
    )


def test_a_codec_that_spends_far_more_is_no_rival():
    found = copy.deepcopy(metrics())
    for codec in found["codecs"]["prior"].values():
        codec["bits_per_pixel_payload"] = 2 * found["prior"]["bits_per_pixel"]
    assert conclusions.best_codec(found, "prior", "ssim") is None
    rates = {"fixed_length": found["vqvae"]["bits_per_pixel"], "prior": found["prior"]["bits_per_pixel"]}
    sentences = conclusions.against_codecs(found["codecs"], rates, found["vqvae"])
    assert "as near as it comes" in sentences[1] and len(sentences) == 2, "no verdict on the prior by such codecs"


def test_what_an_earlier_recipe_left_is_not_read(tmp_path):
    study = SimpleNamespace(metrics=tmp_path / "metrics.json", evaluation=tmp_path)
    (tmp_path / "metrics.json").write_text("{}")
    (tmp_path / "memorisation.json").write_text('{"exact": 3}')
    (tmp_path / "reconstruction.json").write_text('{"people": {}}')
    found = conclusions.documents(study)
    assert found == {"metrics": {}, "reconstruction": {"people": {}}, "generation": {}, "memorisation": {}}


def test_points_are_escaped_and_the_codebook_has_proportions():
    shown = points([("A", "x < y, `code`")], "vq-summary")
    assert "<li><strong>A.</strong> x &lt; y, <code>code</code></li>" in shown.markup
    text = conclusions.codebook(metrics()["vqvae"], 512)
    assert (
        "is 116;" in text
        and "could be 244 at most" in text
        and "458 of 512" in text
        and text.startswith("100% of the 512")
    )
    assert set(baselines.CODECS) < set(NAMES)


@pytest.mark.parametrize("size", [2, 32, 120, 125, 127, 256, 512, 1000, 65536])
def test_a_sheet_of_codes_leaves_no_gap_where_it_can(size):
    columns = latent._columns(size)
    assert 0.4 < columns / (2 * size) ** 0.5 < 2.2
    assert size % columns == 0 or size == 127
