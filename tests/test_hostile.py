"""Files from strangers: broken, hostile or another program's. One sentence each, no code run, nothing else touched."""

import io
import json
import pickle
import shutil
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from conftest import TINY, Payload, pack, refuses

from vq_lib import files, recipe
from vq_lib.models.pixelcnn import PixelCNN
from vq_lib.report import html, sweep
from vq_lib.study import STAGES, Study
from vq_lib.training import finished
from vq_lib.training.batches import Batches
from vq_lib.training.resume import Resume

KEY = "key"
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
    "a bad header": lambda folder: pack({"codes.npy": b"\x93NUMPY\x01\x00\x10\x00{'descr': evil()", "key.npy": b""}),
}


@pytest.mark.parametrize("name", CODES)
def test_codes(place, name):
    if (content := CODES[name](place)) is not None:
        (place / "codes.npz").write_bytes(content)
    assert "codes.npz" in refuses(finished.read_arrays, place, "codes", KEY)


@pytest.mark.parametrize("codes", [np.array(["a"]), np.zeros((2, 4, 4)), np.zeros((2, 4, 3), np.uint16)])
def test_arrays_that_are_no_codes(place, monkeypatch, codes):
    (place / "codes.npz").write_bytes(_npz(codes=codes, key=np.array(KEY)))
    monkeypatch.setattr(finished, "vqvae_identity", lambda study, slices: "")
    monkeypatch.setattr(finished, "_finished", lambda *_: (SimpleNamespace(grid=(4, 4)), {"key": KEY}))
    assert "codes.npz" in refuses(finished.load_vqvae, SimpleNamespace(vqvae=place), range(2))


@pytest.mark.parametrize("content", [
    b"", b"epoch,loss\n", b"epoch,loss\n1,abc\n", b"epoch,loss\n1\n", b"epoch\n" + b"1," * 2_000, b"\xff\xfe\x00",
    b"epoch,loss\n1,=cmd|' /C calc'!A0\n", b"epoch,loss\n1,\x00\n", b'epoch,loss\n1,"' + b"9" * 200_000,
])  # fmt: skip
def test_histories(place, content):
    (place / "history.csv").write_bytes(content)
    assert "history.csv" in refuses(finished.history, place)


@pytest.mark.parametrize("content", ["", "{", "[1]", "[" * 100_000, "\x00", '{"key": []}', '{"key": 1}'])
def test_a_strange_checkpoint_is_no_checkpoint(place, content):
    folder = place / "checkpoint"
    folder.mkdir()
    (folder / "state.json").write_text(content)
    np.savez(folder / "variables.npz", _object_array(place))
    shutil.copy(folder / "variables.npz", folder / "best.npz")
    codes, model = np.zeros((4, 2, 2), np.int32), PixelCNN((2, 2), 4, filters=2, blocks=1, kernel=3)
    model.compile(keras.optimizers.Adam(), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    resume = Resume(place, Batches(codes, np.arange(4), 4, targets=codes))
    before = model.get_weights()
    assert resume.restore(model) == 0 and resume.state["history"] == []
    row = {"epoch": 1, "seconds": 1.0, "loss": 1.0}
    whole = {"key": resume.key, "planned": 2, "stopped": "", "history": [row], "date": ""}
    (folder / "state.json").write_text(json.dumps(whole))  # but the arrays are not
    assert resume.restore(model) == 0
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    resume._unlock()


@pytest.mark.parametrize("content", ["", "{", "[" * 100_000, "NaN,"])
def test_json(place, content):
    (place / "x.json").write_text(content)
    assert "x.json" in refuses(files.read_json, place / "x.json", "nobody")


@pytest.mark.parametrize("content", ["", "- a", "points: {a: [1]}", "points: !!python/object/apply:os.system [ls]",
                                     "points: " + "[" * 20_000])  # fmt: skip
def test_sweeps(place, content):
    (place / "sweep.yaml").write_text(content)
    assert "sweep.yaml" in refuses(sweep.load, place)


@pytest.mark.parametrize("name", ["", "  ", "../..", "x" * 5000, "a\x00b", "~nobody/x", "$(touch owned)", "-rf"])
def test_names_of_reports(place, name):
    refuses(Study, name)


def test_text_of_a_recipe_is_text_in_the_report(tiny):
    """Neither a title nor a path becomes markup, wherever it is shown."""
    evil = "<script>alert(1)</script>"
    study = Study(str(tiny), overrides=f"title={evil}")
    study.overrides = f"x={evil}"
    *notebooks, appendix = [study.notebooks / f"{name}.ipynb" for name in STAGES.values()]
    text = html.render(study, notebooks, appendix)
    assert "<script" not in text and "&lt;script&gt;alert(1)" in text
