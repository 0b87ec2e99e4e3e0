"""Files that are either whole or absent, and a lock that dies with its holder."""

import contextlib
import errno
import glob
import hashlib
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import psutil
import yaml

from vq_lib.errors import SHORT, UserError

# Part of temporary names: on a file system that machines share, each can tell of its own processes alone which live.
HOST = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def put_back(path: Path, alone: bool = False) -> None:
    """Tidy up after killed processes of this machine: a folder that one moved aside is put back where no new one is.

    `alone`: of all machines, since the caller holds a lock, so that no other process can be about to do the same.
    """
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp*"):
        host, pid = left.name.removeprefix(f".{path.name}.").split(".")[:2]
        if alone or (host == HOST and pid.isdigit() and not psutil.pid_exists(int(pid))):
            if not path.exists() and (left / path.name).is_dir():
                os.replace(left / path.name, path)
            shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def whole_file(path: str | Path, folder: bool = False) -> Iterator[Path]:
    """Yield a temporary file, or `folder`, beside `path`; put it there only if the block ends without an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    put_back(path)
    place = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.{HOST}.{os.getpid()}.tmp"))
    new, old = place / f"new{path.suffix}", place / path.name
    try:
        new.mkdir() if folder else new.touch()
        yield new
        if folder and path.exists():
            try:
                os.replace(path, old)
            except PermissionError as error:  # Windows: a file of it is open, perhaps mapped into a notebook's memory
                raise UserError(f"{path} cannot be replaced ({error.strerror}): restart the notebook's kernel, or "
                                "close what else uses it, and try again.") from None  # fmt: skip
        os.replace(new, path)
    except OSError as error:
        if error.filename is None and error.errno:  # what a full disk refuses does not say which file it was
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        if old.exists() and not path.exists():  # stopped between the two
            os.replace(old, path)
        shutil.rmtree(place, ignore_errors=True)


def whole_folder(path: str | Path) -> AbstractContextManager[Path]:
    """As `whole_file`, a folder. A reader between the two renames finds none, never half of one; see `put_back`."""
    return whole_file(path, folder=True)


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all. NaN is refused: it is no JSON."""
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: str | Path, made_by: str) -> Any:
    """Read a JSON file of ours; `made_by` names the command that makes it, for the error."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing: {made_by} makes it.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError):
        raise UserError(f"{path} is not valid JSON: delete it, and {made_by} makes it again.") from None


def write_arrays(path: str | Path, **arrays: Any) -> None:
    """Write arrays as `.npz`, whole or not at all."""
    with whole_file(path) as temporary:
        np.savez_compressed(temporary, **arrays)


def read_arrays(path: str | Path, made_by: str) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` file of ours, nothing in it unpickled; `made_by` as in `read_json`."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except Exception:  # NumPy and zipfile raise a dozen kinds for broken files
        raise UserError(f"{path} is missing or broken: run {made_by} first.") from None


class Loader(yaml.SafeLoader):
    """YAML without objects, in which a key that is given twice is a mistake and not the loss of the first."""

    def construct_mapping(self, node, deep=False):
        """As SafeLoader does, after a look at the keys."""
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := [key for number, key in enumerate(keys) if key in keys[:number]]:
            problem = f"the key {SHORT.repr(twice[0])} is given twice"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return super().construct_mapping(node, deep)


def read_yaml(path: str | Path) -> Any:
    """What a YAML file holds; `UserError`, with the line, where it is missing or is no YAML."""
    try:
        return yaml.load(Path(path).read_text(encoding="utf-8"), Loader)
    except FileNotFoundError:
        raise UserError(f"There is no file {path}: copy one, for example from reports/demo/.") from None
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        place, reason = f", line {mark.line + 1}," if mark else "", problem or str(error).splitlines()[0]
        raise UserError(f"{path}{place} cannot be read as YAML ({reason}).") from None


def digest(value: Any) -> str:
    """SHA-256 of a JSON-able value, independent of the order of its keys; 64 hex digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def lock(path: str | Path, busy: str, patience: float = 0.0) -> AbstractContextManager:
    """An exclusive lock on the file `path`, held until the block ends, or the process does, however it ends.

    `UserError(busy)` where another process still holds it after `patience` seconds.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    try:
        return filelock.FileLock(path).acquire(timeout=patience, poll_interval=0.2)
    except filelock.Timeout:
        raise UserError(busy) from None
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP):
            raise
        raise UserError(f"{Path(path).parent} lies on a file system that cannot lock files ({error.strerror}): move "
                        "the report to another.") from None  # fmt: skip
