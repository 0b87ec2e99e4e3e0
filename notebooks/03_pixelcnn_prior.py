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
# # 3 · PixelCNN prior
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/)
#
# Codes drawn at random decode to noise: most grids of codes are no brain. A *prior* learns which are. It gives every
# grid a probability, so it can be judged in bits, and new grids can be drawn from it.

# %% tags=["parameters"]
report: str = "demo"  # name of a report under reports/, or the path of its folder
data: str = ""  # folder of the images; empty where the recipe makes its own
overrides: str = ""  # changes to the recipe: section.key, an equals sign, the value; separated by spaces

# %%
import numpy as np

from vq_lib import data as datasets
from vq_lib import figures, stages
from vq_lib.figures import prior as draw
from vq_lib.study import Study

study = Study(report, data, overrides)
figures.settings(study)

# %% [markdown]
# ## The model
#
# The codes of a grid are read row by row. By the chain rule, any distribution over grids is a product of conditionals,
#
# $$p(z) = \prod_i p(z_i \mid z_1, \dots, z_{i-1}),$$
#
# and a PixelCNN (van den Oord et al. 2016, [arXiv 1601.06759](https://arxiv.org/abs/1601.06759)) computes all of them
# at
# once: its convolutions are *masked*, so that a cell sees only cells that come before it. It is trained by the mean
# code length $-\log_2 p(z_i \mid z_{<i})$ in **bits per code**. This is also what an ideal compressor would pay for
# each code.

# %%
slices = datasets.opened(study)
prior, summary = stages.train_prior(study, slices)
if prior is None:
    print("This recipe has no prior: nothing to train, and notebook 4 draws no samples.")

# %% [markdown]
# ## How it learned
#
# *What to look for.* Validation bits should fall well below the dashed line (the next section says what it is) and
# not rise again. With few people a prior learns them by heart: then the training curve goes on falling while the
# validation curve turns. Dropout and keeping the best epoch stand against that.

# %%
if prior is not None:
    history = stages.history(study.prior)
    base, bits = summary["baselines_bits_per_code"], summary["bits_per_code"]
    display(figures.show(
        study, "prior-curves", draw.curves(history, base["position_unigram"]),
        f"Bits per code while the prior trains ({summary['epochs']['done']} of {summary['epochs']['planned']} epochs, "
        f"{summary['seconds'] / 60:.1f} minutes).",
        f"Validation ends at {history['val_loss'][-1] / np.log(2):.2f} bits per code; the position unigram is at "
        f"{base['position_unigram']:.2f}.",
    ))  # fmt: skip

# %% [markdown]
# ## The ladder
#
# A number of bits means little alone. Each rung knows a little more:
#
# * **uniform**: every code alike, $\log_2 K$;
# * **unigram**: how frequent each code is;
# * **position unigram**: how frequent each code is *at this place of the grid*. Brains are aligned, so this says a
# lot: a   prior that does not beat it has learned nothing about the shape of brains;
# * **Markov**: a mixture of the position unigram, $p(z \mid \text{left})$ and $p(z \mid \text{upper})$.
#
# *What to look for.* The blue bar against the bar of the position unigram, and the marks for training and validation
# people near its end: a training mark far to the left is overfitting.

# %%
if prior is not None:
    display(figures.show(
        study, "prior-ladder", draw.ladder(base, "PixelCNN", bits),
        "Bits per code on test people: baselines that know ever more, and the prior. Marks: the other splits.",
        "; ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in base.items())
        + f"; PixelCNN {bits['test']:.2f} on test, {bits['train']:.2f} on training people.",
    ))  # fmt: skip
    gain, gap = 1 - bits["test"] / base["position_unigram"], bits["test"] / bits["train"] - 1
    print(f"The prior needs {100 * abs(gain):.1f}% {'fewer' if gain > 0 else 'MORE'} bits than the position unigram.")
    print(f"It needs {100 * gap:.1f}% more bits on test people than on training people.")
    if gap > 0.05:
        print("By the rule of this report, more than 5% above training, this prior is overfitted.")

# %% [markdown]
# ## What a cell sees
#
# *What to look for.* Nothing below or to the right of the red cell may matter: that would be looking at the answer. The
# left panel shows how much each cell of the past does. The orange region on the right is past that this architecture
# *cannot* see: stacked masked convolutions reach up and to the left, but their view to the upper right is cut off at a
# slant, the blind spot (van den Oord et al. 2016, [arXiv 1606.05328](https://arxiv.org/abs/1606.05328), figure 1).

# %%
if prior is not None:
    codes = stages.load_vqvae(study, slices)[1][slices.where("test")]
    cell = (prior.grid[0] * 5 // 8, prior.grid[1] // 2)
    influence = draw.seen(prior, codes[len(codes) // 2], cell)
    after = np.arange(influence.size).reshape(prior.grid) >= cell[0] * prior.grid[1] + cell[1]
    assert (influence[after] == 0).all(), "the prior sees the future"
    display(figures.show(
        study, "receptive-field", draw.receptive_field(influence, cell),
        "What the red cell's prediction depends on, found by changing each cell's code in turn and watching the "
        "logits. No cell after it matters.",
        f"{int((influence > 0).sum())} of {int((~after).sum())} past cells influence the cell; no later cell does.",
    ))  # fmt: skip

# %% [markdown]
# ## Where the bits go
#
# *What to look for.* Background costs next to nothing. The most expensive cells are those that nothing before them
# announces; where a whole region is bright, the prior knows little more than what is usual there.

# %%
if prior is not None:
    lengths = stages.code_lengths(prior, codes)
    display(figures.show(
        study, "prior-bits", draw.bits_map(lengths),
        "Mean code length of each cell of the grid, over the slices of the test people.",
        f"From {lengths.mean(axis=0).min():.2f} to {lengths.mean(axis=0).max():.2f} bits, highest inside the head.",
    ))  # fmt: skip

# %% [markdown]
# **Next:** notebook 4 draws new brains, and says how good everything is.
