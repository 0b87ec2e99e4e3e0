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
# # 1 · Data exploration
#
# Before any model: **who is in the data, what do they look like, and how good is a guess that needs no model at all?**
# This notebook decodes the images once, keeps them in `run/slices/` for the notebooks that follow, and shows them from
# every side that matters later.

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
import itertools

import numpy as np
import pandas as pd

from vq_lib import data as datasets
from vq_lib.data import augment, splits
from vq_lib.plots import data as draw
from vq_lib.plots.names import NAMES
from vq_lib.report.display import Figures, table, warning
from vq_lib.scores import baselines, images
from vq_lib.study import Study

# %%
study = Study(report, data, overrides)
show = Figures(study)

# %% [markdown]
# ## Who is in the data
#
# An MRI scan is a volume; here each person is a stack of parallel **slices**, small grey pictures. Of every slice we
# keep the person, its position in the stack, the person's class where that is known, and the split. Grey levels stay
# whole numbers from 0 to 255 (uint8), a quarter of the memory of floats. Files of another size are brought to that of
# the report, by averaging areas where they are larger, and 16-bit files and volumes to 8 bits; every score, the image
# codecs' too, is of these slices. Only the model turns a level $g$ into an intensity
#
# $$x = \frac{g}{255} \in [0, 1] .$$

# %%
slices = datasets.load(study)
print(datasets.acknowledgement(study))

# %%
people = slices.table.groupby("person", sort=False).first()
people = people.join(pd.DataFrame.from_dict(datasets.people(study), orient="index", columns=["age", "sex"]))
people["age"], people["woman"] = pd.to_numeric(people["age"], errors="coerce"), people["sex"].map({"F": 1.0, "M": 0.0})
overview = slices.table.groupby("split").agg(people=("person", "nunique"), slices=("person", "size"))
overview = overview.join(pd.crosstab(people["split"], people["label"].replace("", "without a class")))
known = people.groupby("split").agg(median_age=("age", "median"), women=("woman", "mean")).dropna(axis=1, how="all")
overview = overview.join(known).reindex(list(datasets.SPLITS)).reset_index()
table(overview, "people", "People, slices, and people of each class.", {"median_age": "{:.0f}", "women": "{:.0%}"})

# %% [markdown]
# Where the classes are *control*, *dementia* and *unrated*, they follow the clinical dementia rating (CDR) of a table
# of people: 0, above 0, and none given, which is no diagnosis.
#
# ## What was found wrong
#
# A mistake made here cannot be seen in any score. Of the papers on Alzheimer's disease that Wen et al. (2020, [arXiv
# 1904.07773](https://arxiv.org/abs/1904.07773)) surveyed, more than half may have suffered from data leakage: what the
# test people were to be asked about was known to the training. So the checks look for **leaks**: a person, or one and
# the same picture, in two splits. They also look for segmentation masks among the images and for slices that are
# constant, washed out or inverted. A leak stops the run, unless the recipe allows it; what stands in red here weakens
# every figure of this report.
#
# Two slices $a$ and $b$ count as one picture where the correlation of their fine detail $d$ (the slice blurred a
# little, less the slice blurred more, over its own size around each pixel) is higher than any two people reach, on
# OASIS-1 0.91:
#
# $$\max_{T} \; \lvert \operatorname{corr}(d(a), \, d(T b)) \rvert \ge 0.975 ,$$
#
# $T$ the ways to mirror a slice and turn it by 90°, by 2°, and to centre and scale it. So copies are found that were
# moved, cropped at the edge, mirrored, inverted, made a little lighter or darker (a gamma of 0.7 to 1.6), or saved as
# JPEG. **What is still missed:** stronger gammas, a gamma *together with* a shift, turns by other angles, from 4° on,
# and copies that lost a part of the head at the border. No leak found is no proof that there is none; where a folder
# says who is who, the names are the better proof.

# %%
checks = pd.DataFrame(datasets.findings(study))
wrong = checks[(checks["count"] > 0) & (checks["kind"] != "note")]
display(*map(warning, wrong["sentence"]))
checks = checks[["check", "kind", "count", "sentence"]].replace("", None).dropna(axis=1, how="all")
table(checks, "checks", "What was looked for, and how often it was there.")

# %% [markdown]
# ## What they look like
#
# A row is a person, a column a position in the stack. Go down a column first: the same anatomy, each time a little
# different. Then compare the classes: the **ventricles**, dark and filled with fluid in the middle of the brain, grow
# as tissue is lost. What a generative model has to learn is exactly this: what stays the same from person to person,
# and in which ways people differ.

# %%
show(draw.by_position_and_class(slices.images, slices.table), "data-positions",
     "Slices by position (columns) and person (rows, two people of each class).",
     alt="Each row one person from the lowest to the highest slice, rows grouped by class.")  # fmt: skip

# %% [markdown]
# ## The split: by person, never by slice
#
# Neighbouring slices of one person are nearly the same picture. If one of them were in the training set and the next
# in the test set, a model could score well by remembering the person. So a person belongs to one split with all their
# slices: if $P_{\text{train}}$, $P_{\text{validation}}$ and $P_{\text{test}}$ are the sets of people, then
#
# $$P_{\text{train}} \cap P_{\text{validation}} = P_{\text{train}} \cap P_{\text{test}} =
# P_{\text{validation}} \cap P_{\text{test}} = \emptyset .$$
#
# **Training** people fit the weights, **validation** people choose among them (when to stop), **test** people choose
# nothing: they are described here, and scored in notebooks 3 and 4. Confidence intervals are over people too, since the
# slices of one person are not independent observations.
#
# *What to look for.* The classes should have similar shares in every split, and people should be equally old. Where a
# folder gives the split, that is for its authors to see to, and for the reader to know: a difference between the
# splits' scores is then a difference between people as well.

# %%
members = slices.table.groupby("split")["person"].agg(set)
for one, other in itertools.combinations(members, 2):
    assert study.recipe.data.allow_leaks or not one & other - {""}, "somebody is in two splits"

# %% [markdown]
# What goes wrong otherwise is easy to show. Take the simplest learner, the nearest neighbour, and one task: find the
# most similar slice on the other side and say that this slice has the same class. All slices are dealt into five folds,
# and each is looked up in the other four, once with the **slices** dealt at random and once with the **people**.
#
# *What to look for.* By slice, the neighbour is nearly always the same person, one slice further, and knows the class
# because it knows the person. By person it cannot be, and what is left, above the constant answer in the last row, is
# what the method can really do. (Where the data have no two classes, only the person can be asked about.) The
# difference between the first two rows is what a split by slice adds to a score out of nothing: for classifiers of
# Alzheimer's and Parkinson's disease, 29 to 55 percentage points (Yagis et al. 2021,
# [10.1038/s41598-021-01681-w](https://doi.org/10.1038/s41598-021-01681-w)).

# %%
neighbours = pd.DataFrame(splits.neighbours(slices)).T.rename_axis("folds").reset_index()
neighbours = neighbours.rename(columns={"same_label": "same class", "same_person": "same person"})
table(neighbours, "neighbours", "The nearest slice of the other folds: how often of the same person, and class.",
      {"same class": "{:.0%}", "same person": "{:.0%}", "correlation": "{:.3f}"})  # fmt: skip

# %% [markdown]
# ## Intensities
#
# Grey levels tell tissues apart: fluid is dark, grey matter in between, white matter bright. If the curves of the
# splits do not lie on each other, the test measures other people or another scanner, not the model alone. Watch the
# share of zeros as well: black background is trivial to reconstruct, and it flatters every score that counts it.

# %%
show(draw.intensities(slices.images, slices.table), "data-intensities",
     "Distribution of the intensities above zero, by split and by class; the share of zeros is in the legend.",
     alt="Two panels of density curves over intensity: one curve a split, one curve a class.")  # fmt: skip

# %% [markdown]
# ## What is common, and where people differ
#
# Over the $n$ training slices $x_i$ of one position, pixel by pixel,
#
# $$\mu = \frac{1}{n} \sum_{i=1}^{n} x_i , \qquad \sigma = \sqrt{\frac{1}{n} \sum_{i=1}^{n} (x_i - \mu)^2} .$$
#
# Where $\mu$ is sharp, people agree; where $\sigma$ is bright, they differ: at the outline, around the ventricles and
# in the folds. A model that only learned $\mu$ would have learned nothing about any one person.

# %%
show(draw.mean_and_deviation(slices.images, slices.table), "data-mean-deviation",
     "Mean (above) and standard deviation (below) of the training slices of each position.",
     alt="Blurred mean brains by position, and deviation maps, bright at outline and ventricles.")  # fmt: skip

# %% [markdown]
# ## Augmentation
#
# Training images may be changed at random each time they are drawn: shifted, turned a little, mirrored, made brighter
# or darker. A brain stays a brain, and no two epochs are alike, which helps where people are few. It happens in the
# batch, decided by seed, epoch and batch, so that an interrupted training goes on with the same pictures. Validation
# and test slices are never changed.

# %%
if settings := study.recipe.data.augment:
    some = np.asarray(slices.images[images.spread(slices.where("train"), 3)])
    drawn = draw.augmented(some, functools.partial(augment.augment, **settings.model_dump()))
    display(show(drawn, "data-augmentation", "Training slices (left) and seven random changes of each.",
                 alt="Rows of slices: the original, then shifted, turned, mirrored, brighter or darker."))  # fmt: skip

# %% [markdown]
# ## A score without any model
#
# How good must a reconstruction be before it is worth anything? Its similarity with the input is measured by SSIM,
# which compares means $\mu$, variances $\sigma^2$ and covariance $\sigma_{xy}$ in a small Gaussian window around each
# pixel:
#
# $$\mathrm{SSIM}(x, y) = \frac{(2\mu_x\mu_y + C_1)(2\sigma_{xy} + C_2)}{(\mu_x^2 + \mu_y^2 + C_1)(\sigma_x^2 +
# \sigma_y^2 + C_2)} , \qquad C_1 = 0.01^2, \quad C_2 = 0.03^2 .$$
#
# The usual score is its mean over the whole image, background included. **Foreground SSIM** is the mean only where the
# input is brighter than 0.05. Four guesses need no model: a black image, the mean training image, the mean training
# image of the same slice position, and the most similar training image. They are scored on the test people here, as the
# VQ-VAE is in notebook 4: whatever it reaches there has to be read against these.

# %%
guesses = baselines.predictions(slices.images, slices.position, slices.where("train"), slices.where("test"))
scores = pd.DataFrame({NAMES[name]: images.means(some) for name, some in guesses.items()}).T.rename_axis("guess")
scores.columns = ["SSIM", "foreground SSIM", "PSNR"]
table(scores, "guesses", "Scores on the test people without a model.",
      {"SSIM": "{:.3f}", "foreground SSIM": "{:.3f}", "PSNR": "{:.1f}"})  # fmt: skip

# %% [markdown]
# **Next:** notebook 2 trains the VQ-VAE.
