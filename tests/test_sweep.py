"""A sweep: every point through the pipeline, one row each, on validation people."""

import csv
import json
import shutil

import pandas as pd
import pytest
from conftest import TINY, vq_lib

from vq_lib import recipe
from vq_lib.errors import UserError
from vq_lib.report import comparison, sweep
from vq_lib.study import Study


def test_a_sweep_trains_each_point_and_tables_it(tmp_path):
    (tmp_path / "recipe.yaml").write_text(TINY, encoding="utf-8")
    (tmp_path / "sweep.yaml").write_text(
        "overrides: vqvae.restart=null\npoints:\n  fewer codes: vqvae.codes=4\nconclusion: Few codes.\n",
        encoding="utf-8",
    )
    done = vq_lib("sweep", tmp_path, "--set", "vqvae.codes=8 vqvae.beta=0.5")
    assert done.returncode == 0, done.stdout + done.stderr
    tried = comparison.sweep(tmp_path)
    table = tried["table"].set_index("change")
    assert list(table.index) == ["fewer codes"]
    assert set(sweep.SCORES) | {"parameters", "images_per_second", "minutes", "epochs"} == set(table.columns)
    assert tried["conclusion"] == "Few codes."
    (point,) = (tmp_path / "run" / "sweep").glob("fewer-codes-*")
    with open(point / "run" / "vqvae" / "history.csv", encoding="utf-8") as file:
        (epoch,) = csv.DictReader(file)
    assert table["ssim"]["fewer codes"] == pytest.approx(float(epoch["val_ssim"]), abs=1e-4)
    # Nothing of a point is published, and the same sweep again trains nothing.
    assert not (point / "metrics.json").exists()
    trained = json.loads((point / "run" / "vqvae" / "summary.json").read_text(encoding="utf-8"))
    assert trained["epochs"] == {"done": 1, "planned": 1}
    asked = recipe.load(point / "recipe.yaml").vqvae
    assert (asked.codes, asked.restart, asked.beta) == (4, None, 0.5), "each after what is said of more"
    again = vq_lib("sweep", tmp_path, "--set", "vqvae.codes=8 vqvae.beta=0.5")
    assert again.returncode == 0 and "Epoch 1" not in again.stdout
    pd.testing.assert_frame_equal(comparison.sweep(tmp_path)["table"].set_index("change"), table)


def test_a_point_that_changes_nothing_is_the_reports_own_training(trained, tmp_path):
    folder = shutil.copytree(trained, tmp_path / "mine")
    (folder / "sweep.yaml").write_text("points: {this recipe: '', shorter: vqvae.decay=0.9}", encoding="utf-8")
    study = Study(folder)
    point = sweep._point(study, "this recipe", "")
    assert point == folder and sweep._point(study, "shorter", "vqvae.decay=0.9") != folder
    history = pd.read_csv(folder / "run" / "vqvae" / "history.csv")
    assert sweep._result(point)["ssim"] == pytest.approx(history["val_ssim"][history["val_loss"].idxmin()], abs=1e-4)
    (folder / "sweep.yaml").write_text("points: {this recipe: ''}", encoding="utf-8")
    assert sweep.run(folder) == 0 and list(pd.read_csv(folder / "sweep.csv")["change"]) == ["this recipe"]
    shutil.rmtree(folder / "run" / "vqvae")
    assert sweep._point(study, "this recipe", "") != folder, "nothing is trained there"


def test_a_planned_sweep_is_told_from_none(tmp_path):
    (tmp_path / "recipe.yaml").write_text(TINY, encoding="utf-8")
    assert "No other settings were tried" in sweep.missing(Study(str(tmp_path)))
    (tmp_path / "sweep.yaml").write_text("points: {a: vqvae.beta=1}", encoding="utf-8")
    text = sweep.missing(Study(str(tmp_path), tmp_path))
    assert "has not been run yet" in text and f"'vq-lib sweep {tmp_path.name} --data folder'" in text
    assert '--set "vqvae.codes=8"\'' in sweep.missing(Study(str(tmp_path), tmp_path, "vqvae.codes=8"))


def test_a_mistake_is_named_before_anything_is_trained(tmp_path):
    (tmp_path / "recipe.yaml").write_text(TINY, encoding="utf-8")
    with pytest.raises(UserError, match="has no sweep.yaml"):
        sweep.run(str(tmp_path))
    for text, sentence in (
        ("points: 3", "must hold `points:`"),
        ("points: {a: vqvae.betta=1}", "Did you mean 'beta'"),
    ):
        (tmp_path / "sweep.yaml").write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match=sentence):
            sweep.run(str(tmp_path))
    assert not (tmp_path / "run").exists()
