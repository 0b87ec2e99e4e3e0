"""The look of all figures, and what they are made of: axes, images, rows of images, legends beside the curves."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Colours of Okabe and Ito (2008), told apart by colour-blind readers.
COLOURS = {"train": "#0072B2", "validation": "#E69F00", "test": "#009E73", "model": "#0072B2", "baseline": "#8A8A8A",
           "warning": "#D55E00", "other": "#CC79A7"}  # fmt: skip
CYCLE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # the same, for groups in turn
WIDTH = 9.2  # inches: about 900 pixels in the report

# Set for all, not in a context: legends, colour bars and images that come later follow it too.
matplotlib.rcParams.update({
    "figure.dpi": 100, "savefig.dpi": 160, "figure.constrained_layout.use": True, "font.family": "DejaVu Sans",
    "font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#dddddd",
    "grid.linewidth": 0.6, "axes.axisbelow": True, "image.cmap": "gray", "image.interpolation": "nearest",
    "legend.frameon": False, "legend.fontsize": 8.5, "svg.hashsalt": "vq_lib", "svg.fonttype": "path",
})  # fmt: skip


def new(width: float, height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, Any]:
    """A matplotlib figure and its axes, outside pyplot's global state; `options` go to `Figure.subplots`."""
    figure = Figure(figsize=(width, height))
    return figure, figure.subplots(rows, columns, **options)


def panels(height: float, titles: Sequence[str], width: float = WIDTH, **options: Any) -> tuple[Figure, Any]:
    """A figure of axes beside each other, one for each title, and these axes."""
    figure, axes = new(width, height, 1, len(titles), squeeze=False, **options)
    for panel, title in zip(axes[0], titles, strict=True):
        panel.set_title(title, fontsize=12 - len(titles) // 2)
    return figure, axes[0]


def image(axes: Axes, pixels: np.ndarray | None, **look: Any) -> Any:
    """Show (H, W), (H, W, 1 or 3), uint8 or floats in [0, 1], by `imshow`, `look` its keywords; None: an empty one."""
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    axes.spines[:].set_visible(False)
    if pixels is not None:
        pixels = pixels[..., 0] if pixels.shape[2:] == (1,) else pixels
        return axes.imshow(pixels, **{"vmin": 0, "vmax": 255 if pixels.dtype == np.uint8 else 1, **look})


def strips(rows: Sequence[tuple[str, Any]], titles: Sequence[str] = (), side: float = 1.6, looks: Any = None) -> Figure:
    """Rows of images of one size, `[(name at the left, images)]`, as `image` takes them, `side` inches wide at most.

    `titles`: one above each column, or above each image, row by row; `looks`: `{name of a row: keywords of imshow}`.
    """
    across = max(len(images) for _, images in rows)
    height, width = next(one.shape[:2] for _, images in rows for one in images if one is not None)
    side, above = min(side, (WIDTH - 0.3) / across), 0.2 * max((text.count("\n") + 1 for text in titles), default=0)
    tall = len(rows) * side * height / width + above * max(1, -(-len(titles) // across))
    figure, grid = new(across * side + 0.3, tall, len(rows), across, squeeze=False)
    for line, (name, images) in zip(grid, rows, strict=True):
        for axes, one in zip(line, [*images, *[None] * (across - len(images))], strict=True):
            image(axes, one, **(looks or {}).get(name, {}))
        line[0].set_ylabel(name, fontsize=8)
    for axes, title in zip(grid.flat, titles, strict=False):
        axes.set_title(title, fontsize=8, pad=3)
    return figure


def legend_below(owner: Axes | Figure, columns: int = 4) -> None:
    """A legend beneath axes or, of what the first axes show, beneath a figure: inside it would cover curves."""
    if isinstance(owner, Axes):
        owner.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=columns)
    else:
        owner.legend(*owner.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=columns)


def epochs(axes: Axes, last: int) -> dict[str, Any]:
    """Let the x axis be whole epochs, 1 to `last`; the look of its lines: one through a single point is invisible."""
    axes.set(xlabel="epoch", xlim=(0.5, last + 0.5))
    axes.locator_params(axis="x", integer=True, min_n_ticks=1)
    return {"marker": "o" if last < 3 else None}


def plain(name: str, most: int = 24) -> str:
    """A name for a figure: its end where it is long, and no maths in it."""
    return (name if len(name) <= most else "…" + name[1 - most :]).replace("$", r"\$")


def spread(items: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of `items`, evenly spaced, first and last among them."""
    return items[np.unique(np.linspace(0, len(items) - 1, count).round().astype(int))] if len(items) else items
