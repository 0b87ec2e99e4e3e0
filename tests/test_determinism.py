"""One seed, one result: a second run on one machine repeats weights and codes exactly."""

import subprocess
import sys
import zipfile

import h5py
import numpy as np
from conftest import REPOSITORY, TINY
from stages import train_priors, train_vqvae

from vq_lib import data
from vq_lib.study import Study

AGAIN = "import sys, stages; from vq_lib import data; from vq_lib.study import Study; study = Study(sys.argv[1]); " \
        "slices = data.load(study); stages.train_vqvae(study, slices); stages.train_priors(study, slices)"  # fmt: skip


def weights(path):
    """All arrays of a model file by name."""
    found = {}
    with zipfile.ZipFile(path) as file, file.open("model.weights.h5") as inner, h5py.File(inner) as stored:
        stored.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def same(one, other):
    """Whether two reports have the same models, to the last bit."""
    for stage in ("vqvae", "prior/pixelcnn", "prior/gated"):
        first, second = (weights(folder / "run" / stage / "model.keras") for folder in (one, other))
        assert first.keys() == second.keys() and len(first) > 5
        for name in first:
            np.testing.assert_array_equal(second[name], first[name], err_msg=f"{stage}: {name}")


def by_hand(folder):
    (folder / "recipe.yaml").write_text(TINY, encoding="utf-8")
    study = Study(folder)
    slices = data.load(study)
    train_vqvae(study, slices)
    train_priors(study, slices)
    return folder


def test_another_process_gives_the_same_weights(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "recipe.yaml").write_text(TINY, encoding="utf-8")
    subprocess.run([sys.executable, "-c", AGAIN, str(tmp_path / "b")], check=True, cwd=REPOSITORY / "tests")
    same(by_hand(tmp_path / "a"), tmp_path / "b")


def test_the_notebooks_train_what_the_stages_do_by_hand(tiny, tmp_path):
    """The report was made in other processes, by the notebooks; here the stages run by hand, from nothing."""
    same(tiny, by_hand(tmp_path))
