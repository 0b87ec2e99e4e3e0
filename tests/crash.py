"""Disturb a small report at random moments, and compare what comes out with an undisturbed one.

    .venv/bin/python tests/crash.py [--rounds 40] [--seed 0] [--folder DIR]

Each round starts `vq-lib report` and, after a random time, ends one of its processes by SIGKILL, SIGTERM or SIGINT,
or runs it with files that may not grow beyond a random size (as on a full disk) or in a folder that is read-only.
When a report comes out in spite of it, it is compared and the next round begins from nothing. Takes about half
a minute a round on two free cores: too long for pytest, which does not collect this file. The exit status is 1 where
anything differs from the undisturbed report: a key of metrics.json other than times, a history, a weight of a published
model, a figure's name, or a stack trace where a sentence should be.
"""

import argparse
import contextlib
import csv
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import psutil
from conftest import TINY

RECIPE = TINY.replace("epochs: 1,", "epochs: 4, dropout: 0.2,").replace("epochs: 1", "epochs: 4")
PROCESSES = {
    "vq-lib": None,
    "Snakemake": "vq_lib.report.pipeline",
    "execute": "vq_lib.report.execute",
    "kernel": "ipykernel_launcher",
}
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def start(folder, largest=None):
    def prepare():
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background job would ignore it
        if largest:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))

    command = [sys.executable, "-m", "vq_lib", "report", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=prepare,
                            start_new_session=True)  # fmt: skip


def find(process, word):
    """The process below `process` whose command has the word, or None."""
    if word is None:
        return psutil.Process(process.pid)
    for child in psutil.Process(process.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if word in child.cmdline():
                return child
    return None


def ended(process, patience=900):
    try:
        return process.communicate(timeout=patience)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.communicate()[0] + "\nTIMEOUT"


def outcome(folder):
    """All that must not depend on a disturbance: metrics without times and name, histories without times, weights."""
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    for key in ("seconds", "commit"):
        metrics["provenance"].pop(key, None)
    for section, key in (("vqvae", "images_per_second"), ("samples", "seconds")):
        metrics[section].pop(key, None)
    metrics.pop("report")
    found = {"metrics.json": metrics, "figures": sorted(path.name for path in (folder / "figures").iterdir())}
    for model in ("vqvae.keras", "prior.keras"):  # the weights' own bytes: the archive around them has a date
        with zipfile.ZipFile(folder / "models" / model) as file, h5py.File(file.open("model.weights.h5")) as weights:
            found[model] = {}
            weights.visititems(lambda name, item, into=found[model]: into.update(
                {name: np.asarray(item).tobytes()} if isinstance(item, h5py.Dataset) else {}))  # fmt: skip
    for stage in ("vqvae", "prior"):
        with open(folder / f"history-{stage}.csv", newline="", encoding="utf-8") as file:
            found[stage] = [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]
    return found


@contextlib.contextmanager
def read_only(folder):
    """Root may write anywhere but on a read-only mount; others may not in a folder without the permission."""
    if os.getuid() == 0:
        for options in (["--bind", folder, folder], ["-o", "remount,ro,bind", folder]):
            subprocess.run(["mount", *options], check=True)
    else:
        folder.chmod(0o500)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True) if os.getuid() == 0 else folder.chmod(0o755)


def disturb(folder, rng, kind, longest):
    """One round; returns what was done, where it stood, the exit status and what was printed."""
    if kind == "read-only":
        with read_only(folder):
            process = start(folder)
            printed = ended(process)
    elif kind == "disk full":
        largest = int(10 ** rng.uniform(3, 6))
        process = start(folder, largest)
        printed = ended(process)
        kind += f" at {largest:,} bytes"
    else:
        word, number = kind
        process = start(folder)
        time.sleep(rng.uniform(0.5, longest))
        target = find(process, PROCESSES[word]) if process.poll() is None else None
        if target is not None:
            with contextlib.suppress(psutil.Error):
                target.send_signal(number)
        kind = f"{number.name} of {word}" if target is not None else f"nothing (no {word} there)"
        printed = ended(process)
    stages = [line[:3] for line in printed.splitlines() if line[1:3] == "/5" and line.endswith("…")]
    return kind, stages[-1] if stages else "start", process.returncode, printed


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--rounds", type=int, default=40, help="rounds in which a disturbance strikes")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--folder", type=Path, help="a folder to work in (default: a temporary one)")
    chosen = arguments.parse_args()
    base = chosen.folder or Path(tempfile.mkdtemp(prefix="crash-"))
    rng, tally, stages, bad, number = random.Random(chosen.seed), Counter(), Counter(), [], 0
    for name in ("undisturbed", "disturbed"):
        (base / name).mkdir(parents=True)
        (base / name / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    began = time.monotonic()
    printed = ended(start(base / "undisturbed"))
    whole = time.monotonic() - began
    expected, folder = outcome(base / "undisturbed"), base / "disturbed"
    print(f"an undisturbed report takes {whole:.0f} s", flush=True)

    def compare():
        found = outcome(folder)
        bad.extend(f"{name} differs" for name in expected if found[name] != expected[name])
        return "EQUAL" if found == expected else "DIFFERENT"

    kinds = [(word, number) for word in PROCESSES for number in SIGNALS] + ["disk full", "disk full", "read-only"]
    while sum(tally.values()) < chosen.rounds:
        number += 1
        kind, stage, status, printed = disturb(folder, rng, rng.choice(kinds), whole * 0.7)
        result = ""
        if status == 0:
            result = compare()
            shutil.rmtree(folder)
            folder.mkdir()
            (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
        if "Traceback" in printed or "TIMEOUT" in printed:
            bad.append(f"round {number} printed a stack trace or hung:\n{printed}")
        if not kind.startswith("nothing"):
            tally[kind.split(" at ")[0]] += 1
            stages[stage.strip()] += 1
        last = (printed.strip().splitlines() or [""])[-1]
        print(f"{number:3}  {kind:28} in {stage:5} status {status}  {result}  {last[-150:]}", flush=True)
    printed = ended(start(folder))
    print(f"left alone: {printed.strip().splitlines()[-1]}  {compare()}")
    print(f"{sum(tally.values())} disturbances: {dict(tally)}")
    print(f"in notebook: {dict(sorted(stages.items()))}")
    print("\n".join(bad) or "no difference")
    if not bad and chosen.folder is None:
        shutil.rmtree(base)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
