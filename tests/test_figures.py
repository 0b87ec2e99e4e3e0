"""Figures can be read: legends cover no curve, marks lie apart, labels are not printed over."""

import numpy as np

from vq_lib.figures import vqvae


def test_legends_of_the_learning_curves_cover_none():
    columns = ("loss", "val_loss", "val_ssim", "val_ssim_foreground", "val_perplexity", "val_usage")
    history = {"epoch": np.arange(1, 6), **{name: np.geomspace(0.01, 0.9, 5) for name in columns}}
    figure = vqvae.curves(history, 128)
    figure.draw_without_rendering()
    for axes in figure.axes:
        assert not axes.get_legend().get_window_extent().overlaps(axes.bbox)
    assert figure.axes[2].lines[1].get_ydata().max() == 128 * 0.9, "codes, as perplexity is, and not a share"
