"""Saved models, read as data: nothing in a file decides what code runs."""

import json
import zipfile
from pathlib import Path

from vq_lib.errors import UserError

MEMBERS = {"metadata.json", "config.json", "model.weights.h5"}
LARGEST = 2**30  # bytes, unpacked


def load(path: str | Path, kind: str | None = None):
    """A model that this library has saved, without optimiser.

    Keras's safe mode refuses pickled code, but lets a file name any class of Keras with any arguments. Here the file's
    configuration may name our own classes and Keras's dtype policy alone, and its weights lie inside it.

    Args:
        kind: "VQ-VAE" or "prior", where nothing else will do.

    Raises:
        UserError: the file is missing, broken, or something else, or not of the `kind`; the sentence says which.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise ValueError("there is no such file")
        if not zipfile.is_zipfile(path):
            raise ValueError("it is no .keras file, or was cut off")
        with zipfile.ZipFile(path) as file:
            _check(file)
    except UserError:
        raise
    except Exception as error:  # whatever a broken file makes its reader stumble on
        raise _refused(path, error) from None
    import keras

    # Keras finds the classes that have been imported: which ones, is said here and not by the file.
    from vq_lib.models.priors import Prior
    from vq_lib.models.vqvae import VQVAE

    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        raise _refused(path, error) from None
    if kind and not isinstance(model, {"VQ-VAE": VQVAE, "prior": Prior}[kind]):
        raise UserError(f"{path} holds a {type(model).__name__}, not a {kind} of vq_lib.")
    return model


def _refused(path, error):
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return UserError(f"{path} cannot be loaded as a Keras model of vq_lib: {reason[:200].rstrip('. ')}.")


def _check(file):
    import h5py

    others = sorted(set(file.namelist()) ^ MEMBERS)
    if others:
        raise ValueError(f"a model file holds {', '.join(sorted(MEMBERS))} alone, and differs in {others[0]!r}")
    if sum(entry.file_size for entry in file.infolist()) > LARGEST:
        raise ValueError("unpacked it would be larger than 1 GiB")
    if broken := file.testzip():  # HDF5 reads here and there, which leaves out the check sums
        raise ValueError(f"{broken} in it is damaged")
    config = json.loads(file.read("config.json"))
    if not isinstance(config, dict) or not str(config.get("registered_name")).startswith("vq_lib>"):
        name = config.get("class_name") if isinstance(config, dict) else type(config).__name__
        raise ValueError(f"it holds a {name}, not a model of vq_lib")
    _only_ours(config)
    with file.open("model.weights.h5") as weights, h5py.File(weights, "r") as stored:
        _inside(stored)
        sizes = [1024]  # pixels of a side
        stored.visititems(lambda _, item: sizes.extend(getattr(item, "shape", ())))
    _no_larger(config, max(sizes))


def _only_ours(value):
    """Every object that the configuration names is one of ours, or Keras's `DTypePolicy`."""
    if isinstance(value, list):
        for inner in value:
            _only_ours(inner)
    if isinstance(value, dict):
        if value.keys() & {"class_name", "registered_name", "module"}:
            module, kind, name = (value.get(key) for key in ("module", "class_name", "registered_name"))
            ours = str(module).startswith("vq_lib.") and name == f"vq_lib>{kind}"
            if not ours and (module, kind, name) != ("keras", "DTypePolicy", None):
                raise ValueError(f"it names {module}.{kind}, which is no part of vq_lib")
        for inner in value.values():
            _only_ours(inner)


def _no_larger(value, most, name=""):
    """No size that the configuration names is larger than any array beside it: building it would take the memory."""
    if isinstance(value, dict):
        for key, inner in value.items():
            # FSQ keeps no array of its codes or levels.
            if key not in ("seed", "levels") and not (key == "codes" and value.get("levels")):
                _no_larger(inner, most, key)
    elif isinstance(value, list):
        for inner in value:
            _no_larger(inner, most, name)
    elif isinstance(value, int) and value > most:
        raise ValueError(f"its {name} (={value}) fits none of its weights")


def _inside(group):
    """HDF5 can point to other files; a model's weights do not."""
    import h5py

    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"its weights point outside the file ({name!r})")
        if isinstance(group[name], h5py.Group):
            _inside(group[name])
        elif group[name].external or group[name].is_virtual:
            raise ValueError(f"its weights point outside the file ({name!r})")
