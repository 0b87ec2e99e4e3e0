"""Published models stand in for trained ones in notebook 04, and load as their card says."""

import json
import os
import re
import shutil
import subprocess
import sys

import nbformat
import papermill
import pytest
from conftest import REPOSITORY

from vq_lib.data import opened
from vq_lib.errors import UserError
from vq_lib.report import published
from vq_lib.study import Study
from vq_lib.training import finished


def _leaves(value, path=()):
    """Every number and text of `metrics.json` but the times of notebook 04 and the commit, by its path."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(inner, (*path, key))
    elif path not in {("provenance", "seconds", "evaluation"), ("samples", "seconds"), ("provenance", "commit")}:
        yield path, value


@pytest.fixture
def clone(tiny, tmp_path):
    """The tiny report as it would come with a clone: published, without its `run/`."""
    return shutil.copytree(tiny, tmp_path / tiny.name, ignore=shutil.ignore_patterns("run"))


def test_notebook_04_of_a_clone_finds_what_was_published(clone, tmp_path):
    executed = tmp_path / "04.ipynb"
    source = REPOSITORY / "notebooks" / "04_evaluation.ipynb"
    papermill.execute_notebook(source, executed, {"report": str(clone)}, cwd=source.parent, progress_bar=False)
    said = "".join(out.get("text", "") for cell in nbformat.read(executed, as_version=4).cells
                   for out in cell.get("outputs", []))  # fmt: skip
    assert "the models that this report has published stand in" in said
    mine, theirs = (dict(_leaves(json.loads((folder / "metrics.json").read_text("utf-8"))))
                    for folder in (clone / "run", clone))  # fmt: skip
    appendix = ("membership_auc", "position_agreement", "position_agreement_chance")  # what notebook 05 adds
    later = {key for key in theirs if key[0] == "likelihood" or key[1:] and key[1] in appendix}
    expected = {key: pytest.approx(value, rel=1e-6, nan_ok=True) if isinstance(value, float) else value
                for key, value in theirs.items() if key not in later}  # fmt: skip
    assert len(mine) > 200 and mine == expected
    assert not (clone / "run" / "vqvae").exists(), "'vq-lib report' would take it for a training"


def test_models_of_another_recipe_do_not_stand_in(clone, capsys):
    study = Study(clone, overrides="vqvae.beta=0.5")
    published.stand_in(study)
    assert "made with another recipe." in capsys.readouterr().out
    assert study.vqvae == study.run / "vqvae"
    with pytest.raises(UserError, match="run notebook 01 first"):
        opened(study)


def test_a_cohort_that_another_numpy_rounds_otherwise_is_the_same(clone, capsys):
    metrics = json.loads((clone / "metrics.json").read_text("utf-8"))
    metrics["provenance"]["data_fingerprint"] = "of elsewhere"
    (clone / "metrics.json").write_text(json.dumps(metrics))
    study = Study(clone)
    published.stand_in(study)
    assert "stand in" in capsys.readouterr().out
    slices = opened(study)
    _, codes, summary = finished.load_vqvae(study, slices)
    assert len(codes) == len(slices) and finished.load_prior(study, summary)[0].name


def test_models_of_other_overrides_name_them_before_slices_are_made(clone, capsys):
    metrics = json.loads((clone / "metrics.json").read_text("utf-8"))
    metrics["provenance"] |= {"recipe_sha256": "of overrides", "keys": None, "overrides": "vqvae.beta=0.5"}
    (clone / "metrics.json").write_text(json.dumps(metrics))
    published.stand_in(Study(clone))
    assert "(overrides = 'vqvae.beta=0.5')" in capsys.readouterr().out
    assert not (clone / "run" / "slices").exists()


def test_newer_models_take_the_place_of_those_that_stood_in(clone):
    study = Study(clone)
    published.stand_in(study)
    stood_in = study.vqvae.parent.stat().st_ino, (study.vqvae / "model.keras").stat().st_mtime_ns
    published.stand_in(Study(clone))
    assert (study.vqvae.parent.stat().st_ino, (study.vqvae / "model.keras").stat().st_mtime_ns) == stood_in
    metrics = json.loads((clone / "metrics.json").read_text("utf-8"))
    metrics["vqvae"]["images_per_second"] = 12345.0
    (clone / "metrics.json").write_text(json.dumps(metrics))
    published.stand_in(Study(clone))
    assert json.loads((study.vqvae / "summary.json").read_text("utf-8"))["images_per_second"] == 12345.0


def test_neither_a_title_nor_an_evaluation_nor_a_folders_name_is_a_recipe_of_its_own(clone, tmp_path, capsys):
    renamed = clone.rename(tmp_path / "renamed")
    text = (
        (renamed / "recipe.yaml")
        .read_text("utf-8")
        .replace("A tiny report", "Mine")
        .replace("samples: 4", "samples: 6")
    )
    (renamed / "recipe.yaml").write_text(text, "utf-8")
    published.stand_in(study := Study(renamed))
    assert "stand in" in capsys.readouterr().out and study.vqvae == renamed / "run" / "published" / "vqvae"


def test_code_lengths_are_computed_where_they_are_asked_for(clone):
    study = Study(clone)
    published.stand_in(study)
    summary = finished.load_vqvae(study, opened(study))[2]
    assert finished.load_prior(study, summary)[1] == {}
    published.stand_in(study := Study(clone), lengths=("train", "test"))
    lengths = finished.load_prior(study, summary)[1]
    prior = study.recorded("prior")
    model = finished.load_prior(study, summary)[0]
    assert set(lengths) == {"train", "test"}
    for split, bits in lengths.items():
        mean = bits.mean() + model.condition_bits / bits[0].size
        assert mean == pytest.approx(prior["bits_per_code"][split], rel=1e-5)


@pytest.mark.parametrize("text", ['{"provenance": {}}', "[]", '{"provenance": 3}'])
def test_broken_metrics_are_named(clone, text):
    (clone / "metrics.json").write_text(text)
    with pytest.raises(UserError, match=r"metrics.json is not as 'vq-lib report' writes it"):
        published.stand_in(Study(clone))


def test_the_card_says_how_a_new_process_loads_the_models(tiny):
    text = (tiny / "models" / "README.md").read_text("utf-8")
    line = re.search(r'`vq_lib\.models\.(saved\.load\("vqvae\.keras"\))`', text)[1]
    both = f"({line}, {line.replace('vqvae', 'prior')})"
    code = f"from vq_lib.models import saved; print(*(type(m).__name__ for m in {both}))"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tiny / "models", env=environment, check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == ["VQVAE", "PixelCNN"]
