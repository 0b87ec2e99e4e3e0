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
# How good are the reconstructions, against what, and on whom? And are the generated slices new brains, or copies? All
# figures here are of **test people**, who took no part in training or in any choice.

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

from vq_lib import baselines, figures, metrics, stages
from vq_lib import data as datasets
from vq_lib.figures import evaluation as draw
from vq_lib.study import Study

began = time.monotonic()
study = Study(report, data, overrides)
figures.settings(study)

# %%
slices = datasets.opened(study)
vqvae, codes, summary = stages.load_vqvae(study, slices)
prior, prior_summary = stages.load_prior(study, summary)
test, train = slices.where("test"), slices.where("train")
inputs = np.asarray(slices.images[test])

# %% [markdown]
# ## Reconstruction
#
# **SSIM** compares local means, variances and covariance of two images in a Gaussian window,
#
# $$\operatorname{SSIM}(x, y) = \frac{(2\mu_x\mu_y + C_1)(2\sigma_{xy} + C_2)}{(\mu_x^2 + \mu_y^2 + C_1)(\sigma_x^2 +
# \sigma_y^2 + C_2)},$$
#
# with intensities in $[0, 1]$ and the settings of Wang et al. (2004). It depends on the range of the data: the same
# reconstruction scores otherwise in $[-0.5, 0.5]$, so scores of other systems are comparable only if they used this
# one.
#
# Much of a slice is black, and black is easy. **Foreground SSIM** is the mean of the SSIM map where the input is
# brighter than 0.05. **PSNR** is $-10 \log_{10} \operatorname{MSE}$ in dB. Intervals are 95% bootstrap intervals
# *over people*: the slices of a person are alike, and counting them as independent would make every interval too
# narrow.

# %%
result, outputs, scores = stages.evaluate_reconstruction(study, slices, vqvae, codes, summary)
rate = result["bits_per_pixel"]
if prior is not None:
    prior_result = stages.prior_metrics(prior_summary, rate, vqvae.quantizer.codes)
    rate = prior_result["bits_per_pixel"]
base = stages.evaluate_baselines(slices, rate)

# %%
rows = [
    (draw.NAMES[name], f"{b['ssim']:.3f}", f"{b['ssim_foreground']:.3f}", f"{b['psnr']:.1f}",
     f"{b['bits_per_pixel']:.3f}" if "bits_per_pixel" in b else "–")
    for name, b in base.items()
]  # fmt: skip
digits = {"ssim": 3, "ssim_foreground": 3, "psnr": 1}
own = ["{mean:.{d}f} ({low:.{d}f}–{high:.{d}f})".format(d=d, **result[score]) for score, d in digits.items()]
counts = slices.counts()["test"]
figures.table(
    ("", "SSIM", "foreground SSIM", "PSNR (dB)", "bits per pixel"), [*rows, ("this VQ-VAE", *own, f"{rate:.3f}")],
    f"On {counts['images']} slices of {counts['people']} test people; codecs at the setting nearest this model's rate",
)  # fmt: skip

# %% [markdown]
# *What to look for.* The grey bars put the scores in their place. A black image, the mean brain and another person's
# slice score well above zero without knowing anything about the slice: only what lies beyond them was achieved. The
# codecs, general-purpose and untrained, are the strong rivals. Each is set to come as near to this model's rate as
# it can: on small images some cannot go so low, and spend more.

# %%
figures.show(
    study, "scores", draw.on_one_axis(base, result, rate),
    "SSIM and foreground SSIM on test people: predictions without a model, image codecs with their bits per pixel, "
    "and this VQ-VAE with its interval over people.",
    f"This VQ-VAE: SSIM {result['ssim']['mean']:.3f}, foreground SSIM {result['ssim_foreground']['mean']:.3f}. "
    + ", ".join(f"{draw.NAMES[name]} {b['ssim']:.3f}" for name, b in base.items()),
)  # fmt: skip

# %% [markdown]
# *What to look for.* A dip at one end means slices that training has few of, or that hold more detail.

# %%
reference = dict(zip(("ssim", "ssim_foreground"), metrics.ssim(inputs, baselines.position_means(slices)), strict=True))
figures.show(
    study, "scores-by-position", draw.by_position(slices.position[test], scores, reference),
    "Scores over the slice position, from the lowest to the highest slice, and what the mean training image of the "
    "same position scores.",
    "Two curves of SSIM over slice position, above the dashed curves of the mean image.",
)  # fmt: skip

# %% [markdown]
# ## Generation
#
# A new brain is a grid of codes drawn from the prior, cell by cell, each given those before it, and then decoded.
# Published loops run the whole network again for every cell. Here each layer keeps what it has already computed, and
# the loop over cells is one compiled function; the codes are the same.

# %%
if prior is not None:
    images, drawn, told, drawing = stages.draw_samples(study, slices, vqvae, prior)
    rng = np.random.default_rng(study.recipe.evaluation.seed)
    count = min(36, len(images) // 6 * 6, len(test) // 6 * 6)
    real = inputs[rng.choice(len(inputs), count, replace=False)]
    display(figures.show(
        study, "samples", draw.gallery(real, images[:count], ("Test people", "Generated")),
        f"Real slices of test people, and slices drawn from the model, unselected: the first {count} of "
        f"{len(images)}, drawn in {drawing:.1f} s.",
        f"{count} real and {count} generated slices in two blocks.",
    ))  # fmt: skip

# %% [markdown]
# A prior that is told the slice position or the label of a person draws what it is asked for. *What to look for.* Each
# column is one position, in real slices of test people above and in new ones below. In the table: how often the
# training slice nearest to a sample lies within 3/32 of the volume from where the sample was asked to be.

# %%
if prior is not None and prior.conditional:
    rows = stages.draw_conditioned(study, slices, vqvae, prior)
    display(figures.show(
        study, "samples-conditioned", draw.conditioned(rows),
        "Real slices of test people, and slices drawn for the same positions and for each label.",
        f"{len(rows)} rows of slices, from the lowest position to the highest: {', '.join(rows)}.",
    ))  # fmt: skip
    if prior.slices:
        agreement = stages.position_agreement(slices, images, told, prior.slices)
        display(figures.table(("samples at the right position",), [(f"{100 * agreement:.0f}%",)]))

# %% [markdown]
# ## New brains, or copies?
#
# *What to look for.* A sample that matches its nearest training slice in every fold is a copy. If samples lie much
# nearer to the training slices than slices of unseen people do, the model has memorised.

# %%
if prior is not None:
    thumbnails = baselines.thumbnails(slices.images[train])
    index, distance = baselines.nearest(baselines.thumbnails(images), thumbnails)
    _, held_out = baselines.nearest(baselines.thumbnails(inputs), thumbnails)
    closest = np.argsort(distance)[:7]
    display(figures.show(
        study, "nearest", draw.nearest(images[closest], slices.images[train[index[closest]]], distance[closest]),
        "The samples that lie nearest to a training slice, that slice, and the difference (distance below).",
        f"Seven samples with distances from {distance[closest][0]:.2f} to {distance[closest][-1]:.2f}.",
    ))  # fmt: skip

# %%
if prior is not None:
    display(figures.show(
        study, "distances", draw.distances(distance, held_out),
        "Distance to the nearest training slice (Euclidean, at 64 pixels): of samples, and of slices of test people.",
        f"Samples: median {np.median(distance):.2f}, smallest {distance.min():.2f}. Test people: median "
        f"{np.median(held_out):.2f}, smallest {held_out.min():.2f}.",
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
# Both parts are distributions of TensorFlow Probability. *What to look for.* The codes are cheap beside the noise that
# they leave out. PNG and WebP need no training; what a model must add to beat them is the grain of the scanner.

# %%
likelihood = None
if prior is not None:
    likelihood = stages.evaluate_likelihood(study, slices, vqvae, prior, codes, outputs)
if likelihood is not None:
    from vq_lib import distribution

    few = test[:4]
    grids = distribution.code_grid(prior, stages.conditions(slices, study.recipe.prior.condition)[2][few]
                                   if prior.conditional else None)  # fmt: skip
    print(grids, "\nlog p(z*) of four test slices, in nats:", np.round(np.asarray(grids.log_prob(codes[few])), 1))
    spans = {"codes": "codes, by the prior", "pixels_given_codes": "pixels, given the codes",
             "bits_per_pixel": "together, the bound"}  # fmt: skip
    rows = [(label, "{mean:.3f} ({low:.3f}–{high:.3f})".format(**likelihood[part])) for part, label in spans.items()]
    rows += [(f"{name.upper()}, without loss", f"{bits:.3f}") for name, bits in likelihood["lossless"].items()]
    display(figures.table(("", "bits per pixel"), rows, "The test slices without loss"))

# %% [markdown]
# ## The record
#
# All figures go to `metrics.json`, with what they were made with.

# %%
seconds = {"vqvae": summary["seconds"], "evaluation": round(time.monotonic() - began, 1)}
parts = {}
if prior is not None:
    seconds["prior"] = prior_summary["seconds"]
    parts = {"prior": prior_result, "samples": {"count": len(images), "seconds": round(drawing, 2)},
             "likelihood": likelihood}  # fmt: skip
    if prior.slices:
        parts["samples"]["position_agreement"] = agreement
document = stages.write_metrics(study, slices, result, base, seconds, summary["precision"], **parts)
figures.table(
    ("", "images", "people"), [(split, c["images"], c["people"]) for split, c in slices.counts().items()], "Data"
)
