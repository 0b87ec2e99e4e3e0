"""Files from strangers: broken, hostile or another program's. One sentence each, no code run, nothing else touched."""

import io
import json
import pickle
import shutil
import zipfile

import h5py
import keras
import numpy as np
import pytest
from conftest import TINY

from vq_lib import files, recipe
from vq_lib.errors import UserError
from vq_lib.models import loading
from vq_lib.models.pixelcnn import PixelCNN
from vq_lib.models.vqvae import VQVAE
from vq_lib.report import html, sweep
from vq_lib.study import Study
from vq_lib.training import stages, training

CONV = {"layer": "conv", "filters": 2, "kernel": 4, "stride": 2, "repeat": 1, "hidden": None}
KEY = "key"


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """The members of a good model file, and the file."""
    path = tmp_path_factory.mktemp("good") / "model.keras"
    VQVAE((8, 8, 1), [CONV], [{**CONV, "layer": "transpose"}], codes=4, code_dim=2).save(path)
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}, path.read_bytes()


@pytest.fixture
def place(tmp_path):
    """A report's folder, beside a bystander. Afterwards neither has what the hostile files try to write."""
    folder, bystander = tmp_path / "report", tmp_path / "bystander"
    folder.mkdir()
    bystander.mkdir()
    (bystander / "precious.txt").write_text("untouched")
    (folder / "recipe.yaml").write_text(TINY, encoding="utf-8")
    yield folder
    assert [path.name for path in tmp_path.iterdir() if path not in (folder, bystander)] == []
    assert [path.read_text() for path in bystander.iterdir()] == ["untouched"]
    assert not (folder / "owned").exists()


class Payload:
    """Unpickled, it writes the file `owned`."""

    def __init__(self, folder):
        self.path = str(folder / "owned")

    def __reduce__(self):
        return open, (self.path, "w")


def refuses(call, *arguments):
    with pytest.raises(UserError) as caught:
        call(*arguments)
    sentence = str(caught.value)
    assert "\n" not in sentence and len(sentence) < 700 and sentence.rstrip().endswith((".", "?")), sentence
    return sentence


def pack(members, names=None):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


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
    assert str(path) in refuses(loading.load, path)


def test_what_is_no_file(place):
    assert "no such file" in refuses(loading.load, place / "none.keras")
    assert "no such file" in refuses(loading.load, place)


def _lambda(folder):
    code = {"class_name": "__lambda__", "config": {"value": ["4wAAAA==", None, None]}}
    return {"module": "keras.layers", "class_name": "Lambda", "registered_name": None,
            "config": {"name": "evil", "function": code, "arguments": {}}}  # fmt: skip


def _call(module, name, *arguments):
    return {"module": module, "class_name": name, "registered_name": name, "config": {"args": arguments}}


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
    "a layer of ours that is no model": lambda c, f: {**c, "module": "vq_lib.masked", "class_name": "MaskedConv2D",
                                                      "registered_name": "vq_lib>MaskedConv2D", "config": {}},
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
    refuses(loading.load, _written(place, {**good[0], "config.json": json.dumps(config)}))


@pytest.mark.parametrize("name", VALUES)
def test_configuration_with_a_hostile_value(good, place, name):
    key, value = VALUES[name]
    config = json.loads(good[0]["config.json"])
    config["config"][key] = value(place)
    said = refuses(loading.load, _written(place, {**good[0], "config.json": json.dumps(config)}))
    assert "memory" not in name or "fits none of its weights" in said  # before anything is built


@pytest.mark.parametrize("text", [b"{", b"\xff\xfe\x00", b"[" * 50_000, b"null", b'"vq_lib>VQVAE"'])
def test_configuration_that_is_broken(good, place, text):
    refuses(loading.load, _written(place, {**good[0], "config.json": text}))


def test_a_configuration_is_not_refused_for_being_rewritten(good, place):
    config = json.dumps(json.loads(good[0]["config.json"]), indent=1)
    assert isinstance(loading.load(_written(place, {**good[0], "config.json": config})), VQVAE)


@pytest.mark.parametrize("member", ["../owned", "/owned", "assets/owned", "model.weights.h5/../../owned", "code.py"])
def test_members_that_do_not_belong(good, place, member):
    assert "alone" in refuses(loading.load, _written(place, {**good[0], member: b"x"}))


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
    refuses(loading.load, _written(place, members))


def test_an_archive_that_swells_is_not_unpacked(good, place, monkeypatch):
    monkeypatch.setattr(loading, "LARGEST", 10_000)
    assert "unpacked" in refuses(loading.load, _written(place, {**good[0], "model.weights.h5": bytes(100_000)}))


BOMB = "title: &a [x, x]\ndata: &b [*a, *a]\n" + "".join(
    f"k{i}: &k{i} [*{'b' if i == 0 else f'k{i - 1}'}, *{'b' if i == 0 else f'k{i - 1}'}]\n" for i in range(40)
)
RECIPES = {
    "empty": "",
    "a list": "[1, 2]",
    "text": "just text",
    "not YAML": "a: [",
    "a tab": "a:\n\t- b",
    "runs a function": "!!python/object/apply:os.system ['touch owned']",
    "runs a function inside": TINY.replace("codes: 16", "codes: !!python/object/apply:open [owned, w]"),
    "names a module": TINY.replace("codes: 16", "codes: !!python/name:os.system"),
    "an unknown tag": TINY.replace("codes: 16", "codes: !vq 16"),
    "deep": "title: " + "[" * 20_000,
    "swells": BOMB,
    "swells in a value": BOMB + "vqvae: *k39\n",
    "refers to itself": "title: &a [*a]\n",
    "bytes": b"\xff\xfe\x00\x01",
    "control characters": "title: \x07",
    "infinite": TINY.replace("batch: 4\n", "batch: 4\n  minutes: .inf\n", 1),
    "no number": TINY.replace("batch: 4\n", "batch: 4\n  learning_rate: .nan\n", 1),
    "huge": TINY.replace("codes: 16", "codes: " + "9" * 400),
    "negative": TINY.replace("codes: 16", "codes: -1"),
    "a date": TINY.replace("codes: 16", "codes: 2026-01-01"),
    "an unknown key": TINY + "__class__: x\n",
    "two documents": TINY + "---\n" + TINY,
    "a set": TINY.replace("codes: 16", "codes: !!set {a, b}"),
    "binary": TINY.replace("codes: 16", "codes: !!binary aGVsbG8="),
}


@pytest.mark.parametrize("name", RECIPES)
def test_recipes(place, name):
    path, content = place / "recipe.yaml", RECIPES[name]
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert str(path) in refuses(recipe.load, path)


@pytest.mark.parametrize("override", [
    "vqvae.codes=!!python/object/apply:os.system[ls]", "vqvae.codes=" + "[" * 5000, "__class__.__init__=1", "a=b=c",
    "vqvae.encoder.0=1", "=", ".=1", "vqvae..codes=3", "prior=[1]", "data.size=$(touch${IFS}owned)",
])  # fmt: skip
def test_overrides(place, override):
    refuses(recipe.load, place / "recipe.yaml", override)


def _object_array(folder):
    array = np.empty(1, object)
    array[0] = Payload(folder)
    return array


def _npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


CODES = {
    "missing": lambda folder: None,
    "empty": lambda folder: b"",
    "text": lambda folder: b"codes",
    "a pickle": lambda folder: pickle.dumps(Payload(folder)),
    "one array": lambda folder: _npz(codes=np.zeros((2, 4, 4), np.uint16))[:60],
    "pickled inside": lambda folder: _npz(codes=_object_array(folder), key=np.array(KEY)),
    "without its key": lambda folder: _npz(codes=np.zeros((2, 4, 4), np.uint16)),
    "another key": lambda folder: _npz(codes=np.zeros((2, 4, 4), np.uint16), key=np.array("other")),
    "text in it": lambda folder: _npz(codes=np.array(["a"]), key=np.array(KEY)),
    "a bad header": lambda folder: pack({"codes.npy": b"\x93NUMPY\x01\x00\x10\x00{'descr': evil()", "key.npy": b""}),
}


@pytest.mark.parametrize("name", CODES)
def test_codes(place, name):
    study = Study(str(place))
    study.vqvae.mkdir(parents=True)
    if (content := CODES[name](place)) is not None:
        (study.vqvae / "codes.npz").write_bytes(content)
    assert "codes.npz" in refuses(stages.load_codes, study, KEY)


@pytest.mark.parametrize("content", [
    b"", b"epoch,loss\n", b"epoch,loss\n1,abc\n", b"epoch,loss\n1\n", b"epoch\n" + b"1," * 200_000, b"\xff\xfe\x00",
    b"epoch,loss\n1,=cmd|' /C calc'!A0\n", b"epoch,loss\n1,\x00\n", b'epoch,loss\n1,"' + b"9" * 200_000,
])  # fmt: skip
def test_histories(place, content):
    (place / "history.csv").write_bytes(content)
    assert "history.csv" in refuses(stages.history, place)


@pytest.mark.parametrize("content", ["", "{", "[1]", "[" * 100_000, "\x00", '{"key": []}', '{"key": 1}'])
def test_a_strange_checkpoint_is_no_checkpoint(place, content):
    folder = place / "checkpoint"
    folder.mkdir()
    (folder / "state.json").write_text(content)
    np.savez(folder / "variables.npz", _object_array(place))
    shutil.copy(folder / "variables.npz", folder / "best.npz")
    model = PixelCNN((2, 2), 4, filters=2, blocks=1, kernel=3)
    model.compile(keras.optimizers.Adam())
    checkpoint = training.Checkpoint(place, KEY)
    checkpoint.set_model(model)
    assert checkpoint.restore() is False
    (folder / "state.json").write_text(json.dumps({**checkpoint.state, "epoch": 3}))  # whole, but the arrays are not
    assert checkpoint.restore() is False


@pytest.mark.parametrize("content", ["", "{", "[" * 100_000, "NaN,"])
def test_json(place, content):
    (place / "x.json").write_text(content)
    assert "x.json" in refuses(files.read_json, place / "x.json", "nobody")


@pytest.mark.parametrize("content", ["", "- a", "points: {a: [1]}", "points: !!python/object/apply:os.system [ls]",
                                     "points: " + "[" * 20_000])  # fmt: skip
def test_sweeps(place, content):
    (place / "sweep.yaml").write_text(content)
    assert "sweep.yaml" in refuses(sweep.load, Study(str(place)))


@pytest.mark.parametrize("name", ["", "  ", "../..", "x" * 5000, "a\x00b", "~nobody/x", "$(touch owned)", "-rf"])
def test_names_of_reports(place, name):
    refuses(Study, name)


def test_text_of_a_recipe_is_text_in_the_report(tiny):
    """Neither a title nor a path becomes markup, wherever it is shown."""
    evil = "<script>alert(1)</script>"
    study = Study(str(tiny), overrides=f"title={evil}")
    study.overrides = f"x={evil}"
    notebooks = sorted(study.notebooks.glob("0*.ipynb"))
    text = html.render(study, [path for path in notebooks if "failed" not in path.name])
    assert "<script" not in text and "&lt;script&gt;alert(1)" in text
