"""Run the five notebooks as on Google Colab: from a clone, on the older packages that are there, ours not installed.

    .venv/bin/python tests/colab.py [--folder DIR]

A new environment gets what Colab has preinstalled and the oldest Keras that we take, and neither nilearn nor nibabel; a
stand-in for `google.colab` is imported when a kernel starts. From the folder above the clone, papermill runs notebook
04 on the published demo, with nothing trained, then all five notebooks on a tiny recipe. The exit status is 1 where a
notebook fails, a package that was there has changed, or the first picture of a brain comes after more than a minute. It
installs from the internet and takes ten minutes, so pytest does not collect this file.
"""

import argparse
import datetime
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
from conftest import REPOSITORY, TINY

from vq_lib.environment import MINIMUM
from vq_lib.study import STAGES

PREINSTALLED = ["tensorflow==2.19.1", f"keras=={MINIMUM['keras']}.0", "tensorflow-probability", "tf-keras==2.19.0",
                "matplotlib", "scikit-image", "pillow", "psutil", "pydantic", "pyyaml", "tqdm", "ipykernel",
                "papermill"]  # fmt: skip


def colab(base):
    """The environment's Python, and the folder that Colab calls `/content`, with a clone and `google.colab` in it."""
    subprocess.run([sys.executable, "-m", "venv", base / "venv"], check=True)
    python = base / "venv" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", *PREINSTALLED], check=True)
    content = base / "content"
    left_out = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "run", "build", "dist")
    clone = shutil.copytree(REPOSITORY, content / "brains", ignore=left_out)
    (clone / "reports" / "tiny").mkdir()
    (clone / "reports" / "tiny" / "recipe.yaml").write_text(TINY, encoding="utf-8")
    (base / "stub" / "google" / "colab").mkdir(parents=True)
    (base / "stub" / "google" / "colab" / "__init__.py").touch()
    (base / "stub" / "sitecustomize.py").write_text("import google.colab\n", encoding="utf-8")
    return python, content


def run(python, content, notebook, report):
    """Run a notebook; the seconds until it shows reconstructions, None where it shows none. A failure ends all."""
    source, target = content / "brains" / "notebooks" / f"{notebook}.ipynb", content / f"{report}-{notebook}.ipynb"
    command = [python, "-m", "papermill", source, target, "-p", "report", report, "--cwd", content, "--no-progress-bar"]
    environment = {**os.environ, "PYTHONPATH": str(content.parent / "stub"), "KERAS_BACKEND": "tensorflow"}
    subprocess.run(command, cwd=content, env=environment, check=True)
    code = [cell for cell in nbformat.read(target, as_version=4).cells if cell.cell_type == "code"]
    times = [datetime.datetime.fromisoformat(cell.metadata.papermill["end_time"]) for cell in code]
    start = datetime.datetime.fromisoformat(code[0].metadata.papermill["start_time"])
    shown = (time for cell, time in zip(code, times, strict=True) if 'id="figure-extremes"' in str(cell.outputs))
    return next(((time - start).total_seconds() for time in shown), None)


def versions(python):
    """`{package: version}` of the environment."""
    done = subprocess.run([python, "-m", "pip", "freeze"], check=True, capture_output=True, text=True)
    return dict(line.split("==") for line in done.stdout.splitlines() if "==" in line)


def main():
    """Make the environment and run the notebooks in it; the exit status."""
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--folder", type=Path, help="a new folder to work in (default: a temporary one)")
    base = arguments.parse_args().folder or Path(tempfile.mkdtemp(prefix="colab-"))
    python, content = colab(base)
    before = versions(python)
    seconds = run(python, content, STAGES["evaluation"], "demo")  # first: its own first cell installs what is missing
    if seconds is None:
        print("the published demo: no picture of a brain")
        return 1
    for notebook in STAGES.values():
        run(python, content, notebook, "tiny")
        print(f"{notebook}: whole", flush=True)
    after = versions(python)
    changed = {name: after.get(name) for name, number in before.items() if after.get(name) != number}
    print(f"the published demo: a brain after {seconds:.0f} s; keras {before['keras']}; installed since: "
          f"{', '.join(sorted(after.keys() - before.keys()))}; changed: {changed or 'nothing'}")  # fmt: skip
    return 1 if changed or seconds > 60 else 0


if __name__ == "__main__":
    sys.exit(main())
