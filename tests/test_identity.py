"""What is the same for a key, and what is not."""

import functools
import importlib
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from vq_lib.training.identity import describe

SOURCE = """
WEIGHT = {weight}

def helper(x):
    return WEIGHT * x

def loss(x, y, power=2):
    # {comment}
    return helper(x - y) if x in {{"a", "b", "c", b"d"}} else {value}

class Layer(keras.layers.Layer):
    @property
    def rate(self):
        return {rate}

    def call(self, x):
        return super().call(x) + self.rate
"""


def cell(weight=1.0, comment="a", value="...", rate=0.5):
    """A notebook's cell, run."""
    scope = {"__name__": "__main__", "keras": keras}
    exec(SOURCE.format(weight=weight, comment=comment, value=value, rate=rate), scope)
    return scope


def test_code_counts_with_what_it_uses_and_comments_do_not():
    same, commented = cell(), cell(comment="b")
    assert describe([same["loss"], same["Layer"]]) == describe([commented["loss"], commented["Layer"]])
    for change in ({"weight": 2.0}, {"value": "1j"}, {"value": "slice(3)"}):
        assert describe(cell(**change)["loss"]) != describe(same["loss"])
    assert describe(cell(rate=0.6)["Layer"]()) != describe(same["Layer"]())
    assert describe(functools.partial(same["loss"], power=3)) != describe(functools.partial(same["loss"], power=2))


def test_libraries_are_known_by_name():
    names = ["keras.src.losses.losses.mean_squared_error", "keras.src.layers.core.dense.Dense"]
    assert describe([keras.losses.mean_squared_error, keras.layers.Dense]) == names


@pytest.mark.parametrize("value", [3, "a", None, [1, (2, "b")], {"a": {"b": 1.5}}, True])
def test_plain_values_are_themselves(value):
    assert describe(value) == (value if value != [1, (2, "b")] else [1, [2, "b"]])


def test_a_library_is_known_by_pips_records_wherever_it_is_installed(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "installed").mkdir()
    for name in ("installed/of_pip", "of_mine"):
        (tmp_path / f"{name}.py").write_text("def loss(x):\n    return x\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path / "installed")
    (tmp_path / "installed" / "of_pip-1.0.dist-info").mkdir()
    pip, mine = (importlib.import_module(name) for name in ("of_pip", "of_mine"))
    assert describe(pip.loss) == "of_pip.loss" and describe(mine.loss)[0] == "loss"


def test_objects_without_attributes_are_their_class():
    class Bare:
        __slots__ = ()

    assert describe(Bare())[1:] == [{}, []]


def test_arrays_count_by_content():
    assert describe(np.arange(3)) == describe(np.arange(3)) != describe(np.arange(3.0))
    assert describe(np.arange(3)) != describe(np.array([0, 1, 3]))


def test_layers_that_are_wired_otherwise_are_another_model():
    def model(crossed):
        inputs = keras.Input((4,))
        a, b = keras.layers.Dense(4)(inputs), keras.layers.Dense(4)(inputs)
        c = keras.layers.Dense(4)(a if crossed else b)
        return keras.Model(inputs, keras.layers.Add()([a, c]))

    assert describe(model(True)) == describe(model(True)) != describe(model(False))


WITHOUT_KERAS = """
import sys, types
from vq_lib.training.identity import describe
scope = {"__name__": "__main__", "keras": types.SimpleNamespace(layers=types.SimpleNamespace(Layer=dict))}
exec(sys.argv[1], scope)
print(describe([scope["loss"], scope["Layer"]]))
"""


def test_another_process_finds_the_same():
    """Sets of text are ordered otherwise in each process."""
    source = SOURCE.format(weight=1.0, comment="a", value="...", rate=0.5)
    printed = {
        subprocess.run([sys.executable, "-c", WITHOUT_KERAS, source], check=True, capture_output=True, text=True,
                       env={**os.environ, "PYTHONHASHSEED": seed}).stdout
        for seed in "12"
    }  # fmt: skip
    assert len(printed) == 1 and len(printed.pop()) > 100
