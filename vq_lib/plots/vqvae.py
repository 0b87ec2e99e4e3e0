"""Figures of a VQ-VAE: how it learned, and what it does to a slice."""

import numpy as np
import pandas as pd

from vq_lib.plots import style
from vq_lib.plots.style import COLOURS, epochs, legend_below, strips


def _curves(history, panels):
    """A panel for each title of `panels`, `{title: {column: (label, colour, line style)}}`, over epochs."""
    figure, row = style.panels(2.8, list(panels))
    figure.set_layout_engine("constrained", w_pad=0.1)
    for axes, lines in zip(row, panels.values(), strict=True):
        for column, (label, colour, kind) in lines.items():
            if column in history and np.any(np.asarray(history[column]) > 0):
                look = {"mfc": COLOURS[colour] if kind == "-" else "none", **epochs(axes, max(history["epoch"]))}
                axes.plot(history["epoch"], history[column], color=COLOURS[colour], ls=kind, label=label, **look)
        if axes.lines:
            legend_below(axes, 2)
        else:
            axes.set_visible(False)
    return figure


def loss_terms(history):
    """The loss, each of its terms and the learning rate over epochs of a history: training dotted, validation solid.

    What is not in the history, or never above 0, is left out.
    """
    terms = {"reconstruction": "model", "structural": "test", "quantizer": "other"}
    figure = _curves(history, {
        "Loss": {"loss": ("training", "model", ":"), "val_loss": ("validation", "model", "-")},
        "Its terms": {f"val_{name}": (name, colour, "-") for name, colour in terms.items()}
        | {name: (None, colour, ":") for name, colour in terms.items()},
        "Learning rate": {"learning_rate": ("at the epoch's end", "baseline", "-")},
    })  # fmt: skip
    for axes in figure.axes[:2]:
        axes.set_yscale("log")
    figure.axes[2].ticklabel_format(axis="y", scilimits=(-2, 3))
    return figure


def curves(history, size):
    """Validation SSIM and use of the codebook of `size` codes over epochs of a history."""
    figure = _curves({**history, "used": size * np.asarray(history["val_usage"])}, {
        "Validation SSIM": {"val_ssim": ("whole slice", "validation", "-"),
                            "val_ssim_foreground": ("foreground", "validation", "--")},
        f"Codes in use, of {size}": {"val_perplexity": ("perplexity", "validation", "-"),
                                     "used": ("used at all", "validation", ":")},
    })  # fmt: skip
    figure.axes[0].set_ylim(None, 1)
    figure.axes[1].set_ylim(0, None)
    return figure


def brightness_ranks(images, codes, size):
    """Where each of `size` codes stands between that of the darkest cells, 0, and the brightest, 1; unused ones: 0."""
    n, height, width = codes.shape
    cells = images.reshape(n, height, images.shape[1] // height, width, -1).mean(axis=(2, 4), dtype=np.float32)
    order = pd.Series(cells.ravel()).groupby(codes.ravel()).mean().rank(method="first") - 1
    return (order / max(len(order) - 1, 1)).reindex(range(size), fill_value=0).to_numpy()


def panels(inputs, outputs, titles, codes=None, ranks=None):
    """Slices, uint8, their codes by `brightness_ranks`, where given, reconstructions in [0, 1], and absolute errors."""
    error = np.abs(inputs / 255.0 - outputs).mean(axis=-1)
    limit = max(float(np.quantile(error, 0.999)), 1e-3)
    name = f"error (0 to {limit:.2f})"
    coded = [] if codes is None else [("codes", ranks[codes])]
    rows = [("slice", inputs), *coded, ("reconstruction", np.clip(outputs, 0, 1)), (name, error)]
    return strips(rows, titles, looks={"codes": {"cmap": "viridis"}, name: {"cmap": "inferno", "vmax": limit}})
