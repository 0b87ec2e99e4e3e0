"""What a report was made with."""

import datetime
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version

from vq_lib.study import REPOSITORY

PACKAGES = ("keras", "tensorflow", "jax", "torch", "tensorflow-probability", "numpy", "pandas", "scikit-image",
            "scikit-learn", "papermill", "nilearn")  # fmt: skip
CODE = ("vq_lib", "notebooks", "pyproject.toml", "constraints.txt")


def versions() -> dict[str, str]:
    """`{"python": …, package: version}` of the packages that are installed."""
    installed = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            pass
    return installed


def now() -> str:
    """The date and the minute, in UTC."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")


def commit() -> str | None:
    """The commit of the repository, with "+" where code differs from it; None outside a checkout."""

    def git(*arguments):
        done = subprocess.run(["git", "-C", REPOSITORY, *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", *CODE)
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None
