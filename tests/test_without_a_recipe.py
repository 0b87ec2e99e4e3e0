"""The library is usable without a recipe: one short script, which writes nothing."""

import os
import re
import subprocess
import sys

from conftest import REPOSITORY

SCRIPT = REPOSITORY / "tests" / "without_a_recipe.py"


def test_forty_lines_go_from_images_to_samples_and_scores_and_write_nothing(tmp_path):
    assert len(SCRIPT.read_text(encoding="utf-8").splitlines()) <= 40
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "2"}
    done = subprocess.run([sys.executable, SCRIPT], cwd=tmp_path, env=environment, capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    ssim, bits = map(float, re.search(r"SSIM ([\d.]+), ([\d.]+) bits", done.stdout).groups())
    assert ssim > 0.8 and 0 < bits < 5, "of 32 codes: log2 K is 5"
    assert list(tmp_path.iterdir()) == []
