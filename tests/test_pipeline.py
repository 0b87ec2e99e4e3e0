"""The four notebooks headless on a tiny recipe, what a second run repeats, and what a user's mistake looks like."""

import contextlib
import json
import os
import re
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from conftest import REPOSITORY, TINY, vq_lib
from PIL import Image

from vq_lib.files import lock
from vq_lib.report import pipeline
from vq_lib.report.pipeline import STAGES
from vq_lib.study import Study


def stamps(folder):
    """When each notebook was executed, by name."""
    return {name: (folder / "run" / "notebooks" / f"{name}.ipynb").stat().st_mtime_ns for name in STAGES.values()}


def one_sentence(done):
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("vq-lib: ") and done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_report_is_whole(tiny):
    metrics = json.loads((tiny / "metrics.json").read_text(encoding="utf-8"))
    assert {"report", "provenance", "data", "vqvae", "baselines", "prior", "samples"} <= set(metrics)
    assert metrics["data"]["test"] == {"images": 6, "people": 2} and metrics["data"]["checks"]["layout"] == "cohort"
    for key in ("ssim", "ssim_foreground", "psnr"):
        score = metrics["vqvae"][key]
        assert score["low"] <= score["mean"] <= score["high"]
    assert metrics["provenance"]["recipe_sha256"] == Study(str(tiny)).recipe.sha256
    assert any((tiny / "figures").glob("*.png")) and any((tiny / "figures").glob("*.svg"))
    assert not [path.name for path in tiny.iterdir() if path.name.startswith(".")], "a temporary file was left"


def test_executed_notebooks_carry_their_provenance(tiny):
    for name in STAGES.values():
        made = json.loads((tiny / "run" / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))["metadata"][
            "vq_lib"
        ]
        assert made["seconds"] > 0 and made["recipe_sha256"] == Study(str(tiny)).recipe.sha256


def test_only_what_changed_runs_again(tiny):
    first = stamps(tiny)
    again = vq_lib("report", tiny)
    assert again.returncode == 0 and "nothing had changed" in again.stdout, again.stdout + again.stderr
    assert stamps(tiny) == first

    changed = vq_lib("report", tiny, "--set", "prior.epochs=2")
    assert changed.returncode == 0, changed.stderr
    later = stamps(tiny)
    assert [later[name] > first[name] for name in STAGES.values()] == [False, False, True, True]
    summary = json.loads((tiny / "run" / "prior" / "summary.json").read_text(encoding="utf-8"))
    assert "2" in json.dumps(summary["epochs"])


def test_a_report_on_another_drive_is_planned_with_whole_paths(tmp_path, monkeypatch):
    (tmp_path / "recipe.yaml").write_text(TINY, encoding="utf-8")

    def refused(path, start=None):
        raise ValueError("path is on mount 'D:', start on mount 'C:'")  # as on Windows

    monkeypatch.setattr(os.path, "relpath", refused)
    plan = pipeline._plan(Study(tmp_path), "", tmp_path / "notebooks")
    assert plan["notebooks"] == str(tmp_path / "notebooks") == pipeline._short(tmp_path / "notebooks")
    assert str(REPOSITORY / "vq_lib" / "report" / "html.py") in plan["html_sources"]


def test_the_table_of_a_sweep_is_set_into_a_finished_report(tmp_path):
    (tmp_path / "recipe.yaml").write_text(TINY, encoding="utf-8")
    found = []
    for name, text in (("", ""), ("sweep.yaml", "points: {a: vqvae.codes=4}"), ("sweep.csv", "a,0.8"),
                       ("sweep.csv", "a,0.9")):  # fmt: skip
        if name:
            (tmp_path / name).write_text(text, encoding="utf-8")
        found.append(pipeline._plan(Study(tmp_path), "", REPOSITORY / "notebooks")["triggers"])
    assert len({triggers.pop("vqvae") for triggers in found}) == 4, "notebook 02 runs again"
    assert found[0] == found[1] == found[2] == found[3]


def test_second_build_says_so_and_leaves(tiny):
    with lock(tiny / "run" / ".lock", "the test itself should hold it"):
        assert "is being built by another process" in one_sentence(vq_lib("report", tiny))


def _descendants(pid):
    found = []
    for process in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.info = process.as_dict(["cmdline"])
            found.append(process)
    return found


def test_nothing_is_left_after_the_command_was_killed(tmp_path):
    (tmp_path / "recipe.yaml").write_text(TINY, encoding="utf-8")
    command = subprocess.Popen(
        [sys.executable, "-m", "vq_lib", "report", str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert command.stdout.readline().startswith("1/4")
    started = []
    while not any("ipykernel_launcher" in process.info["cmdline"] for process in started):
        assert command.poll() is None, "the report ended before its first notebook began"
        time.sleep(0.1)
        started = _descendants(command.pid)
    command.kill()
    command.wait()
    command.stdout.close()
    assert len(started) >= 3  # Snakemake, execute, kernel
    assert psutil.wait_procs(started, timeout=10)[1] == []


@pytest.mark.parametrize(("arguments", "named"), [
    (["report", "demmo"], "'demo'"),
    (["report", "demo", "--set", "vqvae.epoch=2"], "'epochs'"),
    (["report", "oasis-best", "--data", "no such folder"], "no such folder"),
    (["report", "demo", "--dta", "x"], "--dta"),
    (["reprot", "demo"], "reprot"),
    (["generate", "--model", "x.keras"], "--prior"),
    (["generate", "--report", "demo", "-n", "0"], "-n"),
])  # fmt: skip
def test_a_mistake_is_one_sentence_that_names_it(arguments, named):
    assert named in one_sentence(vq_lib(*arguments))


def test_without_data_three_lines_say_where_they_are_had_and_what_to_type():
    done = vq_lib("report", "oasis-best")
    assert done.returncode == 2 and done.stdout == ""
    first, where, then = done.stderr.splitlines()
    assert first.startswith("vq-lib: ") and "--data" in first
    assert "OASIS-1" in where and "ADNI" in where and "make report REPORT=oasis-best DATA=" in then


def test_a_leak_stops_the_report_and_names_the_pair(tmp_path):
    (tmp_path / "recipe.yaml").write_text(
        TINY.replace("{layout: cohort, size: 32, slices: 3, people: {train: 4, validation: 2, test: 2}}", "{size: 32}"),
        encoding="utf-8",
    )
    for number in range(8):
        path = tmp_path / "data" / ("Testing" if number > 5 else "Training") / "a" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = np.random.default_rng(number % 7).integers(0, 256, (48, 40)).astype(np.uint8)
        Image.fromarray(image).save(path)
    done = vq_lib("report", tmp_path, "--data", tmp_path / "data")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Testing/a/7.png = Training/a/0.png" in done.stdout and "allow_leaks: true" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr and not (tmp_path / "report.html").exists()


def test_unknown_recipe_key(tmp_path):
    (tmp_path / "recipe.yaml").write_text(TINY.replace("code_dim", "code_dims"), encoding="utf-8")
    sentence = one_sentence(vq_lib("report", tmp_path))
    assert "'vqvae.code_dims'" in sentence and "'code_dim'" in sentence
    assert not (tmp_path / "run").exists(), "something was built before the recipe was checked"


@pytest.mark.parametrize("command", [[], ["report"], ["reconstruct"], ["generate"], ["score"]])
def test_help_shows_an_example_and_loads_nothing_heavy(command):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "vq_lib", *command, "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert not re.search(r"\| +(keras|tensorflow|matplotlib|snakemake|papermill)$", done.stderr, re.M)
    assert not command or f"example:  vq-lib {command[0]} " in done.stdout
