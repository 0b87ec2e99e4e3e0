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
# # 3 · PixelCNN prior
#
# Codes drawn at random decode to noise: most grids of codes are no brain. A *prior* learns which are. It gives every
# grid a probability, so it can be judged in bits, and new grids can be drawn from it.

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

keras = environment.start_keras()  # in silence: TensorFlow would fill a page with its remarks
from vq_lib import data as datasets
from vq_lib.layers.masked import MaskedConv2D
from vq_lib.models.build import KINDS, prior_from
from vq_lib.models.levels import split
from vq_lib.models.prior import code_lengths
from vq_lib.models.sampling import FREE, Sampler, gumbel
from vq_lib.plots import prior as draw

# %%
from vq_lib.plots.names import NAMES
from vq_lib.plots.prior import influence
from vq_lib.report import display as shown
from vq_lib.report import metrics
from vq_lib.scores import bits
from vq_lib.scores.intervals import interval
from vq_lib.study import Study
from vq_lib.training import finished
from vq_lib.training.batches import Batches
from vq_lib.training.optimizer import optimizer, policy, use_devices
from vq_lib.training.resume import Resume

study = Study(report, data, overrides)
recipe, show = study.recipe.prior, shown.Figures(study)
slices = datasets.opened(study)

# %% [markdown]
# ## The model
#
# The codes of a grid are read row by row. By the chain rule, any distribution over grids is a product of conditionals,
#
# $$p(z) = \prod_i p(z_i \mid z_1, \dots, z_{i-1}),$$
#
# and one network computes all of them at once, if no cell can see itself or a later one.
#
# ### A masked convolution
#
# A convolution sees all around a cell. Set the weights of all taps that lie on the cell or come after it in reading
# order to zero, and it sees the past alone (**mask A**; van den Oord et al. 2016, [arXiv
# 1601.06759](https://arxiv.org/abs/1601.06759)). Later layers may also see the cell itself (**mask B**), since what the
# first layer put there knows the past only. In the library the taps that count are all that is stored, so that nothing
# has to be masked. It is the same convolution:

# %%
layer = MaskedConv2D(filters=4, kernel=5, mask="A")
x = keras.random.normal((1, 8, 8, 3), seed=0)
y = layer(x)

mask = np.zeros((5, 5), bool)
mask[:2], mask[2, :2] = True, True  # the rows above, and what lies to the left
kernel = np.zeros((5, 5, 3, 4), np.float32)
kernel[mask] = np.concatenate([keras.ops.convert_to_numpy(taps) for taps in (layer.above, layer.left)])
plain = keras.ops.conv(x, kernel, padding="same") + layer.bias
np.testing.assert_allclose(keras.ops.convert_to_numpy(y), keras.ops.convert_to_numpy(plain), atol=1e-5)
mask.astype(int)

# %% [markdown]
# ### What a cell sees
#
# Three networks are built of such layers:
#
# * **PixelCNN**: masked convolutions with residual connections.
# * **Gated PixelCNN** ([arXiv 1606.05328](https://arxiv.org/abs/1606.05328)): two stacks. The vertical one reads the
#   rows above, to both sides of the cell, the horizontal one the row to the left; each layer multiplies what it found
#   by a gate, $\tanh(a) \odot \sigma(b)$.
# * **PixelSNAIL** (Chen et al. 2017, [arXiv 1712.09763](https://arxiv.org/abs/1712.09763)): masked convolutions for
#   what is near, and attention over all earlier cells for what is far, $\sum_{j < i} \operatorname{softmax}_j(q_i \cdot
#   k_j / \sqrt d)\, v_j$.
#
# *What to look for.* Nothing below the red cell, nor to its right in its own row, may matter (grey): that would be
# looking at the answer. Orange is past that the network *cannot* see. Stacked masked windows reach up and to the left,
# but to the upper right their view is cut off at a slant: the **blind spot** of PixelCNN (1606.05328, figure 1). Two
# stacks close it within their reach, and attention has no reach to end at.

# %%
side, cell = 15, (10, 7)
grid, fields = np.random.default_rng(0).integers(0, 8, (side, side)), {}
for name, kind in KINDS.items():
    keras.utils.set_random_seed(1)
    small = kind((side, side), 8, filters=8, blocks=4, kernel=5, head=1, embedding=4)
    fields[name] = influence(lambda codes, small=small: keras.ops.convert_to_numpy(small(codes)), grid, cell, 8)
    assert not fields[name].ravel()[cell[0] * side + cell[1] :].any(), f"{name} sees the future"

# %%
show(draw.fields(fields, cell), "receptive-field",
     "What the red cell's prediction depends on, found by changing each cell's code in turn. Blue: seen; orange: past "
     "but unseen; grey: the future.",
     alt="; ".join(f"{NAMES[name]} sees {(seen > 0).sum()} past cells" for name, seen in fields.items()))  # fmt: skip

# %% [markdown] tags=["prior"]
# ## Training
#
# The codes are those of the saved VQ-VAE. A *conditioned* prior is also told something of the slice, its position or
# its person's label: then each factor is $p(z_i \mid z_{<i}, c)$ with an embedding of $c$, and what a slice's $c$ is
# costs bits of its own. A prior is trained by the cross-entropy, the mean code length $-\log p(z_i \mid z_{<i})$.

# %% tags=["prior"]
vqvae, codes, made = finished.load_vqvae(study, slices)
rows = {split: slices.where(split) for split in ("train", "validation", "test")}
cells, num_codes = codes[0].size, vqvae.quantizer.num_embeddings
use_devices(study.recipe.devices)

# %% [markdown] tags=["prior"]
# The recipe's own prior comes first; those under `compare` are trained on the same codes. Each `fit` is like that of
# notebook 2, and resumes like it.

# %% tags=["prior"]
untrained = {}
for name, settings in recipe.models().items():
    labels, positions, condition = slices.conditions(settings.condition)
    inputs = (codes, condition) if settings.condition else codes
    keras.utils.set_random_seed(settings.seed)
    prior = prior_from(settings, vqvae.levels, num_codes, labels, positions, policy(settings.precision))
    batches = Batches(inputs, rows["train"], settings.batch, settings.seed, codes, devices=study.recipe.devices)
    prior.compile(optimizer(settings, len(batches)), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    untrained[name] = settings, prior, batches, condition
prior.summary(print_fn=print, line_length=100)

# %% tags=["prior"]
priors, lengths = {}, {}
for name, (settings, prior, batches, condition) in untrained.items():
    wanted = finished.prior_identity(study, name, made["key"])
    resume = Resume(study.prior / name, batches, settings.minutes, settings.patience, wanted, metrics.commit())
    held_out = Batches(batches.inputs, rows["validation"], 64, targets=codes, devices=study.recipe.devices)
    keras.utils.set_random_seed(settings.seed)
    prior.fit(batches, validation_data=held_out, epochs=settings.epochs, initial_epoch=resume.restore(prior), verbose=2,
              callbacks=[resume])  # fmt: skip
    priors[name], arrays = resume.finish(prior, lengths=lambda model, condition=condition: {
        split: code_lengths(model, codes[some], condition[some]) for split, some in rows.items()
    })  # fmt: skip
    lengths[name] = arrays["lengths"]

# %% [markdown] tags=["prior"]
# *What to look for.* Validation bits should fall well below the dashed line (the next section says what it is) and
# not rise again. What a conditioned prior is told is not counted here yet, and training bits are those with dropout,
# where the recipe has it. With few people a prior learns them by heart: then the training curve goes on falling while
# the validation curve turns. Dropout and keeping the best epoch stand against that.

# %% tags=["prior"]
grids, people = ([values[some] for some in rows.values()] for values in (codes, slices.person))
frequencies = bits.PositionUnigram(*grids[:2], num_codes)
histories = {name: finished.history(study.prior / name) for name in priors}
last = {NAMES[name]: round(history.val_loss.iloc[-1] / np.log(2), 2) for name, history in histories.items()}
show(draw.curves(histories, frequencies.lengths(grids[1]).mean()), "prior-curves",
     "Bits per code while the priors train.", alt=f"Validation ends at {last} bits per code.")  # fmt: skip

# %% [markdown] tags=["prior"]
# ## How good it is, in bits
#
# A number of bits means little alone. Four tables know ever more:
#
# * **uniform**: every code alike, $\log_2 K$;
# * **unigram**: how frequent each code is;
# * **position unigram**: how frequent each code is *at this place of the grid*. Brains are aligned, so this says a
#   lot: for a prior that does not beat it, knowing the place alone would have been better;
# * **Markov**: a mixture of the position unigram, $p(z \mid \text{left})$ and $p(z \mid \text{upper})$.
#
# *What to look for.* The coloured bars against the bar of the position unigram. On the right the priors are enlarged: a
# mark for training people far to the left of the others is overfitting. What a conditioned prior is told of a slice is
# counted: its bits are spread over the codes.

# %% tags=["prior"]
base = bits.baselines(*grids, num_codes)
told = {name: prior.condition_bits / cells for name, prior in priors.items()}
models = {
    name: {split: float(some.mean()) + told[name] for split, some in parts.items()} for name, parts in lengths.items()
}
show(draw.bits(base, models), "prior-bits",
     "Bits per code on test people: tables of frequencies, and the priors; on the right, the priors on all splits.",
     alt="; ".join(f"{NAMES[name]} {value['test']:.2f}" for name, value in models.items()))  # fmt: skip

# %% [markdown] tags=["prior"]
# A prior that needs more than 5% more bits for test people than for training people is called **overfitted** here. But
# are unseen people harder because they were not trained on, or because they are other people: older, or in a worse
# scanner? A yardstick that has learned nobody by heart tells: the position unigram, with the frequencies of each
# training person taken from all the *others*. With $L$ the prior's bits per code and $U$ the yardstick's, what is left
# of the gap **beyond the groups** is
#
# $$\frac{L_{\text{test}} / L_{\text{train}}}{U_{\text{test}} / U_{\text{train}}} - 1 .$$
#
# It is a rough measure, since the yardstick knows where in the image a code belongs, and nothing of texture. The
# difference to the main prior is paired: how hard a person is to predict cancels. Each prior was trained once, and they
# differ in size, so that this is no ranking of the architectures.

# %% tags=["prior"]
unigram = dict(zip(rows, (frequencies.left_out(people[0]), *map(frequencies.lengths, grids[1:])), strict=True))
a_slice = {
    name: {split: (parts[split].mean(axis=(1, 2)) + told[name], unigram[split].mean(axis=(1, 2)), person)
           for split, person in zip(rows, people, strict=True)}
    for name, parts in lengths.items()
}  # fmt: skip
gaps = {
    name: {split: bits.gap(parts["train"], parts[split]) for split in ("validation", "test")}
    for name, parts in a_slice.items()
}

# %% tags=["prior"]
main, *others = priors
more = {name: interval(a_slice[name]["test"][0] - a_slice[main]["test"][0], people[2]) for name in others}
verdicts = pd.DataFrame({
    NAMES[name]: {
        "parameters": priors[name].count_params(), "bits per code, test": models[name]["test"],
        "below position unigram": 1 - models[name]["test"] / base["position_unigram"],
        "test above training": gaps[name]["test"]["gap"]["mean"], "overfitted": bits.overfitted(models[name]),
        "beyond the groups": gaps[name]["test"]["beyond"], "more bits than the main prior": more.get(name),
    } for name in priors
}).T  # fmt: skip
forms = ("{:,}", "{:.3f}", "{:.1%}", "{:.1%}", {True: "yes", False: "no"}.get, shown.interval, shown.interval)
shown.table(verdicts, "priors", "The priors on test people, with 95% intervals over people.",
            dict(zip(verdicts.columns, forms, strict=True)))  # fmt: skip

# %% tags=["prior"]
levels = {}
if vqvae.coarse:
    coarse, fine = split(lengths[main]["test"], vqvae.levels[0])
    levels = {"levels_bits_per_code": {"coarse": float(coarse.mean()), "fine": float(fine.mean())}}
    print(f"Of the main prior on test people: {coarse.mean():.3f} bits a coarse code, {fine.mean():.3f} a fine one.")

# %% tags=["prior"]
_, _, made_prior = finished.load_prior(study, made)
study.record("prior", {
    "name": main, "bits_per_code": models[main], "models": models, "gaps": gaps, "differences": more,
    "overfitted": {name: bits.overfitted(split) for name, split in models.items()},
    "baselines_bits_per_code": base, "position_unigram": {split: some.mean() for split, some in unigram.items()},
    "bits_per_pixel": models[main]["test"] * cells / np.prod(slices.image_shape[:2]),
    "parameters": priors[main].count_params(), "epochs": made_prior["epochs"], **levels,
})  # fmt: skip

# %% [markdown] tags=["prior"]
# ## Where the bits go
#
# *What to look for.* Background costs next to nothing. The most expensive cells are those that nothing before them
# announces; where a whole region is bright, a prior knows little more than what is usual there. The lower row shows
# what it saves over the position unigram: orange cells cost it *more*. (What a prior is told of a slice belongs to no
# cell, and is left out here.)

# %% tags=["prior"]
unseen = {name: vqvae.fine(parts["test"]) for name, parts in lengths.items()}
show(draw.bits_by_cell(vqvae.fine(unigram["test"]), unseen), "prior-cells",
     "Mean code length of each cell over test slices, and what each prior saves over the position unigram.",
     alt="Maps over the grid of codes: next to nothing in the background, most inside the head.")  # fmt: skip

# %% [markdown] tags=["prior"]
# ## Drawing from it
#
# A new grid is drawn cell by cell. The code with the largest $\log p + g$, with $g$ Gumbel noise, is a draw from $p$
# (the Gumbel-max trick; Maddison et al. 2014, [arXiv 1411.0030](https://arxiv.org/abs/1411.0030)). Written down
# plainly, the whole network runs once for every cell, and all but one of its outputs are thrown away. `sample` keeps
# what each layer has already computed, and runs the loop over cells as one compiled function. With the same noise both
# draw the same codes, unless two are level to rounding. The plain loop is stopped after the first cells.

# %% tags=["prior"]
prior, known, gap = priors[main], untrained[main][-1][rows["test"][:2]], np.inf
noise = gumbel(2, prior, seed=0)
grid, some, began = np.zeros((2, *prior.grid), np.int32), min(cells, 64), time.perf_counter()
for cell in range(some):
    row, column = np.unravel_index(cell, prior.grid)
    logits = np.asarray(prior.predict_on_batch((grid, known) if prior.conditional else grid))
    values = logits[:, row, column] + noise[:, cell]
    grid[:, row, column] = values.argmax(axis=-1)
    gap = min(gap, np.diff(np.sort(values)[:, -2:]).min())
plain = (time.perf_counter() - began) / some

# %% tags=["prior"]
sampler, free = Sampler(prior), np.full(grid.shape, FREE, np.int32)
sampler.predict_on_batch((noise, free, known))  # compiles
began = time.perf_counter()
drawn = np.asarray(sampler.predict_on_batch((noise, free, known)))
cached = (time.perf_counter() - began) / cells
same = np.array_equal(drawn.reshape(2, -1)[:, :some], grid.reshape(2, -1)[:, :some])
assert same or gap < 1e-4, "the cached sampler draws other codes than the network"
print(f"a code by the plain loop: {1000 * plain:.1f} ms; by the cached one: {1000 * cached:.3f} ms")

# %% [markdown]
# **Next:** notebook 4 says how good everything is, and shows what the prior draws.
