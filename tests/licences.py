"""Write `.github/DEPENDENCIES.md`: every pinned package and its licence, as the package itself states it.

    .venv/bin/python tests/licences.py

Packages that are not installed here (of other platforms, Python versions and extras) keep the line that they have.
"""

import re
from importlib.metadata import PackageNotFoundError, files, metadata

from conftest import REPOSITORY

TARGET = REPOSITORY / ".github" / "DEPENDENCIES.md"
UNSTATED = "see its home page"
HEAD = """# Dependencies and their licences

Written by `tests/licences.py` from what the packages state. None of their code is part of this repository. On Windows
and macOS these packages bring others: colorama (BSD-3-Clause), pywinpty (MIT) and appnope (BSD-2-Clause). What README
and CONTRIBUTING have you install beside them: pre-commit (MIT), snakemake-executor-plugin-slurm and its -jobstep
(MIT), and NVIDIA's libraries for GPUs, under NVIDIA's own terms.

| package | version | licence |
|---|---|---|
"""


def pinned():
    """`{package: version}` of constraints.txt."""
    text = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8")
    return dict(line.split("==") for line in text.splitlines() if "==" in line and not line.startswith("#"))


def stated(package):
    """The licence expression, else the classifiers', else the licence text's first words; None: not stated here."""
    try:
        about = metadata(package)
    except PackageNotFoundError:
        return None
    classifiers = [
        name.split(" :: ")[-1] for name in about.get_all("Classifier") or [] if name.startswith("License ::")
    ]
    classifiers = [name for name in classifiers if name != "OSI Approved"]
    text = (about.get("License") or "").strip().splitlines() or [""]
    return about.get("License-Expression") or ", ".join(classifiers) or text[0].strip()[:60] or _file(package)


def _file(package):
    """The first line of a packed licence text that is neither empty nor a copyright."""
    for file in files(package) or []:
        if re.search(r"LICEN[CS]E|COPYING", file.name, re.I):
            lines = file.locate().read_text(encoding="utf-8", errors="replace").splitlines()
            lines = [line.strip() for line in lines]
            return next((line for line in lines if line and not line.lower().startswith("copyright")), None)
    return None


def listed():
    """`{package: licence}` of the table as it is."""
    if not TARGET.exists():
        return {}
    return dict(re.findall(r"^\| (\S+) \| \d\S* \| (.+?) \|$", TARGET.read_text(encoding="utf-8"), re.M))


if __name__ == "__main__":
    before = listed()
    rows = [f"| {name} | {number} | {(stated(name) or before.get(name) or UNSTATED).replace('|', '/')} |"
            for name, number in pinned().items()]  # fmt: skip
    TARGET.write_text(HEAD + "\n".join(rows) + "\n", encoding="utf-8")
