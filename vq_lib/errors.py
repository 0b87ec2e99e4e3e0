"""The one exception that a user is meant to read."""

import difflib
import reprlib
from collections.abc import Iterable
from typing import Any

SHORT = reprlib.Repr()  # for values of strangers: a few aliases in YAML can stand for gigabytes of text
SHORT.maxstring, SHORT.maxother, SHORT.maxlevel = 100, 100, 2


class UserError(Exception):
    """A user's mistake, in one sentence that names file, key or value and what would be right; shown alone."""


def nearest(word: object, choices: Iterable) -> str:
    """`" Did you mean 'x'?"` for the choice most like `word`, or an empty string."""
    close = difflib.get_close_matches(str(word), [str(choice) for choice in choices], n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""


def sentence(error: Any) -> str:
    """One of pydantic's errors, an entry of `ValidationError.errors()`, in a sentence that names its key."""
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"])
    key, message = key.removesuffix(".[key]").lstrip("."), error["msg"].removeprefix("Value error, ")
    if error["type"] == "unknown":
        return "unknown key '{}'.{hint}".format(f"{key}.{error['ctx']['key']}".lstrip("."), **error["ctx"])
    if error["type"] == "missing":
        return f"the key '{key}' is missing."
    if error["type"] == "value_error":
        return f"{key + ': ' if key else ''}{message}."
    message, value = message[0].lower() + message[1:], SHORT.repr(error["input"])
    choices = nearest(value[1:-1], error["ctx"]["expected"].split("'")) if error["type"] == "literal_error" else ""
    return f"'{key}' is {value}: {message}.{choices}"
