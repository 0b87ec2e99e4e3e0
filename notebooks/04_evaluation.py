# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 4 · Evaluation
#
# How good are the reconstructions, against what, and on whom? And are the generated slices new brains, or copies?
# Scores are of **test people**, who took no part in training or in any choice, unless another group is named.

# %%
try:
    from vq_lib import environment
except ImportError:  # not installed, as on Colab: look around, and in a Google Drive that you mounted
    import pathlib, sys  # noqa: E401, I001

    here, _ = pathlib.Path.cwd(), sys.modules.pop("vq_lib", None)  # a clone of that name is no package
    places = [here, *here.parents, *here.glob("*"), *here.glob("drive/MyDrive/*")]
    sys.path += [str(place) for place in places if (place / "vq_lib" / "environment.py").is_file()]
    from vq_lib import environment  # not found? clone or upload the whole repository beside this notebook
environment.ready()

# %% tags=["parameters"]
report: str = "demo"  # name of a report under reports/, or the path of its folder
data: str = ""  # folder of the images; empty where the recipe makes its own
overrides: str = ""  # changes to the recipe: section.key, an equals sign, the value; separated by spaces

# %%
import time

import numpy as np

environment.start_keras()  # in silence: TensorFlow would fill a page with its remarks
from vq_lib import data as datasets
from vq_lib import plots as figures
from vq_lib.plots import evaluation as draw
from vq_lib.plots import generation as draw_samples
from vq_lib.plots import latent as draw_codes
from vq_lib.plots.names import NAMES
from vq_lib.report import conclusions, evaluation, published
from vq_lib.scores import baselines, metrics
from vq_lib.study import Study
from vq_lib.training import stages

began = time.monotonic()
study = Study(report, data, overrides)
figures.settings(study)

# %%
published.stand_in(study)  # nothing trained here, as in a fresh clone? then the models that the report came with
slices = datasets.opened(study)
vqvae, codes, summary = stages.load_vqvae(study, slices)
prior, prior_summary = stages.load_prior(study, summary)
test, train = slices.where("test"), slices.where("train")
inputs = np.asarray(slices.images[test])

# %% [markdown]
# ## Reconstruction
#
# **SSIM** (its formula is in notebook 1) is taken on intensities in $[0, 1]$, with the settings of Wang et al. (2004).
# It depends on the range of the data: the same reconstruction scores otherwise in $[-0.5, 0.5]$, so scores of other
# systems are comparable only if they used this one.
#
# Much of a slice is black, and black is easy. **Foreground SSIM** is the mean of the SSIM map where the input is
# brighter than 0.05. **PSNR** is $-10 \log_{10} \operatorname{MSE}$ in dB. Intervals are 95% bootstrap intervals
# *over people*: the slices of a person are alike, and counting them as independent would make every interval too
# narrow.

# %%
result, outputs, scores = evaluation.vqvae_metrics(study, slices, vqvae, codes, summary)
rates = {"fixed_length": result["bits_per_pixel"]}
if prior is not None:
    prior_result = evaluation.prior_metrics(prior_summary, result["bits_per_pixel"], vqvae.quantizer.codes)
    rates["prior"] = prior_result["bits_per_pixel"]
rate = list(rates.values())[-1]
base, codecs = evaluation.baseline_metrics(slices, scores, rates)

# %%
rows = [
    (NAMES[name], f"{b['ssim']:.3f}", f"{b['ssim_foreground']:.3f}", f"{b['psnr']:.1f}",
     f"{b['bits_per_pixel_payload']:.3f}" if "bits_per_pixel" in b else "–",
     f"{b['bits_per_pixel']:.3f}" if "bits_per_pixel" in b else "–")
    for name, b in base.items()
]  # fmt: skip
digits = {"ssim": 3, "ssim_foreground": 3, "psnr": 1}
own = ["{mean:.{d}f} ({low:.{d}f}–{high:.{d}f})".format(d=d, **result[score]) for score, d in digits.items()]
counts = slices.counts()["test"]
figures.table(
    ("", "SSIM", "foreground SSIM", "PSNR (dB)", "bits per pixel", "with the container"),
    [*rows, ("this VQ-VAE", *own, f"{rate:.3f}", "–")],
    f"On {counts['images']} slices of {counts['people']} test people; codecs at the setting nearest this model's rate",
)  # fmt: skip

# %% [markdown]
# *What to look for.* The grey bars put the scores in their place. They transmit nothing, or no more than the slice's
# position or which training slice comes nearest: only what lies beyond them was achieved. A black image has a high SSIM
# for the background alone, and next to none in the foreground. The codecs, general-purpose and untrained, are the
# strong rivals. Each is set to come as near to this model's rate as it can, without the bytes of its container, since
# the model's rate counts none either: on small images some cannot go so low, and spend more.

# %%
figures.show(
    study, "scores", draw.on_one_axis(base, result, rate),
    "SSIM and foreground SSIM on test people: predictions without a model, image codecs with their bits per pixel, "
    "and this VQ-VAE with its interval over people.",
    f"This VQ-VAE: SSIM {result['ssim']['mean']:.3f}, foreground SSIM {result['ssim_foreground']['mean']:.3f}. "
    + ", ".join(f"{NAMES[name]} {b['ssim']:.3f}" for name, b in base.items()),
)  # fmt: skip

# %% [markdown]
# ### What a value of SSIM means
#
# No value of SSIM is good by itself: on slices like these the mean image may pass 0.5. *What to look for.* On one axis:
# guesses that know little of the slice, the same place in another person, and the slice itself, blurred more and more.
# Where this model stands among them is what its score means. Below, the same for one slice, in pictures: compare what
# you see with the two scores above each.

# %%
classes, tissue = evaluation.tissues(study, slices, inputs)
parts_of_score = evaluation.reconstruction(study, slices, inputs, outputs, scores, classes, base, tissue["classes"])
points = parts_of_score["scale"]
display(figures.show(
    study, "ssim-scale", draw.scale(points, result),
    "What stands on the axis of SSIM, and of foreground SSIM, on the test slices; the blue dot is this VQ-VAE.",
    f"SSIM of the mean image {points['mean_image']['ssim']:.2f}, of the slice blurred by one pixel "
    f"{points['blur_1']['ssim']:.2f}, of this model {result['ssim']['mean']:.2f}.",
))  # fmt: skip
display(figures.points(conclusions.on_the_scale(points, result)))
pictures = evaluation.compared(slices, inputs, outputs, scores)
figures.show(
    study, "ssim-strip", draw.strip(pictures),
    "A test slice of median foreground SSIM, and what else could stand for it, from the highest SSIM to the lowest.",
    "; ".join(f"{name.replace('_', ' ')} {judged['ssim']:.3f}" for name, (_, judged) in pictures.items()),
)  # fmt: skip

# %% [markdown]
# ### Quality over rate
#
# A better score is easy to buy with more codes. So quality belongs beside its price, in bits per pixel. A model without
# prior pays $\log_2 K$ bits for each code; with the prior's code lengths, fewer, at the same quality (an arithmetic
# coder would really reach them). The codecs' files carry headers; on small slices these are a good part of the file,
# and the dotted lines count them. The solid ones do not, as this model's rate does not. Decoder and codebook are not
# counted either: they are sent once, not with every slice.
#
# *What to look for.* A solid curve that passes above a mark of this model: a codec that does better at that price.

# %%
curves, count = evaluation.rate_distortion(study, inputs, scores, rates["fixed_length"], rates.get("prior"))
verdict = conclusions.against_codecs(codecs, rates, result)
display(figures.show(
    study, "rate-distortion", draw.rate_distortion(curves),
    "SSIM and foreground SSIM over bits per pixel: codecs at nine qualities, with and without their containers, and "
    f"this VQ-VAE with fixed-length codes{' and with the prior' * (prior is not None)}. On {count} of the test slices, "
    "evenly spaced.",
    " ".join(verdict),
))  # fmt: skip
display(figures.points([*verdict, *conclusions.black_turned_grey(curves)]))
rows = [
    (f"{NAMES[name]}, {conclusions.RATES[which]}", f"{codec['bits_per_pixel_payload']:.3f}",
     *("{mean:+.{d}f} ({low:+.{d}f} to {high:+.{d}f})".format(d=d, **codec["lead"][s]) for s, d in digits.items()))
    for which, some in codecs.items() for name, codec in some.items()
]  # fmt: skip
figures.table(
    ("", "bits per pixel", "SSIM", "foreground SSIM", "PSNR (dB)"), rows,
    "This VQ-VAE's score minus the codec's on the same test slices, with intervals over people",
)  # fmt: skip

# %% [markdown]
# ### Where and on whom it fails
#
# The mean hides who pays for it. *What to look for.* A dip at one end of the head: slices that training has few of, or
# that hold more detail. A tissue or a label that is served worse than the others: small and dark fluid spaces are where
# a model that minimises the mean error saves.

# %%
reference = dict(zip(("ssim", "ssim_foreground"), metrics.ssim(inputs, baselines.position_means(slices)), strict=True))
places = parts_of_score["positions"]
if len(places) > 1:
    display(figures.show(
        study, "scores-by-position", draw.by_position(slices.position[test], scores, reference),
        "Scores over the slice position, from the lowest to the highest slice, beside what the mean training image of "
        "the same position scores.",
        "; ".join(f"foreground SSIM {places[place]:.3f} at position {place}"
                  for place in (min(places, key=places.get), max(places, key=places.get))),
    ))  # fmt: skip

# %%
rows = [(name, f"{100 * found['share']:.1f}%", "{mean:.3f} ({low:.3f}–{high:.3f})".format(**found["ssim"]),
         f"{found['absolute_error']:.3f}") for name, found in parts_of_score["tissues"].items()]  # fmt: skip
display(figures.table(("tissue", "of the pixels", "SSIM", "mean absolute error"), rows,
                      f"By tissue, from {tissue['source']}"))  # fmt: skip
if "dice" in tissue:
    agreement = ", ".join(f"{name} {value:.2f}" for name, value in tissue["dice"].items())
    display(figures.paragraphs(
        f"Masks know the brain alone, and what is lit around it is {evaluation.SKULL}. A rule by grey levels, such as "
        f"the anatomy of samples is judged by, agrees with the masks to a Dice of {agreement} (1 is full agreement)."
    ))  # fmt: skip
rows = [(label, found["people"], *("{mean:.{d}f} ({low:.{d}f}–{high:.{d}f})".format(d=d, **found[name])
                                   for name, d in digits.items()))
        for label, found in parts_of_score["labels"].items()]  # fmt: skip
if len(rows) > 1:
    display(figures.table(("label", "people", "SSIM", "foreground SSIM", "PSNR (dB)"), rows, "By label"))

# %% [markdown]
# *What to look for.* Errors that follow anatomy (an edge, a ventricle's horn) are structure that was lost; errors
# without shape are noise that no model of this rate should keep.

# %%
order = np.argsort(np.nan_to_num(scores["ssim_foreground"], nan=1.0), kind="stable")
middle = len(order) // 2
chosen = np.concatenate([order[:2], order[middle - 1 : middle + 1], order[-2:]])[: len(order)]
named = slices.names(test[chosen])
titles = [f"{name}\n{score:.3f}" for name, score in zip(named, scores["ssim_foreground"][chosen], strict=True)]
figures.show(
    study, "extremes", draw.extremes(inputs[chosen], outputs[chosen], titles),
    "The two worst, two median and two best test slices by foreground SSIM (above: person, position where it is known, "
    "and score), their reconstructions and absolute errors, with the mean of each.",
    f"Foreground SSIM from {scores['ssim_foreground'][chosen[0]]:.3f} to {scores['ssim_foreground'][chosen[-1]]:.3f}.",
)  # fmt: skip

# %% [markdown]
# ## The latent space
#
# A code has no picture of its own: the decoder sees it among its neighbours. So each is shown *in context*, as the mean
# of the reconstruction around up to 32 places where it stands. *What to look for.* Patches of even brightness, edges of
# all directions, corners. Many copies of black mean codes wasted on the background; a patch like its neighbour is a
# code too many.

# %%
codebook = evaluation.latent(study, slices, vqvae, codes, outputs, classes, tissue["classes"])
unused = int((codebook["counts"] == 0).sum())
display(figures.paragraphs(conclusions.codebook(result, vqvae.quantizer.codes)))
display(figures.show(
    study, "codebook", draw_codes.codebook(codebook["patches"], codebook["counts"]),
    "Every code as it is decoded where test slices use it, from the most to the least used; its own cell is the "
    "middle third." + f" Grey: the {unused} codes that are not used." * bool(unused),
    f"{len(codebook['counts'])} patches, edges and even areas; {unused} codes are not used on test people.",
))  # fmt: skip

# %%
figures.show(
    study, "codes-in-place", draw_codes.usage(codebook, tissue["classes"]),
    f"The {min(draw_codes.SHOWN, len(codebook['counts']) - unused)} most used of {len(codebook['counts'])} codes: what "
    "tissue lies under each, as a share of its cells (in the order of that tissue); at which slice position it stands, "
    "as a multiple of an even use; and how many codes each tissue keeps in even use, of all codes.",
    "Shares of tissue under each code, a map of codes over slice position, and the perplexity within each tissue.",
)  # fmt: skip

# %% [markdown]
# *What to look for.* Between two people, a mixture of pixels shows two outlines at once. A good latent space passes
# through brains instead, but a VQ-VAE's was never asked to: only grids that the prior finds likely are promised to be
# brains. Between them, edges may break up.

# %%
ends, where = slices.person[codebook["pair"]], slices.position[codebook["pair"][0]]
place = f"at one position ({where})" if where >= 0 else "of different people"
figures.show(
    study, "interpolation", draw_codes.walk(codebook["walk"]),
    f"From {ends[0]} to {ends[1]}, the two most unlike test slices {place}: the encoder's outputs mixed, quantised and "
    "decoded (above), and the pixels mixed (below).",
    f"{codebook['walk'].shape[1]} steps between two slices, in two rows.",
)  # fmt: skip

# %% [markdown]
# ## Generation
#
# A new brain is a grid of codes drawn from the prior, cell by cell, each given those before it, and then decoded.
# The Keras tutorial's loop, and those of the published systems that recipes here rebuild, run the whole network again
# for every cell. Here each layer keeps what it has already computed, and the loop over cells is one compiled function;
# the codes are the same.
#
# *What to look for.* Both hemispheres, ventricles that meet in the middle, a closed outline. A prior that sees too
# little of the past draws patches that fit their neighbours and no brain.

# %%
if prior is not None:
    images, drawn, told, drawing = evaluation.draw_samples(study, slices, vqvae, prior)
    rng = np.random.default_rng(study.recipe.evaluation.seed)
    across = draw_samples.columns(images.shape[1])
    count = min(across * min(across, 4), len(images), len(test))
    blocks = {"Test people": inputs[rng.choice(len(inputs), count, replace=False)], "Generated": images[:count]}
    told_what = conclusions.listed(study.recipe.prior.condition)
    display(figures.show(
        study, "samples", draw_samples.gallery(blocks),
        f"Real slices of test people, and slices drawn from the model, unselected: the first {count} of "
        f"{len(images)}, drawn in {drawing:.1f} s."
        + f" Each was told the {told_what} of a training slice drawn at random." * bool(told_what)
        + " The worst of all are shown further below.",
        f"{count} real slices above {count} generated ones.",
    ))  # fmt: skip

# %% [markdown]
# A prior that is told the slice position or the label of a person draws what it is asked for. *What to look for.* Told
# the position, each column is one, in real slices of test people above and in new ones below. The table then says how
# often the training slice nearest to a sample lies within 3/32 of the volume from where the sample was asked to be.
# Real test slices show what can be reached, a training slice drawn at random what is reached without knowing anything.

# %%
if prior is not None and prior.conditional:
    rows = evaluation.draw_conditioned(study, slices, vqvae, prior)
    asked = ["for the same positions"] * bool(prior.slices) + ["for each label, a row each"] * bool(prior.labels)
    display(figures.show(
        study, "samples-conditioned", draw.conditioned(rows),
        f"Real slices of test people, and slices drawn {' and '.join(asked)}.",
        f"{len(rows)} rows of slices: {', '.join(rows)}.",
    ))  # fmt: skip
    if prior.slices:
        placed = evaluation.position_agreement(slices, images, told, prior.slices, outputs)
        names = {"samples": "samples", "test": "real slices of test people, reconstructed", "chance": "by chance"}
        display(figures.table(("", "at the right position"),
                              [(name, f"{100 * placed[kind]:.0f}%") for kind, name in names.items()]))  # fmt: skip

# %% [markdown]
# ### Can you tell them apart?
#
# The decoder gives the *mean* of $p(x \mid z)$, and a mean is smooth. A draw from the whole model is
#
# $$x = m + s(m)\,w,$$
#
# $m$ the decoded image, $s$ the standard deviation of what the codes leave out at a grey level and a slope, and $w$
# noise with its power spectrum, both fitted on 200 slices of the validation people at most. So the generated slices of
# this panel have **grain**, what the codes leave out, drawn as noise; all other pictures show $m$. Where the codes
# leave out the scanner's noise alone, grain is what scans have; where they leave out structure too, it is coarser than
# any scan's, and gives the samples away.
#
# Before reading on: which of these are real? The key is at the end of the report.

# %%
if prior is not None:
    grain = evaluation.grain(study, slices, vqvae, codes)
    with_grain = grain.draw(images, study.recipe.evaluation.seed)
    mixed, is_new = evaluation.panel(study, inputs, with_grain, 2 * draw_samples.columns(images.shape[1]))
    display(figures.show(
        study, "blind-panel", draw_samples.panel(mixed),
        "Real slices of test people and generated ones in random order. The key is at the end of the report.",
        f"{len(mixed)} numbered slices, half of them generated.",
    ))  # fmt: skip

# %% [markdown]
# ### Can a classifier?
#
# A reader looks at a few dozen pictures; a classifier looks at all. This one is Fisher's linear discriminant on coarse
# features: the brightness and the sharpness of each of 8×8 parts of the image, and its power spectrum in 24 rings. It
# is trained to tell one set from the other on some people and tested on others. Its **AUC** is the chance that it ranks
# a random image of one set above one of the other: 0.5 if it finds no difference, 1 if it always does (Lopez-Paz and
# Oquab 2017, [arXiv 1610.06545](https://arxiv.org/abs/1610.06545)). It needs no network trained elsewhere, as the
# Fréchet distance does, and no ten thousand samples to be unbiased. But it gives a **lower bound**: a stronger
# classifier, or a reader who knows anatomy, may find what it cannot see.
#
# *What to look for.* The last row is the floor, two halves of the real people. The first is the whole model's figure.
# Samples against reconstructions, both with grain or both without: what the *prior* gets wrong, since both come from
# the same decoder, and what test people differ in from the training people whom samples imitate. Against test slices
# without grain, the decoder's smoothness alone gives every image away, however good its SSIM. And grain is fitted to
# the strength and the power spectrum of what the codes leave out, which are much of what this classifier looks at: a
# low first row says that these agree, not that the noise looks like a scan's. For that, look at the blind panel again.

# %%
if prior is not None:
    compared = evaluation.Reference(study, slices, vqvae, codes, inputs, outputs, tissue["thresholds"], grain)
    judged, anatomy = evaluation.generated(study, compared, images)
    auc = judged["two_sample_auc"]
    display(figures.show(
        study, "two-sample", draw_samples.two_sample(auc),
        "How well a linear discriminant on coarse features tells two sets of slices apart, with 95% intervals over "
        "people and samples, in which training it anew is not included (last row: mean and range of ten splits).",
        "; ".join(f"{name} {value['mean']:.2f}" for name, value in auc.items()),
    ))  # fmt: skip
    if floor := evaluation.on_the_floor(auc, slices.counts()["test"]["people"]):
        display(figures.paragraphs(floor))

# %% [markdown]
# ### Are they as varied as people?
#
# A model that draws one good brain again and again would pass every test of single images. So random pairs are compared
# by **MS-SSIM**, which is 1 for equal images: pairs of samples, and pairs of slices of two different test people. It
# has three scales up to 128 pixels and five above, so that values at different image sizes cannot be compared. *What to
# look for.* A higher value is less variety. With few test people the intervals are wide.

# %%
if prior is not None:
    pairs, spread = judged["pair_ms_ssim"], judged["pair_ms_ssim_interval"]
    rows = [(name, "{mean:.3f} ({low:.3f}–{high:.3f})".format(**spread[kind]))
            for name, kind in (("samples with grain", "generated"), ("test people", "real"))]  # fmt: skip
    display(figures.table(("", "MS-SSIM of two"), rows, "Mean of 200 random pairs, 95% interval"))
    apart = metrics.difference(spread["generated"], spread["real"])
    print("By the variety of pairs, samples", metrics.verdict(
        apart, "are more varied than people.", "are less varied than people.", "cannot be told apart from people."
    ))  # fmt: skip

# %% [markdown]
# ### Is the anatomy right?
#
# Pixels of a head are parted into fluid, grey and white matter by two grey levels (Otsu's, from training slices); fluid
# deep in the head counts as ventricle. The rule is crude, but the same for real and generated slices: dark bone counts
# as fluid and bright scalp as white matter where slices show them, so that these are not the shares that masks give.
# Samples imitate the *training* people, so these are what they are held against; test people, who may be older, show
# how far apart two groups of people are. *What to look for.* Curves that lie on each other. A curve to the right means
# too much of that tissue; one that is too steep, too little variety between brains. A long tail is samples that no
# person's slice is like: the table counts those beyond the range of 98% of the training slices, of which chance gives
# 2%.

# %%
if prior is not None:
    means = judged["anatomy"]
    display(figures.show(
        study, "anatomy", draw_samples.anatomy(anatomy),
        "Share of the head's area that is fluid, grey matter, white matter and ventricle: cumulative distributions "
        "over slices of training people, of test people and their reconstructions, and samples.",
        "; ".join(f"{name}: training people {100 * value['mean']:.1f}%, generated "
                  f"{100 * means['generated'][name]['mean']:.1f}%" for name, value in means["training"].items()),
    ))  # fmt: skip
    rows = []
    for name, real in means["training"].items():
        found = metrics.verdict(
            metrics.difference(means["generated"][name], real), "less", "more", "no difference seen"
        )
        shares = ("{mean:.3f} ({low:.3f}–{high:.3f})".format(**means[kind][name]) for kind in draw_samples.KINDS)
        rows.append((name, *shares, found, f"{judged['outside'][name]:.1%}"))
    display(figures.table(
        ("share of the head", *(name for name, _ in draw_samples.KINDS.values()), "samples against training people",
         "beyond their range"),
        rows, "Mean shares with 95% intervals over people and over samples",
    ))  # fmt: skip

# %% [markdown]
# ### Which samples failed?
#
# An average hides a sample that is no brain at all. For each sample the nearest training slice is looked up (Euclidean
# distance at 64 pixels), and the same is done for the test people's slices, which go through the same decoder first. A
# sample **failed** where it lies farther from every training slice than any test slice does.
#
# *What to look for.* What the failed ones (in orange), if there are any, have in common: heads that run out of the
# picture, one texture everywhere, no head. One unlikely code early in the grid can mislead all that follow. A model can
# also fail in ways that this rule does not see: it finds what is unlike everything, not what is wrong in detail.

# %%
if prior is not None:
    near = compared.neighbours(images, drawn)
    failed, about_failed = compared.failures(near)
    farthest = np.argsort(-near["pixel_distance"], kind="stable")[: 7 * (1 + (failed.sum() > 7))]
    titles = [f"no. {i + 1}: {near['pixel_distance'][i]:.1f}" for i in farthest]
    display(figures.show(
        study, "farthest", draw_samples.neighbours(
            images[farthest], slices.images[train[near["pixel_index"][farthest]]], titles, failed[farthest], False
        ),
        f"The {len(farthest)} samples of {len(images)} that lie farthest from any training slice, and the training "
        f"slice nearest to each. Orange: farther than any test slice, over {about_failed['limit']:.1f}.",
        f"{len(farthest)} samples over their nearest training slices, {failed[farthest].sum()} of them failed.",
    ))  # fmt: skip
    display(figures.paragraphs(about_failed["sentence"]))

# %% [markdown]
# ## New brains, or copies?
#
# A model that gives back its training people is useless as a generator, and breaks their privacy. For each sample the
# nearest training slice is looked up twice: by pixels, as above, and by codes (the share that differs, cells that are
# background in both left out). How near is too near? As near as real people hardly ever come. Unseen people are the
# usual yardstick (Dar et al. 2025, [10.1038/s41551-025-01468-8](https://doi.org/10.1038/s41551-025-01468-8)), but they
# may be unlike the training people, and so farther from everybody. So slices of training people (up to 640, drawn at
# random) are held against the *other* training people too. A sample is suspect below the 1st percentile of both groups'
# distances. Whatever is looked up goes through the same decoder first, since smooth images are nearer to everything; it
# is looked up among the training slices as they are. By either distance 1% of such slices are that near,
# together at most 2% and a little more where they are few. More suspects than that rate explains (binomial, $p < 0.01$)
# are taken for copies, and a grid of codes that is a training slice's is one.
#
# *What to look for.* A sample that matches its neighbour in every fold is a copy; a peak left of the threshold is many.

# %%
if prior is not None:
    parts, index = compared.closest(near)
    suspects, shown = compared.suspects(near), np.argsort(parts, kind="stable")
    shown = shown[: max(7, min(int(suspects.sum()), 28))]
    titles = [f"no. {i + 1}{': suspect' * bool(suspects[i])}\n{near['pixel_distance'][i]:.1f} · "
              f"{near['code_distance'][i]:.2f}" for i in shown]  # fmt: skip
    display(figures.show(
        study, "nearest",
        draw_samples.neighbours(images[shown], slices.images[train[index[shown]]], titles, suspects[shown]),
        "The samples that lie nearest to a training slice, that slice, and the difference. Above: distance by pixels "
        "and by codes. " + (f"Orange: {suspects[shown].sum()} of the {suspects.sum()} suspects." if suspects.any()
                            else "None is a suspect."),
        f"{len(shown)} samples, their nearest training slices and the differences; {suspects[shown].sum()} suspects.",
    ))  # fmt: skip

# %%
if prior is not None:
    heated, by_heat = evaluation.temperatures(study, compared, vqvae, prior, images, drawn, told)  # shown further below
    known = evaluation.membership_metrics(study, slices, prior, codes)
    memory = evaluation.memorised(study, compared, near, drawn, prior_result["bits_per_code"], known, heated)
    display(figures.show(
        study, "distances",
        draw_samples.distances(
            near, {"pixels": compared.held_pixels, "codes": compared.held_codes},
            {"pixels": compared.own_pixels, "codes": compared.own_codes}, memory["threshold"],
        ),
        "Distance to the nearest training slice, by pixels and by codes: of samples, of slices of test people, and of "
        "training people's from the other training people's.",
        f"By pixels, samples have a median of {np.median(near['pixel_distance']):.2f} and held-out people of "
        f"{np.median(compared.held_pixels):.2f}; by codes {np.median(near['code_distance']):.2f} and "
        f"{np.median(compared.held_codes):.2f}.",
    ))  # fmt: skip
    runs, limits = memory["longest_run"], memory["threshold"]
    by = {"pixels": int((near["pixel_distance"] < limits["pixels"]).sum()),
          "codes": int((near["code_distance"] < limits["codes"]).sum())}  # fmt: skip
    display(figures.paragraphs(
        f"Suspects among the samples: {by['pixels']} by pixels and {by['codes']} by codes. "
        f"{memory['exact']} of {len(images)} samples are a training slice, code by code. The longest run of codes, "
        "cells in reading order with the background's left out, that a sample shares with a training slice: "
        f"{runs['samples']}; that an unseen slice shares with one: {runs['held_out']}."
    ))  # fmt: skip

# %% [markdown]
# ### Does the likelihood tell who was trained on?
#
# Even where no sample is a copy, the prior may give its training people shorter codes than others, and whoever has the
# model could ask it whether a person was among them (Yeom et al. 2018,
# [arXiv 1709.01604](https://arxiv.org/abs/1709.01604)). But unseen people may simply be harder to code, for example
# older. So what a table of frequencies of each grid cell's codes needs for a person is subtracted (Watson et al. 2022,
# [arXiv 2111.08440](https://arxiv.org/abs/2111.08440)). The table is fitted on the training people too and remembers
# a little of them, so that the difference errs on the low side. At most 100 training people are asked about, and eight
# slices of each.
#
# *What to look for.* The last column: the AUC of that difference, 0.5 if it tells nothing, 1 if it always tells. The
# column before it: how far the table alone, without any network, tells the groups apart.

# %%
if prior is not None:
    ways = {"prior": "prior", "table": "table of frequencies", "beyond_table": "prior less table"}
    rows = [(f"training against {group} people",
             *("{mean:.2f} ({low:.2f}–{high:.2f})".format(**found[way]) for way in ways))
            for group, found in known.items()]  # fmt: skip
    if rows:
        display(figures.table(("AUC of a person's bits per code", *ways.values()), rows))
    display(figures.paragraphs(memory["verdict"]))

# %% [markdown]
# ## Temperature
#
# Dividing the logits by a temperature below 1 draws likelier codes: less variety, and less of what misleads the codes
# that follow. The likeliest codes are those that training has seen most often, so that cooler samples may also lie
# nearer to training slices; cooler is not safer. *What to look for.* Which temperature is best by each measure, and in
# the table whether fewer failed samples are paid for with more suspects. A temperature chosen for looks alone would
# hide this, so all measures stand side by side; dashed green is real.

# %%
if prior is not None:
    real = {"pair_ms_ssim": pairs["real"], "ventricles": means["training"]["ventricles"]["mean"]}
    display(figures.show(
        study, "temperature", draw_samples.temperature(heated, real, memory["chance"]),
        f"What the temperature does to {heated[0]['count']} samples (those of the two panels at the left with grain). "
        "Green: 0.5 where no difference is found, slices of two test people, and training people's ventricles. Orange: "
        "the suspects that chance allows.",
        "; ".join(f"T {row['temperature']:g}: AUC {row['auc']:.2f}, pairs {row['pair_ms_ssim']:.2f}" for row in heated),
    ))  # fmt: skip
    display(figures.table(
        ("temperature", "suspected copies", "failed"),
        [(f"{row['temperature']:g}", f"{row['memorised']:.1%}", f"{row['failed']:.1%}") for row in heated],
    ))  # fmt: skip
    display(figures.show(
        study, "temperature-samples", draw_samples.by_temperature(by_heat),
        "The first samples at each temperature; a column has the same noise.",
        f"{len(by_heat)} rows of samples, from {min(by_heat):g} to {max(by_heat):g}.",
    ))  # fmt: skip

# %% [markdown]
# ## Completing half a brain
#
# A prior over codes can do more than draw from nothing. Given the upper half, it draws lower halves that go with it.
# *What to look for.* Each continues the outline and the ventricles where the given half ends. They differ from each
# other and from the truth: the half that is given does not decide the rest.

# %%
if prior is not None:
    told_all = stages.conditions(slices, study.recipe.prior.condition)[2]
    rows, completed = evaluation.completions(study, slices, vqvae, prior, codes, told_all)
    display(figures.show(
        study, "completions", draw_samples.completions(slices.images[rows], completed),
        "Test slices whose lower half was taken away, five completions of each, and the slice itself.",
        f"{len(rows)} rows: the given half, {completed.shape[1]} completions, the slice.",
    ))  # fmt: skip

# %% [markdown]
# ## Likelihood
#
# What would it cost to write a test slice down *without loss*? First its codes $z$, by the prior, then the image given
# the decoder's output, by a likelihood of its pixels: a discretised logistic
# (Salimans et al. 2017, [arXiv 1701.05517](https://arxiv.org/abs/1701.05517)), whose scales were fitted on the
# validation people. As $p(x) = \sum_z p(z)\,p(x \mid z)$, the encoder's own $z^*$ gives an upper bound:
#
# $$-\log_2 p(x) \le -\log_2 p(z^*) - \log_2 p(x \mid z^*).$$
#
# Both parts are distributions of TensorFlow Probability. *What to look for.* The codes are cheap beside the pixels that
# they leave open: most bits go to what the codes leave out, the scanner's noise and fine structure that was lost. PNG
# and WebP need no training, and are counted as whole files, headers included; the last column says whether this model's
# bound is below theirs on the same slices. Where
# theirs is lower, what the codes leave out is not all noise; or a grey slice is kept as three equal channels, which
# they see and the bound, which counts each channel, does not.

# %%
likelihood = None
if prior is not None:
    likelihood = evaluation.likelihood_metrics(study, slices, vqvae, prior, codes, outputs)
if likelihood is not None:
    from vq_lib.models import distribution

    people = np.unique(slices.person[test])[:4]
    few = np.array([some[len(some) // 2] for some in (test[slices.person[test] == name] for name in people)])
    grids = distribution.code_grid(prior, stages.conditions(slices, study.recipe.prior.condition)[2][few]
                                   if prior.conditional else None)  # fmt: skip
    per_code = -np.asarray(grids.log_prob(codes[few])) / np.log(2) / np.prod(prior.grid)
    print(grids, f"\n-log2 p(z*) of a slice of {len(few)} test people each, in bits per code:", per_code.round(2))
    spans = {"codes": "codes, by the prior", "pixels_given_codes": "pixels, given the codes",
             "bits_per_pixel": "together, the bound"}  # fmt: skip
    rows = [(label, "{mean:.3f} ({low:.3f}–{high:.3f})".format(**likelihood[part]), "–")
            for part, label in spans.items()]  # fmt: skip
    for name, saved in likelihood["difference"].items():
        found = metrics.verdict(saved, "the bound is lower", "the bound is higher")
        rows.append((f"{NAMES[name]}, without loss", f"{likelihood['lossless'][name]:.3f}",
                     "{mean:+.3f} ({low:+.3f} to {high:+.3f}): ".format(**saved) + found))  # fmt: skip
    display(figures.table(("", "bits per pixel", "the bound less this"), rows, "The test slices without loss"))

# %% [markdown]
# ## The record
#
# All figures go to `metrics.json`, with what they were made with. The summary at the top of the report is written from
# them.

# %%
seconds = {"vqvae": summary["seconds"], "evaluation": round(time.monotonic() - began, 1)}
parts = {"codecs": codecs}
if prior is not None:
    seconds["prior"] = prior_summary["seconds"]
    samples = {
        "count": len(images), "seconds": round(drawing, 2),
        "two_sample_auc": auc["samples with grain against test slices"],
        "two_sample_auc_without_grain": auc["samples against test slices"],
        "pair_ms_ssim": judged["pair_ms_ssim"], "pair_ms_ssim_interval": judged["pair_ms_ssim_interval"],
        "failed_fraction": about_failed["fraction"], "failed_by_chance": about_failed["left_out_fraction"],
        "failed_beyond_chance": about_failed["beyond_chance"],
        "memorised_fraction": memory["memorised_fraction"], "memorised_by_chance": memory["chance"],
        "memorised_fraction_at": memory["memorised_at"],
        **({"position_agreement": placed["samples"], "position_agreement_test": placed["test"],
            "position_agreement_chance": placed["chance"]} if prior.slices else {}),
    }  # fmt: skip
    beyond = {group: found["beyond_table"] for group, found in known.items()}
    parts |= {"prior": {**prior_result, "membership_auc": beyond}, "samples": samples, "likelihood": likelihood}
evaluation.write_metrics(study, slices, result, base, seconds, summary["precision"], **parts)
found = conclusions.documents(study)
figures.points(conclusions.summary(study.recipe, found), "vq-summary")

# %% [markdown]
# ## What went wrong
#
# The weakest figures of this report, by name, from the sections above.

# %%
figures.points(conclusions.went_wrong(found))

# %% [markdown]
# ## What to try next, and why not a GAN
#
# Each of these answers one of the faults above; none has been tried here unless it says so.

# %%
figures.points(conclusions.next_steps(study.recipe, found))

# %% [markdown]
# *Why not a GAN?* The published ADNI system wished for one, and two things may be meant. An adversarial loss on the
# *decoder* (VQ-GAN, [arXiv 2012.09841](https://arxiv.org/abs/2012.09841)) would keep the codes and their prior, and
# sharpen the pictures by inventing texture, also where a reader looks for lesions; SSIM would fall. The grain of a
# report with a prior is invented too, but it is put on samples alone, and named. A GAN *in place of* both has no
# likelihood: neither bits per code beside baselines, nor the gap between training and unseen people, nor a bound on the
# bits of an image could be stated, and whom it has learned by heart could be asked of its samples alone. On slices of
# patients, a reconstruction that is visibly smooth is the honest kind of wrong.

# %% [markdown]
# ## Key to the blind panel

# %%
if prior is not None:
    numbers = [str(number) for number in np.flatnonzero(is_new) + 1]
    display(figures.folded("Show the key", f"Generated: {', '.join(numbers)}. All others are slices of test people."))
