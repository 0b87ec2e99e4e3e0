"""Figures of the data: who they are, what they look like, and in what people differ.

`images` are uint8 (N, H, W, C), memory-mapped or not; `table` is a DataFrame of N rows with the columns `person`,
`label` ("" where unknown), `position` (-1 where unknown) and `split`.
"""

import numpy as np

from vq_lib.plots.style import COLOURS, CYCLE, legend_below, panels, plain, spread, strips

SPLITS = ("train", "validation", "test")


def classes(labels, most=6):
    """The labels as figures name them, a Series: "unlabelled", and "n others" for all but the `most` frequent."""
    rare = labels.value_counts().sort_index().sort_values(ascending=False, kind="stable").index[most:]
    return labels.map(lambda label: plain(label) or "unlabelled").mask(labels.isin(rare), f"{len(rare)} others")


def _places(positions):
    return [f"slice {place}" if place >= 0 else "slice" for place in positions]


def by_position_and_class(images, table, split="train", people=2, columns=8):
    """A row a person, `people` of each class; a column a slice position, at most `columns`, from the lowest up."""
    table = table.reset_index(drop=True)[(table["split"] == split).to_numpy()]
    positions, rows = spread(np.unique(table["position"]), columns), []
    for label, group in table.groupby(classes(table["label"])):
        for who, own in list(group.groupby("person"))[:people]:
            at = dict(zip(own["position"], own.index, strict=True))
            rows.append((f"{label}\n{plain(who, 16)}", [images[at[p]] if p in at else None for p in positions]))
    return strips(rows, _places(positions))


def intensities(images, table):
    """Density of the pixels above zero over intensity, by split and by class; the zeros' share is in the legend."""
    levels = np.stack([np.bincount(one.ravel(), minlength=256).astype(np.int32) for one in images])
    colours = {split: COLOURS[split] for split in SPLITS if (table["split"] == split).any()}
    by_class = classes(table["label"])
    figure, both = panels(2.9, ["by split", "by class"], sharey=True)
    groups = (table["split"], colours), (by_class, dict(zip(np.unique(by_class), CYCLE, strict=False)))
    for axes, (names, colours) in zip(both, groups, strict=True):
        for name, colour in colours.items():
            counts = levels[names == name].sum(axis=0, dtype=np.int64)
            density, zeros = 255 * counts[1:] / max(1, counts[1:].sum()), counts[0] / max(1, counts.sum())
            axes.plot(np.arange(1, 256) / 255, density, color=colour, lw=1.3, label=f"{name} ({zeros:.0%} zeros)")
        axes.set_xlabel("intensity")
        legend_below(axes, 3)
    both[0].set(ylim=(0, None), ylabel="density of pixels above zero")
    return figure


def moments(images, positions, rows, most=500):
    """`{position: (mean, deviation)}` of `images[rows]`, `most` each: float32 (H, W, C), in [0, 1]."""
    both = {}
    for place in np.unique(positions[rows]):
        some = images[spread(rows[positions[rows] == place], most)] / np.float32(255)
        both[place] = some.mean(axis=0), some.std(axis=0)
    return both


def mean_and_deviation(images, table, split="train", columns=8):
    """Above the mean image of each position, below the standard deviation, on one scale from 0 up."""
    both = moments(images, table["position"].to_numpy(), np.flatnonzero(table["split"] == split))
    positions = spread(np.array(list(both)), columns)
    means, deviations = (np.stack(some) for some in zip(*(both[place] for place in positions), strict=True))
    top = max(deviations.max(), 1e-3)
    return strips([("mean", means), (f"deviation\n(white: {top:.2f})", deviations / top)], _places(positions))


def augmented(images, change, columns=8):
    """Images (n, H, W, C), a row each, and what `change(images, rng)` makes of them, `columns` pictures in all."""
    rows = [("", [one, *change(np.repeat(one[None], columns - 1, axis=0), np.random.default_rng(number))])
            for number, one in enumerate(images)]  # fmt: skip
    return strips(rows, ["as it is"])
