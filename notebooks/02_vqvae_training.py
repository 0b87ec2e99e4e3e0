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
# # 2 · VQ-VAE training
#
# A brain slice is expensive to model pixel by pixel: its many thousand grey levels depend on each other in long and
# intricate ways. This notebook learns to write a slice as a small grid of *codes*, whole numbers that each stand for a
# learned pattern, and to draw the slice again from them. Notebook 3 then only has to model the codes.

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
import functools

import numpy as np

keras = environment.start_keras()  # in silence: TensorFlow would fill a page with its remarks
from vq_lib import data as datasets
from vq_lib.data.augment import augment
from vq_lib.layers.ssim import ssim_map
from vq_lib.models.build import quantizer_from
from vq_lib.models.vqvae import VQVAE
from vq_lib.plots import architecture
from vq_lib.plots import vqvae as draw
from vq_lib.report import comparison, metrics, sweep
from vq_lib.report import display as shown
from vq_lib.scores import images as scores

# %%
from vq_lib.study import Study
from vq_lib.training import finished
from vq_lib.training.batches import Batches
from vq_lib.training.callbacks import KMeansStart, RestartDeadCodes, Scores
from vq_lib.training.optimizer import optimizer, policy, use_devices
from vq_lib.training.resume import Resume

study = Study(report, data, overrides)
recipe, show = study.recipe.vqvae, shown.Figures(study)
slices = datasets.load(study)
train, held_out = slices.where("train"), slices.where("validation")

# %% [markdown]
# ## The model
#
# An **encoder** turns the image $x$ into a grid of vectors $z_e(x)$: convolutions with a stride shrink the grid, and
# residual blocks, $x + \operatorname{Conv}_{1 \times 1}(\operatorname{act}(\operatorname{Conv}_{3 \times
# 3}(\operatorname{act}(x))))$, look around in it. A **decoder** goes the way back. Both are lists of blocks in the
# recipe; edit them there, or in this cell. With a `coarse` level, more blocks lead on to a smaller grid and back: its
# codes hold what is large, and the finer ones only what is left (Razavi et al. 2019, [arXiv
# 1906.00446](https://arxiv.org/abs/1906.00446)).

# %%
encoder = [block.model_dump(exclude_defaults=True) for block in recipe.encoder]
decoder = [block.model_dump(exclude_defaults=True) for block in recipe.decoder]
coarse = recipe.coarse and recipe.coarse.model_dump(exclude_defaults=True)
display({"encoder": encoder, "decoder": decoder} | ({"coarse": coarse} if coarse else {}))

# %% [markdown]
# Between them, each vector is replaced by the nearest of $K$ **codebook** vectors $e_1, \dots, e_K$, and the decoder
# draws the image $\hat x$ from what is left (van den Oord et al. 2017, [arXiv
# 1711.00937](https://arxiv.org/abs/1711.00937)):
#
# $$k(z) = \operatorname{argmin}_j \lVert z - e_j \rVert^2, \qquad z_q = e_{k(z)}, \qquad \hat x = D(z_q).$$
#
# The choice has no gradient, so the gradient at $z_q$ is handed straight through to $z_e$. The codebook follows the
# running mean of the vectors that chose each code, or learns by gradient; finite scalar quantisation rounds to fixed
# levels instead. Which of these, the recipe says:

# %%
quantizer = quantizer_from(recipe)
settings = {key: value for key, value in quantizer.get_config().items() if key not in ("name", "trainable", "dtype")}
print(type(quantizer).__name__, settings)

# %% [markdown]
# The images go in as grey levels from 0 to 255, and intensities in $[0, 1]$ come out: the normalisation is part of the
# model, so that nobody who loads it can get it wrong.

# %%
use_devices(study.recipe.devices)
keras.utils.set_random_seed(recipe.seed)
change = functools.partial(augment, **study.recipe.data.augment.model_dump()) if study.recipe.data.augment else None
batches = Batches(slices.images, train, recipe.batch, recipe.seed, change=change, devices=study.recipe.devices)
vqvae = VQVAE(
    slices.image_shape, encoder, decoder, quantizer,
    activation=recipe.activation, normalise=recipe.normalise, output=recipe.output, final=recipe.final,
    loss=recipe.loss, structure=recipe.structure, variance=batches.variance, coarse=coarse,
    dtype=policy(recipe.precision),
)  # fmt: skip

# %%
vqvae.summary(print_fn=print, line_length=100, expand_nested=True)

# %% [markdown]
# *What to look for.* A box is a layer, as high as its grid is wide. Whatever is to be drawn has to pass through the
# narrow grid in the middle: so many numbers from 0 to $K - 1$ and nothing else.

# %%
level = vqvae.coarse
first = [vqvae.encoder, *([level.encoder, level.decoder, level.link] if level else [])]
boxes = [box for part in first for box in architecture.layers(part)], architecture.layers(vqvae.decoder)
drawn = architecture.diagram(slices.image_shape, boxes[0], vqvae.levels[-1], recipe.codes, recipe.code_dim, boxes[1])
show(drawn, "architecture", "The model: what each layer gives, and the grid of codes that all passes through.",
     alt="Boxes that shrink towards a grid of codes in the middle and grow again behind it.")  # fmt: skip

# %% [markdown]
# ## The loss
#
# With means over the $P$ pixels of a batch and over its $N$ cells of $D$ numbers each, and $\operatorname{sg}$ for "no
# gradient passes here", the loss has three terms:
#
# $$L = \frac{1}{P \operatorname{Var}(x)} \sum_{p=1}^{P} (x_p - \hat x_p)^2
# + \lambda \bigl(1 - \operatorname{SSIM}(x, \hat x)\bigr)
# + \beta \, \frac{1}{ND} \sum_{i=1}^{N} \lVert z_{e,i} - \operatorname{sg}(z_{q,i}) \rVert^2 .$$
#
# * **Reconstruction.** Dividing by the variance of the training images makes it a share: 1 is what the mean grey level
#   scores, 0 is perfect. With `loss: clipped_mse` a black pixel that is drawn below 0, or a white one above 1, counts
#   as right, since the output is clipped anyway; with `loss: l1` it is the mean absolute error over the standard
#   deviation.
# * **Structure**, with the weight $\lambda$ (`structure`; 0 leaves it out). A model that has it trains on a part of
#   what it is scored by. PSNR knows nothing of that term.
# * **Commitment**, with the weight $\beta$: the encoder has to stay near the codes that it chooses. A codebook that
#   learns by gradient has the same term once more, without $\beta$ and with $\operatorname{sg}$ around $z_e$.

# %%
vqvae.compile(optimizer(recipe, steps=len(batches)))

# %% [markdown]
# Term by term, on a few slices and before any training, this is what the library sums up:

# %%
ops, some = keras.ops, keras.ops.convert_to_tensor(np.asarray(slices.images[train[: recipe.batch]]))
x, drawn = ops.cast(some, "float32") / 255, vqvae(some)
error = ops.mean((x - drawn) ** 2) / batches.variance
if recipe.loss == "l1":
    error = ops.mean(ops.abs(x - drawn)) / batches.variance**0.5
structure = recipe.structure * (1 - ops.mean(ssim_map(x, drawn)))
commitment = sum(vqvae.losses)  # that of the quantiser, which saw these slices last
loss = vqvae.compute_loss(some, y_pred=drawn)
np.testing.assert_allclose(float(loss), float(error + structure + commitment), rtol=1e-4)

# %% [markdown]
# ## Training
#
# One `fit`. `KMeansStart` puts the codebook where the encoder's outputs lie before the first batch, and
# `RestartDeadCodes` moves codes that nobody chooses (Łańcucki et al. 2020, [arXiv
# 2005.08520](https://arxiv.org/abs/2005.08520)): without them most codes of such a codebook die. `Scores` looks at the
# validation people after each epoch. `Resume` keeps everything that the training needs to go on, whole after each
# epoch: stop the kernel at any moment, run the notebook again, and it continues. When all epochs are done, the same
# cell loads the result. Change the model, the loss or the data above, and it trains anew.

# %%
resume = Resume(study.vqvae, batches, recipe.minutes, recipe.patience, finished.vqvae_identity(study, slices),
                metrics.commit())  # fmt: skip
start = [KMeansStart(batches)] if recipe.start == "kmeans" else []
fitted = vqvae.fit(
    batches, validation_data=Batches(slices.images, held_out, 64, devices=study.recipe.devices),
    epochs=recipe.epochs, initial_epoch=resume.restore(vqvae), verbose=2,
    callbacks=[*start, RestartDeadCodes(batches, recipe.restart), Scores(slices.images, held_out), resume],
)  # fmt: skip

# %% [markdown]
# The model is saved in float32, and the codes of all slices with it: whoever goes on from here, in this notebook or the
# next, works with the very model that was saved.

# %%
vqvae, arrays = resume.finish(vqvae, codes=lambda model: model.encode(slices.images))
codes, history, summary = arrays["codes"], finished.history(study.vqvae), finished.summary_of(study.vqvae)

# %% [markdown]
# ## How it learned
#
# *What to look for.* The curves of training and validation people should fall together; a gap that opens means that the
# model remembers its training people. The loss is the sum of its terms: see which of them carries it, and whether they
# still fall when the learning rate has come to its end. A flat end under a rate of zero is no proof that the training
# was long enough.

# %%
show(draw.loss_terms(history), "vqvae-loss", "The loss, each of its terms, and the learning rate, epoch by epoch.",
     alt=f"The validation loss ends at {history.val_loss.iloc[-1]:.4f} after {len(history)} epochs.")  # fmt: skip

# %% [markdown]
# SSIM is taken on the validation people after each epoch. *Perplexity* is $\exp(-\sum_j p_j \log p_j)$ of the codes'
# frequencies: the number of codes in use, as if all were used evenly. A codebook that collapses stays at a few codes,
# and SSIM gets stuck with it.

# %%
epochs = "{done} of {planned} epochs".format(**summary["epochs"])
print(f"{epochs} in {summary['seconds'] / 60:.1f} minutes, {summary['precision']}", summary["stopped"])
show(draw.curves(history, recipe.codes), "vqvae-curves",
     "SSIM of the validation people's reconstructions, and how many codes they use, epoch by epoch.",
     alt=f"SSIM ends at {history.val_ssim.iloc[-1]:.3f}.")  # fmt: skip

# %% [markdown]
# ## What it does to a slice
#
# *What to look for.* The second row is all that the decoder gets. Its colours run from the codes of the darkest cells
# to those of the brightest, so that the row should look like the slice seen from afar. It does not show what else codes
# of one brightness differ in, such as the edges that they draw. The error should be fine and spread out, like grain;
# where it draws an outline, the model has moved or blurred an edge. The slices are of **validation people**, whom the
# model has not seen.

# %%
people, places = np.unique(slices.person[held_out]), np.unique(slices.position[held_out])
chosen = []
for number, place in enumerate(scores.spread(places, 8)):  # a person and a position a column, from the lowest up
    theirs = held_out[slices.person[held_out] == people[number * len(people) // 8]]
    chosen.append(theirs[np.abs(slices.position[theirs] - place).argmin()])
inputs = np.asarray(slices.images[chosen])

# %%
kept = vqvae.encode(inputs)  # the codes: all that is kept of a slice
outputs = vqvae.decode(kept)
quantizer, vectors = vqvae.vectors(inputs)[-1]  # of the finest level: z_e(x), one vector a cell
numbers = ops.convert_to_numpy(quantizer.encode(vectors))  # k
np.testing.assert_array_equal(numbers, vqvae.fine(kept))
similarity, _ = scores.ssim(inputs, outputs)

# %%
ranks = draw.brightness_ranks(slices.images[held_out], vqvae.fine(codes[held_out]), recipe.codes)
titles = [f"{name}\nSSIM {score:.3f}" for name, score in zip(slices.names(chosen), similarity, strict=True)]
show(draw.panels(inputs, outputs, titles, numbers, ranks), "vqvae-panels",
     "A slice, its grid of codes (darkest cells violet, brightest yellow), the reconstruction, and the absolute error.",
     alt=f"{len(chosen)} slices and their reconstructions, SSIM {similarity.min():.3f} or more.")  # fmt: skip

# %% [markdown]
# ## What was tried
#
# *What to look for.* Each point of the report's `sweep.yaml` changes what its name says, and the model is trained again
# for a short while; the validation people judge, so that the test people choose nothing. What another seed changes as
# much is no difference. `vq-lib sweep` makes this table.

# %%
if tried := comparison.sweep(study.folder):
    display(shown.table(tried["table"], "sweep", "Validation scores of every point of the sweep."))
else:
    print(sweep.missing(study))

# %% [markdown]
# **Next:** notebook 3 learns which grids of codes are brains.
