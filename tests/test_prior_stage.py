"""Training several priors of one report: each once, whichever is the main one; what `metrics.json` says of them."""

import json
import shutil

import numpy as np
import pytest

from vq_lib import data
from vq_lib.errors import UserError
from vq_lib.scores import metrics
from vq_lib.study import Study
from vq_lib.training import stages


@pytest.fixture
def report(tiny, tmp_path):
    """A copy of the tiny report, to be changed: a PixelCNN, compared with a gated one."""
    folder = shutil.copytree(tiny, tmp_path / "report")
    trained(folder)  # other tests may have left other settings' models
    return folder


def trained(folder, overrides=""):
    study = Study(folder, overrides=overrides)
    return study, stages.train_priors(study, data.opened(study))


def test_metrics_have_every_prior_and_the_difference(tiny):
    found = json.loads((tiny / "metrics.json").read_text())["prior"]
    assert found["name"] == "pixelcnn" and set(found["models"]) == set(found["overfitted"]) == {"pixelcnn", "gated"}
    assert found["models"]["pixelcnn"] == found["bits_per_code"]
    study = Study(tiny)
    slices = data.opened(study)
    lengths = {name: stages.lengths_on_test(study, name).mean(axis=(1, 2)) for name in ("pixelcnn", "gated")}
    told = (np.log2(3) + np.log2(4)) / 64  # two labels, three positions, and unknown; 8 x 8 codes
    for name, values in lengths.items():
        assert found["models"][name]["test"] == pytest.approx(values.mean() + told, rel=1e-5)
    people = slices.person[slices.where("test")]
    expected = metrics.interval(lengths["gated"] - lengths["pixelcnn"], people)
    assert found["differences"] == {"gated": pytest.approx(expected, abs=1e-6)}  # lengths are kept in single precision


def test_gaps_are_of_the_bits_that_stand_beside_them(tiny):
    found = json.loads((tiny / "metrics.json").read_text())["prior"]
    for name, bits in found["models"].items():
        for split in ("validation", "test"):
            gap = found["gaps"][name][split]
            # Code lengths are kept in single precision, and a gap is the difference of two that are nearly equal.
            assert gap["gap"]["mean"] == pytest.approx(bits[split] / bits["train"] - 1, rel=1e-4, abs=1e-6)
            unigram = found["position_unigram"]
            assert gap["groups"]["mean"] == pytest.approx(unigram[split] / unigram["train"] - 1)
    assert found["position_unigram"]["test"] == pytest.approx(found["baselines_bits_per_code"]["position_unigram"])


def test_code_lengths_that_an_earlier_version_did_not_keep_are_made_again(report, capsys):
    path = report / "run" / "prior" / "gated" / "lengths.npz"
    with np.load(path) as file:
        test, train = file["test"], file["train"]
    before = trained(report)[1]["pixelcnn"][1]["gaps"]
    np.savez_compressed(path, test=test)
    capsys.readouterr()
    assert trained(report)[1]["pixelcnn"][1]["gaps"] == before
    assert capsys.readouterr().out.count("already trained") == 2
    with np.load(path) as file:
        np.testing.assert_allclose(file["train"], train, rtol=1e-6)


def test_a_prior_that_was_trained_is_not_trained_again(report, capsys):
    recipe = report / "recipe.yaml"
    text = recipe.read_text(encoding="utf-8")
    before = {name: (report / "run" / "prior" / name / "model.keras").read_bytes() for name in ("pixelcnn", "gated")}
    recipe.write_text(text.replace("compare: {gated: {}}", "name: gated, compare: {pixelcnn: {}}"), encoding="utf-8")
    capsys.readouterr()
    study, found = trained(report)
    assert list(found) == ["gated", "pixelcnn"] and capsys.readouterr().out.count("already trained") == 2
    assert (study.prior / "model.keras").read_bytes() == before["gated"] != before["pixelcnn"]
    summary = stages.load_vqvae(study, data.opened(study))[2]
    assert stages.load_prior(study, summary)[1]["name"] == "gated"
    with pytest.raises(UserError, match="no finished prior"):  # the copy is of another main prior
        stages.load_prior(Study(report, overrides="prior.compare=null"), summary)
    _, found = trained(report, "prior.compare.pixelcnn.filters=4")
    assert capsys.readouterr().out.count("already trained") == 1 and found["pixelcnn"][0].settings["filters"] == 4


def test_codes_of_another_model_are_noticed(report):
    path = report / "run" / "vqvae" / "codes.npz"
    with np.load(path) as file:
        codes, key = file["codes"], file["key"]
    np.savez_compressed(path, codes=(codes + 1) % 16, key=key)
    with pytest.raises(UserError, match="does not hold the codes of the model beside it"):
        trained(report)


def test_a_condition_that_the_data_do_not_have_is_named(report):
    slices = data.opened(Study(report))
    labels, count, told = stages.conditions(slices, ["label", "position"])
    assert labels == ("atrophy", "control") and count == 3
    np.testing.assert_array_equal(told[:, 1], slices.position)
    assert [labels[i] for i in told[:, 0]] == slices.label.tolist()
    assert (stages.conditions(slices, [])[2] == -1).all()
    object.__setattr__(slices, "label", np.full(len(slices), ""))
    object.__setattr__(slices, "position", np.full(len(slices), -1))
    for wanted in ("label", "position"):
        with pytest.raises(UserError, match=f"names '{wanted}'"):
            stages.conditions(slices, [wanted])
