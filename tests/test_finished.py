"""What a finished training leaves is found again by the next notebook, and by it alone where it fits."""

import shutil

import numpy as np
import pytest
from stages import train_priors

from vq_lib import data
from vq_lib.errors import UserError
from vq_lib.study import Study
from vq_lib.training.finished import history, load_prior, load_vqvae, read_arrays, summary_of, write_arrays


@pytest.fixture
def report(trained, tmp_path):
    """A copy of the trained report, to be changed."""
    return shutil.copytree(trained, tmp_path / "report")


def test_the_next_notebooks_load_what_was_trained(trained):
    study = Study(trained)
    slices = data.opened(study)
    model, codes, summary = load_vqvae(study, slices)
    assert codes.shape == (len(slices), *model.grid) and codes.dtype == np.int32
    np.testing.assert_array_equal(codes, model.encode(slices.images))
    assert summary["parameters"] == model.parameter_counts and summary["epochs"] == {"done": 1, "planned": 1}
    assert len(history(study.vqvae)) == 1 and history(study.vqvae)["val_ssim"].notna().all()
    prior, lengths, made = load_prior(study, summary)
    assert type(prior).__name__ == "PixelCNN" and made["parameters"] == prior.count_params()
    assert lengths["test"].shape == (len(slices.where("test")), *model.grid)
    assert type(load_prior(study, summary, "gated")[0]).__name__ == "GatedPixelCNN"


@pytest.mark.parametrize("overrides", ["title=Another", "evaluation.samples=5", "devices=2"])
def test_what_no_training_depends_on_changes_nothing(trained, overrides):
    study = Study(trained, overrides=overrides)
    load_prior(study, load_vqvae(study, data.opened(study))[2])


@pytest.mark.parametrize("overrides", ["vqvae.beta=0.5", "vqvae.epochs=2", "data.augment.flip=true"])
def test_a_vqvae_of_other_settings_is_not_taken(trained, overrides):
    study = Study(trained, overrides=overrides)
    with pytest.raises(
        UserError, match="other settings or data: run `make report`, or notebook 02_vqvae_training with"
    ):
        load_vqvae(study, data.opened(Study(trained)))


def test_priors_depend_on_their_own_settings_alone(trained):
    slices = data.opened(Study(trained))
    summary = load_vqvae(Study(trained), slices)[2]
    other = Study(trained, overrides="prior.compare.gated.filters=4")
    load_prior(other, summary)
    with pytest.raises(UserError, match="other settings or data: run `make report`, or notebook 03_pixelcnn_prior"):
        load_prior(other, summary, "gated")
    with pytest.raises(UserError, match="other settings or data"):
        load_prior(Study(trained), {**summary, "key": "of other codes"})


def test_a_prior_that_was_trained_is_not_trained_again_when_it_becomes_the_main_one(report, capsys):
    recipe = report / "recipe.yaml"
    text = recipe.read_text(encoding="utf-8")
    before = {name: (report / "run" / "prior" / name / "model.keras").read_bytes() for name in ("pixelcnn", "gated")}
    recipe.write_text(text.replace("compare: {gated: {}}", "name: gated, compare: {pixelcnn: {}}"), encoding="utf-8")
    capsys.readouterr()
    study = Study(report)
    assert list(train_priors(study, data.opened(study))) == ["gated", "pixelcnn"]
    assert capsys.readouterr().out.count("already trained: 1 of 1 epochs") == 2
    for name, content in before.items():
        assert (report / "run" / "prior" / name / "model.keras").read_bytes() == content


@pytest.mark.parametrize(("file", "load", "sentence"), [
    ("vqvae/summary.json", load_vqvae, "no finished VQ-VAE: run"),
    ("vqvae/model.keras", load_vqvae, "model.keras cannot be loaded .*;"),
    ("vqvae/codes.npz", load_vqvae, "codes.npz is missing, broken or of another training: run"),
    ("prior/pixelcnn/summary.json", load_prior, "no finished prior: run"),
    ("prior/pixelcnn/lengths.npz", load_prior, "lengths.npz is missing, broken or of another training: run"),
])  # fmt: skip
def test_a_broken_file_is_named_with_the_notebook_that_makes_it(report, file, load, sentence):
    study = Study(report)
    slices = data.opened(study)
    told = slices if load is load_vqvae else load_vqvae(study, slices)[2]
    (report / "run" / file).write_bytes(b"PK broken")
    notebook = "02_vqvae_training" if load is load_vqvae else "03_pixelcnn_prior"
    with pytest.raises(UserError, match=f"{sentence} `make report`, or notebook {notebook} with the same report"):
        load(study, told)


def test_codes_of_another_model_are_noticed(report):
    study, folder = Study(report), report / "run" / "vqvae"
    slices, key = data.opened(study), summary_of(folder)["key"]
    codes = read_arrays(folder, "codes", key)
    for wrong in ((codes + 1) % 16, codes[:-1], codes[:, :-1], codes / 2):
        write_arrays(folder, "codes", key, wrong)
        with pytest.raises(
            UserError, match="codes.npz does not hold the codes of the model beside it: delete it and run"
        ):
            load_vqvae(study, slices)
    write_arrays(folder, "codes", "another key", codes)
    with pytest.raises(UserError, match="codes.npz is missing, broken or of another training"):
        load_vqvae(study, slices)


def test_arrays_come_back_as_they_were(tmp_path):
    write_arrays(tmp_path, "one", "k", np.arange(6).reshape(2, 3))
    np.testing.assert_array_equal(read_arrays(tmp_path, "one", "k"), [[0, 1, 2], [3, 4, 5]])
    write_arrays(tmp_path, "two", "k", {"a": np.ones(2), "b": np.zeros(1, np.uint8)})
    assert {name: value.dtype for name, value in read_arrays(tmp_path, "two", "k").items()} == {
        "a": float,
        "b": "uint8",
    }
