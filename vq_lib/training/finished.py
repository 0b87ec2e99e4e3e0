"""The files that a finished training leaves, and how the next notebook knows that they are those it needs."""

import contextlib

import numpy as np
import pandas as pd

from vq_lib import files
from vq_lib.errors import UserError
from vq_lib.models.saved import load

NOTEBOOK = "`make report`, or notebook {} with the same report, data and overrides,"
NOTEBOOK_02, NOTEBOOK_03 = NOTEBOOK.format("02_vqvae_training"), NOTEBOOK.format("03_pixelcnn_prior")


def vqvae_identity(study, slices):
    """What the recipe and the data ask of a VQ-VAE, hashed: its section, the augmentation and the slices."""
    augment = [study.recipe.chosen("data")["augment"]] if study.recipe.data.augment else []
    return files.digest(["vqvae", study.recipe.chosen("vqvae"), slices.fingerprint, *augment])


def prior_identity(study, name, vqvae_key):
    """What the recipe asks of the prior `name`, hashed, and whose codes it knows; nothing of the other priors."""
    section = study.recipe.prior.models()[name].model_dump(mode="json", exclude_defaults=True)
    return files.digest(["prior", section, vqvae_key])


def summary_of(folder):
    """The summary of the finished training in `folder`, or None where there is none, or no model beside it."""
    with contextlib.suppress(UserError):
        summary = files.read_json(folder / "summary.json", "a training")
        if isinstance(summary, dict) and {"key", "epochs"} <= summary.keys() and (folder / "model.keras").exists():
            return summary
    return None


def history(folder):
    """The history of a training, a row an epoch, as a data frame; `UserError` where it is missing or broken."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        frame = pd.read_csv(folder / "history.csv", dtype=float)
        if len(frame) and frame["loss"].notna().all():
            return frame
    raise UserError(f"{folder / 'history.csv'} is missing or broken: delete {folder} and run 'make report' again.")


def write_arrays(folder, name, key, value):
    """Write `value`, an array or a dictionary of arrays, to `folder/<name>.npz`, with the key of what made it."""
    arrays = value if isinstance(value, dict) else {name: value}
    files.write_arrays(folder / f"{name}.npz", key=np.array(key), **arrays)


def read_arrays(folder, name, key, made_by=NOTEBOOK_02):
    """What `write_arrays` wrote; `UserError` where it is missing, broken, or was written with another key."""
    path = folder / f"{name}.npz"
    with contextlib.suppress(UserError, KeyError):
        arrays = files.read_arrays(path, made_by)
        if str(arrays.pop("key")) == key:
            return arrays[name] if list(arrays) == [name] else arrays
    raise UserError(f"{path} is missing, broken or of another training: run {made_by} first.")


def load_vqvae(study, slices):
    """What notebook 02 left: the model, the codes of all slices, int32 (N, h, w), and the summary.

    A `UserError` names the notebook to run where it is not there, broken, or of other settings or data.
    """
    folder = study.vqvae
    model, summary = _finished(folder, vqvae_identity(study, slices), "VQ-VAE", NOTEBOOK_02)
    codes = read_arrays(folder, "codes", summary["key"])
    rows = np.unique(np.linspace(0, len(slices) - 1, 8).astype(int))
    fit = codes.shape == (len(slices), *model.grid) and np.issubdtype(codes.dtype, np.integer)
    # Another machine may round a near tie otherwise.
    if not fit or (model.encode(np.asarray(slices.images[rows])) == codes[rows]).mean() < 0.99:
        raise UserError(f"{folder / 'codes.npz'} does not hold the codes of the model beside it: delete it and run "
                        f"{NOTEBOOK_02} again.")  # fmt: skip
    return model, codes.astype(np.int32), summary


def load_prior(study, vqvae_summary, name=None):
    """As `load_vqvae`, of notebook 03 and the prior `name` (None: the main one): model, code lengths and summary."""
    name = name or study.recipe.prior.name
    folder, wanted = study.prior / name, prior_identity(study, name, vqvae_summary["key"])
    model, summary = _finished(folder, wanted, "prior", NOTEBOOK_03)
    return model, read_arrays(folder, "lengths", summary["key"], NOTEBOOK_03), summary


def _finished(folder, recipe, kind, made_by):
    """The model in `folder` and its summary, if it is what the recipe asks for."""
    summary = summary_of(folder)
    if summary is None or summary.get("recipe") != recipe:
        held = "a model of other settings or data" if summary else f"no finished {kind}"
        raise UserError(f"{folder} holds {held}: run {made_by} first.")
    try:
        return load(folder / "model.keras", kind), summary
    except UserError as error:
        raise UserError(f"{str(error).removesuffix('.')}; {made_by} makes one.") from None
