"""Sentences that a report draws from its own numbers: what they say, what went wrong, what to try next.

All functions take what the report has written, `metrics.json` and the documents of `run/evaluation/`, and leave out
whatever stands on a stage that the recipe does not have.
"""

import numpy as np

from vq_lib import files
from vq_lib.errors import UserError
from vq_lib.plots.names import LAYOUTS, NAMES, rated
from vq_lib.scores import baselines
from vq_lib.scores.metrics import difference, verdict

SCORES = {"ssim": ("SSIM", "{:.3f}"), "ssim_foreground": ("foreground SSIM", "{:.3f}"), "psnr": ("PSNR", "{:.1f}")}
RATES = {"fixed_length": "fixed-length codes", "prior": "the prior's code length"}
LOSSES = {"mse": "the squared error", "clipped_mse": "the squared error", "l1": "the absolute error"}
GUESSES = ("zeros", "mean_image", "position_mean", "nearest_training")
COLLAPSED = 0.5  # a codebook of which less is used
SMALL = 0.02  # a gap between groups of people that is not worth a sentence
UNSTEADY = 0.05  # SSIM that falls by more within the last epochs
FAILED = "farther from every training slice than any slice of a test person"
Found = dict[str, dict]


def listed(parts: list[str]) -> str:
    """`a`, `a and b`, or `a, b and c`."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def against_codecs(found: dict[str, Found], rates: dict[str, float], own: Found) -> list[str]:
    """The verdict on the codecs at each of the model's rates: a list of sentences.

    Args:
        found: `{rate: baselines.codecs}`. rates: bits per pixel by the same names. own: `metrics.json`'s `vqvae`.
    """
    sentences, beaten = [], {}
    for rate, codecs in found.items():
        verdicts: dict[str, list[str]] = {}  # what is said, and of which codecs
        near = [name for name, codec in codecs.items() if not _beside(codec["bits_per_pixel_payload"], rates[rate])]
        if near:  # a codec that spends far more or less proves nothing
            beaten[rate] = False
        for name, codec in codecs.items():
            kinds: dict[str, list[str]] = {"better on": [], "worse on": [], "not to be told apart on": []}
            for score, (label, form) in SCORES.items():
                lead, unit = codec["lead"][score], " dB" if score == "psnr" else ""
                kind = verdict(lead, "better on", "worse on", "not to be told apart on")
                figures = f"{form.format(codec[score])} against {form.format(own[score]['mean'])}{unit}"
                kinds[kind].append(f"{label} ({figures})")
            if name in near:
                beaten[rate] |= bool(kinds["better on"])
            said = listed([f"{kind} {listed(some) if len(some) < len(SCORES) else 'all three scores'}"
                           for kind, some in kinds.items() if some])  # fmt: skip
            paid = codec["bits_per_pixel_payload"]
            miss = f" (at {rated(paid)}, as near as it comes)" if _beside(paid, rates[rate]) else ""
            verdicts.setdefault(said, []).append(f"{NAMES[name]}{miss}")
        parts = [f"{listed(names)} {'are' if len(names) > 1 else 'is'} {said}" for said, names in verdicts.items()]
        if parts:
            sentences.append(f"At {rated(rates[rate])} bits per pixel, {RATES[rate]}: {'; '.join(parts)}.")
    if beaten.get("fixed_length") and "prior" in beaten:
        sentences.append(
            "So even with the prior the model does not lead every codec on every score."
            if beaten["prior"]
            else "So what puts the model above the codecs is its prior: with codes of fixed length it does not lead."
        )
    return sentences


def _beside(paid, rate):
    """Whether a codec's rate is so far from the wanted one that it must be said."""
    return abs(paid / rate - 1) > 0.1


def _near(metrics, rate):
    """The codecs that come near one of the model's rates, `{name: codec}`; `rate` is a key of `RATES`."""
    wanted = metrics["vqvae" if rate == "fixed_length" else "prior"]["bits_per_pixel"]
    codecs = metrics.get("codecs", {}).get(rate, {})
    return {name: codec for name, codec in codecs.items() if not _beside(codec["bits_per_pixel_payload"], wanted)}


def best_codec(metrics: dict, rate: str, score: str) -> str | None:
    """The codec with the highest `score` of those that come near one of the model's rates, a key of `RATES`."""
    codecs = _near(metrics, rate)
    return max(codecs, key=lambda name: codecs[name][score], default=None)


def on_the_scale(points: Found, own: Found) -> list[str]:
    """What the axis of SSIM shows, as sentences: where blur and guesses stand, and where this model.

    Args:
        points: `reconstruction.json`'s `scale`. own: `metrics.json`'s `vqvae`.
    """
    names = {"another_person": "another person's slice", **{name: f"the {NAMES[name]}" for name in GUESSES}}
    sentences = []
    for score in ("ssim", "ssim_foreground"):
        label, form = SCORES[score]
        blurs = {int(name[5:]): value[score] for name, value in sorted(points.items()) if name.startswith("blur_")}
        weakest, strongest = min(blurs), max(blurs)
        guesses = sorted((points[name][score], what) for name, what in names.items() if name in points)
        level = [f"{what} ({form.format(value)})" for value, what in guesses if value >= blurs[strongest]]
        text = (
            f"{label[0].upper()}{label[1:]}: the slice moves from right to left as it is blurred; at σ = {strongest} "
        )
        text += f"it scores {form.format(blurs[strongest])}, "
        text += f"no more than {listed(level)}" if level else "still more than every guess"
        mine = own[score]["mean"]
        better = [sigma for sigma, value in blurs.items() if value > mine]
        if not better:
            text += f". This model ({form.format(mine)}) scores above σ = {weakest} ({form.format(blurs[weakest])})."
        elif max(better) == strongest:
            text += f". This model ({form.format(mine)}) scores below every blur."
        else:
            text += f". This model ({form.format(mine)}) lies between σ = {max(better)} and σ = {max(better) + 1}."
        sentences.append(text)
    return sentences


def black_turned_grey(curves: list[dict]) -> list[str]:
    """Why a codec's SSIM falls at a higher quality, where it does: a list of sentences.

    A block of black is one coefficient, rounded to a step of the quality. Where the step does not divide it, black
    comes back as grey, and on a black background SSIM drops at once, though the picture is better.

    Args:
        curves: rows of `evaluation.rate_distortion`.
    """
    sentences, black = [], np.zeros((16, 16, 1), np.uint8)
    for name in baselines.available():
        curve = [row for row in curves if row["codec"] == name]
        for before, row in zip(curve, curve[1:], strict=False):
            level = int(np.median(baselines.compress(black, name, row["quality"])[2]))
            if row["ssim"] < before["ssim"] - 0.02 and level > 1:
                sentences.append(
                    f"{NAMES[name]}'s SSIM falls from {before['ssim']:.2f} to {row['ssim']:.2f} between "
                    f"quality {before['quality']} and {row['quality']}, where black is rounded to grey level {level}, "
                    "which lowers SSIM all over the black background. Foreground SSIM does not see it."
                )
    return sentences


def codebook(vqvae: dict, size: int) -> str:
    """Perplexity beside what it could be at most, as a sentence; `vqvae` is `metrics.json`'s, `size` is K."""
    return (
        f"{vqvae['codebook_usage']:.0%} of the {size} codes are used on test people. Perplexity is "
        f"{vqvae['perplexity']:.0f}; with one code for all cells that see nothing but black it could be "
        f"{vqvae['perplexity_cap']:.0f} at most. "
        f"On cells with foreground it is {vqvae['perplexity_foreground']:.0f} of {size}."
    )


def learning(history: dict[str, np.ndarray], settings, stopped: str = "") -> str:
    """What the curves of a training show, in sentences.

    Args:
        history: the columns of `history.csv`, `{name: (epochs,)}`; a prior's losses are in nats, and said in bits.
        settings: the recipe's section. stopped: why the training ended before its plan, "" where it did not.
    """
    loss, held, prior = history["loss"], history["val_loss"], "val_ssim" not in history
    done, best = len(held), int(np.argmin(held))
    value = f"{held[best] / np.log(2):.2f} bits per code" if prior else f"{held[best]:.4f}"
    average = "the mean over that epoch" + ", with dropout" * bool(getattr(settings, "dropout", 0))
    last = loss[-1] / held[-1] - 1
    beside = f"training loss ({average}) is {abs(last):.1%} {'below' if last < 0 else 'above'} it"
    if best < done - 1:
        text = (
            f"Validation loss is lowest after epoch {best + 1} of {done}, at {value}, and that model is kept. By the "
            f"end it has risen by {held[-1] / held[best] - 1:.1%}; {beside}."
        )
    elif done > 1 and (np.diff(held) < 0).all():
        text = f"Validation loss falls in every epoch, to {value}; {beside}."
    else:
        text = f"Validation loss is lowest after the last epoch, at {value}; {beside}."
    if not prior and done > 1:
        first, before, end = history["val_ssim"][[0, -2, -1]]
        step = f"{end - before:+.4f}" if abs(end - before) >= 5e-5 else "less than 0.0001"
        text += f" SSIM goes from {first:.3f} after the first epoch to {end:.3f}; the last epoch changes it by {step}."
        late = history["val_ssim"][-10:]
        if done > 10 and (np.maximum.accumulate(late) - late).max() > UNSTEADY:
            text += (f" It is unsteady: in the last ten epochs it lies anywhere from {late.min():.3f} to "
                     f"{late.max():.3f}, so that the score is as much that of an epoch as of a model.")  # fmt: skip
    if done < settings.epochs:
        text += f" The training ended after {done} of {settings.epochs} epochs" + f" ({stopped})" * bool(stopped)
        improved = 0 < best == done - 1
        return text + (f", while validation loss still fell: by {1 - held[-1] / held[-2]:.1%} in the last." if improved
                       else ".")  # fmt: skip
    if settings.schedule == "cosine" and best == done - 1:
        text += " The learning rate is then 0, so that a flat end is no proof that the training was long enough."
    return text


def documents(study) -> Found:
    """`metrics.json` and the documents beside it, `{name: document}`; {} for what the report has none of."""
    found = {"metrics": files.read_json(study.metrics, "notebook 04")}
    for name in ("reconstruction", "generation", "memorisation"):
        try:
            found[name] = files.read_json(study.evaluation / f"{name}.json", "notebook 04")
        except UserError:
            found[name] = {}
        if name != "reconstruction" and "samples" not in found["metrics"]:  # left by a recipe that had a prior
            found[name] = {}
    return found


def summary(recipe, found: Found) -> list[tuple[str, str]]:
    """The report in a few sentences: a list of (what about, text).

    Args:
        recipe: a `Recipe`. found: `documents`.
    """
    metrics = found["metrics"]
    rows = [("Data", _data(recipe, metrics)), ("Model", _model(recipe)), ("Reconstruction", _reconstruction(metrics))]
    if prior := metrics.get("prior"):
        bits, unigram = prior["bits_per_code"]["test"], prior["baselines_bits_per_code"]["position_unigram"]
        rows.append(("Prior", (
            f"{bits:.2f} bits a code on test people, against {unigram:.2f} by the frequencies of each grid cell and "
            f"{np.log2(recipe.vqvae.codes):.2f} at fixed length: {rated(prior['bits_per_pixel'])} instead of "
            f"{rated(metrics['vqvae']['bits_per_pixel'])} bits per pixel."
        )))  # fmt: skip
    if samples := metrics.get("samples"):
        rows.append(("Samples", _samples(samples, found["memorisation"])))
    return rows


def _data(recipe, metrics):
    parts = {name: metrics["data"][name] for name in ("train", "validation", "test")}
    side, kind = recipe.data.size, LAYOUTS["cohort"] if recipe.data.layout == "cohort" else "people"
    layout = metrics["data"].get("checks", {}).get("layout", recipe.data.layout)
    source = f" ({LAYOUTS[layout]})" if layout in ("oasis", "adni") else ""
    images, people = (sum(part[what] for part in parts.values()) for what in ("images", "people"))
    split = listed([f"{part['people']} for {name.replace('train', 'training')}" for name, part in parts.items()])
    return (
        f"{images:,} slices{source} of {side} × {side} pixels, of {people} {kind}: {split}. Scores are of the test "
        "people, who took no part in training or in any choice, unless another group is named."
    )


def _model(recipe):
    model, grid = recipe.vqvae, recipe.data.size // recipe.vqvae.factor
    loss = LOSSES[model.loss] + (" and on SSIM" if model.structure else "")
    text = f"A VQ-VAE writes a slice as {grid} × {grid} codes out of {model.codes}; it is trained on {loss}."
    if prior := recipe.prior:
        told = f", told each slice's {listed(prior.condition)}" if prior.condition else ""
        text += f" A prior, {NAMES[prior.name]}{told}, learns which codes go together."
    return text


def _reconstruction(metrics):
    vqvae, score = metrics["vqvae"], "{mean:.3f} ({low:.3f}–{high:.3f})".format
    guesses = {name: entry for name, entry in metrics["baselines"].items() if name in GUESSES}
    best = max(guesses, key=lambda name: guesses[name]["ssim_foreground"])
    text = (
        f"SSIM {score(**vqvae['ssim'])}, foreground SSIM {score(**vqvae['ssim_foreground'])}; the "
        f"{NAMES[best]}, the best guess without a model by foreground SSIM, {guesses[best]['ssim']:.3f} and "
        f"{guesses[best]['ssim_foreground']:.3f}."
    )
    rivals = []
    for rate in metrics.get("codecs", {}):
        if name := best_codec(metrics, rate, "ssim_foreground"):
            codec = metrics["codecs"][rate][name]
            rivals.append(
                f"{codec['ssim']:.3f} and {codec['ssim_foreground']:.3f} at the rate of {RATES[rate]} ({NAMES[name]} "
                f"at {rated(codec['bits_per_pixel_payload'])} bits per pixel)"
            )
    return f"{text} The best image codec: {listed(rivals)}." if rivals else text


def _samples(samples, memorisation):
    auc, exact = samples["two_sample_auc"], memorisation.get("exact", 0)
    text = (
        f"A linear classifier tells samples with grain from test slices with an AUC of {auc['mean']:.2f} "
        f"({auc['low']:.2f}–{auc['high']:.2f}; 0.5 if it could not)"
    )
    if plain := samples.get("two_sample_auc_without_grain"):
        text += f", and with {plain['mean']:.2f} as the decoder draws them"
    text += ". "
    if "failed_fraction" in samples:
        text += f"{samples['failed_fraction']:.1%} of {samples['count']} failed: they lie {FAILED}. "
    copies = f"{exact} {'has' if exact == 1 else 'have'}" if exact else "none has"
    chance = f", by chance up to {samples['memorised_by_chance']:.1%}" if "memorised_by_chance" in samples else ""
    return text + (
        f"{samples['memorised_fraction']:.1%} lie suspiciously near to a training slice{chance}; {copies} all the "
        "codes of one."
    )


def went_wrong(found: Found) -> list[str]:
    """What is worst about this report, with its numbers: a list of sentences. `found`: `documents`."""
    metrics = found["metrics"]
    sentences = [f"The {name} was stopped after {done} of {planned} epochs." for name, done, planned in _cut(metrics)]
    if metrics["vqvae"]["codebook_usage"] < COLLAPSED:
        sentences.append(f"The codebook collapsed: {metrics['vqvae']['codebook_usage']:.0%} of the codes are used.")
    best = max(GUESSES, key=lambda name: metrics["baselines"][name]["ssim_foreground"])
    reached, own = metrics["baselines"][best]["ssim_foreground"], metrics["vqvae"]["ssim_foreground"]
    if own["low"] <= reached:
        sentences.append(
            f"The reconstructions are no better than a guess: foreground SSIM {own['mean']:.3f}, and {reached:.3f} for "
            f"the {NAMES[best]}."
        )
    sentences += _served_worst(found["reconstruction"])
    if winners := _winners(metrics):
        named = listed([f"{NAMES[name]} ({codec['ssim_foreground']:.3f})" for name, codec in winners.items()])
        sentences.append(
            f"At the rate of fixed-length codes the foreground SSIM of {named} is above this model's "
            f"({metrics['vqvae']['ssim_foreground']['mean']:.3f}), without training on a single brain."
        )
    if bits := metrics.get("prior", {}).get("bits_per_code"):
        validation, test = (bits[split] / bits["train"] - 1 for split in ("validation", "test"))
        if max(validation, test) > SMALL:
            sentences.append(
                f"The prior needs {bits['train']:.2f} bits a code on its training people, {bits['validation']:.2f} "
                f"({validation:+.1%}) on validation people and {bits['test']:.2f} ({test:+.1%}) on test people."
                + _beyond_the_groups(metrics["prior"].get("gaps", {}).get(metrics["prior"]["name"]))
            )
    return sentences + _generated_badly(metrics.get("samples", {}), found["generation"], found["memorisation"])


def _gap(bits):
    return bits["validation"] / bits["train"] - 1


def _beyond_the_groups(gaps):
    """What is left of a prior's gaps, see `ladder.gap`, once the groups' own difference is taken off; a sentence."""
    if not gaps:
        return ""
    left = listed([f"{gaps[group]['beyond']['mean']:+.1%}" for group in ("validation", "test")])
    return f" Corrected for what a position unigram that has seen none of them needs, {left} are left."


def _cut(metrics):
    """Which trainings ended before their plan: a list of (name, epochs done, epochs planned)."""
    parts = {"VQ-VAE": metrics["vqvae"], "prior": metrics.get("prior", {})}
    epochs = {name: part["epochs"] for name, part in parts.items() if "epochs" in part}
    return [(name, e["done"], e["planned"]) for name, e in epochs.items() if e["done"] < e["planned"]]


def _winners(metrics):
    """The codecs whose foreground SSIM is above the model's at the rate of fixed-length codes."""
    codecs = _near(metrics, "fixed_length")
    return {name: codec for name, codec in codecs.items() if codec["lead"]["ssim_foreground"]["high"] < 0}


def _served_worst(reconstruction):
    sentences = []
    tissues = {name: part for name, part in reconstruction.get("tissues", {}).items() if name != "background"}
    if len(tissues) > 1:
        worst, *others = sorted(tissues, key=lambda name: tissues[name]["ssim"]["mean"])
        like = [name for name in others if tissues[name].get("above_worst", {"low": 1})["low"] <= 0]
        rest = listed([f"{name} {tissues[name]['ssim']['mean']:.3f}" for name in others if name not in like])
        coarsest = max(tissues, key=lambda name: tissues[name]["absolute_error"])
        named = listed([f"{name} ({tissues[name]['ssim']['mean']:.3f})" for name in (worst, *like)])
        sentences.append(
            f"By SSIM {named} {'are served worst and cannot be told apart' if like else 'is served worst'}"
            f"{f'; {rest}' * bool(rest)}. The largest mean absolute error, "
            f"{tissues[coarsest]['absolute_error']:.3f}, is in {coarsest}."
        )
    for kind, form in (
        ("people", "The worst person is {}, with a foreground SSIM of {:.3f}; the best, {}, has {:.3f}."),
        ("positions", "The worst slice position is {} (0 is the lowest), with {:.3f}; the best is {}, with {:.3f}."),
    ):
        found = reconstruction.get(kind, {})
        if len(found) > 1:
            worst, best = min(found, key=found.__getitem__), max(found, key=found.__getitem__)
            sentences.append(form.format(worst, found[worst], best, found[best]))
    return sentences


def _generated_badly(samples, generation, memorisation):
    sentences = []
    if samples.get("failed_beyond_chance"):
        sentences.append(f"{samples['failed_fraction']:.1%} of the samples failed: they lie {FAILED}.")
    if "copies" in memorisation.get("kind", ""):
        sentences.append(memorisation["verdict"])
    anatomy, off = generation.get("anatomy", {}), []
    for name, real in anatomy.get("training", {}).items():
        drawn = anatomy["generated"][name]
        shares = ("{:.1f}% ({:.1f}–{:.1f})".format(*(100 * one[end] for end in ("mean", "low", "high")))
                  for one in (drawn, real))  # fmt: skip
        if verdict(difference(drawn, real), neither=""):
            off.append("{} {} and {}".format(name, *shares))
    if off:
        sentences.append(f"Anatomy is off, as shares of the head in samples and in training people: {'; '.join(off)}.")
    pairs = samples.get("pair_ms_ssim_interval")
    if pairs and difference(pairs["generated"], pairs["real"])["low"] > 0:
        sentences.append(
            f"Samples are less varied than people: MS-SSIM {pairs['generated']['mean']:.3f} of two samples, "
            f"{pairs['real']['mean']:.3f} of slices of two test people."
        )
    auc = generation.get("two_sample_auc", {})
    whole, same = (
        auc.get(f"samples with grain against {what}") for what in ("test slices", "reconstructions with grain")
    )
    floor = auc.get("test people against other test people")
    if whole and whole["low"] > 0.5:
        text = "Samples with grain can be told from slices of test people: AUC {mean:.2f} ({low:.3f}–{high:.3f})"
        if floor and whole["mean"] <= floor["high"]:
            text += (
                f"; two halves of the test people, few as they are, reach {floor['low']:.2f} to {floor['high']:.2f} "
                "by the split alone"
            )
        if same and difference(whole, same)["low"] > 0:
            text += f". From reconstructions with the same grain, {same['mean']:.2f}: "
            text += (
                "what tells them from slices is decoder and grain, not the prior"
                if same["low"] <= 0.5
                else "so much is the prior's, or a difference of the test people from the training people whom it "
                "imitates; the rest is what decoder and grain make of any codes"
            )
        sentences.append(text.format(**whole) + ".")
    return sentences


def _idle(vqvae):
    """What a recipe has not yet done against codes that nobody uses, as an advice; ""."""
    if vqvae.quantizer != "vq":
        return ""
    missing = {"start the codebook by k-means (`vqvae.start`)": vqvae.start != "kmeans",
               "restart codes that nothing uses (`vqvae.restart`)": vqvae.restart is None}  # fmt: skip
    advice = listed([what for what, lacks in missing.items() if lacks]) if any(missing.values()) else ""
    return advice[:1].upper() + advice[1:]


def next_steps(recipe, found: Found) -> list[str]:
    """What to try, each with the figure of this report that speaks for or against it; `recipe`, `found`: `summary`."""
    metrics, steps = found["metrics"], []
    prior, samples = metrics.get("prior"), metrics.get("samples", {})
    if cut := _cut(metrics):
        steps.append(f"Train to the end of the planned epochs first: {listed([name for name, _, _ in cut])}.")
    if metrics["vqvae"]["codebook_usage"] < COLLAPSED and (idle := _idle(recipe.vqvae)):
        steps.append(f"{idle}: {1 - metrics['vqvae']['codebook_usage']:.0%} of the codes do nothing.")
    if _winners(metrics):
        steps.append(
            "A finer grid or more codes would raise the scores for more bits: judge it on the curve of quality over "
            "rate, where a codec is ahead at fixed length."
        )
    if prior is None:
        return [*steps, "Train a prior: without one the model generates nothing, and pays for every code in full."]
    gap = _gap(prior["bits_per_code"])
    if gap > SMALL:
        steps.append(
            f"More people before more layers: validation people, whom it has not seen, cost the prior {gap:.1%} more "
            "bits than its training people."
        )
    why = "an error early in the grid is never put right"
    if samples.get("failed_beyond_chance"):
        why = f"{samples['failed_fraction']:.1%} of the samples failed"
    steps.append(f"A second, coarser grid of codes that settles the outline first (VQ-VAE-2, arXiv 1906.00446): {why}.")
    others = set(prior["models"]) - {prior["name"]}
    if "snail" in others:
        own, snail = prior["models"][prior["name"]]["test"], prior["models"]["snail"]["test"]
        steps.append(
            f"Attention, in a larger network or with more training: PixelSNAIL came to {snail:.2f} bits a code here "
            f"and the {NAMES[prior['name']]} to {own:.2f}, with gaps to validation people of "
            f"{_gap(prior['models']['snail']):.1%} and {gap:.1%}."
        )
    elif prior["name"] != "snail":
        steps.append("A prior with attention (`prior.name: snail`), which this report has not tried.")
    return steps
