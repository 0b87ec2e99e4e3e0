"""Figures of the data: who they are, what they look like, and what could be said about them without a model.

`slices` is a `data.slices.Slices` of N images, uint8 (N, H, W, C); `people` is `{person: {"age", "sex"}}`, both text,
as `data.people` gives it.
"""

import html

import numpy as np
from matplotlib.patches import Patch

from vq_lib.data.slices import SPLITS
from vq_lib.plots import COLOURS, Html, bare, folded, new, points, table, warning

AGES_APART = 10  # years between the median ages of two splits that are worth a sentence
SHARES_APART = 0.2  # the same for the share that a class has of the people


def classes(slices, most=6):
    """The labels that occur, a list; `""` (unknown) among them, in alphabetical order; of many, the `most` frequent."""
    names, counts = np.unique(slices.label, return_counts=True)
    return sorted(names[np.argsort(-counts, kind="stable")[:most]].tolist())


def note(text):
    """A paragraph that no reader should miss, such as where the images come from."""
    return Html(f"<p><strong>{html.escape(text)}</strong></p>", text)


def overview(slices, people=None):
    """A table: people, slices, classes (people of each), and what a table of people says, of every split."""
    rows = []
    for split, counts in slices.counts().items():
        mine = slices.where(split)
        number = {label: len(np.unique(slices.person[mine][slices.label[mine] == label])) for label in classes(slices)}
        text = ", ".join(f"{count} {label or 'unlabelled'}" for label, count in number.items() if count)
        who = np.unique(slices.person[mine]).tolist()
        ages = _ages_of(who, people or {})
        age = f"{np.median(ages):.0f} ({min(ages):.0f}–{max(ages):.0f})" if ages else ""
        women = _women([(people or {}).get(one, {}) for one in who])
        rows.append((split, f"{counts['people']:,}", f"{counts['images']:,}", text, age, women))
    header = ("split", "people", "slices", "people of each class", "age: median (range)", "women")
    kept = [i for i in range(len(header)) if i < 4 or any(row[i] for row in rows)]
    return table([header[i] for i in kept], [[row[i] for i in kept] for row in rows], "Who is in the data")


def _women(about):
    known = [one["sex"] for one in about if one.get("sex") in ("F", "M")]
    return f"{known.count('F') / len(known):.0%}" if known else ""


def _ages_of(who, people):
    """The ages that the table of people gives for `who`, a list of floats."""
    ages = (people.get(str(one), {}).get("age", "") for one in who)
    return [float(age) for age in ages if age.replace(".", "", 1).isdecimal()]


def rated(slices, people=None):
    """What the classes `control`, `dementia` and `unrated` mean, "" where nobody is unrated.

    They come from a table's clinical dementia rating, see `data.subjects.label`; an empty one is no diagnosis.
    """
    who = np.unique(slices.person[slices.label == "unrated"])
    if not len(who):
        return ""
    ages = _ages_of(who, people or {})
    old = f", of a median age of {np.median(ages):.0f}" if ages else ""
    return (
        "The classes follow the clinical dementia rating (CDR): control is 0, dementia above 0. Unrated means that the "
        f"table of people gives none: {len(who)} people{old}. It is no diagnosis; where classes are compared below, it "
        "counts as one more of them."
    )


def alike(slices, people=None):
    """Whether the splits hold alike people, in words: by median age, and by the share that each class has."""
    names = [label for label in np.unique(slices.label).tolist() if label]
    ages: dict[str, float] = {}
    shares: dict[str, dict[str, float]] = {label: {} for label in names}
    for split in SPLITS:
        mine = slices.where(split)
        who = np.unique(slices.person[mine])
        if known := _ages_of(who, people or {}):
            ages[split] = float(np.median(known))
        for label in names:
            shares[label][split] = len(np.unique(slices.person[mine][slices.label[mine] == label])) / max(len(who), 1)
    facts, wide = [], {label: max(found.values()) - min(found.values()) for label, found in shares.items()}
    if len(ages) == len(SPLITS) and max(ages.values()) - min(ages.values()) > AGES_APART:
        facts.append("the median age is " + _listed({split: f"{age:.0f}" for split, age in ages.items()}))
    for label, found in shares.items():
        if wide[label] > SHARES_APART:
            facts.append(
                f"the share of {label!r} is " + _listed({split: f"{share:.0%}" for split, share in found.items()})
            )
    if facts:
        return (
            f"The splits do not hold alike people: {'; '.join(facts)}. The validation people choose the epoch that is "
            "kept, the recipe in a sweep, and what notebooks 3 and 4 fit (the smoothing of frequencies, the grain, the "
            "scales of the likelihood), so these choices suit people like them; "
            "and part of any difference between the splits' scores is a difference between people."
        )
    if len(names) < 2 and len(ages) < len(SPLITS):
        return "Neither classes nor ages are known, so that nothing can be said about how alike the splits' people are."
    most = [f"median ages differ by at most {max(ages.values()) - min(ages.values()):.0f} years"] if ages else []
    if wide:
        most.append(f"the share of a class differs by at most {100 * max(wide.values()):.0f} percentage points")
    return f"The splits hold alike people: {', and '.join(most)}{'' if ages else ' (ages are not known)'}."


def _listed(values):
    return ", ".join(f"{value} in {split}" for split, value in values.items())


def findings(found):
    """What the checks found: leaks and warnings in red, then notes, then how many found nothing and which.

    Args:
        found: a list of findings, as `data.checks` describes them.
    """
    boxes = [warning(one["sentence"] + ".") for one in found if one["count"] and one["kind"] != "note"]
    notes = [one["sentence"] + "." for one in found if one["count"] and one["kind"] == "note"]
    quiet = [one["check"] for one in found if not one["count"]]
    shown = [*boxes]
    if quiet:
        shown.append(folded(f"{len(quiet)} of {len(found)} checks found nothing.", ", ".join(quiet) + "."))
    if notes:
        shown.append(points(notes, title="For information, no fault:"))
    return Html("".join(part.markup for part in shown), "\n".join(part.text for part in shown))


def neighbours(found):
    """What the nearest neighbour knows under both kinds of split, beside a constant answer.

    Args:
        found: as `data.splits.neighbours` returns it.
    """
    shown = {"same_person": "it is the same person", "same_label": "it has the same class"}
    rows = [(f"split by {kind}", *(f"{values[key]:.0%}" if values[key] is not None else "–" for key in shown),
             f"{values['correlation']:.3f}") for kind, values in found.items() if kind != "constant"]  # fmt: skip
    if answer := found.get("constant"):
        rows.append((f"always answering {answer['label']!r}", "–", f"{answer['same_label']:.0%}", "–"))
    return table(("", *shown.values(), "its correlation"), rows, "The nearest slice of the other folds")


def augmented(slices, change, count=4, columns=8):
    """Training slices (left) and what `change` makes of them.

    Args:
        change: `change(images, rng)`, uint8 (n, H, W, C) to the same.
        count, columns: rows of slices, and pictures in each.
    """
    rows = _spread(slices.where("train"), count + 2)  # the first and last slices of a stack show least
    rows = rows[1:-1] if len(rows) > 2 else rows
    figure, grid = new(8, 1.05 * len(rows) + 0.2, len(rows), columns, squeeze=False)
    for axes_row, row in zip(grid, rows.tolist(), strict=True):
        copies = np.repeat(slices.images[row][None], columns - 1, axis=0)
        shown = [slices.images[row], *change(copies, np.random.default_rng(row))]
        for axes, image in zip(axes_row, shown, strict=True):
            picture(axes, image, 255)
    grid[0, 0].set_title("as it is", fontsize=8, pad=3)
    return figure


def picture(axes, image, top=1.0):
    """Show `image` (H, W, C) on `axes`: 0 is black, `top` is white."""
    image = image[..., 0] if image.shape[-1] == 1 else image / top
    axes.imshow(image, cmap="gray", interpolation="nearest", vmin=0, vmax=top)
    bare(axes)


def by_position_and_class(slices, split="train", people=2, columns=8):
    """A row a person, `people` of each class; a column a slice position, from the lowest to the highest, at most
    `columns` of them.
    """
    rows = slices.where(split)
    positions = _spread(np.unique(slices.position[rows]), columns)
    chosen = [(label, who) for label in classes(slices)
              for who in np.unique(slices.person[rows[slices.label[rows] == label]])[:people]]  # fmt: skip
    figure, grid = new(8, 0.97 * len(chosen) + 0.2, len(chosen), len(positions), squeeze=False)
    for axes_row, (label, who) in zip(grid, chosen, strict=True):
        for axes, position in zip(axes_row, positions, strict=True):
            _one_of(axes, slices, rows[(slices.person[rows] == who) & (slices.position[rows] == position)])
        axes_row[0].set_ylabel(f"{_short(label) or 'unlabelled'}\n{_short(who)}", fontsize=7)
    _title_positions(grid[0], positions)
    return figure


def same_position(slices, split="train", count=24, columns=8, position=None):
    """One slice position, the middle one unless given, in `count` people."""
    position = int(np.median(slices.position)) if position is None else position
    rows = slices.where(split)
    chosen = _spread(rows[slices.position[rows] == position], count)
    height = max(1, -(-len(chosen) // columns))
    figure, grid = new(8, 1.15 * height, height, columns, squeeze=False)
    for number, axes in enumerate(grid.flat):
        _one_of(axes, slices, chosen[number : number + 1])
        if number < len(chosen):
            axes.set_title(_short(slices.person[chosen[number]].item(), 18), fontsize=7, pad=2)
    return figure


def split_sizes(slices):
    """People (left) and slices (right) of each split, by class; where there are many classes, the rare ones as one."""
    figure, grid = new(8, 2.4, 1, 2, sharey=True)
    groups = {_short(label) or "unlabelled": slices.label == label for label in classes(slices)}
    rest = ~np.logical_or.reduce([*groups.values()])
    if rest.any():
        groups[f"{len(np.unique(slices.label[rest]))} others"] = rest
    shades = np.linspace(1.0, 0.3, len(groups))
    for axes, what in zip(grid, ("people", "slices"), strict=True):
        for height, split in enumerate(SPLITS):
            left = 0
            for mine, shade in zip(groups.values(), shades, strict=True):
                rows = np.flatnonzero((slices.split == split) & mine)
                count = len(np.unique(slices.person[rows])) if what == "people" else len(rows)
                axes.barh(height, count, left=left, color=COLOURS[split], alpha=shade, edgecolor="white")
                left += count
            axes.text(left, height, f" {left:,}", va="center")
        axes.set_yticks(range(len(SPLITS)), SPLITS)
        axes.set_xlabel(what)
        axes.grid(axis="y", visible=False)
    grid[0].invert_yaxis()
    patches = [Patch(color="#555555", alpha=shade) for shade in shades]
    grid[1].legend(patches, list(groups), loc="lower right", frameon=False)
    return figure


def histograms(slices):
    """Share of the pixels at each grey level (zeros left out, their share in the legend): by split, and by class."""
    figure, grid = new(8, 3.0, 1, 2, sharey=True)
    counts = {}
    for split in SPLITS:
        for label in np.unique(slices.label).tolist():
            rows = np.flatnonzero((slices.split == split) & (slices.label == label))
            counts[split, label] = level_counts(slices.images, rows)
    groups = [
        {name: [split == name for split, _ in counts] for name in SPLITS},
        {_short(name) or "unlabelled": [label == name for _, label in counts] for name in classes(slices)},
    ]
    shades = [[COLOURS[name] for name in SPLITS], [COLOURS[name] for name in ("model", "warning", "other", "baseline")]]
    for axes, title, parts, colours in zip(grid, ("by split", "by class"), groups, shades, strict=True):
        for number, (name, chosen) in enumerate(parts.items()):
            levels = np.stack(list(counts.values()))[chosen].sum(axis=0)
            bright = levels[1:] / max(1, levels[1:].sum())
            axes.plot(np.arange(1, 256) / 255, 255 * bright, color=colours[number % len(colours)], linewidth=1.3,
                      label=f"{name} ({levels[0] / max(1, levels.sum()):.0%} zeros)")  # fmt: skip
        axes.set_title(title)
        axes.set_xlabel("intensity")
        axes.legend(fontsize=8, frameon=False)
    grid[0].set_ylim(bottom=0)  # of both: they share it
    grid[0].set_ylabel("density of the pixels above zero")
    return figure


def level_counts(images, rows):
    """How many pixels of `images[rows]` have each grey level, (256,) int64; reads a part of the rows at a time.

    Args:
        images: uint8 (N, H, W, C). rows: indices, (n,).
    """
    parts = (images[rows[start : start + 256]] for start in range(0, len(rows), 256))
    return sum((np.bincount(part.ravel(), minlength=256) for part in parts), np.zeros(256, np.int64))


def moments(slices, split="train"):
    """Mean and standard deviation of the images of each position, intensities in [0, 1].

    Returns:
        `{position: (mean, deviation)}`, each float32 (H, W, C).
    """
    rows = slices.where(split)
    result = {}
    for position in np.unique(slices.position[rows]).tolist():
        mine = rows[slices.position[rows] == position]
        sums = np.zeros((2, *slices.images.shape[1:]))
        for start in range(0, len(mine), 64):  # where positions are unknown, all slices have the same
            levels = slices.images[mine[start : start + 64]].astype(np.uint32)
            sums += levels.sum(axis=0), np.square(levels).sum(axis=0)
        mean, square = sums / len(mine) / 255
        deviation = np.sqrt(np.maximum(square / 255 - np.square(mean), 0))
        result[position] = mean.astype(np.float32), deviation.astype(np.float32)
    return result


def mean_and_deviation(slices, columns=8):
    """Above the mean training image of each position, below the standard deviation, on one scale from 0 up."""
    found = moments(slices)
    positions = _spread(np.array(list(found)), columns)
    figure, grid = new(8, 2.2, 2, len(positions), squeeze=False)
    top = max(deviation.max() for _, deviation in found.values())
    for column, position in enumerate(positions.tolist()):
        for axes, image, limit in zip(grid[:, column], found[position], (1, top), strict=True):
            picture(axes, image, limit)
    _title_positions(grid[0], positions)
    grid[0, 0].set_ylabel("mean")
    grid[1, 0].set_ylabel(f"deviation\n(white: {top:.2f})")
    return figure


def guesses(slices, guess, score, count=6):
    """Some test slices, the guess for each, and the difference.

    Args:
        guess: floats in [0, 1], (n, H, W, C), one a test slice.
        score: `score(images, guesses)`, SSIM and foreground SSIM, (count,) each, of those that are shown.
        count: how many are shown.
    """
    rows = slices.where("test")
    chosen = _spread(np.arange(len(rows)), count)
    plain, foreground = score(slices.images[rows[chosen]], guess[chosen])
    figure, grid = new(8, 4.2, 3, len(chosen), squeeze=False)
    for column, index in enumerate(chosen.tolist()):
        image = slices.images[rows[index]].astype(np.float32) / 255
        difference = np.abs(image - guess[index])
        for axes, shown in zip(grid[:, column], (image, guess[index], difference), strict=True):
            picture(axes, shown)
        grid[0, column].set_title(_short(slices.person[rows[index]].item(), 18), fontsize=8)
        grid[1, column].set_title(f"SSIM {plain[column]:.2f}\nforeground {foreground[column]:.2f}", fontsize=8)
    for axes, name in zip(grid[:, 0], ("test slice", "position mean", "|difference|"), strict=True):
        axes.set_ylabel(name)
    return figure


def _short(name, most=24):
    """A name for a figure: its end where it is long, and no maths in it."""
    return (name if len(name) <= most else "…" + name[1 - most :]).replace("$", r"\$")


def _spread(items, count):
    """At most `count` of `items`, evenly spaced, first and last among them."""
    return items[np.unique(np.linspace(0, len(items) - 1, count).round().astype(int))] if len(items) else items


def _one_of(axes, slices, rows):
    if len(rows):
        picture(axes, slices.images[rows[0]], 255)
    else:
        bare(axes)


def _title_positions(axes_row, positions):
    for axes, position in zip(axes_row, positions.tolist(), strict=True):
        axes.set_title(f"slice {position}" if position >= 0 else "slice", fontsize=8, pad=3)
