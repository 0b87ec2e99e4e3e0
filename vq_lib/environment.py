"""What notebooks and commands need before anything else: packages that are new enough, and Keras started in silence.

Nothing but the standard library is imported here: this module must load where nothing is installed.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import distributions, version

from vq_lib.errors import UserError

MINIMUM = {"keras": "3.10"}  # as pyproject.toml says; a test holds the two together
# What the notebooks import, by the name to import, and the package that brings it.
NEEDED = {"keras": "keras", "matplotlib": "matplotlib", "nibabel": "nibabel", "nilearn": "nilearn", "numpy": "numpy",
          "PIL": "pillow", "psutil": "psutil", "pydantic": "pydantic", "scipy": "scipy", "skimage": "scikit-image",
          "tqdm": "tqdm", "yaml": "pyyaml"}  # fmt: skip


def ready() -> None:
    """Check what the notebooks need; on Google Colab install what is missing, and change nothing that is there.

    Google Drive is not touched: mount it in a cell of your own if the data lie there.

    Raises:
        UserError: a package is missing (elsewhere than on Colab), or too old.
    """
    missing = [package for module, package in NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing and "google.colab" in sys.modules:
        print(f"Installing {', '.join(missing)} …", flush=True)
        _install(missing)
    elif missing:
        raise UserError(f"{missing[0]} is not installed in {sys.prefix}: type 'make lab' in the repository, or "
                        "'pip install -c constraints.txt -e .' in this environment.")  # fmt: skip
    for package, least in MINIMUM.items():
        found = version(package)
        if _numbers(found) < _numbers(least):
            raise UserError(f"{package} {found} is too old: vq_lib needs {least} or newer. Type "
                            f"'pip install \"{package}>={least}\"', then restart the kernel.")  # fmt: skip


def backend() -> str:
    """The backend that Keras would choose: by `KERAS_BACKEND`, its own settings file, or TensorFlow."""
    if named := os.environ.get("KERAS_BACKEND"):
        return named
    folder = os.environ.get("KERAS_HOME") or os.path.join(os.path.expanduser("~"), ".keras")
    try:
        with open(os.path.join(folder, "keras.json"), encoding="utf-8") as file:
            return str(json.load(file)["backend"])
    except (OSError, ValueError, KeyError, TypeError):
        return "tensorflow"


def only_jax_shares(devices: int) -> None:
    """Check that the backend can train on so many devices, without starting it.

    Raises:
        UserError: several devices are asked for, and the backend is not JAX.
    """
    if devices > 1 and (name := backend()) != "jax":
        # Under TensorFlow's MirroredStrategy an EMA codebook sees half of each batch, and the loss is wrong.
        raise UserError(
            f"'devices: {devices}' needs JAX and this is {name}: type KERAS_BACKEND=jax before the command, "
            "or set devices=1."
        )


def start_keras():
    """Keras, imported and its device found while file descriptor 2 leads nowhere.

    TensorFlow's C++ writes a page of logs there on its way up, whatever its log level, and JupyterLab shows it in red.
    An error in Python is still raised, and what C++ logs as an error later is still seen. A GPU's memory is taken as it
    is needed: by their own defaults, the first notebook that is open would leave the next one none. And float32 is
    float32 there: by default a GPU's products have ten bits of mantissa (TF32), too few for the differences of squares
    in SSIM and in the distances to the codes; what may be coarser is bfloat16 by the recipe's `precision`.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # what it logs later heeds this
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # TensorFlow
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # JAX
    os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")  # cuBLAS and cuDNN
    os.environ.setdefault(
        "JAX_DEFAULT_MATMUL_PRECISION", "highest"
    )  # JAX's own kernels; of bfloat16 this changes nothing
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        import keras

        keras.ops.zeros(1)
    finally:
        os.dup2(kept, 2)
        os.close(kept)
    return keras


def _install(packages):
    """Install `packages` beside what is installed, all of which keeps its version: TensorFlow above all."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "installed.txt")
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(f"{found.name}=={found.version}\n" for found in distributions() if found.name)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--constraint", path, *packages]
        if subprocess.run(command, check=False).returncode:
            raise UserError(f"pip could not install {', '.join(packages)}: its own message is above.")


def _numbers(text):
    return tuple(int(part) for part in text.split(".")[:2])
