"""The one exception that a user is meant to read."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A user's mistake, told in one sentence that names the file, key or value and what would be right.

    Commands print the sentence alone, without a stack trace, and exit with status 2.
    """


def nearest(word: object, choices: Iterable) -> str:
    """`" Did you mean 'x'?"` for the choice most like `word`, or an empty string."""
    found = difflib.get_close_matches(str(word), [str(choice) for choice in choices], n=1, cutoff=0.5)
    return f" Did you mean {found[0]!r}?" if found else ""
