"""Figures can be read: legends cover no curve, marks lie apart, labels are not printed over."""

import numpy as np

from vq_lib.plots import generation, prior, vqvae


def test_legends_of_the_learning_curves_cover_none():
    columns = ("loss", "val_loss", "val_ssim", "val_ssim_foreground", "val_perplexity", "val_usage")
    history = {"epoch": np.arange(1, 6), **{name: np.geomspace(0.01, 0.9, 5) for name in columns}}
    figure = vqvae.curves(history, 128)
    figure.draw_without_rendering()
    for axes in figure.axes:
        assert not axes.get_legend().get_window_extent().overlaps(axes.bbox)
    assert figure.axes[2].lines[1].get_ydata().max() == 128 * 0.9, "codes, as perplexity is, and not a share"


def test_legends_of_the_samples_cover_nothing():
    values = np.random.default_rng(0).random(50)
    near, both = {"pixel_distance": values, "code_distance": values}, {"pixels": values, "codes": values}
    for figure in (generation.anatomy({kind: {"ventricles": values, "white matter": values}
                                       for kind in generation.KINDS}),
                   generation.distances(near, both, both, {"pixels": 0.1, "codes": 0.1})):  # fmt: skip
        figure.draw_without_rendering()
        (legend,) = figure.legends
        assert len(legend.get_texts()) == 4
        assert not any(legend.get_window_extent().overlaps(axes.bbox) for axes in figure.axes)


def test_the_ladder_keeps_the_splits_apart():
    models = {"gated": {"train": 2.90, "validation": 3.06, "test": 3.21},
              "snail": {"train": 3.11, "validation": 3.17, "test": 3.31}}  # fmt: skip
    figure = prior.ladder({"uniform": 9.0, "position_unigram": 4.22}, models)
    figure.draw_without_rendering()
    bars, near = figure.axes
    assert [round(bar.get_width(), 2) for bar in bars.patches] == [9.0, 4.22, 3.21, 3.31]
    for row, bits in enumerate(models.values(), 2):
        places = [near.transData.transform((value, row))[0] for value in bits.values()]
        assert np.diff(places).min() > 9 * figure.dpi / 72, "marks of 9 points"
        assert not any(near.get_legend().get_window_extent().contains(x, near.transData.transform((0, row))[1])
                       for x in places)  # fmt: skip
