# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: tags
#     notebook_metadata_filter: kernelspec,jupytext
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
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
import pathlib, sys  # noqa: E401, I001

here = pathlib.Path.cwd()  # on Colab this notebook lies in the repository, beside it, or in a Drive that you mounted
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
import pandas as pd

environment.start_keras()  # in silence: TensorFlow would fill a page with its remarks
from vq_lib import data as datasets
from vq_lib.data import masks
from vq_lib.models.sampling import sample
from vq_lib.plots import evaluation as draw
from vq_lib.plots import generation
from vq_lib.plots import vqvae as panels
from vq_lib.plots.names import named

# %%
from vq_lib.report import display as shown
from vq_lib.report import metrics, published
from vq_lib.scores import anatomy, baselines, images, memorisation, realism
from vq_lib.scores import codes as code_scores
from vq_lib.scores.codecs import Codecs
from vq_lib.scores.grain import Grain, agreement
from vq_lib.scores.intervals import difference, interval, verdict
from vq_lib.study import Study
from vq_lib.training import finished

# %%
began = time.monotonic()
study = Study(report, data, overrides)
show = shown.Figures(study)
published.stand_in(study)  # nothing trained here, as in a fresh clone? then the models that the report came with
slices = datasets.opened(study)
vqvae, codes, made = finished.load_vqvae(study, slices)
train, test = slices.where("train"), slices.where("test")
inputs, people, outputs = np.asarray(slices.images[test]), slices.person[test], vqvae.decode(codes[test])

# %% [markdown]
# ## Reconstruction
#
# **SSIM** (its formula is in notebook 1) is taken on intensities in $[0, 1]$, with the settings of Wang et al. (2004).
# It depends on the range of the data: the same reconstruction scores otherwise in $[-0.5, 0.5]$, so scores of other
# systems are comparable only if they used this one.
#
# Much of a slice is black, and black is easy. **Foreground SSIM** is the mean of the SSIM map where the input is
# brighter than 0.05. **PSNR** is $-10 \log_{10} \operatorname{MSE}$ in dB. Intervals are 95% intervals *over people*
# (bootstrap-t): the slices of a person are alike, and counting them as independent would make every interval too
# narrow. One person gives none, and with fewer than ten they are rough.

# %%
scores = images.scores(inputs, outputs)
own = images.summary(scores, people)
study.save("scores", rows=test, **scores)

# %% [markdown]
# A model without prior pays $\log_2 K$ bits for each code; with the prior's code lengths, fewer, at the same quality
# (an arithmetic coder would really reach them). Decoder and codebook are not counted: they are sent once, not with
# every slice. Image codecs, general-purpose and untrained, are the strong rivals. Each is at its best, however slow,
# and at exactly this model's rate, interpolated between two of its qualities, without the bytes of its container.

# %%
size, num_codes = np.prod(inputs.shape[1:3]), vqvae.quantizer.num_embeddings
rates = {"fixed_length": float(np.log2(num_codes) * codes[0].size / size)}
rates |= {"prior": study.recorded("prior")["bits_per_pixel"]} if study.recipe.prior else {}
codecs = Codecs(inputs)
at_rate = {name: codecs.at_rate(rate, scores, people) for name, rate in rates.items()}
predicted = baselines.predictions(slices.images, slices.position, train, test)
guesses = {name: images.means(values) for name, values in predicted.items()}

# %%
which, rate = list(rates.items())[-1]
curves = codecs.curves(reach=max(2.2 * max(rates.values()), 0.9))  # as far as the figure goes
nearest = (curves["bits_per_pixel_payload"] - rate).abs().groupby(curves["codec"]).idxmin()
base = guesses | curves.loc[nearest].set_index("codec").drop(columns="quality").to_dict("index")
for name, entry in at_rate[which].items():
    base |= {name: {key: value for key, value in entry.items() if key != "lead"}} if entry else {}

# %%
rows = {named(name): values for name, values in guesses.items()}
for sigma in baselines.BLURS:
    rows[f"the slice, blurred by {sigma} px"] = images.means(images.scores(inputs, baselines.blurred(inputs, sigma)))
for which, found in at_rate.items():
    rows |= {f"{named(codec)}, {named(which)}": entry or {} for codec, entry in found.items()}
rows["this VQ-VAE"] = {**own, "bits_per_pixel_payload": rate}
keys = {"ssim": "SSIM", "ssim_foreground": "foreground SSIM", "psnr": "PSNR", "bits_per_pixel_payload": "bits/pixel"}
few = ", ".join(f"{len(some)} ({named(name)})" for name, some in codecs.rows.items())
forms = dict.fromkeys(keys.values(), shown.interval) | {"PSNR": lambda score: shown.interval(score, 1)}
shown.table(pd.DataFrame(rows).T[list(keys)].rename(columns=keys), "scores",
            f"Scores on {len(test):,} slices of {np.unique(people).size} test people; codecs on {few} of them.",
            forms)  # fmt: skip

# %% [markdown]
# *What to look for.* The grey bars put the scores in their place. The first four transmit nothing, or no more than the
# slice's position or which training slice comes nearest: only what lies beyond them was achieved. No value of SSIM is
# good by itself: a black image has a high one for the background alone, and next to none in the foreground. The blurred
# slices in the table say what a score looks like. A codec that is missing cannot go as low, or as high, as the rate.

# %%
show(draw.on_one_axis(base, own, rate), "scores",
     "Predictions without a model, image codecs with their bits per pixel, and this VQ-VAE with its interval.",
     alt=f"This VQ-VAE: SSIM {own['ssim']['mean']:.3f}, foreground {own['ssim_foreground']['mean']:.3f}.")  # fmt: skip

# %% [markdown]
# ### Quality over rate
#
# A better score is easy to buy with more codes. So quality belongs beside its price, in bits per pixel. The codecs'
# files carry headers; on small slices these are a good part of the file, and the dotted lines count them. The solid
# ones do not, as this model's rate does not. *What to look for.* A solid curve that passes above a mark of this model:
# a codec that does better at that price. (A codec's SSIM may fall at a higher quality, where black comes back as grey.)

# %%
reached = {name: own[name]["mean"] for name in ("ssim", "ssim_foreground")}
show(draw.rate_distortion(curves, rates, reached), "rate-distortion",
     f"Quality over rate: codecs, with and without their containers, on {few} test slices, and this VQ-VAE.",
     alt="Curves of the codecs rise with the rate; this VQ-VAE is a mark, or two joined by a line.")  # fmt: skip

# %% [markdown]
# ### Where and on whom it fails
#
# The mean hides who pays for it. *What to look for.* A dip at one end of the head: slices that training has few of, or
# that hold more detail. A tissue or a label that is served worse than the others: small and dark fluid spaces are where
# a model that minimises the mean error saves.

# %%
show(draw.by_position(slices.position[test], scores, predicted["position_mean"]), "scores-by-position",
     "Scores over the slice position, from the lowest to the highest slice.",
     alt="Curves of SSIM and foreground SSIM over the slice position, with the spread over people.")  # fmt: skip

# %% [markdown]
# Tissues are those of masks where these lie beside the slices; they know the brain alone, and what is lit around it is
# a class of its own. Elsewhere two grey levels part fluid, grey and white matter (Otsu's, from training slices), which
# takes dark bone for fluid and bright scalp for white matter.

# %%
levels = anatomy.thresholds(np.asarray(slices.images[images.spread(train, 200)]))
tissue, names = anatomy.tissues(inputs, levels), anatomy.CLASSES
masked = masks.tissues(study, slices, test)
if masked is not None:
    print("The rule by grey level against the masks, Dice:", anatomy.dice(masked, tissue))
    tissue, names = anatomy.with_skull(masked, inputs), (*names, anatomy.SKULL)
by_tissue = anatomy.by_tissue(inputs, outputs, tissue, people, names)

# %%
labels, by_label = np.where(slices.label[test] == "", "without a class", slices.label[test]), {}
for label in np.unique(labels):
    here = labels == label
    by_label[label] = images.summary({name: some[here] for name, some in scores.items()}, people[here])
keys |= {"share": "share of the image", "absolute_error": "absolute error"}
groups = pd.concat([by_tissue, pd.DataFrame(by_label).T]).rename(columns=keys)
shown.table(groups, "groups", f"By tissue ({'grey levels' if masked is None else 'masks'}) and by class of the people.",
            forms | {"share of the image": "{:.1%}", "absolute error": "{:.3f}"})  # fmt: skip

# %% [markdown]
# *What to look for.* Errors that follow anatomy (an edge, a ventricle's horn) are structure that was lost; errors
# without shape are noise that no model of this rate should keep.

# %%
order = np.argsort(np.nan_to_num(scores["ssim_foreground"], nan=1.0), kind="stable")
middle, last = len(order) // 2, len(order) - 1
chosen = order[np.unique(np.clip([0, 1, 2, middle - 1, middle, last - 2, last - 1, last], 0, last))]
foreground = scores["ssim_foreground"][chosen]
titles = [f"{name}\n{score:.3f}" for name, score in zip(slices.names(test[chosen]), foreground, strict=True)]
show(panels.panels(inputs[chosen], outputs[chosen], titles), "extremes",
     "The three worst, two median and three best test slices by foreground SSIM (above each: whose, and its score).",
     alt=f"Foreground SSIM from {foreground[0]:.3f} to {foreground[-1]:.3f}.")  # fmt: skip

# %% [markdown]
# ## The record of the reconstructions
#
# What was measured goes to `metrics.json`, with what it was measured with.

# %%
trainings = {"vqvae": made}
for name in study.recipe.prior.models() if study.recipe.prior else ():
    key = "prior" if name == study.recipe.prior.name else f"prior {name}"
    trainings[key] = finished.summary_of(study.prior / name)
result = {
    **own, **code_scores.summary(vqvae.fine(codes[test]), inputs, num_codes, vqvae.receptive_field),
    "bits_per_pixel": rates["fixed_length"], "parameters": made["parameters"],
    "images_per_second": made["images_per_second"], "epochs": made["epochs"],
}  # fmt: skip
metrics.write(
    study, provenance=metrics.provenance(study, slices.fingerprint, trainings, round(time.monotonic() - began, 1)),
    data={**slices.counts(), "checks": datasets.summary(study)}, vqvae=result, baselines=base, codecs=at_rate,
)  # fmt: skip
study.record("reconstruction", {"tissues": by_tissue.to_dict("index"), "levels": levels})

# %% [markdown] tags=["prior"]
# ## Generation
#
# A new brain is a grid of codes drawn from the prior, cell by cell, each given those before it, and then decoded. A
# conditioned prior is told the position or label of training slices drawn at random.
#
# *What to look for.* Both hemispheres, ventricles that meet in the middle, a closed outline. A prior that sees too
# little of the past draws patches that fit their neighbours and no brain.

# %% tags=["prior"]
settings, (prior, _, made_prior) = study.recipe.evaluation, finished.load_prior(study, made)
rng = np.random.default_rng(settings.seed)
_, _, told = slices.conditions(study.recipe.prior.condition)
told = told[rng.choice(train, settings.samples)]
options = settings.model_dump(include={"seed", "temperature", "top_k", "top_p"})
drawing = time.monotonic()
grids = sample(prior, settings.samples, condition=told, **options)
drawing = time.monotonic() - drawing
new = images.levels(vqvae.decode(grids))

# %% tags=["prior"]
across = generation.columns(new.shape[1])
count = min(across * min(across, 18 // across), len(new), len(test))
real = inputs[rng.choice(len(test), count, replace=False)]
show(generation.gallery({"Test people": real, "Generated": new[:count]}), "samples",
     f"Real slices of test people, and slices drawn from the model, unselected: the first {count} of {len(new)}.",
     alt=f"{count} real slices above {count} generated ones.")  # fmt: skip

# %% [markdown] tags=["prior"]
# ### Can they be told apart?
#
# The decoder gives the *mean* of $p(x \mid z)$, and a mean is smooth. A draw from the whole model is
#
# $$x = m + s(m)\,w,$$
#
# $m$ the decoded image, $s$ the standard deviation of what the codes leave out at a grey level and a slope, and $w$
# noise with its power spectrum, both fitted on 200 slices of the validation people at most: **grain**. Is it noise? See
# the correlations of a slice, and of the rest, $x - m$, with slices around it ([table](#table-left-out)). Structure
# goes on from slice to slice; noise does not, unless the volume was resampled, and then in the nearest slices alone. A
# rest that correlates over 4 positions is anatomy that the codes have lost.
#
# A small **convolutional network**, of 47,000 weights, is trained to tell one set from the other on half of the people
# and samples, and tested on the other half. It is given the image and, enlarged, what a 3×3 mean leaves of it, so that
# it comes upon faint noise and blur in a minute. Its **AUC** is the chance that it ranks a random image of one set
# above one of the other: 0.5 if it finds no difference, 1 if it always does (Lopez-Paz and Oquab 2017,
# [arXiv 1610.06545](https://arxiv.org/abs/1610.06545)). Samples imitate the *training* people, so these are what they
# are held against, as many slices as samples, images above 128 pixels averaged down to that.
#
# *What to look for.* The last row is the **floor**, two halves of the training people: what the network finds between
# sets that differ in nothing but the people. The rows above say *what* gives samples away. Reconstructions have the
# codes of real people: where these are told from slices, decoder and grain are at fault; where samples are told from
# reconstructions, the prior is. An AUC within the floor shows no difference *to this network with so many images*.

# %% tags=["prior"]
held_out = images.spread(slices.where("validation"), 200)
grain = Grain(np.asarray(slices.images[held_out]), vqvae.decode(codes[held_out]))
grained = grain.draw(new, settings.seed)
study.save("samples", codes=grids.astype(np.uint16), images=new, grained=grained, condition=told)

# %% tags=["prior"]
goes_on = agreement(inputs, outputs, people, slices.position[test]).rename(
    index={"rest": "what is left out of it"},
    columns={1: "1 position on", 4: "4 positions on", "others": "another person, same position"},
)
shown.table(goes_on, "left-out", "Correlations with slices around it, inside the head, of test people.", "{:.2f}")

# %% tags=["prior"]
pool = images.spread(train, 3 * len(new))
whole = realism.against_people(slices.images[pool], slices.person[pool], grained)
half = images.spread(pool, len(new))
redrawn, whose = images.levels(vqvae.decode(codes[half])), slices.person[half]

# %% tags=["prior"]
aucs, decoded = {}, None
if whole["auc"]:  # fewer than four people have no halves
    decoded = realism.two_sample_auc(slices.images[half], new, whose, seeds=1)
    again = realism.two_sample_auc(slices.images[half], grain.draw(redrawn), whose, whose, seeds=1)
    aucs = {
        "samples with grain / training people": whole["auc"],
        "samples as decoded / training people": decoded,
        "reconstructions with grain / training people": again,
        "samples / reconstructions, as decoded": realism.two_sample_auc(redrawn, new, whose, seeds=1),
        "training people / other training people": whole["floor"],
    }

# %% tags=["prior"]
if aucs:
    display(show(
        generation.two_sample(aucs), "two-sample",
        f"How well a small convolutional network tells two sets of {whole['images']} slices apart, of "
        f"{whole['people']} training people; 95% intervals over people and samples. These are dealt three times for "
        "the first and the last row, and once for the others.",
        alt="; ".join(f"{name} {auc['mean']:.2f}" for name, auc in aucs.items())))  # fmt: skip

# %% [markdown] tags=["prior"]
# ### Is the anatomy right?
#
# The grey levels of above part each head into fluid, grey and white matter; fluid deep in the head counts as ventricle.
# The rule is crude, but the same for real and generated slices. *What to look for.* Curves that lie on each other. A
# curve to the right means too much of that tissue; one that is too steep, too little variety between brains. Test
# people, who may be older, show how far apart two groups of people are. A prior that draws row by row has to make one
# half of the head fit the other: the last two panels count ventricles that do not meet, and say how far a head is from
# its mirror image, 0 being the same.

# %% tags=["prior"]
sets = {"training": slices.images[half], "real": inputs, "generated": new}
shares = {kind: anatomy.shares(anatomy.tissues(some, levels)) for kind, some in sets.items()}
axis = anatomy.midline(sets["training"])
for kind, some in sets.items():
    shares[kind]["asymmetry"] = anatomy.asymmetry(some, axis)
show(generation.distributions(shares), "anatomy",
     "Shares of the head's area by tissue, and of the ventricles, in how many pieces these lie, and how far the head "
     "is from its mirror image: cumulative distributions over slices.",
     alt="Cumulative curves of six measures: training people, test people and samples.")  # fmt: skip

# %% [markdown] tags=["prior"]
# ### New brains, or copies?
#
# For each sample the nearest training slice is looked up, by pixels (Euclidean distance of thumbnails, also mirrored
# and moved by a pixel) and by codes (the share that differs, cells that are background in both left out). How near is
# too near? As near as real people hardly ever come (after Dar et al. 2025,
# [10.1038/s41551-025-01468-8](https://doi.org/10.1038/s41551-025-01468-8)): a sample is a **suspect** below the 1st
# percentile of the distances of test people, and of training people held against the *other* training people. And a
# sample **failed** where it lies farther from every training slice than any test slice does: it is no brain, or none
# like these. All that is looked up goes through the same decoder first.
#
# *What to look for.* A sample that matches its neighbour in every fold is a copy. What the failed ones have in common:
# heads that run out of the picture, one texture everywhere, no head.

# %% tags=["prior"]
fine, grid = vqvae.fine(codes), vqvae.levels[-1]
field = vqvae.receptive_field or (0, inputs.shape[1] // grid[0] - 1)
background = memorisation.background_code(fine[test], code_scores.black_cells(inputs, grid, field))
against = baselines.thumbnails(slices.images, rows=train), fine[train], background
chosen = np.sort(np.random.default_rng(0).choice(train, min(640, len(train)), replace=False))
groups, again = (slices.person[chosen], slices.person[train]), images.levels(vqvae.decode(codes[chosen]))
near = {
    "generated": memorisation.neighbours(new, vqvae.fine(grids), *against),
    "real": memorisation.neighbours(images.levels(outputs), fine[test], *against),
    "training": memorisation.neighbours(again, fine[chosen], *against, groups),
}
study.save("near", **{kind: frame.to_records(index=False) for kind, frame in near.items()})

# %% tags=["prior"]
distance = near["generated"]["pixel_distance"]
failed, about_failed = memorisation.failures(distance, near["real"]["pixel_distance"], people)
unknown = any(one["check"] == "people unknown" and one["count"] for one in datasets.findings(study))
known = [near["real"]] if unknown else [near["real"], near["training"]]  # another scan of one's own is no other's
suspects = memorisation.suspects(near["generated"], *known)
order = np.argsort(suspects[["pixels", "codes"]].min(axis=1), kind="stable")[:4]
rows = np.concatenate([order, np.argsort(-distance, kind="stable")[:4]])
titles = [f"no. {i + 1}: {distance[i]:.1f}" for i in rows]
marked = (failed | suspects["suspect"])[rows].to_numpy()

# %% tags=["prior"]
show(generation.nearest(new[rows], slices.images[train[suspects["index"][rows]]], titles, marked), "nearest",
     "The four samples nearest to a training slice and the four farthest from all, with the distance by pixels. "
     "Orange: suspects and failed ones.",
     alt=f"Samples over their nearest training slices; {suspects['suspect'].sum()} suspects in all.")  # fmt: skip

# %% [markdown] tags=["prior"]
# ### All of it in numbers
#
# **MS-SSIM** of random pairs of samples, and of slices of two different test people, says how varied they are: a model
# that draws one good brain again and again would pass every test of single images. It has three scales up to 128 pixels
# and five above, so that values at different image sizes cannot be compared; a higher value is less variety. Anatomy is
# that of samples and of training people. The verdict is that of the interval of a difference: whether samples have less
# or more.

# %% tags=["prior"]
pairs = {"generated": images.pair_similarity(grained, seed=settings.seed),
         "real": images.pair_similarity(inputs, people, seed=settings.seed)}  # fmt: skip
compared = {"MS-SSIM of two": (pairs["generated"], pairs["real"])}
for name in shares["training"]:
    drawn = interval(shares["generated"][name], np.arange(len(new)))
    compared[name] = drawn, interval(shares["training"][name], slices.person[half])

# %% tags=["prior"]
exact = int((near["generated"]["code_distance"] == 0).sum())
chance = memorisation.chance(min(map(len, known)))
memory = memorisation.verdict(suspects["suspect"], exact, study.recorded("prior")["bits_per_code"], chance)
rows = {name: {"samples": a, "people": b, "verdict": verdict(difference(a, b))} for name, (a, b) in compared.items()}
for name, share, people_share, beyond in (
    ("failed", about_failed["fraction"], about_failed["left_out_fraction"], about_failed["beyond_chance"]),
    ("suspected copies", suspects["suspect"].mean(), chance, memory == "copies"),
):
    rows[name] = {"samples": share, "people": people_share, "verdict": "beyond chance" if beyond else "as by chance"}
shown.table(pd.DataFrame(rows).T, "samples",
            f"{len(new)} samples beside people, with 95% intervals; of failed ones and suspects what chance gives.",
            {"samples": shown.interval, "people": shown.interval})  # fmt: skip

# %% tags=["prior"]
written = metrics.write(
    study,
    prior=study.recorded("prior"),
    samples={
        "count": len(new), "seconds": round(drawing, 2), "two_sample_auc": whole["auc"],
        "two_sample_auc_without_grain": decoded, "two_sample_floor": whole["floor"],
        "two_sample_people": whole["people"], "two_sample_count": whole["images"],
        "pair_ms_ssim": {kind: pair["mean"] for kind, pair in pairs.items()}, "pair_ms_ssim_interval": pairs,
        "failed_fraction": about_failed["fraction"], "failed_by_chance": about_failed["left_out_fraction"],
        "failed_beyond_chance": about_failed["beyond_chance"], "memorised_by_chance": chance, "exact_copies": exact,
        "memorised_fraction": float(suspects["suspect"].mean()), "memorisation": memory,
    },
)  # fmt: skip
