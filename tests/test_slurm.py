"""The Slurm files, against stand-ins for Slurm's commands that record what they are asked."""

import os
import shutil
import subprocess

import pytest
import yaml
from conftest import REPOSITORY

from vq_lib.study import STAGES

FOLDER = REPOSITORY / "reports" / "profiles" / "slurm"
pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="a batch script needs bash")


def stand_in(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


def submit(tmp_path, vq_lib, *arguments):
    """What the batch script does where `sbatch` runs it at once: exit status and what the commands were asked."""
    stand_in(tmp_path / ".venv" / "bin" / "vq-lib", f'printf "vq-lib:%s\\n" "$@" >> asked\n{vq_lib}')
    stand_in(tmp_path / "bin" / "scontrol", 'echo "scontrol $*" >> asked')
    environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}", "SLURM_JOB_ID": "7",
                   "SLURM_SUBMIT_DIR": str(tmp_path)}  # fmt: skip
    done = subprocess.run(["bash", FOLDER / "report.sh", *arguments], env=environment, cwd="/", timeout=60, check=False)
    return done.returncode, (tmp_path / "asked").read_text().splitlines()


def test_the_batch_script_hands_its_arguments_on(tmp_path):
    found = submit(tmp_path, "exit 0", "mine", "--data", "a folder", "--set", "vqvae.epochs=2 prior.epochs=2")
    asked = ["report", "mine", "--data", "a folder", "--set", "vqvae.epochs=2 prior.epochs=2"]
    assert found == (0, [f"vq-lib:{word}" for word in asked])


@pytest.mark.parametrize(("device", "warned"), [("CPU, 8 cores", True), ("NVIDIA A100", False)])
def test_a_gpu_that_is_held_and_not_used_is_told(tmp_path, monkeypatch, capfd, device, warned):
    stand_in(tmp_path / ".venv" / "bin" / "python", f'echo "{device}"')
    for name in ("SLURM_JOB_GPUS", "SLURM_GPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)
    assert submit(tmp_path, "exit 0", "mine")[0] == 0 and "[gpu]" not in capfd.readouterr().out, "none was granted"
    monkeypatch.setenv("SLURM_JOB_GPUS", "0")
    assert submit(tmp_path, "exit 0", "mine")[0] == 0
    assert ("Keras finds none" in capfd.readouterr().out) == warned


def test_a_mistake_is_not_submitted_again(tmp_path):
    assert submit(tmp_path, "exit 2", "mine")[0] == 2
    assert "scontrol" not in (tmp_path / "asked").read_text()


def test_when_the_time_is_nearly_up_the_job_stops_in_order_and_is_queued_again(tmp_path):
    """Slurm sends SIGTERM to the script; `vq-lib` answers it with status 130."""
    waits = 'trap "echo stopped >> asked; exit 130" TERM; kill -TERM $PPID; for i in {1..500}; do sleep 0.02; done'
    status, asked = submit(tmp_path, waits, "mine")
    assert status == 130 and asked[-2:] == ["stopped", "scontrol requeue 7"]


def test_the_profile_names_rules_that_exist():
    profile = yaml.safe_load((FOLDER / "config.yaml").read_text())
    files = [(REPOSITORY / "reports" / name).read_text() for name in ("Snakefile", "sweep.smk")]
    rules = {line.split()[1].rstrip(":") for line in "\n".join(files).splitlines() if line.startswith("rule ")}
    rules |= set(STAGES)  # the notebooks' are named in a loop
    assert set(profile["set-threads"]) == rules - {"all"} >= set(profile["set-resources"])
