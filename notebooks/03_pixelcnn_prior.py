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
# Codes drawn at random decode to noise: most grids of codes are no brain. A *prior* learns which are. It gives every
# grid a probability, so it can be judged in bits, and new grids can be drawn from it.

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
from vq_lib.plots import prior as draw
from vq_lib.plots.names import NAMES
from vq_lib.report import conclusions
from vq_lib.scores import ladder
from vq_lib.study import Study
from vq_lib.training import stages

study = Study(report, data, overrides)
figures.settings(study)

# %% [markdown]
# ## The model
#
# The codes of a grid are read row by row. By the chain rule, any distribution over grids is a product of conditionals,
#
# $$p(z) = \prod_i p(z_i \mid z_1, \dots, z_{i-1}),$$
#
# and one network computes all of them at once, if no cell can see itself or a later one. A *conditioned* prior is also
# told something of the slice, its position or its person's label: then each factor is $p(z_i \mid z_{<i}, c)$ with an
# embedding of $c$, and what a slice's $c$ is costs bits of its own. Three ways to see the past:
#
# * **PixelCNN** (van den Oord et al. 2016, [arXiv 1601.06759](https://arxiv.org/abs/1601.06759)): convolutions are
# *masked*: the windows of the first layer end before the cell (mask A), those of later layers, which read what the
# first found, at it (mask B).
# * **Gated PixelCNN** ([arXiv 1606.05328](https://arxiv.org/abs/1606.05328)): two stacks. The vertical one reads the
# rows above, to both sides of the cell and as far as its windows reach, the horizontal one the row to the left; each
# layer multiplies what it found by a gate, $\tanh(a) \odot \sigma(b)$.
# * **PixelSNAIL** (Chen et al. 2017, [arXiv 1712.09763](https://arxiv.org/abs/1712.09763)): masked convolutions for
# what is near, and attention over all earlier cells for what is far,
# $\sum_{j < i} \operatorname{softmax}_j(q_i \cdot k_j / \sqrt d)\, v_j$.
#
# The recipe says which is trained (`prior.name`), and with which others it is compared (`prior.compare`).
#
# ## What a cell sees
#
# *What to look for.* Nothing below the red cell, nor to its right in its own row, may matter (grey): that would be
# looking at the answer. Orange is past that the network *cannot* see. Stacked masked windows reach up and to the left,
# but to the upper right their view is cut off at a slant: the **blind spot** of PixelCNN (1606.05328, figure 1). Two
# stacks close it within their reach, and attention has no reach to end at.

# %%
cell = (10, 7)
fields = draw.fields(15, cell)
for name, influence in fields.items():
    assert not influence.ravel()[cell[0] * 15 + cell[1] :].any(), f"{name} sees the future"
figures.show(
    study, "receptive-field", draw.field_panels(fields, cell),
    "What the red cell's prediction depends on in small untrained networks of the same depth, found by changing each "
    "cell's code in turn. Blue: seen; orange: past but unseen; grey: the future.",
    "; ".join(f"{NAMES[name]} sees {(f > 0).sum()} of {cell[0] * 15 + cell[1]} past cells"
              for name, f in fields.items()) + "; none sees a later one. PixelCNN misses a wedge to the upper right.",
)  # fmt: skip

# %% [markdown]
# ## Training
#
# A prior is trained by the mean code length $-\log_2 p(z_i \mid z_{<i})$ in **bits per code**, which is also what an
# ideal compressor would pay for each code. The codes are those of the saved VQ-VAE: a few slices are encoded again and
# compared before anything starts.

# %%
slices = datasets.opened(study)
trained = stages.train_priors(study, slices)
if trained:
    main, (prior, summary) = next(iter(trained.items()))
    display(figures.points([(NAMES[name], draw.in_words(model)) for name, model in study.recipe.prior.models().items()],
                           title="In this report:"))  # fmt: skip
else:
    print("This recipe has no prior: nothing to train or to draw, and the report leaves the sections on it out.")

# %% [markdown]
# *What to look for.* Validation bits should fall well below the dashed line (the next section says what it is) and
# not rise again. What a conditioned prior is told is not counted here yet, and training bits are those with dropout,
# where the recipe has it. With few people a prior learns them by heart: then the training curve goes on falling while
# the validation curve turns. Dropout and keeping the best epoch stand against that.

# %%
if trained:
    histories = {name: stages.history(study.prior / name) for name in trained}
    base, bits = summary["baselines_bits_per_code"], summary["models"]
    unigram = summary["position_unigram"]["validation"]
    spent = [f"{NAMES[name]} {s['epochs']['done']} of {s['epochs']['planned']} epochs in "
             f"{s['seconds'] / 60:.1f} minutes" for name, (_, s) in trained.items()]  # fmt: skip
    display(figures.show(
        study, "prior-curves", draw.curves(histories, unigram),
        f"Bits per code while the priors train: {'; '.join(spent)}.",
        "; ".join(f"{NAMES[name]}: validation ends at {h['val_loss'][-1] / np.log(2):.2f} bits per code"
                  for name, h in histories.items()) + f"; the position unigram is at {unigram:.2f}.",
    ))  # fmt: skip
    settings = study.recipe.prior.models()
    display(figures.points([(NAMES[name], conclusions.learning(h, settings[name], trained[name][1]["stopped"]))
                            for name, h in histories.items()]))  # fmt: skip

# %% [markdown]
# ## The ladder
#
# A number of bits means little alone. Each rung knows a little more:
#
# * **uniform**: every code alike, $\log_2 K$;
# * **unigram**: how frequent each code is;
# * **position unigram**: how frequent each code is *at this place of the grid*. Brains are aligned, so this says a
# lot: for a prior that does not beat it, knowing the place alone would have been better;
# * **Markov**: a mixture of the position unigram, $p(z \mid \text{left})$ and $p(z \mid \text{upper})$.
#
# *What to look for.* The coloured bars against the bar of the position unigram. On the right the priors are enlarged: a
# mark for training people far to the left of the others is overfitting. What a conditioned prior is told of a slice is
# counted: its bits are spread over the codes.

# %%
if trained:
    display(figures.show(
        study, "prior-ladder", draw.ladder(base, bits),
        "Bits per code on test people: baselines that know ever more, and the priors; on the right, the priors on all "
        "three splits.",
        "; ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in base.items()) + "; " + "; ".join(
            f"{NAMES[name]} {b['test']:.2f} on test, {b['train']:.2f} on training people"
            for name, b in bits.items()),
    ))  # fmt: skip

# %% [markdown]
# The **verdict** is a rule of this report: a prior that needs more than 5% more bits for test people than for training
# people is overfitted. The difference between two priors has an interval of its own, from a bootstrap that draws people
# for both at once: how hard a person is to predict cancels, and what is left is the priors'.

# %%
if trained:
    summaries = {name: found for name, (_, found) in trained.items()}
    display(figures.table(*draw.verdicts(summaries, base, summary["differences"]), "The priors on test people"))
    if summary["differences"]:
        display(figures.paragraphs(
            "Each prior was trained once, and they differ in size: the intervals are over people and say nothing about "
            "another seed, so that this is no ranking of the architectures."
        ))  # fmt: skip

# %% [markdown]
# Are unseen people harder because they were not trained on, or because they are other people: older, or in a worse
# scanner? A yardstick that has learned nobody by heart tells: the position unigram, with the frequencies of each
# training person taken from all the *others*. With $L$ the prior's bits per code and $U$ the yardstick's, what is left
# of the gap is
#
# $$\frac{L_{\text{test}} / L_{\text{train}}}{U_{\text{test}} / U_{\text{train}}} - 1 .$$
#
# *What to look for.* The last row is the groups' difference. It is a rough measure, since the yardstick knows where in
# the image a code belongs, and nothing of texture. The intervals are a bootstrap over the people of both groups.

# %%
if trained:
    header, rows = draw.gaps(summaries, summary["gaps"], summary["position_unigram"])
    display(figures.table(header, rows, "Bits per code of people that were trained on, and of others"))
    display(figures.paragraphs(ladder.in_words(summary["gaps"][main])))

# %% [markdown]
# ## Where the bits go
#
# *What to look for.* Background costs next to nothing. The most expensive cells are those that nothing before them
# announces; where a whole region is bright, a prior knows little more than what is usual there. The lower row shows
# what it saves over the position unigram: orange cells cost it *more*.

# %%
if trained:
    codes = stages.load_vqvae(study, slices)[1]
    split = [codes[slices.where(name)] for name in ("train", "validation", "test")]
    table = ladder.position_unigram(*split, prior.codes)
    lengths = {name: stages.lengths_on_test(study, name) for name in trained}
    told = study.recipe.prior.condition
    display(figures.show(
        study, "prior-bits", draw.bits_maps(table, lengths),
        "Mean code length of each cell of the grid over the slices of the test people (above), and what each prior "
        "saves over the position unigram (below)."
        + (" What a prior is told of a slice belongs to no cell: its bits are left out here." if told else ""),
        "; ".join(f"{NAMES[name]} from {found.mean(axis=0).min():.2f} to {found.mean(axis=0).max():.2f} bits, "
                  "highest inside the head" for name, found in lengths.items()) + ".",
    ))  # fmt: skip

# %% [markdown]
# ## How far it really looks
#
# A trained prior need not use all that it can see. *What to look for.* Influence falls off with distance; left and
# upper neighbours matter most. Codes far away that still matter are what a Markov model cannot have.

# %%
if trained:
    cell = (prior.grid[0] * 5 // 8, prior.grid[1] // 2)
    row = slices.where("test")[len(split[2]) // 2]
    known = stages.conditions(slices, told)[2][row] if prior.conditional else None
    influence = draw.seen(prior, codes[row], cell, told=known)
    past = cell[0] * prior.grid[1] + cell[1]
    assert not influence.ravel()[past:].any(), "the prior sees the future"
    display(figures.show(
        study, "prior-influence", draw.influence_panels(influence, cell),
        f"What the red cell's prediction depends on in the trained {NAMES[main]}, on a slice of a test person.",
        f"{int((influence > 0).sum())} of {past} past cells influence the cell; no later cell does.",
    ))  # fmt: skip
    display(figures.paragraphs(draw.reach_in_words(influence, cell)))

# %% [markdown]
# **Next:** notebook 4 says how good everything is, and shows what the prior, where there is one, draws.
