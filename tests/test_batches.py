"""Batches: every row once, in an order that seed and epoch decide; their key and variance."""

import functools

import keras
import numpy as np
import pytest

from vq_lib.errors import UserError
from vq_lib.training.batches import Batches


def rows(batches, epoch):
    batches.start(epoch)
    return [batches[i][0][:, 0] // 2 for i in range(len(batches))]


def test_every_row_is_visited_once_in_an_order_that_seed_and_epoch_decide():
    inputs = np.arange(40).reshape(20, 2)
    orders = []
    for epoch in (0, 1, 0):
        order = np.concatenate(rows(Batches(inputs, np.arange(3, 17), 4, seed=5), epoch))
        assert sorted(order) == list(range(3, 17))
        orders.append(order.tolist())
    assert orders[0] == orders[2] != orders[1]
    assert np.concatenate(rows(Batches(inputs, [5, 2, 9], 2), 3)).tolist() == [2, 5, 9]


def test_a_training_sees_each_batch_once_and_in_order():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(14, 2)).astype(np.float32), rng.normal(size=(14, 1)).astype(np.float32)
    seen, unseen = (Batches(x, rows, 4, seed, targets=y) for rows, seed in ((np.arange(11), 5), ([11, 12], None)))
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")])
    model.compile(keras.optimizers.SGD(0.1), "mean_squared_error")
    model.fit(seen, validation_data=unseen, epochs=3, verbose=0, shuffle=False)
    weights = np.ones((2, 1))
    for epoch in (1, 2, 3):  # Keras says `on_epoch_end` once before it begins
        seen.start(epoch)
        for a, b in (seen[index] for index in range(len(seen))):
            weights -= 0.1 * 2 * a.T @ (a @ weights - b) / len(a)
    np.testing.assert_allclose(model.get_weights()[0], weights, rtol=1e-5)


def test_inputs_of_several_arrays_stay_together():
    first, second = np.arange(10), np.arange(10) * 3
    for (a, b), target in (lambda it: [it[i] for i in range(len(it))])(
        Batches((first, second), np.arange(10), 4, seed=1, targets=-first)
    ):
        np.testing.assert_array_equal(b, 3 * a)
        np.testing.assert_array_equal(target, -a)


def test_the_last_batch_is_cut_to_what_devices_can_share():
    batches = Batches(np.arange(11), np.arange(11), 4, seed=1, devices=2)
    assert [len(batches[i][0]) for i in range(len(batches))] == [4, 4, 2]
    assert len(Batches(np.arange(9), np.arange(9), 8, devices=2)) == 1


def scaled(batch, rng, factor=1.0):
    return batch * factor * rng.uniform(0.5, 1.5, batch.shape)


def test_changes_are_drawn_by_seed_epoch_and_number_alone():
    def epoch(number, order=(0, 1, 2)):
        batches = Batches(np.ones((12, 2)), np.arange(12), 4, seed=3, change=scaled)
        batches.start(number)
        return np.stack([batches[i][0] for i in order])

    np.testing.assert_array_equal(epoch(1), epoch(1, (2, 0, 1))[[1, 2, 0]])
    assert (epoch(1) != epoch(2)).all()


def test_the_key_is_that_of_what_a_training_sees():
    images, rows = np.random.default_rng(0).integers(0, 256, (600, 2, 2, 1)).astype(np.uint8), np.arange(500)
    change = functools.partial(scaled, factor=2.0)

    def key(**options):
        return Batches(**{"inputs": images, "rows": rows, "batch": 4, "seed": 1, "change": change, **options}).key

    other = images.copy()
    other[599] += 1  # no training row
    assert key() == key(inputs=other) == key(devices=2) == key(change=functools.partial(scaled, factor=2.0))
    other[499] += 1
    changes = [dict(inputs=other), dict(rows=rows[1:]), dict(rows=rows[::-1]), dict(batch=5), dict(seed=2),
               dict(targets=images), dict(inputs=(images, images)), dict(change=None),
               dict(change=functools.partial(scaled, factor=3.0)),
               dict(inputs=images.reshape(600, 4, 1, 1))]  # fmt: skip
    assert len({key(), *(key(**change) for change in changes)}) == len(changes) + 1


def test_the_variance_is_that_of_the_training_images():
    images = np.random.default_rng(0).integers(0, 256, (600, 4, 4, 1)).astype(np.uint8)
    assert Batches(images, np.arange(500), 4).variance == pytest.approx((images[:500] / 255).var(), rel=1e-12)
    assert Batches(np.array([[[[0]]], [[[255]]]], np.uint8), [0, 1], 2).variance == 0.25
    with pytest.raises(UserError, match="grey level 7"):
        _ = Batches(np.full((3, 4, 4, 1), 7, np.uint8), np.arange(3), 2).variance
