"""What `make bench` compares and computes; its timings are no matter of tests."""

import numpy as np
import pytest
from bench import sampling as bench
from layer_checks import array
from test_prior import prior

from vq_lib.models.build import KINDS


def test_the_tutorials_form_is_the_same_function():
    model = prior(head_filters=4)
    codes = np.random.default_rng(1).integers(0, 7, (3, *model.grid)).astype(np.int32)
    reference = bench.in_tutorial_form(model)
    np.testing.assert_allclose(reference.predict(codes, verbose=0), array(model(codes)), rtol=1e-4, atol=1e-5)


def test_operations_by_hand():
    """One block of 4 filters on a grid of 6 cells, K = 7: each weight is multiplied and added once."""
    options = {"filters": 4, "blocks": 1, "kernel": 3, "head": 1}
    common = 2 * ((4 * 4 + 4) + (4 * 7 + 7))  # head and logits, with their biases
    block = (4 * 4 + 4) + (5 * 4 * 2 + 2) + (2 * 4 + 4)
    assert bench.operations(KINDS["pixelcnn"]((2, 3), 7, **options)) == 4 * 4 + 2 * (4 + block) + common
    block, attention = (5 * 4 * 4 + 4) + (4 * 8 + 8), (6 * 3 + 3) + (6 * 8 + 8) + (9 * 8 + 8)
    snail = KINDS["snail"]((2, 3), 7, key_dim=3, value_dim=5, **options)
    assert bench.operations(snail) == 4 * 4 + 2 * (4 + block + attention) + (3 + 5) * 6 + common


def test_exponents_of_known_growth():
    rows = [
        {"prior": name, "grid": grid, "batch": batch, "seconds": batch**0.7 * grid ** (2 * power)}
        for name, power in (("gated", 1.0), ("snail", 1.5))
        for grid in bench.GRIDS
        for batch in bench.BATCHES
        if (grid, batch) != (64, 64)
    ]
    assert bench.exponents(rows) == {"gated": pytest.approx(1.0), "snail": pytest.approx(1.5)}


def test_what_would_not_fit_is_left_out():
    fits = [(side, batch) for side in bench.GRIDS for batch in bench.BATCHES
            if bench.reference_bytes("pixelcnn", side, batch) <= bench.MEMORY]  # fmt: skip
    assert fits == [(16, 1), (16, 16), (16, 64), (32, 1), (32, 16), (32, 64), (64, 1), (64, 16)]
