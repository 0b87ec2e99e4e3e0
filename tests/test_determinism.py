"""One seed, one result: a second run on one machine repeats weights and codes exactly."""

import zipfile

import h5py
import numpy as np


def weights(path):
    """All arrays of a model file by name."""
    found = {}
    with zipfile.ZipFile(path) as file, file.open("model.weights.h5") as inner, h5py.File(inner) as stored:
        stored.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def test_the_notebooks_train_in_processes_of_their_own_what_is_trained_by_hand(tiny, trained):
    """To the last bit: the report was made by the notebooks, a process each; the other by the functions in this one."""
    for stage in ("vqvae", "prior/pixelcnn", "prior/gated"):
        first, second = (weights(folder / "run" / stage / "model.keras") for folder in (tiny, trained))
        assert first.keys() == second.keys() and len(first) > 5
        for name in first:
            np.testing.assert_array_equal(second[name], first[name], err_msg=f"{stage}: {name}")
