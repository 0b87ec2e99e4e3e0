"""Saved models, read as data: nothing in a file decides what code runs."""

import json
import math
import sys
import tempfile
import zipfile
from pathlib import Path

import h5py
import keras

from vq_lib.errors import UserError
from vq_lib.models import build  # noqa: F401  (registers every class of ours that a file may name)
from vq_lib.models.prior import Prior
from vq_lib.models.two_level import TwoLevelPrior
from vq_lib.models.vqvae import VQVAE

MEMBERS = {"metadata.json", "config.json", "model.weights.h5"}
LARGEST = 2**30  # bytes, unpacked
PRIORS = (Prior, TwoLevelPrior)
# What an encoder or decoder of one's own may be made of: layers that compute, and nothing that loads or runs a thing.
HARMLESS = {
    "keras": "DTypePolicy Sequential",
    "keras.src.models.functional": "Functional",
    "keras.src.ops.numpy": "Add Subtract Multiply TrueDivide",
    "keras.layers": "InputLayer Conv2D Conv2DTranspose DepthwiseConv2D SeparableConv2D Dense Activation ReLU LeakyReLU "
    "PReLU ELU Softmax BatchNormalization GroupNormalization LayerNormalization UnitNormalization Dropout "
    "SpatialDropout2D GaussianNoise Add Subtract Multiply Average Maximum Minimum Concatenate MaxPooling2D "
    "AveragePooling2D UpSampling2D ZeroPadding2D Cropping2D Reshape Permute Rescaling Identity",
    "keras.initializers": "Zeros Ones Constant RandomNormal RandomUniform TruncatedNormal GlorotNormal GlorotUniform "
    "HeNormal HeUniform LecunNormal LecunUniform Orthogonal Identity VarianceScaling",
    "keras.regularizers": "L1 L2 L1L2",
}
ALLOWED = {(module, name) for module, names in HARMLESS.items() for name in names.split()}


def load(path: str | Path, kind: str | None = None):
    """A model that this library or Keras's own `save` has written, without optimiser; `kind`: "VQ-VAE" or "prior".

    Keras's safe mode refuses pickled code, but lets a file name any class of Keras with any arguments. Here the file's
    configuration may name our own classes, classes of models and layers that this process has defined or imported
    already, and those in `HARMLESS`; its weights lie inside it.

    Raises:
        UserError: the file is missing, broken, or something else, or not of the `kind`; the sentence says which.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise ValueError("there is no such file")
        if not zipfile.is_zipfile(path):
            raise ValueError("it is no .keras file, or was cut off")
        own: dict = {}
        with zipfile.ZipFile(path) as file, tempfile.TemporaryDirectory() as folder:
            config = _checked(file, own)
            model = keras.saving.deserialize_keras_object(config, custom_objects=own, safe_mode=True)
            weights = Path(file.extract("model.weights.h5", folder))
            _rename(weights)
            model.load_weights(weights)
    except Exception as error:  # whatever a broken file makes its reader stumble on
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(". ")
        raise UserError(f"{path} cannot be loaded as a Keras model of vq_lib: {reason}.") from None
    if kind and not isinstance(model, {"VQ-VAE": (VQVAE,), "prior": PRIORS}[kind]):
        raise UserError(f"{path} holds a {type(model).__name__}, not a {kind} of vq_lib.")
    return model


def as_float32(model):
    """A copy of `model` under a float32 policy, as it is saved and evaluated: any machine can then load it."""
    mixed = ("mixed_bfloat16", "mixed_float16")
    plain = lambda value: "float32" if isinstance(value, str) and value in mixed else value  # noqa: E731
    copy = type(model).from_config(keras.tree.map_structure(plain, model.get_config()))
    copy.set_weights(model.get_weights())
    return copy


def _rename(weights):
    """Keras files a quantiser under its class's name, which was one for both kinds of codebook."""
    with h5py.File(weights, "r+") as stored:
        if "layers/vector_quantizer/vars/2" in stored:  # sums: it is an EMA codebook
            stored.move("layers/vector_quantizer", "layers/ema_vector_quantizer")


def _checked(file, own):
    others = sorted(set(file.namelist()) ^ MEMBERS)
    if others:
        raise ValueError(f"a model file holds {', '.join(sorted(MEMBERS))} alone, and differs in {others[0]!r}")
    if sum(entry.file_size for entry in file.infolist()) > LARGEST:
        raise ValueError("unpacked it would be larger than 1 GiB")
    if broken := file.testzip():  # HDF5 reads here and there, which leaves out the check sums
        raise ValueError(f"{broken} in it is damaged")
    config = json.loads(file.read("config.json"))
    kind = _class(config) if isinstance(config, dict) else None
    if kind is None or not issubclass(kind, (VQVAE, *PRIORS)):
        name = config.get("class_name") if isinstance(config, dict) else type(config).__name__
        raise ValueError(f"it holds a {name}, not a model of vq_lib, nor of a class that is defined here")
    config.pop("compile_config", None)
    with file.open("model.weights.h5") as weights, h5py.File(weights, "r") as stored:
        items: dict = {}
        stored.visititems(items.__setitem__)
        arrays = {name: item for name, item in items.items() if isinstance(item, h5py.Dataset)}
        outside = [name for name, array in arrays.items() if array.external or array.is_virtual]
        links = stored.visititems_links(lambda name, link: None if isinstance(link, h5py.HardLink) else name)
        if links or outside:  # HDF5 can point to other files; a model's weights do not
            raise ValueError(f"its weights point outside the file ({links or outside[0]!r})")
        largest = max([1024, *(side for array in arrays.values() for side in array.shape)])  # 1024 pixels of a side
    _only_known(config, own, largest)
    return config


def _class(value):
    """The layer or model class outside Keras that a configuration names and this process has, or None."""
    module, name, registered = (value.get(key) for key in ("module", "class_name", "registered_name"))
    found = keras.saving.get_registered_object(registered) if isinstance(registered, str) else None
    if found is None and registered == name and isinstance(module, str) and isinstance(name, str):
        found = vars(sys.modules.get(module, object)).get(name)
    ours = isinstance(found, type) and issubclass(found, keras.layers.Layer) and found.__name__ == name
    return found if ours and found.__module__.split(".")[0] != "keras" else None


def _only_known(value, own, largest, name=""):
    """Every object that the configuration names is known; those that Keras has no register of are added to `own`. No
    size in it is larger than the `largest` of the arrays beside it: building it would take the memory.
    """
    if isinstance(value, list):
        for inner in value:
            _only_known(inner, own, largest, name)
    elif isinstance(value, dict):
        names = [value.get(key) for key in ("module", "class_name", "registered_name")]
        if value.keys() & {"class_name", "registered_name", "module"} and names[1] != "__keras_tensor__":
            if (kind := _class(value)) is not None:
                own[names[2]] = kind
            elif tuple(names[:2]) not in ALLOWED or names[2] not in (None, names[1]):
                raise ValueError(f"it names {names[0]}.{names[1]}, which is no part of vq_lib")
        for key, inner in value.items():
            free = key in ("seed", "levels", "shared_object_id") or key == "codes" and value.get("levels")
            _only_known(inner, own, math.inf if free else largest, key)  # FSQ keeps no array of its codes or levels
    elif isinstance(value, int) and value > largest:
        raise ValueError(f"its {name} (={value}) fits none of its weights")
