"""What a report was made with."""

import datetime
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version

from vq_lib.study import REPOSITORY

PACKAGES = (
    "keras",
    "tensorflow",
    "jax",
    "torch",
    "tensorflow-probability",
    "numpy",
    "scikit-image",
    "papermill",
    "nilearn",
)


CODE = ("vq_lib", "notebooks", "pyproject.toml", "constraints.txt")


def versions() -> dict[str, str]:
    """`{"python": …, package: version}` of the packages that are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            pass
    return found


def device() -> str:
    """The device that Keras computes on, in words: "CPU, 2 cores" or the name of the GPU."""
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow

        gpus = tensorflow.config.list_physical_devices("GPU")
        if gpus:
            return tensorflow.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")
    elif keras.backend.backend() == "jax":
        import jax

        if jax.devices()[0].platform != "cpu":
            return jax.devices()[0].device_kind
    elif keras.backend.backend() == "torch":
        import torch

        if torch.cuda.is_available():
            return torch.cuda.get_device_name()
        if torch.backends.mps.is_available():
            return "Apple GPU (mps)"
    return f"CPU, {os.cpu_count()} cores"


def repeatable() -> bool:
    """Whether equal seeds give equal weights and figures on the device that Keras computes on, bit for bit.

    A GPU adds up in whatever order its threads finish (scatter-adds of the codebook's statistics, some convolutions'
    gradients), so that there a second run agrees to rounding at first, and in its scores later.
    """
    return device().startswith("CPU")


def now() -> str:
    """The date and the minute, in UTC."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")


def commit() -> str | None:
    """The commit of the repository, with "+" where code differs from it; None outside a checkout."""
    try:
        git = ["git", "-C", str(REPOSITORY)]
        name = subprocess.run(
            [*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no", "--", *CODE],
            capture_output=True,
            text=True,
            check=True,
        )
        return name + ("+" if changed.stdout.strip() else "")
    except (OSError, subprocess.CalledProcessError):
        return None
