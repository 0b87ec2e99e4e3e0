"""Model files from strangers: broken, hostile or another program's. One sentence each, no code run, nothing touched."""

import io
import json
import pickle
import zipfile

import h5py
import numpy as np
import pytest
from conftest import Payload, pack, refuses

from vq_lib.layers.quantizer import EMAVectorQuantizer, VectorQuantizer
from vq_lib.models import saved
from vq_lib.models.pixelcnn import PixelCNN
from vq_lib.models.vqvae import VQVAE

CONV = {"layer": "conv", "filters": 2, "kernel": 4, "stride": 2}


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """The members of a good model file, and the file."""
    path = tmp_path_factory.mktemp("good") / "model.keras"
    VQVAE((8, 8, 1), [CONV], [{**CONV, "layer": "transpose"}], EMAVectorQuantizer(4, 2)).save(path)
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}, path.read_bytes()


def hdf5(write):
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        write(file)
    return buffer.getvalue()


NOT_MODELS = {
    "empty": lambda whole, folder: b"",
    "text": lambda whole, folder: b"I am a model, believe me.",
    "pickle": lambda whole, folder: pickle.dumps(Payload(folder)),
    "hdf5": lambda whole, folder: hdf5(lambda file: file.create_dataset("x", data=[1.0])),
    "an empty zip": lambda whole, folder: pack({}),
    "a zip of other things": lambda whole, folder: pack({"readme.txt": "hello"}),
    "a zip of arrays": lambda whole, folder: pack({"x.npy": b"\x93NUMPY"}),
    **{f"cut at {part}/8": lambda whole, folder, part=part: whole[: len(whole) * part // 8] for part in range(1, 8)},
    **{
        f"damage at {part}/6": lambda whole, folder, part=part: (
            whole[: len(whole) * part // 6] + 200 * b"\xa5" + whole[len(whole) * part // 6 + 200 :]
        )
        for part in range(6)
    },
}


@pytest.mark.parametrize("name", NOT_MODELS)
def test_what_is_no_model_file(good, place, name):
    path = place / "model.keras"
    path.write_bytes(NOT_MODELS[name](good[1], place))
    assert str(path) in refuses(saved.load, path)


def test_what_is_no_file(place):
    assert "no such file" in refuses(saved.load, place / "none.keras")
    assert "no such file" in refuses(saved.load, place)


def _lambda(folder):
    code = {"class_name": "__lambda__", "config": {"value": ["4wAAAA==", None, None]}}
    return {"module": "keras.layers", "class_name": "Lambda", "registered_name": None,
            "config": {"name": "evil", "function": code, "arguments": {}}}  # fmt: skip


def _call(module, name, *arguments):
    return {"module": module, "class_name": name, "registered_name": name, "config": {"args": arguments}}


def _layer(name, **config):
    return {"module": "keras.layers", "class_name": name, "registered_name": None, "config": config}


def _sequential(layer):
    first = _layer("InputLayer", batch_shape=[None, 8, 8, 1], dtype="float32")
    config = {"name": "own", "layers": [first, layer]}
    return {"module": "keras", "class_name": "Sequential", "registered_name": None, "config": config}


def _quantizer(**changes):
    config = {"num_embeddings": 4, "embedding_dim": 2, **changes}
    return {"module": "vq_lib.layers.quantizer", "class_name": "EMAVectorQuantizer", "config": config,
            "registered_name": "vq_lib>EMAVectorQuantizer"}  # fmt: skip


def flat(config):
    """The configuration as it was before the quantiser became an object of its own."""
    inner = {name: value for name, value in config["config"].items() if name != "quantizer"}
    old = {"codes": 4, "code_dim": 2, "beta": 0.25, "codebook": "ema", "decay": 0.99, "distance": "euclidean",
           "gradient": "straight_through", "spread": None, "levels": None, "seed": 0}  # fmt: skip
    return {**config, "module": "vq_lib.vqvae", "config": {**inner, **old}}


# What stands in the place of the whole configuration, or of one key of the model's.
CONFIGURATIONS = {
    "a list": lambda c, f: [],
    "a number": lambda c, f: 3,
    "nothing": lambda c, f: {},
    "another's model": lambda c, f: {"module": "keras", "class_name": "Sequential", "registered_name": None,
                                     "config": {"layers": []}},
    "a layer that runs code": lambda c, f: {"module": "keras", "class_name": "Sequential", "registered_name": None,
                                            "config": {"layers": [_lambda(f)]}},
    "a function": lambda c, f: _call("os", "system", f"touch {f / 'owned'}"),
    "a builtin": lambda c, f: _call("builtins", "exec", f"open({str(f / 'owned')!r}, 'w')"),
    "our name on another's module": lambda c, f: {**c, "module": "os", "class_name": "system"},
    "our name on another class": lambda c, f: {**c, "class_name": "Sequential"},
    "a class that we do not have": lambda c, f: {**c, "class_name": "Nothing", "registered_name": "vq_lib>Nothing"},
    "a layer of ours that is no model": lambda c, f: {
        **c, "module": "vq_lib.layers.masked", "class_name": "MaskedConv2D", "registered_name": "vq_lib>MaskedConv2D"},
}  # fmt: skip
VALUES = {
    "dtype as a function": ("dtype", lambda f: _call("os", "system", f"touch {f / 'owned'}")),
    "dtype as a download": ("dtype", lambda f: _call("keras.utils", "get_file", "x", "file:///etc/hostname")),
    "dtype unknown": ("dtype", lambda f: "complex9"),
    "lambda among the blocks": ("encoder", lambda f: [_lambda(f)]),
    "lambda as activation": ("activation", _lambda),
    "pickle in a string": ("encoder", lambda f: pickle.dumps(Payload(f)).hex()),
    "no blocks": ("encoder", lambda f: None),
    "a block without keys": ("encoder", lambda f: [{}]),
    "blocks that do not fit": ("decoder", lambda f: [CONV]),
    "image of text": ("image_shape", lambda f: "large"),
    "image without channels": ("image_shape", lambda f: [8, 8]),
    "image of negative size": ("image_shape", lambda f: [-8, -8, 1]),
    "own model that runs code": ("encoder", lambda f: _sequential(_lambda(f))),
    "own model by a path inside Keras": ("encoder", lambda f: _sequential(
        {**_lambda(f), "module": "keras.src.layers.core.lambda_layer"})),
    "own model under a name of ours": ("encoder", lambda f: _sequential(
        {**_lambda(f), "registered_name": "vq_lib>VQVAE"})),
    "own model that loads another": ("decoder", lambda f: _sequential(
        _layer("TFSMLayer", filepath=str(f), call_endpoint="serve"))),
    "own model of text": ("encoder", lambda f: _sequential(_layer("TextVectorization", vocabulary="/etc/passwd"))),
    "own model with a function": ("encoder", lambda f: _sequential(
        _layer("Dense", units=2, activation=_call("builtins", "exec", f"open({str(f / 'owned')!r}, 'w')")))),
    "own model that is no model": ("encoder", lambda f: _layer("Dense", units=2)),
    "own model with a hostile optimizer": ("encoder", lambda f: {
        **_sequential(_layer("Dense", units=2)), "compile_config": {"loss": _call("os", "system", "touch owned")}}),
    "quantiser as a function": ("quantizer", lambda f: _call("os", "system", f"touch {f / 'owned'}")),
    "quantiser of text": ("quantizer", lambda f: "ema"),
    "quantiser of another kind": ("quantizer", lambda f: _layer("Dense", units=2)),
    "quantiser of no codes": ("quantizer", lambda f: _quantizer(num_embeddings=0)),
    "quantiser of more codes than memory": ("quantizer", lambda f: _quantizer(num_embeddings=2**28)),
    "quantiser of other codes than weights": ("quantizer", lambda f: _quantizer(num_embeddings=5)),
    "quantiser of an unknown distance": ("quantizer", lambda f: _quantizer(distance="os.system")),
}  # fmt: skip
FLAT = {  # of models that were saved before the quantiser became an object of its own
    "no codes": ("codes", lambda f: 0),
    "codes of text": ("codes", lambda f: "many"),
    "other number of codes than weights": ("codes", lambda f: 5),
    "codes of another length than weights": ("code_dim", lambda f: 3),
    "more codes than memory": ("codes", lambda f: 2**28),
    "layers wider than memory": (
        "encoder",
        lambda f: [{"layer": "conv", "filters": 10**6, "kernel": 4, "stride": 2, "repeat": 1, "hidden": None}],
    ),
    "unknown codebook": ("codebook", lambda f: "pickle"),
    "quantiser beside its settings": ("quantizer", lambda f: _call("os", "system", f"touch {f / 'owned'}")),
}
VALUES |= {
    "unknown normalisation": ("normalise", lambda f: "/etc/passwd"),
    "unknown last layer": ("output", lambda f: "os.system"),
    "unknown activation": ("activation", lambda f: "os.system"),
    "unknown key": ("payload", lambda f: "x"),
}


def _written(place, members, **changes):
    path = place / "model.keras"
    path.write_bytes(pack({**members, **changes}))
    return path


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_configuration_of_something_else(good, place, name):
    config = CONFIGURATIONS[name](json.loads(good[0]["config.json"]), place)
    refuses(saved.load, _written(place, {**good[0], "config.json": json.dumps(config)}))


@pytest.mark.parametrize("name", [*VALUES, *FLAT])
def test_configuration_with_a_hostile_value(good, place, name):
    config = json.loads(good[0]["config.json"])
    config = flat(config) if name in FLAT else config
    key, value = {**VALUES, **FLAT}[name]
    config["config"][key] = value(place)
    sentence = refuses(saved.load, _written(place, {**good[0], "config.json": json.dumps(config)}))
    assert "memory" not in name or "fits none of its weights" in sentence  # before anything is built


def test_a_hostile_value_is_what_the_good_file_is_refused_for(good, place):
    """The same rewriting without the hostile value loads."""
    for config in (json.loads(good[0]["config.json"]), flat(json.loads(good[0]["config.json"]))):
        assert isinstance(saved.load(_written(place, {**good[0], "config.json": json.dumps(config)})), VQVAE)
    config["config"]["quantizer"] = _quantizer()
    for name in ("codes", "code_dim", "beta", "codebook", "decay", "distance", "gradient", "spread", "levels", "seed"):
        del config["config"][name]
    assert isinstance(saved.load(_written(place, {**good[0], "config.json": json.dumps(config)})), VQVAE)


@pytest.mark.parametrize("codebook", ["ema", "gradient"])
def test_a_model_of_before_has_its_codes(place, codebook):
    """Flat settings, and the quantiser's weights under the name that both kinds of codebook once had."""
    layer = {"ema": EMAVectorQuantizer, "gradient": VectorQuantizer}[codebook](4, 2)
    model = VQVAE((8, 8, 1), [CONV], [{**CONV, "layer": "transpose"}], layer)
    layer.replace(np.arange(4), np.random.default_rng(0).normal(size=(4, 2)))
    path, images = place / "model.keras", np.random.default_rng(1).integers(0, 256, (3, 8, 8, 1)).astype(np.uint8)
    model.save(path)
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    config = flat(json.loads(members["config.json"]))
    config["config"]["codebook"] = codebook
    weights = io.BytesIO(members["model.weights.h5"])
    with h5py.File(weights, "r+") as stored:
        if codebook == "ema":
            stored.move("layers/ema_vector_quantizer", "layers/vector_quantizer")
    changed = {"config.json": json.dumps(config), "model.weights.h5": weights.getvalue()}
    again = saved.load(_written(place, {**members, **changed}), "VQ-VAE")
    np.testing.assert_array_equal(again.encode(images), model.encode(images))
    np.testing.assert_array_equal(again.get_config()["quantizer"]["class_name"], type(layer).__name__)


def test_what_a_model_was_compiled_with_is_not_looked_at(good, place):
    config = json.loads(good[0]["config.json"])
    config["compile_config"] = {"optimizer": _call("os", "system", f"touch {place / 'owned'}"), "loss": _lambda(place)}
    assert isinstance(saved.load(_written(place, {**good[0], "config.json": json.dumps(config)})), VQVAE)


def test_the_kind_is_asked_for(good, place):
    path = _written(place, good[0])
    assert "holds a VQVAE, not a prior" in refuses(saved.load, path, "prior")
    PixelCNN((2, 2), 4, filters=2, blocks=1, kernel=3).save(path)
    assert "holds a PixelCNN, not a VQ-VAE" in refuses(saved.load, path, "VQ-VAE")


@pytest.mark.parametrize("text", [b"{", b"\xff\xfe\x00", b"[" * 50_000, b"null", b'"vq_lib>VQVAE"'])
def test_configuration_that_is_broken(good, place, text):
    refuses(saved.load, _written(place, {**good[0], "config.json": text}))


def test_a_configuration_is_not_refused_for_being_rewritten(good, place):
    config = json.dumps(json.loads(good[0]["config.json"]), indent=1)
    assert isinstance(saved.load(_written(place, {**good[0], "config.json": config})), VQVAE)


@pytest.mark.parametrize("member", ["../owned", "/owned", "assets/owned", "model.weights.h5/../../owned", "code.py"])
def test_members_that_do_not_belong(good, place, member):
    assert "alone" in refuses(saved.load, _written(place, {**good[0], member: b"x"}))


WEIGHTS = {
    "missing": None,
    "empty": b"",
    "text": b"weights",
    "without arrays": hdf5(lambda file: file.create_group("layers")),
    "a pickle": pickle.dumps([1, 2]),
    "a link outside": hdf5(lambda file: file.__setitem__("vars", h5py.ExternalLink("/etc/hostname", "/"))),
    "a soft link": hdf5(lambda file: file.__setitem__("vars", h5py.SoftLink("/nothing"))),
    "an array outside": hdf5(
        lambda file: file.create_dataset("x", (4,), "u1", external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)])
    ),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights(good, place, name):
    members = {**good[0], "model.weights.h5": WEIGHTS[name]}
    if WEIGHTS[name] is None:
        del members["model.weights.h5"]
    refuses(saved.load, _written(place, members))


def test_an_archive_that_swells_is_not_unpacked(good, place, monkeypatch):
    monkeypatch.setattr(saved, "LARGEST", 10_000)
    assert "unpacked" in refuses(saved.load, _written(place, {**good[0], "model.weights.h5": bytes(100_000)}))
