"""What a model, a function or a setting is, as plain values: the ground of the key that says what was trained."""

import dis
import functools
import hashlib
import inspect
import json
import re
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np

IGNORED = {"name", "dtype"}  # of two builds of one model: Keras numbers names, and the precision is the device's
OF_THE_INTERPRETER = {"__module__", "__dict__", "__weakref__", "__doc__", "__firstlineno__", "__static_attributes__"}
PARTS: dict[Any, Any] = {  # what decides how an object of these types behaves
    (set, frozenset): lambda value: sorted(value, key=repr),
    (np.ndarray, np.generic): lambda value: [
        str(value.dtype), value.shape, hashlib.sha256(np.asarray(value).tobytes()).hexdigest()],
    functools.partial: lambda value: [value.func, value.args, value.keywords],
    (staticmethod, classmethod, types.MethodType): lambda value: value.__func__,
    property: lambda value: [value.fget, value.fset],
    types.CodeType: lambda value: [value.co_code.hex(), value.co_names, value.co_consts],
    (bytes, complex, range, slice, type(...)): repr,
}  # fmt: skip


def describe(value):
    """`value` as plain values: equal for what trains alike, different where settings or code are.

    Keras's objects are class and configuration. Functions and classes of a library are their names; those of a notebook
    are their bytecode, with that of what they call and the values that they refer to.
    """
    seen: dict[int, tuple] = {}  # with the object itself: a number of a dead one may come again

    def plain(value):
        if id(value) in seen:
            return f"again {seen[id(value)][0]}"
        seen[id(value)] = len(seen), value
        return next((part for kinds, part in PARTS.items() if isinstance(value, kinds)), _whole)(value)

    text = json.dumps(value, default=plain, skipkeys=True, check_circular=False)
    for number, name in enumerate(dict.fromkeys(re.findall(r'"name": ("[^"]*")', text))):
        text = text.replace(f"[{name}, ", f'["layer {number}", ')  # as layers of a functional model name one another
    return json.loads(text, object_hook=lambda part: {key: part[key] for key in part if key not in IGNORED})


def _whole(value):
    """A function, a class, a module, or an object by its class and settings."""
    value = inspect.unwrap(value) if callable(value) else value
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if isinstance(value, types.FunctionType) and not _is_of_a_library(module):
        used = {name: value.__globals__.get(name) for name in sorted(_globals(value.__code__))}
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        return [name, value.__code__, value.__defaults__, value.__kwdefaults__, used, cells]
    if isinstance(value, type) and not _is_of_a_library(module):
        own = {key: entry for key, entry in vars(value).items() if key not in OF_THE_INTERPRETER}
        return [name, own, value.__bases__]
    if name or isinstance(value, types.ModuleType):
        return f"{module}.{name or value.__name__}"
    try:
        settings = value.get_config()
    except (AttributeError, NotImplementedError):  # no object of Keras, or a model of one's own without configuration
        settings = {
            key: part for key, part in getattr(value, "__dict__", {}).items() if isinstance(part, int | float | str)
        }
    return [type(value), settings, list(getattr(value, "layers", ()))]  # layers may be of a notebook's classes


def _globals(code):
    """The global names that `code` and the functions inside it refer to."""
    names = {step.argval for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL"}
    return names.union(*(_globals(inner) for inner in code.co_consts if isinstance(inner, types.CodeType)))


@functools.cache
def _is_of_a_library(module):
    """Whether it came with Python or pip, which puts its records beside what it installs, in whatever folder."""
    if str(module).partition(".")[0] in {"vq_lib", *sys.stdlib_module_names}:
        return True
    file = "" if module == "__main__" else getattr(sys.modules.get(module), "__file__", None) or ""
    return bool(file) and any(next(parent.glob("*.dist-info"), None) for parent in Path(file).parents)
