"""One seed, one result: a second run on one machine repeats weights and figures exactly."""

import json
import zipfile

import h5py
import numpy as np
from conftest import TINY

from vq_lib import data
from vq_lib.report import evaluation
from vq_lib.study import Study
from vq_lib.training import stages


def weights(path):
    """All arrays of a model file by name."""
    found = {}
    with zipfile.ZipFile(path) as file, file.open("model.weights.h5") as inner, h5py.File(inner) as stored:
        stored.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def without_times(metrics):
    for section, key in (("provenance", "seconds"), ("provenance", "commit"), ("vqvae", "images_per_second"),
                         ("samples", "seconds")):  # fmt: skip
        metrics[section].pop(key)
    return {**metrics, "report": ""}


def test_the_stages_repeat_what_the_report_gave(tiny, tmp_path):
    """The report was made in other processes, by the notebooks; here the stages run by hand, from nothing."""
    (tmp_path / "recipe.yaml").write_text(TINY, encoding="utf-8")
    study = Study(str(tmp_path))
    slices = data.load(study)
    vqvae, codes, summary = stages.train_vqvae(study, slices)
    trained = stages.train_priors(study, slices)
    prior, prior_summary = trained[study.recipe.prior.name]
    for stage in ("vqvae", "prior"):
        first, second = weights(tiny / "models" / f"{stage}.keras"), weights(tmp_path / "run" / stage / "model.keras")
        assert first.keys() == second.keys() and len(first) > 5
        for name in first:
            np.testing.assert_array_equal(second[name], first[name], err_msg=f"{stage}: {name}")
    result, _, _ = evaluation.vqvae_metrics(study, slices, vqvae, codes, summary)
    images, drawn, _, _ = evaluation.draw_samples(study, slices, vqvae, prior)
    published = json.loads((tiny / "metrics.json").read_text(encoding="utf-8"))
    result.pop("images_per_second")
    assert result == without_times(published)["vqvae"]
    assert prior_summary["models"] == published["prior"]["models"]
    with np.load(tiny / "run" / "evaluation" / "samples.npz", allow_pickle=False) as file:
        np.testing.assert_array_equal(images, file["images"])
        np.testing.assert_array_equal(drawn, file["codes"])
    assert published["provenance"]["repeatable"] is True or published["provenance"]["device"][:3] != "CPU"
