"""Arguments of layers: refused by name where they are impossible, and kept as a layer's configuration."""

import difflib
import inspect

import keras


def nearest(word, choices):
    """ " Did you mean 'x'?" for the choice most like `word`, or an empty string."""
    like = difflib.get_close_matches(str(word), list(map(str, choices)), n=1, cutoff=0.5)
    return f" Did you mean {like[0]!r}?" if like else ""


def one_of(name, value, allowed):
    """`value`, or a ValueError that names the argument, what it may be, and the most similar of these."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"`{name}` (={value!r}) must be {' or '.join(map(repr, allowed))}.{nearest(value, allowed)}")
    return value


class Configured(keras.layers.Layer):
    """A layer that keeps every named argument as an attribute of the same name; together they are its configuration."""

    def get_config(self):
        kinds = [kind for kind in type(self).__mro__ if issubclass(kind, Configured) and kind is not Configured]
        inits = [inspect.signature(kind.__init__).parameters.values() for kind in kinds]
        names = {p.name for init in inits for p in init if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        return {**super().get_config(), **{name: getattr(self, name) for name in sorted(names - {"self"})}}
