"""No process outlives the command that started it, however that command ended."""

import contextlib
import os
import platform
import threading
import time

import psutil

STARTER = "VQ_LIB_STARTER"  # environment: process id, start time and machine of the `vq-lib` at the top


def starter() -> dict[str, str]:
    """This process as an entry for the environment of what it starts."""
    return {STARTER: f"{os.getpid()} {psutil.Process().create_time()} {platform.node()}"}


def _lives(entry):
    number, created, _ = entry.split()
    try:
        process = psutil.Process(int(number))
        # Process ids are given again, start times are not. Clock corrections move create_time a little.
        return abs(process.create_time() - float(created)) < 2 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def end_descendants(patience: float = 3.0) -> None:
    """End every child of this process and theirs: politely, and after `patience` seconds by force."""
    processes = psutil.Process().children(recursive=True)
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    for process in psutil.wait_procs(processes, timeout=patience)[1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def end_with_starter() -> None:
    """From now on watch the starter, twice a second; once it is gone, end all descendants and this process.

    Without a starter in the environment (a notebook run by hand), or with one on another machine (a cluster's
    scheduler carried the environment over, and ends its jobs itself), nothing is watched.
    """
    entry = os.environ.get(STARTER)
    if not entry or entry.split()[2] != platform.node():
        return

    def watch():
        while _lives(entry):
            time.sleep(0.5)
        end_descendants(patience=1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="end_with_starter").start()
