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
# # 1 · Data exploration
#
# Before any model: **who is in the data, what do they look like, and how good is a guess that needs no model at all?**
# This notebook decodes the images once, keeps them in `run/slices/` for the three notebooks that follow, and shows
# them from every side that matters later.

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
import functools

from vq_lib import data as datasets
from vq_lib import plots as figures
from vq_lib.data import augment, splits
from vq_lib.plots import data as plots
from vq_lib.scores import baselines, metrics
from vq_lib.study import Study

study = Study(report, data, overrides)
figures.settings(study)

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
plots.note(datasets.acknowledgement(study))

# %%
people = datasets.people(study)
plots.overview(slices, people)

# %%
figures.paragraphs(plots.rated(slices, people), datasets.remark(study, slices))

# %% [markdown]
# ## What was found wrong
#
# A mistake made here cannot be seen in any score. Of the papers on Alzheimer's disease that Wen et al. (2020, [arXiv
# 1904.07773](https://arxiv.org/abs/1904.07773)) surveyed, more than half may have suffered from data leakage: what the
# test people were to be asked about was known to the training. So the checks look for **leaks**: a person, or one and
# the same picture, in two splits. Two pictures count as the same when their thumbnails $a$ and $b$ of $64 \times 64$
# pixels, brought to mean 0 and length 1, have a correlation $a \cdot b \ge 0.99$; slices of different people at the
# same position stay below that. The checks also look for segmentation masks among the images and for slices that are
# constant, washed out or inverted. A leak stops the run, unless the recipe allows it; what stands in red below weakens
# every figure of this report.

# %%
plots.findings(datasets.findings(study))

# %% [markdown]
# ## What they look like
#
# A row is a person, a column a position in the stack. Go down a column first: the same anatomy, each time a little
# different. Then compare the classes: the **ventricles**, dark and filled with fluid in the middle of the brain, grow
# as tissue is lost.

# %%
fig = plots.by_position_and_class(slices)
figures.show(
    study,
    "data_positions_classes",
    fig,
    "Slices by position (columns) and person (rows, two people of each class). Look at the dark ventricles.",
    "Grid of grey brain slices: each row shows one person from the lowest to the highest slice, rows grouped by class.",
)

# %% [markdown]
# What a generative model has to learn is exactly this: what stays the same from person to person, and in which ways
# people differ. The same slice position of many people shows both at a glance.

# %%
fig = plots.same_position(slices)
figures.show(
    study,
    "data_same_position",
    fig,
    "The middle slice position in many training people. The outline hardly changes; folds, ventricles and contrast do.",
    "The same slice position in many people: similar outlines with different folds, ventricles and contrast.",
)

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
# folder gives the split, that is for its authors to see to, and for the reader to know.

# %%
on_both_sides = splits.shared(slices.person, slices.split)
assert study.recipe.data.allow_leaks or not on_both_sides

fig = plots.split_sizes(slices)
figures.show(
    study,
    "data_splits",
    fig,
    "People and slices in each split, by class.",
    "Bars of the number of people and of slices in training, validation and test, divided by class.",
)

# %%
test = slices.counts()["test"]
independent = (
    f"For an interval, the {test['images']:,} test slices of {test['people']} people are {test['people']} independent "
    f"observations, not {test['images']:,}."
)
figures.paragraphs(plots.alike(slices, people), independent)

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
plots.neighbours(splits.neighbours(slices))

# %% [markdown]
# ## Intensities
#
# Grey levels tell tissues apart: fluid is dark, grey matter in between, white matter bright. If the curves of the
# splits do not lie on each other, the test measures other people or another scanner, not the model alone. Watch the
# share of zeros as well: black background is trivial to reconstruct, and it flatters every score that counts it.

# %%
fig = plots.histograms(slices)
figures.show(
    study,
    "data_intensities",
    fig,
    "Distribution of the intensities above zero, by split and by class; the share of zeros is in the legend. "
    "The splits' curves should lie close together.",
    "Two panels of density curves over intensity from 0 to 1: one curve a split, and one curve a class.",
)

# %% [markdown]
# ## What is common, and where people differ
#
# Over the $n$ training slices $x_i$ of one position, pixel by pixel,
#
# $$\mu = \frac{1}{n} \sum_{i=1}^{n} x_i , \qquad \sigma = \sqrt{\frac{1}{n} \sum_{i=1}^{n} (x_i - \mu)^2} .$$
#
# Where $\mu$ is sharp, people agree; where $\sigma$ is bright, they differ. A model that only learned $\mu$ would have
# learned nothing about any one person.

# %%
fig = plots.mean_and_deviation(slices)
figures.show(
    study,
    "data_mean_deviation",
    fig,
    "Mean (above) and standard deviation (below) of the training slices of each position. People differ most at the "
    "outline, around the ventricles and in the folds.",
    "Two rows of images: blurred mean brains by position, and deviation maps, bright at outline and ventricles.",
)

# %% [markdown]
# ## Augmentation
#
# Training images may be changed at random each time they are drawn: shifted, turned a little, mirrored, made brighter
# or darker. A brain stays a brain, and no two epochs are alike, which helps where people are few. It happens in the
# batch, decided by seed, epoch and batch, so that an interrupted training goes on with the same pictures. Validation
# and test slices are never changed. The recipe's `data.augment` says how much; without it, the figure shows what a
# careful choice would do.

# %%
settings = study.recipe.data.augment
chosen = settings.model_dump() if settings else {"shift": 0.03, "rotation": 8, "flip": True, "intensity": 0.1}
fig = plots.augmented(slices, functools.partial(augment.augment, **chosen))
said = ", ".join(f"{name} {value}" for name, value in chosen.items())
figures.show(
    study,
    "data_augmentation",
    fig,
    f"Training slices and seven random changes of each ({said}). "
    + ("Training sees such pictures." if settings else "This recipe trains on the slices as they are."),
    "Rows of brain slices: the original on the left, then shifted, turned, mirrored, brighter or darker copies.",
)

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
names = {
    "zeros": "black image",
    "mean_image": "mean training image",
    "position_mean": "mean training image of the position",
    "nearest_training": "most similar training image",
}
scores = baselines.kept(study, slices)
figures.table(
    ("guess", "SSIM", "foreground SSIM"),
    [(name, f"{scores[key]['ssim']:.3f}", f"{scores[key]['ssim_foreground']:.3f}") for key, name in names.items()],
    "Scores on the test people without a model",
)

# %%
fig = plots.guesses(slices, baselines.position_means(slices), metrics.ssim)
figures.show(
    study,
    "data_position_mean",
    fig,
    "Test slices, the mean training image of their position, and the difference. The guess is a brain, but nobody's.",
    "Three rows: sharp test slices, the blurred mean image of the same position, and the absolute difference.",
)
