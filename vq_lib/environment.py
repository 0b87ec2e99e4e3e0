"""What notebooks and commands need first: packages that are new enough, places that can be written, and Keras.

Nothing but the standard library is imported here: this module must load where nothing is installed.
"""

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import distributions, version
from pathlib import Path

from vq_lib.errors import UserError

MINIMUM = {"keras": "3.10"}  # as pyproject.toml says; a test holds the two together
# What the notebooks import, by the name to import, and the package that brings it.
NEEDED = {name: name for name in ("filelock", "jinja2", "keras", "latex2mathml", "matplotlib", "nibabel", "nilearn",
                                  "numpy", "pandas", "psutil", "pydantic", "scipy", "tqdm")}  # fmt: skip
NEEDED |= {"PIL": "pillow", "skimage": "scikit-image", "sklearn": "scikit-learn", "yaml": "pyyaml"}
BACKENDS = ("tensorflow", "jax", "torch")
# Where what we use keeps files of its own, unless these variables say otherwise.
PLACES = {"XDG_CACHE_HOME": "~/.cache", "XDG_CONFIG_HOME": "~/.config", "XDG_DATA_HOME": "~/.local/share",
          "MPLCONFIGDIR": "~/.config/matplotlib", "IPYTHONDIR": "~/.ipython", "JUPYTER_CONFIG_DIR": "~/.jupyter",
          "JUPYTER_DATA_DIR": "~/.local/share/jupyter"}  # fmt: skip
SETTINGS = {
    "TF_CPP_MIN_LOG_LEVEL": "3",  # what fails in TensorFlow's C++ is raised in Python too; the rest is chatter
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",  # TensorFlow: the first notebook that is open leaves the next one memory
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # JAX: the same
    # A GPU's products otherwise have ten bits of mantissa (TF32), too few for differences of squares, as in SSIM.
    "NVIDIA_TF32_OVERRIDE": "0",  # cuBLAS and cuDNN
    "JAX_DEFAULT_MATMUL_PRECISION": "highest",  # JAX's own kernels
}


def ready() -> None:
    """Check what the notebooks need; on Google Colab install what is missing, and change nothing that is there.

    Elsewhere a `UserError` names the package that is missing; everywhere one that is too old.
    """
    missing = [package for module, package in NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing and "google.colab" in sys.modules:
        print(f"Installing {', '.join(missing)} …", flush=True)
        _install(missing)
    elif missing:
        raise UserError(f"{missing[0]} is not installed in {sys.prefix}: type 'make lab' in the repository, or "
                        "'pip install -c constraints.txt -e .' in this environment.")  # fmt: skip
    for package, least in MINIMUM.items():
        installed, wanted = ([int(part) for part in text.split(".")[:2]] for text in (version(package), least))
        if installed < wanted:
            raise UserError(f"{package} {version(package)} is too old: vq_lib needs {least} or newer. Type "
                            f"'pip install \"{package}>={least}\"', then restart the kernel.")  # fmt: skip
    os.environ.update(places())


def _install(packages):
    """Install `packages` beside what is installed, all of which keeps its version: TensorFlow above all."""
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "installed.txt"
        kept.write_text("".join(f"{found.name}=={found.version}\n" for found in distributions() if found.name), "utf-8")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--constraint", str(kept), *packages]
        if subprocess.run(command, check=False).returncode:
            raise UserError(f"pip could not install {', '.join(packages)}: its own message is above.")


def places(folder: str | Path | None = None) -> dict[str, str]:
    """Those of `PLACES` that cannot be written, led into `folder`, or into a new temporary one."""
    barred = {name for name, usual in PLACES.items() if not _writable(Path(os.environ.get(name) or usual).expanduser())}
    folder = Path(folder or tempfile.mkdtemp(prefix="vq-lib-")) if barred else Path()
    return {name: str(folder / name.lower()) for name in barred}


def _writable(path):
    while not os.path.lexists(path) and path != path.parent:
        path = path.parent
    return os.path.isdir(path) and os.access(path, os.W_OK | os.X_OK)


def backend() -> str:
    """The backend that Keras shall have: `KERAS_BACKEND`, which must be installed, or what `keras.json` names if it is,
    or the first of `BACKENDS` that is.
    """
    installed = [name for name in BACKENDS if importlib.util.find_spec(name)]
    if named := os.environ.get("KERAS_BACKEND"):
        if named in BACKENDS and named not in installed:
            raise UserError(f"KERAS_BACKEND={named}, and {named} is not installed in {sys.prefix}: leave it out.")
        return named
    path = Path(os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras"), "keras.json")
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        named = json.loads(path.read_text(encoding="utf-8"))["backend"]
    return named if named in installed else (installed or ["tensorflow"])[0]


def only_jax_shares(devices: int) -> None:
    """A `UserError` where several `devices` are asked for and the backend, which is not started, is not JAX."""
    if devices > 1 and (name := backend()) != "jax":
        # Under TensorFlow's MirroredStrategy an EMA codebook sees half of each batch, and the loss is wrong.
        raise UserError(f"'devices: {devices}' needs JAX and this is {name}: type KERAS_BACKEND=jax before the "
                        "command, or set devices=1.")  # fmt: skip


def start_keras():
    """Keras, imported and its device found while file descriptor 2 leads nowhere: TensorFlow's C++ writes a page of
    logs there, whatever its log level, and JupyterLab shows it in red. An error in Python is still raised.
    """
    for name, value in {**SETTINGS, "KERAS_BACKEND": backend()}.items():
        os.environ.setdefault(name, value)
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        import keras

        keras.config.set_floatx("float32")  # whatever another tutorial has left in keras.json
        keras.config.set_epsilon(1e-7)
        keras.config.set_image_data_format("channels_last")
        keras.ops.zeros(1)
    finally:
        os.dup2(kept, 2)
        os.close(kept)
    return keras
