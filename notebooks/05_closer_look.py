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
# # 5 · A closer look
#
# An appendix: what the codes mean, what else the prior can do, and what it gives away. Nothing here is needed to read
# the report; `appendix: false` in the recipe leaves it out.

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
import numpy as np
import pandas as pd

keras = environment.start_keras()  # in silence: TensorFlow would fill a page with its remarks
from vq_lib import data as datasets
from vq_lib.data import masks
from vq_lib.models import likelihood
from vq_lib.models.sampling import FREE, sample
from vq_lib.plots import generation, latent
from vq_lib.plots import prior as draw
from vq_lib.plots.names import named
from vq_lib.plots.prior import influence
from vq_lib.plots.style import strips
from vq_lib.report import display as shown
from vq_lib.report import metrics, published

# %%
from vq_lib.scores import anatomy, baselines, bits, images, memorisation, realism
from vq_lib.scores import codes as code_scores
from vq_lib.scores.codecs import lossless
from vq_lib.scores.grain import Grain
from vq_lib.scores.intervals import interval, verdict
from vq_lib.study import Study
from vq_lib.training import finished

study = Study(report, data, overrides)
show = shown.Figures(study)
published.stand_in(study, lengths=("train", "validation", "test"))
slices = datasets.opened(study)
vqvae, codes, made = finished.load_vqvae(study, slices)
train, held_out, test = (slices.where(split) for split in ("train", "validation", "test"))
inputs, people, outputs = np.asarray(slices.images[test]), slices.person[test], vqvae.decode(codes[test])

# %% [markdown]
# ## The codes
#
# A code has no picture of its own: the decoder sees it among its neighbours. So each is shown *in context*, as the mean
# of the reconstruction around up to 32 places where it stands. *What to look for.* Patches of even brightness, edges of
# all directions, corners. Many copies of black mean codes wasted on the background; a patch like its neighbour is a
# code too many.

# %%
num_codes = vqvae.quantizer.num_embeddings
counts = np.bincount(codes[test].ravel(), minlength=num_codes)
patches = code_scores.patches(codes[test], outputs, num_codes)
show(latent.codebook(patches, counts), "codebook",
     "Every code as test slices use it, from the most used down; its own cell is the middle third. Grey: unused.",
     alt=f"{num_codes} patches, edges and even areas, {(counts == 0).sum()} of them unused.")  # fmt: skip

# %%
levels = study.recorded("reconstruction")["levels"]
tissue, names = anatomy.tissues(inputs, levels), anatomy.CLASSES
masked = masks.tissues(study, slices, test)
if masked is not None:
    tissue, names = anatomy.with_skull(masked, inputs), (*names, anatomy.SKULL)
positions, place = np.unique(slices.position[test], return_inverse=True)
by_tissue = code_scores.counts_by(codes[test], code_scores.middles(tissue, vqvae.grid), len(names), num_codes)
by_position = code_scores.counts_by(codes[test], place[:, None, None], len(positions), num_codes)
show(latent.in_place(by_tissue, by_position, names, positions), "codes-in-place",
     "The most used codes: what tissue lies under each, and at which slice positions it stands.",
     alt="Shares of tissue under each code, and a map of codes over slice position.")  # fmt: skip

# %% [markdown]
# Between two people, a mixture of pixels shows two outlines at once. A good latent space passes through brains instead,
# but a VQ-VAE's was never asked to: only grids that the prior finds likely are promised to be brains. *What to look
# for.* Edges that break up on the way.

# %%
ends = inputs[baselines.most_unlike(inputs, people, slices.position[test])]
share = np.linspace(0, 1, 7, dtype=np.float32).reshape(-1, 1, 1, 1)
vectors = np.asarray(vqvae.encoder.predict_on_batch(ends), np.float32)
between = vqvae.quantizer.encode(keras.ops.convert_to_tensor(vectors[:1] * (1 - share) + vectors[1:] * share))
decoded = vqvae.decode(keras.ops.convert_to_numpy(between))
mixed = (ends[:1] * (1 - share) + ends[1:] * share) / 255
show(latent.walk(np.stack([decoded, mixed])), "interpolation",
     "Between the two most unlike test slices of one position, by the encoder's outputs, quantised, and by the pixels.",
     alt="Seven steps between two slices, in two rows.")  # fmt: skip

# %% [markdown] tags=["prior"]
# ## How far the prior really looks
#
# A trained prior need not use all that it can see. *What to look for.* Influence falls off with distance; left and
# upper neighbours matter most. Codes far away that still matter are what a Markov model cannot have.

# %% tags=["prior"]
settings, (prior, lengths, _) = study.recipe.evaluation, finished.load_prior(study, made)
samples = study.saved("samples")  # drawn by notebook 4, as are the distances to the training slices
near = {kind: pd.DataFrame.from_records(some) for kind, some in study.saved("near").items()}
options = settings.model_dump(include={"seed", "top_k", "top_p"}) | {"batch": 16}
field = vqvae.receptive_field or (0, inputs.shape[1] // vqvae.grid[0] - 1)
background = memorisation.background_code(codes[test], code_scores.black_cells(inputs, vqvae.grid, field))
against = baselines.thumbnails(slices.images, rows=train), codes[train], background

# %% tags=["prior"]
_, _, condition = slices.conditions(study.recipe.prior.condition)
row, cell = test[len(test) // 2], (prior.grid[0] * 5 // 8, prior.grid[1] // 2)
known = condition[[row] * 64]
logits = keras.ops.convert_to_numpy
seen = influence(lambda grids: logits(prior((grids, known[: len(grids)]) if prior.conditional else grids)),
                 codes[row], cell, num_codes)  # fmt: skip
assert not seen.ravel()[cell[0] * prior.grid[1] + cell[1] :].any(), "the prior sees the future"
show(draw.amounts(seen, cell), "prior-influence",
     "What the red cell's prediction depends on in the trained prior, on a slice of a test person.",
     alt=f"{(seen > 0).sum()} past cells influence the cell; no later cell does.")  # fmt: skip

# %% [markdown] tags=["conditioned"]
# ## Asking for a brain
#
# A prior that is told the slice position or the label of a person draws what it is asked for. *What to look for.* Told
# the position, each column is one, in real slices of test people above and in new ones below. The table says how often
# the training slice nearest to a sample lies within 3/32 of the volume from where the sample was asked to be. Real test
# slices, reconstructed, show what can be reached, a training slice drawn at random what is reached without knowing
# anything.

# %% tags=["conditioned"]
last = min(slices.position[test].max(), (prior.slices or np.inf) - 1)
places = np.round(np.linspace(0, max(last, 0), 10)[1:-1]).astype(int)
alike = [test[np.abs(slices.position[test] - place).argmin()] for place in places]
labels = list(prior.labels) or [""]
numbers = np.arange(len(labels)) if prior.labels else [-1]
told = np.array([[number, place if prior.slices else -1] for number in numbers for place in places])
grids = sample(prior, len(told), condition=told, temperature=settings.temperature, **options)
asked = np.split(images.levels(vqvae.decode(grids)), len(labels))
rows = {"Test people": slices.images[alike]}
rows |= {f"New {label}".strip(): some for label, some in zip(labels, asked, strict=True)}

# %% tags=["conditioned"]
show(strips(list(rows.items()), [f"{place}" * bool(prior.slices) for place in places]), "samples-conditioned",
     "Real slices of test people, and slices drawn for the same positions or for each label.",
     alt=f"{len(rows)} rows of slices: {', '.join(rows)}.")  # fmt: skip

# %% tags=["conditioned"]
groups = {"samples": (samples["images"], samples["condition"][:, 1]),
          "test slices, reconstructed": (images.levels(outputs), slices.position[test])}  # fmt: skip
agreement, position = {}, slices.position[train]
for name, (some, wanted) in groups.items():
    index, _ = baselines.nearest(baselines.thumbnails(some), against[0])
    agreement[name], chance = realism.position_agreement(position[index], wanted, position, max(prior.slices, 1))
metrics.write(study, samples={"position_agreement": agreement["samples"], "position_agreement_chance": chance})
table = pd.DataFrame({"at the right position": {**agreement, "by chance": chance}})
shown.table(table, "positions", "How often a slice lies where it was asked to be.", "{:.0%}")

# %% [markdown] tags=["prior"]
# ## Can you tell them apart?
#
# Before unfolding the key: which of these are real? The generated slices have the grain of notebook 4, what the codes
# leave out, drawn as noise. Where the codes leave out the scanner's noise alone, grain is what scans have; where they
# leave out structure too, it is coarser than any scan's, and gives the samples away.

# %% tags=["prior"]
few, across = images.spread(held_out, 200), generation.columns(inputs.shape[1])
grain = Grain(np.asarray(slices.images[few]), vqvae.decode(codes[few]))
mixed, is_new = realism.blind_panel(inputs, samples["grained"], 2 * across, settings.seed)
show(generation.blind(mixed), "blind-panel", "Real slices of test people and generated ones in random order.",
     alt=f"{len(mixed)} numbered slices, half of them generated.")  # fmt: skip

# %% tags=["prior"]
shown.folded("Show the key", f"Generated: {', '.join(map(str, np.flatnonzero(is_new) + 1))}.")

# %% [markdown] tags=["prior"]
# ## How near to the training slices
#
# *What to look for.* A peak of the samples left of the real slices, or left of the threshold: many copies. Training
# people's slices are held against those of the *other* training people.

# %% tags=["prior"]
axes = {"pixel_distance": "distance by pixels", "code_distance": "share of codes that differ"}
distances = {kind: frame[list(axes)].rename(columns=axes) for kind, frame in near.items()}
show(generation.distributions(distances), "distances",
     "Distance to the nearest training slice, by pixels and by codes: cumulative distributions.",
     alt="Two panels of cumulative curves: samples, test people and training people.")  # fmt: skip

# %% [markdown] tags=["prior"]
# ## Does the likelihood tell who was trained on?
#
# Even where no sample is a copy, the prior may give its training people shorter codes than others, and whoever has the
# model could ask it whether a person was among them (Yeom et al. 2018,
# [arXiv 1709.01604](https://arxiv.org/abs/1709.01604)). But unseen people may simply be harder to code, for example
# older. So what a table of frequencies of each grid cell's codes needs for a person is subtracted (Watson et al. 2022,
# [arXiv 2111.08440](https://arxiv.org/abs/2111.08440)), a table that leaves that person out.
#
# *What to look for.* The last column: the AUC of that difference, 0.5 if it tells nothing, 1 if it always tells. The
# column before it: how far the table alone, without any network, tells the groups apart.

# %% tags=["prior"]
rows = {"train": train, "validation": held_out, "test": test}
frequencies = bits.PositionUnigram(codes[train], codes[held_out], num_codes)
table = {"train": frequencies.left_out(slices.person[train]),
         **{split: frequencies.lengths(codes[rows[split]]) for split in ("validation", "test")}}  # fmt: skip
a_slice = [{split: some[split].mean(axis=(1, 2)) for split in rows} for some in (lengths, table)]
known = memorisation.membership(*a_slice, {split: slices.person[some] for split, some in rows.items()})
membership = pd.DataFrame({f"training against {split} people": found for split, found in known.items()}).T
membership.columns = ["prior", "table of frequencies", "prior less table"]
shown.table(membership, "membership", "Trained on, or not? The AUC of a person's bits per code, 95% intervals.",
            dict.fromkeys(membership, lambda auc: shown.interval(auc, 2)))  # fmt: skip

# %% [markdown] tags=["prior"]
# ## Temperature
#
# Dividing the logits by a temperature below 1 draws likelier codes: less variety, and less of what misleads the codes
# that follow. The likeliest codes are those that training has seen most often, so that cooler samples may also lie
# nearer to training slices; cooler is not safer. *What to look for.* Which temperature is best by each measure, and
# whether fewer failed samples are paid for with more suspects. Dashed: slices of people, or what chance allows.

# %% tags=["prior"]
count = min(len(samples["codes"]), 64)
heated = {settings.temperature: (samples["codes"][:count], samples["images"][:count])}  # those of notebook 4
for heat in {0.7, 0.85, 1.15} - set(heated):
    grids = sample(prior, count, condition=samples["condition"][:count], temperature=heat, **options)
    heated[heat] = grids, images.levels(vqvae.decode(grids))
heated, measures = dict(sorted(heated.items())), {}

# %% tags=["prior"]
for heat, (grids, some) in heated.items():
    own = heat == settings.temperature
    nearest = near["generated"][:count] if own else memorisation.neighbours(some, grids, *against)
    failed, _ = memorisation.failures(nearest["pixel_distance"], near["real"]["pixel_distance"], people)
    suspects = memorisation.suspects(nearest, near["real"], near["training"])["suspect"]
    ventricles = anatomy.shares(anatomy.tissues(some, levels))["ventricles"].mean()
    pairs = images.pair_similarity(grain.draw(some, settings.seed), seed=settings.seed)["mean"]
    values = (pairs, ventricles, failed.mean(), suspects.mean())
    measures[heat] = dict(zip(("MS-SSIM of two", "ventricles", "failed", "suspects"), values, strict=True))

# %% tags=["prior"]
some = slices.images[images.spread(train, 320)]
real = {
    "MS-SSIM of two": images.pair_similarity(inputs, people, seed=settings.seed)["mean"],
    "ventricles": anatomy.shares(anatomy.tissues(some, levels))["ventricles"].mean(),
    "failed": 0.0, "suspects": memorisation.chance(min(len(near["real"]), len(near["training"]))),
}  # fmt: skip
show(generation.temperature(pd.DataFrame(measures).T, real), "temperature",
     f"What the temperature does to {count} samples.",
     alt="; ".join(f"T {heat:g}: MS-SSIM {row['MS-SSIM of two']:.2f}" for heat, row in measures.items()))  # fmt: skip

# %% tags=["prior"]
rows = {f"T = {heat:g}": some[:across] for heat, (_, some) in heated.items()}
show(generation.gallery(rows), "temperature-samples",
     "The first samples at each temperature; a column has the same noise.",
     alt=f"{len(heated)} rows of samples.")  # fmt: skip

# %% [markdown] tags=["prior"]
# ## Completing half a brain
#
# A prior over codes can do more than draw from nothing. Given the upper half, it draws lower halves that go with it.
# *What to look for.* Each continues the outline and the ventricles where the given half ends. They differ from each
# other and from the truth: the half that is given does not decide the rest.

# %% tags=["prior"]
some, tries = images.spread(test, 9)[1::2][:4], 5
upper = np.repeat(codes[some], tries, axis=0)
upper[:, prior.grid[0] // 2 :] = FREE
told = np.repeat(condition[some], tries, axis=0) if prior.conditional else None
lower = images.levels(vqvae.decode(sample(prior, len(upper), condition=told, given=upper, **options)))
halves = lower.reshape(len(some), tries, *lower.shape[1:])
show(generation.completions(np.asarray(slices.images[some]), halves), "completions",
     "Test slices whose lower half was taken away, five completions of each, and the slice itself.",
     alt=f"{len(some)} rows: the given half, five completions, the slice.")  # fmt: skip

# %% [markdown] tags=["prior", "likelihood"]
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
# and WebP need no training, and are counted as whole files, headers included, of 128 slices at most; the last column
# says whether this model's bound is below theirs on the same slices. Where theirs is lower, what the codes leave out is
# not all noise; or a grey slice is kept as three equal channels, which they see and the bound, which counts each
# channel, does not.

# %% tags=["prior", "likelihood"]
likelihood.probability()
scales = likelihood.fit_scales(slices.images[held_out], vqvae.decode(codes[held_out]))
size = np.prod(inputs.shape[1:3])
rate = (lengths["test"].sum(axis=(1, 2)) + prior.condition_bits) / size
rest = likelihood.bits_of_pixels(inputs, outputs, scales) / size
few = test[[np.flatnonzero(people == name)[0] for name in np.unique(people)[:4]]]
grids = likelihood.code_grid(prior, condition[few] if prior.conditional else None)
per_code = -np.asarray(grids.log_prob(codes[few])) / np.log(2) / codes[0].size
print(grids, "\n-log2 p(z*) in bits per code:", per_code.round(2))

# %% tags=["prior", "likelihood"]
parts = {"codes, by the prior": rate, "pixels, given the codes": rest, "together, the bound": rate + rest}
few = images.spread(np.arange(len(test)), 128)  # for the files, which are slow to write at their best
files = lossless(inputs[few])
saved = {name: interval((rate + rest)[few] - some, people[few]) for name, some in files.items()}
rows = {name: [interval(some, people), None, ""] for name, some in parts.items()}
for name, some in files.items():
    rows[f"{named(name)}, without loss"] = [some.mean(), saved[name], verdict(saved[name], "lower", "higher")]
table = pd.DataFrame.from_dict(rows, "index", columns=["bits per pixel", "the bound less this", "the bound is"])
shown.table(table, "likelihood", "The test slices without loss, with 95% intervals over people.",
            {"bits per pixel": shown.interval, "the bound less this": shown.interval})  # fmt: skip

# %% tags=["prior"]
beyond = {split: found["beyond_table"] for split, found in known.items()}
written = metrics.write(study, prior={"membership_auc": beyond})

# %% tags=["prior", "likelihood"]
written = metrics.write(study, likelihood={
    "bits_per_pixel": interval(rate + rest, people), "codes": interval(rate, people),
    "pixels_given_codes": interval(rest, people), "difference": saved,
    "lossless": {name: float(some.mean()) for name, some in files.items()},
    "scales": [round(float(scale), 3) for scale in scales],
})  # fmt: skip
