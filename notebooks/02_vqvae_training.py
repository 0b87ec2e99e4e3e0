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
# # 2 · VQ-VAE training
#
# A brain slice is expensive to model pixel by pixel: its many thousand grey levels depend on each other in long and
# intricate ways. This notebook learns to write a slice as a small grid of *codes*, whole numbers that each stand for a
# learned pattern, and to draw the slice again from them. Notebook 3 then only has to model the codes.

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
import numpy as np

environment.start_keras()  # in silence: TensorFlow would fill a page with its remarks
from vq_lib import data as datasets
from vq_lib import plots as figures
from vq_lib.plots import vqvae as draw
from vq_lib.report import conclusions, sweep
from vq_lib.scores import metrics
from vq_lib.study import Study
from vq_lib.training import stages

study = Study(report, data, overrides)
figures.settings(study)

# %% [markdown]
# ## The model
#
# An encoder turns the image $x$ into a grid of vectors $z_e(x)$. Each vector is replaced by the nearest of $K$ codebook
# vectors $e_1, \dots, e_K$, and a decoder draws the image $\hat x$ from what is left:
#
# $$k(z) = \operatorname{argmin}_j \lVert z - e_j \rVert^2, \qquad z_q = e_{k(z)}, \qquad \hat x = D(z_q).$$
#
# Three things have to learn at once (van den Oord et al. 2017, [arXiv 1711.00937](https://arxiv.org/abs/1711.00937)):
#
# * **encoder and decoder** by the reconstruction error. The choice of a code has no gradient, so the gradient at $z_q$
#   is handed straight through to $z_e$;
# * **the encoder**, to stay near the codes that it chooses, by the commitment term with weight $\beta$;
# * **the codebook**, by following the running mean of the vectors that chose each code (an exponential moving
#   average with decay $\gamma$), or by gradient, as the recipe says.
#
# With means over the $P$ pixels of a batch and over its $N$ cells of $D$ numbers each, and $\operatorname{sg}$ for "no
# gradient passes here", the loss is
#
# $$L = \frac{1}{P \operatorname{Var}(x)} \sum_{p=1}^{P} (x_p - \hat x_p)^2
# + \lambda \bigl(1 - \operatorname{SSIM}(x, \hat x)\bigr)
# + \beta \, \frac{1}{ND} \sum_{i=1}^{N} \lVert z_{e,i} - \operatorname{sg}(z_{q,i}) \rVert^2 .$$
#
# Dividing by the variance of the training images makes the first term a share: 1 is what the mean grey level
# scores, 0 is perfect. A model with $\lambda > 0$ trains on what it is scored by, SSIM and foreground SSIM alike: PSNR
# stands beside them, and knows nothing of that term.

# %%
figures.points(draw.loss_in_words(study.recipe.vqvae), title="In this report:")

# %%
slices = datasets.load(study)
model, codes, summary = stages.train_vqvae(study, slices)

# %% [markdown]
# The images go in as grey levels from 0 to 255; the model itself brings them to $[0, 1]$, or to $[-0.5, 0.5]$ with
# `normalise: centred`, and its output back to $[0, 1]$, so that nobody who loads it can get the normalisation wrong.

# %%
done, planned = summary["epochs"]["done"], summary["epochs"]["planned"]
ended = f" ({summary['stopped']})" if summary["stopped"] else ""
rows = [
    ("image", "grid of codes", "K", "encoder parameters", "decoder parameters", "epochs", "minutes", "images/s"),
    (" × ".join(map(str, slices.images.shape[1:])), " × ".join(map(str, model.grid)), model.quantizer.codes,
     f"{summary['parameters']['encoder']:,}", f"{summary['parameters']['decoder']:,}", f"{done} of {planned}{ended}",
     f"{summary['seconds'] / 60:.1f}", f"{summary['images_per_second']:.0f}"),
]  # fmt: skip
figures.table(("what", "value"), zip(*rows, strict=True), "The model and its training")

# %% [markdown]
# ## How it learned
#
# *What to look for.* The two loss curves should fall together; a gap that opens means that the model remembers its
# training people. SSIM is taken on validation people after each epoch. The right panel shows whether the codebook is
# alive: *perplexity* is $\exp(-\sum_j p_j \log p_j)$ of the codes' frequencies, the number of codes in use as if all
# were used evenly. A codebook that collapses stays at a few codes, and SSIM gets stuck with it.

# %%
display(figures.paragraphs(draw.start_in_words(study.recipe.vqvae)))
history = stages.history(study.vqvae)
last = {name: values[-1] for name, values in history.items()}
display(figures.show(
    study, "vqvae-curves", draw.curves(history, model.quantizer.codes),
    "Training of the VQ-VAE, epoch by epoch: loss on training and validation people, SSIM of the validation people's "
    "reconstructions, and how many codes they use.",
    f"Three curves over {done} epochs. Validation loss ends at {last['val_loss']:.4f}, SSIM at {last['val_ssim']:.3f}, "
    f"foreground SSIM at {last['val_ssim_foreground']:.3f}, perplexity at {last['val_perplexity']:.0f}.",
))  # fmt: skip
figures.paragraphs(conclusions.learning(history, study.recipe.vqvae, summary["stopped"]))

# %% [markdown]
# ## What it does to a slice
#
# *What to look for.* The second row is all that the decoder gets. Its colours run from the codes of the darkest cells
# to those of the brightest, so that the row should look like the slice seen from afar. It does not show what else codes
# of one brightness differ in, such as the edges that they draw. The error should be fine and spread out, like grain;
# where it draws an outline, the model has moved or blurred an edge. The slices are of **validation people**, whom the
# model has not seen: up to six of them, and where positions are known from the lowest to the highest.

# %%
held_out = slices.where("validation")
people = np.unique(slices.person[held_out])
positions = np.unique(slices.position[held_out])
spread = positions[np.linspace(0, len(positions) - 1, 6).astype(int)]
chosen = [
    rows[np.argmin(np.abs(slices.position[rows] - place))]
    for i, place in enumerate(spread)
    for rows in [held_out[slices.person[held_out] == people[i * len(people) // 6]]]
]
reconstructed = model.decode(codes[chosen])
plain, _ = metrics.ssim(slices.images[chosen], reconstructed)

# %%
grids, size = codes[held_out], model.quantizer.codes
ranks = draw.brightness_ranks(slices.images[held_out], grids, size)
titles = [f"{name}\nSSIM {score:.3f}" for name, score in zip(slices.names(chosen), plain, strict=True)]
figures.show(
    study, "vqvae-panels", draw.panels(slices.images[chosen], codes[chosen], reconstructed, titles, ranks),
    "From top to bottom: a slice, its grid of codes (from those of the darkest cells, violet, to those of the "
    "brightest, yellow), the reconstruction, and the absolute error. Each column is a slice of a validation person, "
    "with its position where that is known.",
    f"Six slices and their reconstructions, with SSIM from {plain.min():.3f} to {plain.max():.3f}.",
)  # fmt: skip

# %% [markdown]
# ## Who uses the codebook
#
# *What to look for.* A straight, gently falling line means that all codes work; a cliff means that the codes to its
# right are dead. Background cells are alike and share few codes, so the foreground is shown apart.

# %%
foreground = metrics.foreground_cells(slices.images[held_out], model.grid)
used = metrics.usage(grids, size)
figures.show(
    study, "codebook-usage", draw.usage(grids, size, foreground),
    "How often each code is chosen on validation people, from the most to the least frequent.",
    f"{100 * used:.0f}% of {size} codes are used; perplexity {metrics.perplexity(grids, size):.0f} over all cells and "
    f"{metrics.perplexity(grids[foreground], size):.0f} over foreground cells.",
)  # fmt: skip

# %% [markdown]
# ## What was tried
#
# *What to look for.* Each point changes what its name says, and the model is trained again for a short while; the
# validation people judge, so that the test people choose nothing. What another seed changes as much is no difference.
# `vq-lib sweep` makes this table from the report's `sweep.yaml`.

# %%
tried = sweep.table(study)
if tried is None:
    print(sweep.missing(study))
else:
    header, rows, conclusion = tried
    display(figures.table(header, rows, "Validation scores of every point of the sweep."))
    if conclusion:
        display(figures.paragraphs(conclusion))

# %% [markdown]
# **Next:** notebook 3 learns which grids of codes are brains.
