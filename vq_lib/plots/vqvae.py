"""Figures of a VQ-VAE: how it learned, and what it does to a slice."""

import numpy as np
import pandas as pd

from vq_lib.plots.style import COLOURS, WIDTH, epochs, legend_below, new, strips


def _curves(history, panels):
    """A panel for each title of `panels`, `{title: {column: (label, colour, line style)}}`, over epochs."""
    figure, row = new(WIDTH, 2.8, columns=len(panels), squeeze=False)
    figure.set_layout_engine("constrained", w_pad=0.1)
    number = np.asarray(history["epoch"])
    for axes, (title, lines) in zip(row[0], panels.items(), strict=True):
        for column, (label, colour, style) in lines.items():
            if column in history and np.any(np.asarray(history[column]) > 0):
                look = {"mfc": COLOURS[colour] if style == "-" else "none", **epochs(axes, number[-1])}
                axes.plot(number, history[column], color=COLOURS[colour], ls=style, label=label, **look)
        axes.set_title(title)
        axes.set_visible(bool(axes.lines))
        if axes.lines:
            legend_below(axes, 2)
    return figure


def loss_terms(history):
    """The loss, each of its terms and the learning rate over epochs: training dotted, validation solid.

    Args:
        history: DataFrame with `epoch`, `loss`, `val_loss` and, where known, the terms (`reconstruction`, `structural`,
            `quantizer`, and each with `val_`) and `learning_rate`. What is never above 0 is left out.
    """
    terms = {"reconstruction": "model", "structural": "test", "quantizer": "other"}
    figure = _curves(history, {
        "Loss": {"loss": ("training", "model", ":"), "val_loss": ("validation", "model", "-")},
        "Its terms": {f"val_{name}": (name, colour, "-") for name, colour in terms.items()}
        | {name: (None, colour, ":") for name, colour in terms.items()},
        "Learning rate": {"learning_rate": ("at the epoch's end", "baseline", "-")},
    })  # fmt: skip
    for axes in figure.axes:
        axes.set_yscale("log" if axes is not figure.axes[2] else "linear")
    figure.axes[2].ticklabel_format(axis="y", scilimits=(-2, 3))
    return figure


def curves(history, size):
    """Validation SSIM and codebook use over epochs.

    `history`: DataFrame with `epoch`, `val_ssim`, `val_ssim_foreground`, `val_perplexity`, `val_usage`. `size`: K.
    """
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
    """Where each code stands between that of the darkest cells, 0, and of the brightest, 1: float (size,), unused 0.

    `images`: uint8 (n, H, W, C). `codes`: int (n, h, w), below `size`, K.
    """
    n, height, width = codes.shape
    cells = images.reshape(n, height, images.shape[1] // height, width, -1).mean(axis=(2, 4), dtype=np.float32)
    order = pd.Series(cells.ravel()).groupby(codes.ravel()).mean().rank(method="first") - 1
    return (order / max(len(order) - 1, 1)).reindex(range(size), fill_value=0).to_numpy()


def panels(inputs, outputs, titles, codes=None, ranks=None):
    """Slices, their codes, reconstructions and absolute errors, one a column; the errors share one scale.

    Args:
        inputs: uint8 (n, H, W, C). outputs: floats in [0, 1], as `inputs`. titles: n texts.
        codes: int (n, h, w); None leaves their row out. ranks: float (K,), see `brightness_ranks`.
    """
    error = np.abs(inputs / 255.0 - outputs).mean(axis=-1)
    limit = max(float(np.quantile(error, 0.999)), 1e-3)
    name = f"error (0 to {limit:.2f})"
    rows = [("slice", inputs), ("reconstruction", np.clip(outputs, 0, 1)), (name, error)]
    if codes is not None:
        rows.insert(1, ("codes", ranks[codes]))
    return strips(rows, titles, looks={"codes": {"cmap": "viridis"}, name: {"cmap": "inferno", "vmax": limit}})
