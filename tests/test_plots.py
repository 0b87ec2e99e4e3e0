"""Figures show the numbers that they were given, and can be read: legends beside the curves, labels apart."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from vq_lib.plots import architecture, comparison, data, evaluation, generation, latent, prior, style, vqvae
from vq_lib.plots.names import NAMES
from vq_lib.plots.prior import influence

RNG = np.random.default_rng(0)


def apart(boxes):
    """Whether no two rectangles overlap."""
    return not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def texts(axes):
    """Where the written texts of axes lie, drawn."""
    axes.figure.draw_without_rendering()
    return [text.get_window_extent() for text in axes.texts if text.get_text().strip()]


def legends_apart(figure):
    """Whether no legend of a figure or of its axes lies on any axes."""
    figure.draw_without_rendering()
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend())]
    assert legends, "a figure of several curves names them"
    return not any(legend.get_window_extent().overlaps(axes.bbox) for legend in legends for axes in figure.axes)


def titles(figure):
    return [axes.get_title() for axes in figure.axes]


def history(epochs=5, **columns):
    names = ("loss", "val_loss", "reconstruction", "val_reconstruction", "quantizer", "val_quantizer", "val_ssim",
             "val_ssim_foreground", "val_perplexity", "val_usage", "learning_rate")  # fmt: skip
    values = {name: np.geomspace(0.01, 0.9, epochs) for name in names}
    return pd.DataFrame({"epoch": np.arange(1, epochs + 1), **values, **columns})


def test_figures_leave_pyplot_and_the_rest_of_the_library_alone():
    names = "architecture comparison data evaluation generation latent prior vqvae".split()
    code = f"import sys; from vq_lib.plots import {', '.join(names)}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    ours = {name for name in loaded if name.startswith("vq_lib.") and not name.startswith("vq_lib.plots")}
    assert not ours - {"vq_lib.errors"} and "matplotlib.pyplot" not in loaded and "keras" not in loaded


# Rows of images ---------------------------------------------------------------------------------------------------


def test_rows_of_images_have_gaps_names_and_titles():
    grey, colour = np.zeros((4, 6, 1), np.uint8), np.ones((4, 6, 3))
    figure = style.strips([("first", [grey, None]), ("second", [colour])], ["a", "b", "c"])
    assert [axes.get_ylabel() for axes in figure.axes] == ["first", "", "second", ""]
    assert titles(figure) == ["a", "b", "c", ""] and [len(axes.images) for axes in figure.axes] == [1, 0, 1, 0]
    assert figure.axes[0].images[0].get_clim() == (0, 255), "black is 0 and white 255, whatever the image holds"
    figure.draw_without_rendering()
    assert figure.axes[0].bbox.width / figure.axes[0].bbox.height == pytest.approx(1.5, rel=0.02), "not distorted"


@pytest.mark.parametrize("count", [1, 8, 24])
def test_rows_of_images_are_as_wide_as_the_page_at_most(count):
    figure = style.strips([("row", np.zeros((count, 8, 8, 1), np.uint8))], ["title"] * count)
    figure.draw_without_rendering()
    assert figure.get_figwidth() <= style.WIDTH
    height = figure.bbox.height
    assert all(axes.title.get_window_extent().y1 <= height + 1 for axes in figure.axes), "titles are not cut off"


@pytest.mark.parametrize(("side", "across"), [(32, 6), (64, 6), (128, 6), (256, 3)])
def test_galleries_show_slices_about_as_large_as_they_are(side, across):
    images = np.zeros((across * 2 + 1, side, side, 1), np.uint8)
    figure = generation.gallery({"real": images, "drawn": images[:across]})
    assert len(figure.axes) == 3 * across, "full rows only"
    assert [axes.get_ylabel() for axes in figure.axes[::across]] == ["real", "", "drawn"]
    figure.draw_without_rendering()
    assert figure.axes[0].bbox.width >= 0.95 * min(side, 150) * figure.dpi / 100
    figure = generation.blind(images)
    assert [title for title in titles(figure) if title] == [str(i + 1) for i in range(across * 2 + 1)]


# Data -------------------------------------------------------------------------------------------------------------


def table(rows):
    return pd.DataFrame(rows, columns=["person", "label", "position", "split"])


def test_positions_and_classes_are_found_whatever_the_order():
    rows = [
        (f"p{i}", "ab"[i % 2], position, "train") for i in range(6) for position in (3, 1) if (i, position) != (0, 1)
    ]
    known = table([*rows, ("p9", "a", 5, "test")]).sample(frac=1, random_state=0)
    images = np.arange(len(known), dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8)
    figure = data.by_position_and_class(images, known)
    assert titles(figure)[:2] == ["slice 1", "slice 3"] and len(figure.axes) == 4 * 2
    assert [axes.get_ylabel() for axes in figure.axes[::2]] == ["a\np0", "a\np2", "b\np1", "b\np3"]
    assert not figure.axes[0].images, "p0 has no slice 1"
    place = np.flatnonzero((known["person"] == "p2") & (known["position"] == 3))[0]
    assert figure.axes[3].images[0].get_array()[0, 0] == place


def test_rare_classes_become_one_and_names_are_no_maths():
    rows = [(f"{split}{i}", label, i % 2, split) for split in data.SPLITS for i, label in enumerate("aabbccddeeff$h")]
    known = table([*rows, ("test0", "", 1, "test"), ("test0", "", 2, "test")])
    assert set(data.classes(known["label"])) == {*"abcdef", "3 others"}, "$, h and unlabelled"
    assert set(data.classes(table(rows[:4] + [("x", "", 0, "test")])["label"])) == {"a", "b", "unlabelled"}
    assert data.classes(pd.Series(["$x"])).tolist() == [r"\$x"], "no maths"


def test_intensities_are_densities_without_the_zeros():
    images = RNG.integers(0, 4, (6, 8, 8, 1)).astype(np.uint8) * 60
    known = table([(f"p{i}", "ab"[i % 2], 0, data.SPLITS[i // 2]) for i in range(6)])
    by_split, by_class = data.intensities(images, known).axes
    pixels = images[:2][images[:2] > 0]
    wanted, _ = np.histogram(pixels / 255, np.arange(1, 257) / 255 - 0.5 / 255, density=True)
    np.testing.assert_allclose(by_split.lines[0].get_ydata(), wanted, rtol=1e-6)
    assert by_class.lines[1].get_label() == f"b ({(images[1::2] == 0).mean():.0%} zeros)"
    assert legends_apart(by_split.figure)


def test_moments_against_numpy():
    images = RNG.integers(0, 256, (10, 4, 4, 3)).astype(np.uint8)
    position = np.arange(10) % 2
    both = data.moments(images, position, np.arange(8))
    for place in (0, 1):
        some = images[:8][position[:8] == place] / 255
        np.testing.assert_allclose(both[place][0], some.mean(axis=0), atol=1e-6)
        np.testing.assert_allclose(both[place][1], some.std(axis=0), atol=1e-6)
    known = table([("p", "", place, "train") for place in position])
    figure = data.mean_and_deviation(images, known)
    assert figure.axes[2].images[0].get_array().max() <= 1 and titles(figure)[:2] == ["slice 0", "slice 1"]
    unknown = data.mean_and_deviation(images, known.assign(position=-1))
    assert titles(unknown) == ["slice", ""], "an unknown position has no number"


def test_augmented_rows_begin_with_the_image_itself():
    images = RNG.integers(0, 256, (2, 4, 4, 1)).astype(np.uint8)
    figure = data.augmented(images, lambda copies, rng: 255 - copies, columns=3)
    shown = [axes.images[0].get_array() for axes in figure.axes]
    np.testing.assert_array_equal(shown[3], images[1, ..., 0])
    np.testing.assert_array_equal(shown[5], 255 - images[1, ..., 0])


# VQ-VAE -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("epochs", [1, 5])
def test_learning_curves_show_every_term_and_their_legends_cover_none(epochs):
    known = history(epochs, structural=0.0, val_structural=0.0)
    figure = vqvae.loss_terms(known)
    assert legends_apart(figure)
    loss, terms, rate = figure.axes
    assert [line.get_label() for line in loss.lines] == ["training", "validation"]
    np.testing.assert_array_equal(loss.lines[1].get_ydata(), known["val_loss"])
    assert {line.get_label() for line in terms.lines if line.get_linestyle() == "-"} == {"reconstruction", "quantizer"}
    assert len(terms.lines) == 4, "a term of weight 0 is left out"
    assert rate.get_visible() and loss.get_yscale() == terms.get_yscale() == "log" and rate.get_yscale() == "linear"
    assert not vqvae.loss_terms(known.drop(columns="learning_rate")).axes[2].get_visible()
    figure = vqvae.curves(known, 128)
    assert legends_apart(figure)
    assert figure.axes[1].lines[1].get_ydata().max() == 128 * known["val_usage"].max(), "codes, as perplexity is"
    drawn = [line.get_marker() for axes in figure.axes for line in axes.lines]
    assert set(drawn) == ({"o"} if epochs == 1 else {"None"}), "a line through one point is invisible"


def test_codes_are_ranked_by_the_grey_level_of_their_cells():
    images = np.zeros((1, 4, 6, 2), np.uint8)  # two channels, and 2 by 3 cells of 2 by 2 pixels
    images[0, :2, 2:4], images[0, 2:, :2, 0], images[0, 2:, 4:] = 90, 100, 200
    codes = np.array([[[5, 2, 5], [3, 5, 0]]])  # 2 has 90, 3 has 50 (its other channel is black), 0 has 200
    np.testing.assert_allclose(vqvae.brightness_ranks(images, codes, 7), [1, 0, 2 / 3, 1 / 3, 0, 0, 0])
    assert vqvae.brightness_ranks(images, np.full_like(codes, 1), 2).tolist() == [0, 0]


def test_panels_show_the_error_on_one_scale():
    inputs = RNG.integers(0, 256, (2, 4, 4, 1)).astype(np.uint8)
    outputs = np.clip(inputs / 255 + [[[[0.1]]], [[[-0.3]]]], 0, 1)
    codes = RNG.integers(0, 5, (2, 2, 2))
    figure = vqvae.panels(inputs, outputs, ["a", "b"], codes, np.linspace(0, 1, 5))
    rows = [axes.get_ylabel() for axes in figure.axes[::2]]
    assert rows[:3] == ["slice", "codes", "reconstruction"] and rows[3].startswith("error (0 to 0.3")
    np.testing.assert_allclose(figure.axes[2].images[0].get_array(), codes[0] / 4)
    np.testing.assert_allclose(figure.axes[6].images[0].get_array(), np.abs(inputs / 255 - outputs)[0, ..., 0])
    assert figure.axes[6].images[0].get_clim() == figure.axes[7].images[0].get_clim()
    assert len(vqvae.panels(inputs, outputs, ["a", "b"]).axes) == 6


# Architecture -----------------------------------------------------------------------------------------------------


def test_layers_of_a_keras_model_are_told_apart():
    import keras

    layers = keras.layers
    model = keras.Sequential([keras.Input((8, 8, 1)), layers.Rescaling(2.0), layers.Conv2D(4, 3, 2, padding="same"),
                              layers.Activation("relu"), layers.Conv2D(6, 1), layers.UpSampling2D(2)])  # fmt: skip
    assert architecture.layers(model) == [
        ("Conv2D\n3×3, stride 2", (4, 4, 4), 40), ("Conv2D\n1×1", (4, 4, 6), 30), ("UpSampling2D", (8, 8, 6), 0)
    ]  # fmt: skip


@pytest.mark.parametrize("depth", [1, 3, 4, 15, 30])
def test_a_diagram_is_legible_at_any_depth(depth):
    down = [
        ("Conv2D\n4×4, stride 2", (128, 128, 16), 272),
        *[("ResidualBlock", (128, 128, 256), 1_180_160)] * (depth - 1),
    ]
    up = [
        *[("ResidualBlock", (128, 128, 256), 1_180_160)] * (depth - 1),
        ("Conv2DTranspose\n4×4, stride 2", (256, 256, 3), 0),
    ]
    figure = architecture.diagram((256, 256, 3), down, (128, 128), 512, 64, up)
    assert len(figure.axes) == (1 if 2 * depth + 2 <= architecture.IN_A_ROW else 2)
    for axes in figure.axes:
        labels = texts(axes)
        assert len(labels) == len(axes.patches) and apart(labels)
        page = figure.bbox.padded(1)
        assert all(page.contains(*corner) for label in labels for corner in label.corners())
        boxes = [patch.get_window_extent() for patch in axes.patches]
        assert apart(boxes) and not any(a.overlaps(b) for a in labels for b in boxes)
    image, first = figure.axes[0].patches[:2]
    assert first.get_height() / image.get_height() == pytest.approx(0.5**0.5), "half the side, by the square root"
    assert any("K = 512" in text.get_text() and "32,768" in text.get_text() for text in figure.axes[0].texts)
    fixed = architecture.diagram((256, 256, 3), down, (128, 128), 512, 64, up, codebook=False)
    assert not any("32,768" in text.get_text() for text in fixed.axes[0].texts)
    assert any("272" in text.get_text() and "128×128×16" in text.get_text() for text in figure.axes[0].texts)


# Priors -----------------------------------------------------------------------------------------------------------


def test_influence_is_that_of_a_known_function():
    past = np.tril(np.ones((12, 12)), -1)
    window = past * (np.arange(12) >= np.arange(12)[:, None] - 4)  # cell i sees the four before it
    weights = {"all": past, "window": window}
    codes = RNG.integers(0, 7, (3, 4))
    for name, matrix in weights.items():

        def logits(grids, matrix=matrix):
            assert grids.dtype == np.int32 and grids.shape[1:] == (3, 4) and grids.min() >= 0 and grids.max() < 7
            flat = grids.reshape(len(grids), -1).astype(float) @ matrix.T
            return np.repeat(flat.reshape(len(grids), 3, 4, 1), 7, axis=-1)

        found = influence(logits, codes, (2, 1), 7, batch=5)
        np.testing.assert_array_equal(found.ravel() > 0, matrix[9] > 0, name)
        again = influence(logits, codes, (2, 1), 7, batch=64)
        np.testing.assert_allclose(found, again, err_msg="whatever the batch")


def test_influence_takes_rounding_for_none():
    def logits(grids):
        return 1e3 + 1e-9 * grids[..., None] + np.zeros(3)

    assert not influence(logits, np.zeros((2, 2), int), (1, 1), 3).any()


def test_fields_count_the_past_that_is_seen_and_show_masks():
    seen = np.zeros((5, 5))
    seen[1:3, 1:4] = 0.1
    seen[2, 2:] = 0
    kernel = np.zeros((5, 5))
    kernel[:2], kernel[2, :3] = 1, -1
    figure = prior.fields({"gated": seen, "mask B": kernel}, (2, 2))
    assert titles(figure) == ["Gated PixelCNN: 4 of 12 past cells", "mask B: 12 of 12 past cells"]
    shown, masked = (axes.images[0].get_array() for axes in figure.axes)
    assert shown[1, 1] == 2 and shown[0, 0] == 1 and shown[2, 2] == shown[4, 4] == 0, "seen, unseen past, future"
    assert masked[2, 2] == 2 and masked[2, 3] == 0, "mask B lets the cell see itself"
    amounts = prior.amounts(seen, (2, 2)).axes[0].images[0].get_array()
    assert amounts[1, 1] == -1 and np.ma.count_masked(amounts) + np.isnan(amounts.filled(0)).sum() == 25 - 4


def test_bits_keep_the_splits_apart():
    models = {"gated": {"train": 2.90, "validation": 3.06, "test": 3.21},
              "own": {"train": 3.11, "validation": 3.17, "test": 3.31}}  # fmt: skip
    figure = prior.bits({"uniform": 9.0, "position_unigram": 4.22}, models)
    figure.draw_without_rendering()
    bars, near = figure.axes
    assert [round(bar.get_width(), 2) for bar in bars.patches] == [9.0, 4.22, 3.21, 3.31]
    assert [label.get_text() for label in bars.get_yticklabels()][1:] == ["position unigram", NAMES["gated"], "own"]
    for row, bits in enumerate(models.values(), 2):
        places = [near.transData.transform((value, row))[0] for value in bits.values()]
        assert np.diff(places).min() > 9 * figure.dpi / 72, "marks of 9 points"
        assert not any(near.get_legend().get_window_extent().contains(x, near.transData.transform((0, row))[1])
                       for x in places)  # fmt: skip


def test_curves_and_maps_of_priors_are_in_bits():
    known = {"gated": history(4), "pixelcnn": history(6)}
    figure = prior.curves(known, 4.2)
    assert legends_apart(figure)
    lines = figure.axes[0].lines
    np.testing.assert_allclose(lines[3].get_ydata(), known["pixelcnn"]["val_loss"] / np.log(2))
    assert lines[4].get_ydata()[0] == 4.2 and figure.axes[0].get_xlim() == (0.5, 6.5)
    lengths = {"gated": np.full((3, 2, 2), 1.5), "snail": np.full((3, 2, 2), 2.5)}
    unigram = np.full((3, 2, 2), 2.0)
    figure = prior.bits_by_cell(unigram, lengths)
    assert titles(figure)[:3] == ["position unigram: 2.00", "Gated PixelCNN: 1.50", "PixelSNAIL: 2.50"]
    assert not figure.axes[3].get_visible(), "the baseline saves nothing over itself"
    assert [figure.axes[i].images[0].get_array()[0, 0] for i in (4, 5)] == [0.5, -0.5]


# Scores -----------------------------------------------------------------------------------------------------------


def score(mean, half=0.01):
    return {"mean": mean, "low": None if half is None else mean - half, "high": None if half is None else mean + half}


@pytest.mark.parametrize("half", [None, 0.04])
def test_scores_stand_on_one_axis_beside_baselines_and_codecs(half):
    baselines = {"zeros": {"ssim": 0.4, "ssim_foreground": 0.0}, "jxl": None,
                 "avif": {"ssim": 0.9, "ssim_foreground": 0.8, "bits_per_pixel_payload": 0.0266}}  # fmt: skip
    own = {"ssim": score(0.95, half), "ssim_foreground": score(0.9, half)}
    figure = evaluation.on_one_axis(baselines, own, 0.204)
    first, second = figure.axes
    assert [bar.get_width() for bar in second.patches] == [0.0, 0.8, 0.9]
    figure.draw_without_rendering()
    names = [label.get_text() for label in first.get_yticklabels()]
    assert names == ["all black", "AVIF, 0.027 bpp", "this VQ-VAE, 0.20 bpp"]
    assert apart(texts(first)) and apart(texts(second))
    number = [text for text in second.texts if "0.900" in text.get_text()][0].get_window_extent()
    assert number.x0 > second.transData.transform((0.9 + (half or 0), 0))[0] - 1e-6, "the interval is beside its number"


def test_rate_distortion_has_codecs_and_both_rates():
    qualities = np.array([0.1, 0.3, 0.9, 3.0])
    codecs = pd.concat([pd.DataFrame({"codec": name, "bits_per_pixel": qualities + 0.1, "ssim": qualities**0.2 / 1.3,
                                      "bits_per_pixel_payload": qualities, "ssim_foreground": qualities**0.3 / 1.5})
                        for name in ("avif", "jpeg")])  # fmt: skip
    figure = evaluation.rate_distortion(
        codecs, {"fixed_length": 0.5, "prior": 0.2}, {"ssim": 0.9, "ssim_foreground": 0.8}
    )
    assert legends_apart(figure)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["AVIF", "JPEG", "this VQ-VAE, fixed-length codes", "this VQ-VAE, with the prior",
                     "with the container's bytes"]  # fmt: skip
    for axes in figure.axes:
        assert axes.get_xlim()[1] > 0.5 and all(axes.get_ylim()[0] < line.get_ydata()[0] for line in axes.lines[4:7])
    assert [line.get_xdata()[0] for line in figure.axes[0].lines[5:7]] == [0.5, 0.2]


def test_scores_by_position_are_means_over_people():
    positions = np.repeat([0, 2], 10)
    scores = {name: RNG.uniform(0.8, 0.9, 20) for name in ("ssim", "ssim_foreground")}
    scores["ssim_foreground"][0] = np.nan  # a slice without foreground
    reference = {"ssim": np.full(20, 0.3), "ssim_foreground": scores["ssim_foreground"] - 0.01}
    figure = evaluation.by_position(positions, scores, reference)
    assert legends_apart(figure)
    whole, foreground = figure.axes
    np.testing.assert_allclose(whole.lines[0].get_ydata(), scores["ssim"].reshape(2, 10).mean(axis=1))
    np.testing.assert_allclose(foreground.lines[0].get_ydata()[0], scores["ssim_foreground"][1:10].mean())
    assert whole.get_ylim()[0] > 0.7, "the axis is the model's"
    assert [line.get_label() for line in whole.lines] == ["this VQ-VAE", "mean image, 0.30–0.30"]


# Samples ----------------------------------------------------------------------------------------------------------


def test_distributions_are_cumulative_and_their_legend_covers_nothing():
    measures = {
        kind: {"pixels": RNG.random(50), "codes": np.append(RNG.random(9), np.inf)} for kind in generation.KINDS
    }
    figure = generation.distributions(measures)
    assert legends_apart(figure) and len(figure.legends[0].get_texts()) == len(generation.KINDS)
    line = figure.axes[0].lines[1]
    below = line.get_ydata()[line.get_xdata() <= 0.5].max()
    assert below == pytest.approx((measures["real"]["pixels"] <= 0.5).mean())


def test_neighbours_have_their_difference_and_suspects_are_orange():
    samples = np.full((3, 4, 4, 1), 10, np.uint8)
    training = np.full((3, 4, 4, 1), 61, np.uint8)
    figure = generation.nearest(samples, training, ["a", "b", "c"], np.array([False, True, False]))
    assert [axes.title.get_color() for axes in figure.axes[:3]] == ["black", style.COLOURS["warning"], "black"]
    np.testing.assert_allclose(figure.axes[6].images[0].get_array(), 51 / 255)
    assert [axes.get_ylabel() for axes in figure.axes[::3]] == ["sample", "nearest", "difference"]


def test_two_sample_figures_write_intervals_where_there_are_some():
    axes = generation.two_sample({"samples": score(0.76, 0.05), "two halves": score(0.5, None)}).axes[0]
    assert [text.get_text() for text in axes.texts] == ["0.76 (0.71–0.81)", "0.50"] and apart(texts(axes))


def test_temperature_has_a_panel_for_each_measure():
    rows = pd.DataFrame({"AUC": [0.5, 0.7], "copies, %": [4.0, 1.0]}, [0.8, 1.0])
    figure = generation.temperature(rows, {"copies, %": 2.0, "AUC": 0.5})
    assert titles(figure) == ["AUC", "copies, %"]
    for axes, dashed in zip(figure.axes, (0.5, 2.0), strict=True):
        low, high = axes.get_ylim()
        assert axes.lines[0].get_ydata()[0] == dashed and low < dashed < high
        np.testing.assert_array_equal(axes.lines[1].get_xdata(), [0.8, 1.0])


def test_completions_shade_what_was_taken_away():
    real, drawn = np.full((2, 4, 4, 1), 200, np.uint8), np.zeros((2, 3, 4, 4, 1), np.uint8)
    figure = generation.completions(real, drawn)
    first, *_, last = figure.axes[:5]
    assert first.images[0].get_array()[:, 0].tolist() == [200, 200, 90, 90] and last.images[0].get_array().min() == 200
    assert titles(figure)[:5] == ["upper half", "drawn", "", "", "the slice itself"] and real.min() == 200


# Latent space -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 127, 512, 1000])
def test_a_sheet_of_codes_is_ordered_by_use(size):
    patches = np.linspace(0.5, 1, size)[:, None, None] * np.ones((1, 3, 3))
    counts = np.arange(size)
    patches[0] = np.nan  # not used
    figure = latent.codebook(patches, counts)
    sheet = figure.axes[0].images[0].get_array()
    assert 1 <= sheet.shape[1] / sheet.shape[0] <= 4, "wide rather than high"
    across = sheet.shape[1] // 4
    places = np.array(sheet[1::4, 1::4]).ravel()
    np.testing.assert_allclose(places[: size - 1], patches[:0:-1, 0, 0])
    assert places[size - 1] == 0.35 and (places[size:] == 1).all() and across & (across - 1) == 0


def test_codes_in_place_have_shares_of_one_and_an_even_use_of_one():
    by_tissue, by_position = RNG.integers(1, 9, (3, 20)), RNG.integers(1, 9, (4, 20))
    by_tissue[:, 5] = by_position[:, 5] = 0
    figure = latent.in_place(by_tissue, by_position, ["fluid", "grey", "white"], np.array([2, 3, 4, 5]))
    use = figure.axes[1].images[0].get_array()
    assert use.shape == (19, 4) and np.allclose(use.mean(axis=1), 1), "the code that is not used is left out"
    assert (np.diff(use @ np.array([2, 3, 4, 5])) >= -1e-9).all(), "from low in the head to high"
    figure.draw_without_rendering()
    assert not any(figure.legends[0].get_window_extent().overlaps(axes.bbox) for axes in figure.axes)
    top = figure.axes[0].collections[-1].get_paths()[0].vertices[:, 1].max()
    assert top == pytest.approx(1)


def test_a_walk_is_named_by_its_shares():
    figure = latent.walk(np.zeros((2, 5, 4, 4, 1)))
    assert titles(figure)[:5] == ["0%", "25%", "50%", "75%", "100%"]
    assert [figure.axes[i].get_ylabel() for i in (0, 5)] == ["latents", "pixels"]


# Comparison -------------------------------------------------------------------------------------------------------


def report(name, codec_rate=0.5, prior=True):
    return {"name": name, "ssim": score(0.9), "ssim_foreground": score(0.8), "rates": [0.5, 0.2][: 1 + prior],
            "codecs": [("webp", codec_rate, 0.93, 0.9)], "vqvae": history(3, seconds=[60.0, 120.0, 600.0]),
            "prior": history(4) if prior else None}  # fmt: skip


def test_only_reports_on_the_same_data_share_axes():
    reports = [report("one"), report("two", prior=False), report("three", 0.4)]
    groups = [("small", reports[:2]), ("large", reports[2:])]
    figure = comparison.rate_distortion(groups, reports, {"large": [("published", 0.39, 0.8)]})
    assert legends_apart(figure)
    marks = [[line.get_marker() for line in axes.lines if len(line.get_xdata())] for axes in figure.axes]
    assert [mark.count("x") for mark in marks] == [0, 0, 1, 0]
    assert [mark.count("^") for mark in marks] == [1, 1, 1, 1], "two reports' codec at one setting is one mark"
    assert [mark.count("*") for mark in marks] == [1, 1, 1, 1], "a rate by the prior, where there is one"
    (name,) = figure.axes[2].texts
    assert not name.get_window_extent().contains(*figure.axes[2].transData.transform((0.4, 0.8))), "WebP is beside it"
    assert len({tuple(look.values()) for look in comparison.LOOKS}) == len(comparison.LOOKS) == 28


def test_training_is_drawn_over_minutes_and_only_where_it_is_known():
    reports = [report("one"), {**report("two"), "vqvae": None, "prior": None}]
    figure = comparison.training(reports, 0.9)
    assert legends_apart(figure)
    drawn = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 3]
    np.testing.assert_allclose(drawn[0].get_xdata(), [1, 2, 10])
    assert figure.axes[2].get_xlim() == (0.5, 4.5)
    assert comparison.training(reports[1:], 0.9) is None
