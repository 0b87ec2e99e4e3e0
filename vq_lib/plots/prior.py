"""Figures of notebook 03: what the priors know, and what they see."""

import keras
import numpy as np

from vq_lib import plots as figures
from vq_lib.models import priors
from vq_lib.plots import COLOURS
from vq_lib.plots.names import NAMES
from vq_lib.scores.ladder import overfitted

MARKS = {"train": ("|", "training people"), "validation": ("x", "validation people"), "test": ("o", "test people")}
SHADES = {"pixelcnn": COLOURS["model"], "gated": COLOURS["test"], "snail": COLOURS["other"]}


def in_words(settings):
    """What a recipe makes of one prior, as a sentence; `settings` is a `recipe.PriorModel`."""
    plural = "s" * (settings.blocks > 1)
    attention = f", attention after every {settings.attention} and the last" * (settings.name == "snail")
    parts = [
        f"a first window of {settings.kernel} × {settings.kernel} cells",
        f"{settings.blocks} block{plural} of {settings.filters} filters{attention}",
        f"codes embedded in {settings.embedding} numbers" if settings.embedding else "one-hot codes",
        *["a bias for each cell"] * settings.position,
        *[f"dropout {settings.dropout:g}"] * bool(settings.dropout),
        f"told each slice's {' and '.join(settings.condition)}" if settings.condition else "told nothing of a slice",
    ]
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def curves(histories, position_unigram):
    """Bits per code over epochs, beside the baseline that matters.

    Args:
        histories: `{prior: {"epoch", "loss", "val_loss"}}`, each column (epochs,), losses in nats.
        position_unigram: bits per code of the validation people, as the curves are.
    """
    figure, axes = figures.new(8.5, 3)
    for name, history in histories.items():
        epochs = history["epoch"]
        marker = "o" if len(epochs) < 3 else None  # a line through one point is invisible
        for column, style, what in (("loss", ":", "training"), ("val_loss", "-", "validation")):
            label, bits = f"{NAMES[name]}, {what}", history[column] / np.log(2)
            axes.plot(epochs, bits, color=SHADES[name], ls=style, marker=marker, label=label)
    axes.axhline(position_unigram, color=COLOURS["baseline"], ls="--", label="position unigram, validation")
    last = max(history["epoch"][-1] for history in histories.values())
    axes.set(xlabel="epoch", ylabel="bits per code", xlim=(0.5, last + 0.5))
    axes.xaxis.get_major_locator().set_params(integer=True)
    figure.legend(loc="outside right upper", fontsize=8)  # inside it would cover curves
    return figure


def ladder(baselines, models):
    """Bits per code: baselines and priors on test people, and enlarged beside them each prior on all three splits.

    Args:
        baselines: `{rung: bits}`, as `ladder.ladder` gives them.
        models: `{prior: {"train", "validation", "test"}}`, in bits per code.
    """
    figure, (axes, near) = figures.new(9, 2 + 0.4 * len(models), columns=2, width_ratios=(3, 2), sharey=True)
    names = [
        *(rung.replace("_", " ").replace("markov", "Markov") for rung in baselines),
        *(NAMES[name] for name in models),
    ]
    values = [*baselines.values(), *(bits["test"] for bits in models.values())]
    colours = [COLOURS["baseline"]] * len(baselines) + [SHADES[name] for name in models]
    axes.bar_label(axes.barh(names, values, color=colours, height=0.65), fmt=" %.2f")
    for marker, who in MARKS.values():
        near.plot([], [], marker, color=COLOURS["baseline"], ms=9, mew=2, label=who)
    for place, (name, bits) in enumerate(models.items(), len(baselines)):
        near.hlines(place, min(bits.values()), max(bits.values()), color=SHADES[name], lw=1)
        for split, (marker, _) in MARKS.items():
            near.plot(bits[split], place, marker, color=SHADES[name], ms=9, mew=2)
    near.legend(loc="upper center", title="the priors, enlarged")  # the baselines' rows are empty here
    axes.invert_yaxis()
    axes.set(xlabel="bits per code of test people (lower is better)", xlim=(0, max(values) * 1.12))
    near.set(xlabel="bits per code")
    near.margins(x=0.12)
    near.tick_params(left=False)
    near.spines["left"].set_visible(False)
    for panel in (axes, near):
        panel.grid(axis="y", visible=False)
    return figure


def verdicts(summaries, baselines, differences):
    """Header and rows of the table of priors, for `figures.table`.

    Args:
        summaries: `{prior: summary}` as `stages.train_priors` gives them, the main one first.
        baselines: `{rung: bits per code of test people}`.
        differences: `{prior: {"mean", "low", "high"}}`, bits per code that the others need beyond the main one.
    """
    main, base = next(iter(summaries)), baselines["position_unigram"]
    header = ("prior", "parameters", "bits per code, test", "below position unigram", "test above training",
              "overfitted?", f"more bits than {NAMES[main]} (95%)")  # fmt: skip
    rows = []
    for name, summary in summaries.items():
        bits, other = summary["bits_per_code"], "–"
        if name in differences:
            other = "{mean:+.3f} ({low:+.3f} to {high:+.3f})".format(**differences[name])
        rows.append((
            NAMES[name], f"{summary['parameters']:,}", f"{bits['test']:.3f}",
            f"{100 * (1 - bits['test'] / base):.1f}%", f"{100 * (bits['test'] / bits['train'] - 1):.1f}%",
            "yes" if overfitted(bits) else "no", other,
        ))  # fmt: skip
    return header, rows


def gaps(summaries, found, unigram):
    """Header and rows of the table of bits per code on the three groups of people, for `figures.table`.

    Args:
        summaries: `{prior: summary}` as `stages.train_priors` gives them.
        found: `{prior: {"validation", "test"}}`, each as `ladder.gap` gives it.
        unigram: `{"train", "validation", "test"}`, bits per code of the position unigram.
    """
    header = ("", "training", "validation", "test", "validation above training (95%)", "test above training (95%)")
    interval = "{mean:+.1%} ({low:+.1%} to {high:+.1%})"
    groups = next(iter(found.values()))
    lines = [(NAMES[name], summary["bits_per_code"], found[name], "gap") for name, summary in summaries.items()]
    lines.append(("position unigram, the person left out", unigram, groups, "groups"))
    rows = [
        (name, *(f"{bits[split]:.3f}" for split in ("train", "validation", "test")),
         *(interval.format(**gap[split][key]) for split in ("validation", "test")))
        for name, bits, gap, key in lines
    ]  # fmt: skip
    return header, rows


def seen(prior, codes, cell, batch=64, seed=0, told=None):
    """How much the logits of one cell change when another cell's code changes: float (h, w).

    Each cell of `codes` (h, w) is replaced in turn by another code and the whole grid is run again: what has no
    influence gives zero, whatever the architecture. Less than a millionth of the largest logit is rounding, and zero.

    Args:
        prior: a model of grids of h by w codes.
        codes: int (h, w), the grid that is changed.
        cell: (row, column) of the cell whose prediction is watched.
        batch, seed: grids at a time; what the other codes are drawn with.
        told: what a conditioned prior is told, int (2,); None: nothing.
    """
    height, width = codes.shape
    rng = np.random.default_rng(seed)
    changed = np.repeat(codes[None], height * width, axis=0)
    place = np.arange(height * width)
    other = (codes.ravel() + rng.integers(1, prior.codes, height * width)) % prior.codes
    changed[place, place // width, place % width] = other
    row, column = cell

    def logits(grids):
        known = np.tile(np.array([-1, -1] if told is None else told, np.int32), (len(grids), 1))
        grids = grids.astype(np.int32)
        # Called, not `predict`ed: what is compiled, and so the rounding, depends on what the model was asked before.
        return keras.ops.convert_to_numpy(prior((grids, known) if prior.conditional else grids))[:, row, column]

    parts, whole = [], logits(codes[None])
    for i in range(0, len(changed), batch):
        part = changed[i : i + batch]
        # Beside the same number of unchanged grids: a batch of another size may round differently.
        parts.append(np.abs(logits(part) - logits(np.repeat(codes[None], len(part), axis=0))).mean(axis=-1))
    found = np.concatenate(parts).reshape(height, width)
    return np.where(found > 1e-6 * np.abs(whole).max(), found, 0)


def fields(side=15, cell=(10, 7), **options):
    """What one cell sees in a small untrained prior of each kind: `{prior: influence (side, side)}`; see `seen`."""
    options = {"filters": 8, "blocks": 4, "kernel": 5, "head": 1, "embedding": 4, **options}
    codes, found = np.random.default_rng(0).integers(0, 8, (side, side)), {}
    for name, kind in priors.KINDS.items():
        keras.utils.set_random_seed(1)
        found[name] = seen(kind((side, side), 8, **options), codes, cell)
    return found


def field_panels(influences, cell):
    """What one cell sees in each kind of prior: the past it sees, the past it does not, and the future.

    Args:
        influences: `{prior: float (h, w)}`, see `seen`. cell: its (row, column).
    """
    figure, panels = figures.new(2.9 * len(influences), 3.1, columns=len(influences), squeeze=False)
    for axes, (name, influence) in zip(panels[0], influences.items(), strict=True):
        _kinds(axes, influence, cell)
        past = cell[0] * influence.shape[1] + cell[1]
        axes.set_title(f"{NAMES[name]}: {(influence > 0).sum()} of {past} past cells", fontsize=9)
    return figure


def influence_panels(influence, cell):
    """How much each earlier cell matters to the prediction of one, and which do at all.

    Args:
        influence: float (h, w), mean change of the logits, see `seen`. cell: its (row, column).
    """
    figure, (axes, binary) = figures.new(8, 3.8, columns=2)
    picture = axes.imshow(np.log10(np.where(influence > 0, influence, np.nan)), cmap="viridis")
    # Beside the axes, not taken from them: both panels keep the same size.
    bar = axes.inset_axes((1.03, 0.0, 0.04, 1.0))
    figure.colorbar(picture, cax=bar, label="log10 of the mean change of the logits")
    figures.bare(axes)
    axes.set_facecolor("#f2f2f2")
    axes.add_patch(_square(cell))
    axes.set_title("How much it matters", fontsize=9)
    _kinds(binary, influence, cell)
    binary.set_title("Seen (blue), unseen past (orange), future (grey)", fontsize=9)
    return figure


def reach_in_words(influence, cell):
    """How much of the past one cell's prediction depends on, and what is out of its reach, in sentences.

    Args:
        influence: float (h, w), see `seen`. cell: its (row, column).
    """
    seen, (row, column) = influence > 0, cell
    count, past = int(seen.sum()), row * influence.shape[1] + column
    if count == past:
        return f"All {past} past cells influence the cell: nothing is out of its reach."
    reach = row - np.flatnonzero(seen.any(axis=1)).min(initial=row)
    share = f"{count} of {past} past cells ({count / past:.0%}) influence the cell"
    if reach == row:
        return f"{share}, in all {row} rows above it."
    return (
        f"{share}. They lie no more than {reach} of the {row} rows above it: of this slice's outline further away it "
        "knows only what the codes between carry on."
    )


def _kinds(axes, influence, cell):
    from matplotlib.colors import ListedColormap

    past = np.arange(influence.size).reshape(influence.shape) < cell[0] * influence.shape[1] + cell[1]
    kinds = np.where(influence > 0, 2, np.where(past, 1, 0))
    axes.imshow(kinds, cmap=ListedColormap(["#f2f2f2", COLOURS["warning"], COLOURS["model"]]), vmin=0, vmax=2)
    figures.bare(axes)
    axes.add_patch(_square(cell))


def _square(cell):
    from matplotlib.patches import Rectangle

    return Rectangle((cell[1] - 0.5, cell[0] - 0.5), 1, 1, fill=True, color="#d00000", lw=1)


def bits_maps(unigram, models):
    """The mean code length of each cell over the test slices, and what each prior saves there.

    Args:
        unigram: code lengths (n, h, w) under the position unigram, in bits.
        models: `{prior: code lengths (n, h, w)}`, in bits.
    """
    columns = 1 + len(models)
    figure, panels = figures.new(2.9 * columns + 0.8, 5.4, rows=2, columns=columns, squeeze=False)
    maps = {"position unigram": unigram.mean(axis=0)}
    maps |= {NAMES[name]: lengths.mean(axis=0) for name, lengths in models.items()}
    base = maps["position unigram"]
    gains = [base - found for found in maps.values()]
    top, reach = max(found.max() for found in maps.values()), max(np.abs(gain).max() for gain in gains) or 1
    for column, ((name, found), gain) in enumerate(zip(maps.items(), gains, strict=True)):
        bits = panels[0, column].imshow(found, cmap="magma", vmin=0, vmax=top)
        panels[0, column].set_title(f"{name}: {found.mean():.2f}", fontsize=9)
        saved = panels[1, column].imshow(gain, cmap="PuOr", vmin=-reach, vmax=reach)
    for axes in panels.flat:
        figures.bare(axes)
    panels[1, 0].set_visible(False)
    figure.colorbar(bits, ax=panels[0], label="bits per code", shrink=0.85)
    figure.colorbar(saved, ax=panels[1], label="bits per code saved", shrink=0.85)
    return figure
