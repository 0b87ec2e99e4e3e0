"""Perplexity, black cells and what codes stand for, by hand."""

import numpy as np
import pytest

from vq_lib.scores import codes


def test_perplexity_and_usage_by_hand():
    assert codes.perplexity([0, 1, 2, 3], 8) == pytest.approx(4)
    assert codes.perplexity([5, 5, 5], 8) == pytest.approx(1)
    assert codes.perplexity([0, 0, 0, 1], 8) == pytest.approx(np.exp(-0.75 * np.log(0.75) - 0.25 * np.log(0.25)))
    assert codes.usage([[0, 1], [1, 1]], 8) == 0.25


def test_perplexity_cap_is_reached_by_the_best_histogram_and_by_no_other():
    cap, size, cells = codes.perplexity_cap(0.5, 5), 5, 800
    best = np.concatenate([np.zeros(cells // 2, int), np.repeat(np.arange(1, 5), cells // 8)])
    assert codes.perplexity(best, size) == pytest.approx(cap)
    rng = np.random.default_rng(0)
    for _ in range(50):
        other = np.concatenate([np.zeros(cells // 2, int), rng.choice(5, cells // 2, p=rng.dirichlet(np.ones(5)))])
        assert codes.perplexity(other, size) <= cap + 1e-9
    assert codes.perplexity_cap(0.1, 5) == 5 and codes.perplexity_cap(1.0, 5) == 1


def test_foreground_cells_by_hand():
    image = np.zeros((1, 8, 8, 1), np.uint8)
    image[0, 5, 2] = 13  # just above 0.05 * 255 = 12.75
    image[0, 0, 0] = 12
    assert np.argwhere(codes.foreground_cells(image, (2, 2))).tolist() == [[0, 1, 0]]


@pytest.mark.parametrize("field", [(0, 3), (-3, 6), (-1, 9), (-6, 4)])
def test_black_cells_see_no_light(field):
    """A pixel is lit everywhere in turn; a plain loop says which cells' windows hold it."""
    images = np.zeros((33, 32, 32, 1), np.uint8)
    for i in range(32):
        images[i + 1, i, (7 * i) % 32] = 255
    found = codes.black_cells(images, (8, 8), field)
    for n, row, column in np.ndindex(found.shape):
        top, left = max(4 * row + field[0], 0), max(4 * column + field[0], 0)
        window = images[n, top : 4 * row + field[1] + 1, left : 4 * column + field[1] + 1]
        assert found[n, row, column] == (window.max(initial=0) == 0)


def test_a_summary_leaves_out_what_cannot_be_told():
    images, grids = np.zeros((2, 8, 8, 1), np.uint8), np.arange(8).reshape(2, 2, 2)
    assert codes.summary(grids, images, 16) == {"codebook_usage": 0.5, "perplexity": pytest.approx(8)}
    images[0, :4, :4] = 200
    found = codes.summary(grids, images, 16, (0, 3))
    assert found["perplexity_foreground"] == 1 and found["perplexity_cap"] == codes.perplexity_cap(7 / 8, 16)


def test_patches_show_each_code_in_its_place():
    rng = np.random.default_rng(0)
    grids = rng.integers(0, 3, (5, 8, 8))
    outputs = grids.repeat(4, 1).repeat(4, 2)[..., None] / 4
    found = codes.patches(grids, outputs, 4)
    assert found.shape == (4, 12, 12) and np.isnan(found[3]).all()
    for code in range(3):  # a code's own cell, in the middle, shows that code
        np.testing.assert_allclose(found[code][4:8, 4:8], code / 4)
    alone = codes.patches(grids[:1], outputs[:1], 4, places=999)
    rows, columns = np.nonzero(grids[0] == 1)
    padded = np.pad(outputs[0, ..., 0], 4)
    by_hand = np.mean([padded[4 * r : 4 * r + 12, 4 * c : 4 * c + 12] for r, c in zip(rows, columns, strict=True)], 0)
    np.testing.assert_allclose(alone[1], by_hand, rtol=1e-6)


def test_counts_by_tissue_and_by_slice():
    rng = np.random.default_rng(0)
    grids, classes = rng.integers(0, 4, (6, 3, 3)), rng.integers(0, 5, (6, 12, 12))
    middle = codes.middles(classes, (3, 3))
    found = codes.counts_by(grids, middle, 5, 4)
    for kind, code in np.ndindex(5, 4):
        assert found[kind, code] == ((classes[:, 2::4, 2::4] == kind) & (grids == code)).sum()
    by_slice = codes.counts_by(grids, np.array([0, 0, 1, 1, 2, 2])[:, None, None], 3, 4)
    np.testing.assert_array_equal(by_slice[1], np.bincount(grids[2:4].ravel(), minlength=4))
