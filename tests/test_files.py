"""Files are whole or absent, and only one process holds a lock."""

import errno
import os
import subprocess
import sys

import pytest

from vq_lib import files
from vq_lib.errors import UserError

HOLDER = """
import sys, time
from vq_lib.files import lock
with lock(sys.argv[1], "busy"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_whole_file_appears_only_without_an_error(tmp_path):
    path = tmp_path / "deep" / "x.txt"
    with files.whole_file(path) as temporary:
        temporary.write_text("old")
        assert not path.exists()
    with pytest.raises(RuntimeError), files.whole_file(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_what_a_killed_process_left_is_removed_but_not_what_another_machine_may_still_write(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with files.whole_file(tmp_path / "x.txt") as temporary:
        live = temporary.parent.name
    names = [live, live.replace(f".{os.getpid()}.", f".{ended.pid}."), live.replace(files.HOST, "0123abcd")]
    names.append(names[1].replace(files.HOST, "0123abcd"))
    for name in names:
        (tmp_path / name).mkdir()
    with files.whole_file(tmp_path / "x.txt"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"x.txt", *names} - {names[1]}


def test_a_refused_write_says_which_file_it_was(tmp_path):
    with pytest.raises(OSError) as caught, files.whole_file(tmp_path / "x.txt"):
        raise OSError(errno.ENOSPC, "No space left on device")  # as write() and close() raise it
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / "x.txt"))


def test_whole_folder_replaces_the_old_one(tmp_path):
    path = tmp_path / "figures"
    for name in ("a", "b"):
        with files.whole_folder(path) as temporary:
            (temporary / name).touch()
    with pytest.raises(RuntimeError), files.whole_folder(path) as temporary:
        raise RuntimeError
    assert [inner.name for inner in path.iterdir()] == ["b"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_was_moved_aside_is_put_back(tmp_path):
    """Killed between the two renames: the old folder lies in a temporary one, and there is no new one."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    path = tmp_path / "checkpoint"
    (tmp_path / f".checkpoint.{files.HOST}.{process.pid}.tmpabc" / "checkpoint").mkdir(parents=True)
    (tmp_path / f".checkpoint.{files.HOST}.{process.pid}.tmpdef").mkdir()
    files.put_back(path)
    assert path.is_dir()
    with files.whole_folder(path) as temporary:
        (temporary / "new").touch()
    assert list(tmp_path.iterdir()) == [path] and [inner.name for inner in path.iterdir()] == ["new"]


@pytest.mark.parametrize("refused", [1, 2])
def test_a_folder_that_cannot_be_swapped_stays(tmp_path, monkeypatch, refused):
    """On Windows a rename fails while a file is open: that of the old folder, or that of the new one."""
    path, calls, replace = tmp_path / "slices", [], os.replace

    def sometimes(source, target):
        calls.append(source)
        if len(calls) == refused:
            raise PermissionError(13, "Permission denied", str(source))
        replace(source, target)

    with files.whole_folder(path) as temporary:
        (temporary / "old").touch()
    monkeypatch.setattr(os, "replace", sometimes)
    with pytest.raises((UserError, OSError)) as caught, files.whole_folder(path) as temporary:
        (temporary / "new").touch()
    assert [inner.name for inner in path.iterdir()] == ["old"] and list(tmp_path.iterdir()) == [path]
    assert refused == 2 or "slices cannot be replaced (Permission denied): restart" in str(caught.value)


def test_a_swap_that_is_stopped_half_way_is_undone(tmp_path, monkeypatch):
    """The stop button of a notebook between the two renames, in a kernel that lives on."""
    path, calls, replace = tmp_path / "checkpoint", [], os.replace

    def stopped(source, target):
        calls.append(source)
        if len(calls) == 2:
            raise KeyboardInterrupt
        replace(source, target)

    with files.whole_folder(path) as temporary:
        (temporary / "old").touch()
    monkeypatch.setattr(os, "replace", stopped)
    with pytest.raises(KeyboardInterrupt), files.whole_folder(path):
        pass
    assert [inner.name for inner in path.iterdir()] == ["old"] and list(tmp_path.iterdir()) == [path]


def test_what_another_machine_moved_aside_is_put_back_under_a_lock(tmp_path):
    path = tmp_path / "checkpoint"
    (tmp_path / ".checkpoint.0badhost.1.tmpabc" / "checkpoint").mkdir(parents=True)
    files.put_back(path)
    assert not path.exists(), "that machine may be about to do it"
    files.put_back(path, alone=True)
    assert path.is_dir()


def test_a_name_with_brackets_is_a_name(tmp_path):
    """As in "report [draft]", where a careless glob would look for other names."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (tmp_path / f".x [1].{files.HOST}.{ended.pid}.tmpabc").mkdir()
    with files.whole_file(tmp_path / "x [1]"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["x [1]"]


def test_json_round_trip_and_refusals(tmp_path):
    path = tmp_path / "x.json"
    files.write_json(path, {"a": [1, 2.5, None], "é": "ü"})
    assert files.read_json(path, "nobody") == {"a": [1, 2.5, None], "é": "ü"}
    with pytest.raises(ValueError):
        files.write_json(path, float("nan"))
    path.write_text("{")
    with pytest.raises(UserError, match="x.json is not valid JSON"):
        files.read_json(path, "'vq-lib report demo'")
    with pytest.raises(UserError, match="y.json is missing: 'vq-lib report demo' makes it"):
        files.read_json(tmp_path / "y.json", "'vq-lib report demo'")


def test_digest_does_not_depend_on_the_order_of_keys():
    assert files.digest({"a": 1, "b": 2}) == files.digest({"b": 2, "a": 1}) != files.digest({"a": 1, "b": 3})


def test_lock_refuses_another_process_and_dies_with_its_holder(tmp_path):
    path = tmp_path / ".lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="^busy$"), files.lock(path, "busy"):
            pass
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    with files.lock(path, "busy", patience=60):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="Windows locks without fcntl")
@pytest.mark.parametrize(("number", "sentence"), [(errno.EWOULDBLOCK, "^busy$"), (errno.ENOLCK, "cannot lock files")])
def test_a_file_system_without_locks_is_not_another_process(tmp_path, monkeypatch, number, sentence):
    import fcntl

    def refused(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refused)
    with pytest.raises(UserError, match=sentence), files.lock(tmp_path / ".lock", "busy"):
        pass
