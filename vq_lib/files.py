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
from pathlib import Path
from typing import Any

import filelock
import psutil
import yaml

from vq_lib.errors import SHORT, UserError

# Part of temporary names: on a file system that machines share, each can tell of its own processes alone which live.
HOST = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _left(path: Path, alone: bool = False) -> Iterator[Path]:
    """What processes of this machine that were killed left beside `path` under a temporary name of it.

    `alone`: a lock says that no other process writes there, on no machine: all that lies there was left.
    """
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp*"):
        host, pid = left.name.removeprefix(f".{path.name}.").split(".")[:2]
        if alone or (host == HOST and pid.isdigit() and not psutil.pid_exists(int(pid))):
            yield left


def _beside(path: Path) -> str:
    """Prefix of temporary names beside `path`; what processes that were killed left under it is removed."""
    put_back(path)
    for left in _left(path):
        shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)
    return f".{path.name}.{HOST}.{os.getpid()}.tmp"


def put_back(path: Path, alone: bool = False) -> None:
    """Put a folder back that a process had moved aside when it was killed, before it could put the new one there.

    `alone`: the caller holds a lock on the folder, so that no other process can be about to do the same.
    """
    for left in () if path.exists() else _left(path, alone):
        if (left / path.name).is_dir():
            os.replace(left / path.name, path)
            return


@contextlib.contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it onto `path` only if the block ends without an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=_beside(path), suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)  # mkstemp's 0600 would keep a tutor from reading a student's report
        os.replace(temporary, path)
    except OSError as error:
        if error.filename is None and error.errno:  # what a full disk refuses does not say which file it was
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; swap it for `path` only if the block ends without an error.

    A reader between the two renames finds no folder, never half of one; see `put_back`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=_beside(path)))
    try:
        yield temporary
        temporary.chmod(0o755)
        if not path.exists():
            os.replace(temporary, path)
            return
        replaced = Path(tempfile.mkdtemp(dir=path.parent, prefix=_beside(path)))
        try:
            os.replace(path, replaced / path.name)
        except PermissionError as error:  # Windows: a file of it is open, perhaps mapped into a notebook's memory
            replaced.rmdir()
            raise UserError(f"{path} cannot be replaced ({error.strerror}): restart the notebook's kernel, or close "
                            "what else uses it, and try again.") from None  # fmt: skip
        try:
            os.replace(temporary, path)
        except BaseException:  # a stopped cell or job too: what is put back now need not be looked for later
            os.replace(replaced / path.name, path)
            replaced.rmdir()
            raise
        shutil.rmtree(replaced, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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


@contextlib.contextmanager
def lock(path: str | Path, busy: str, patience: float = 0.0) -> Iterator[None]:
    """Hold an exclusive lock on the file `path` during the block.

    The operating system releases it when the process ends, however it ends. If another process still holds it
    after `patience` seconds, `UserError(busy)` is raised; another one where the file system has no locks.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    held = filelock.FileLock(path, timeout=patience, poll_interval=0.2)
    try:
        held.acquire()
    except filelock.Timeout:
        raise UserError(busy) from None
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP):
            raise
        raise UserError(f"{path.parent} lies on a file system that cannot lock files ({error.strerror}): move the "
                        "report to another.") from None  # fmt: skip
    try:
        yield
    finally:
        held.release()
