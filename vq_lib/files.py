"""Files that are either whole or absent, and a lock that dies with its holder."""

import contextlib
import csv
import errno
import hashlib
import json
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import psutil

from vq_lib.errors import UserError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


# Part of temporary names: on a file system that machines share, each can tell of its own processes alone which live.
HOST = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _left(path: Path, alone: bool = False) -> Iterator[Path]:
    """What processes of this machine that were killed left beside `path` under a temporary name of it.

    `alone`: a lock says that no other process writes there, on no machine: all that lies there was left.
    """
    for left in path.parent.glob(f".{path.name}.*.tmp*"):
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
        if path.exists():
            replaced = Path(tempfile.mkdtemp(dir=path.parent, prefix=_beside(path)))
            try:
                os.replace(path, replaced / path.name)
            except PermissionError as error:  # Windows: a file of it is open, perhaps mapped into a notebook's memory
                replaced.rmdir()
                raise UserError(f"{path} cannot be replaced ({error.strerror}): restart the notebook's kernel, or "
                                "close what else uses it, and try again.") from None  # fmt: skip
            try:
                os.replace(temporary, path)
            except BaseException:  # a stopped cell or job too: what is put back now need not be looked for later
                os.replace(replaced / path.name, path)
                replaced.rmdir()
                raise
            shutil.rmtree(replaced, ignore_errors=True)
        else:
            os.replace(temporary, path)
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


def made_for(metrics: str | Path) -> str:
    """The name of the report that a `metrics.json` was written for; "" where the file is missing or broken."""
    try:
        return str(json.loads(Path(metrics).read_text(encoding="utf-8"))["report"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""


def write_csv(path: str | Path, header: Iterable[str], rows: Iterable[Iterable]) -> None:
    """Write a table as CSV, whole or not at all; floats with six digits."""
    with whole_file(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows([f"{cell:.6g}" if isinstance(cell, float) else cell for cell in row] for row in rows)


def read_columns(path: str | Path, made_by: str) -> dict[str, list[float]]:
    """The columns of a CSV of numbers: `{name: list of floats}`.

    Raises:
        UserError: the file is missing, broken or empty; the sentence names what makes it.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return {name: [float(row[name]) for row in rows] for name in rows[0]}
    except (OSError, IndexError, ValueError, KeyError, TypeError, csv.Error):
        raise UserError(f"{path} is missing or broken: {made_by} makes it.") from None


def digest(value: Any) -> str:
    """SHA-256 of a JSON-able value, independent of the order of its keys; 64 hex digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _try_lock(handle):
    try:
        if sys.platform == "win32":
            handle.seek(0)
            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            return False
        raise UserError(f"{Path(handle.name).parent} lies on a file system that cannot lock files ({error.strerror}): "
                        "move the report to another.") from None  # fmt: skip


@contextlib.contextmanager
def lock(path: str | Path, busy: str, patience: float = 0.0) -> Iterator[None]:
    """Hold an exclusive lock on the file `path` during the block.

    The operating system releases it when the process ends, however it ends. If another process still holds it
    after `patience` seconds, `UserError(busy)` is raised; another one where the file system has no locks.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    give_up = time.monotonic() + patience
    with open(path, "a+b") as handle:
        while not _try_lock(handle):
            if time.monotonic() >= give_up:
                raise UserError(busy)
            time.sleep(0.2)
        yield
