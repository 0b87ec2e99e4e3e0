"""The files of a finished stage vouch for one another, also where a training with other settings was broken off."""

import shutil

import numpy as np
import pytest

from vq_lib import data as datasets
from vq_lib.errors import UserError
from vq_lib.models.vqvae import VQVAE
from vq_lib.study import Study
from vq_lib.training import stages, training


class Broken(Exception):
    pass


def breaks(*_, **__):
    raise Broken


@pytest.fixture
def folder(tiny, tmp_path):
    return shutil.copytree(tiny, tmp_path / "report")


def test_a_training_broken_off_leaves_the_finished_one_as_it_was(folder, monkeypatch):
    study = Study(folder)
    slices, before = datasets.load(study), stages.history(study.vqvae)
    with monkeypatch.context() as patch:
        patch.setattr(training.Checkpoint, "on_train_end", breaks)
        with pytest.raises(Broken):
            stages.train_vqvae(Study(folder, overrides="vqvae.epochs=2"), slices)
    _, _, summary = stages.train_vqvae(study, slices)
    after = stages.history(study.vqvae)
    assert summary["epochs"]["done"] == 1 and all(np.array_equal(after[name], before[name]) for name in before)


def test_a_single_test_slice_is_told_before_the_training(folder):
    study = Study(folder)
    slices = datasets.load(study)
    slices.split[slices.where("test")[1:]] = "train"
    with pytest.raises(UserError, match="one test slice"):
        stages.train_vqvae(study, slices)


def test_images_without_any_difference_are_named():
    with pytest.raises(UserError, match="grey level 7"):
        stages.variance(np.full((3, 4, 4, 1), 7, np.uint8), np.arange(3))
    assert stages.variance(np.array([[[[0]]], [[[255]]]], np.uint8), np.arange(2)) == 0.25


def test_a_summary_never_vouches_for_another_model(folder, monkeypatch):
    """Broken off after the new model is in place: the first settings are trained again, not taken from its file."""
    study = Study(folder)
    slices = datasets.load(study)
    first = stages.load_vqvae(study, slices)[0].get_weights()
    with monkeypatch.context() as patch:
        patch.setattr(VQVAE, "encode", breaks)
        patch.setattr(stages, "load_codes", breaks)
        with pytest.raises(Broken):
            stages.train_vqvae(Study(folder, overrides="vqvae.learning_rate=0.01"), slices)
    again = stages.train_vqvae(study, slices)[0].get_weights()
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
