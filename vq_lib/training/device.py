"""The device that Keras computes on: its name, whether it repeats itself, and whether bfloat16 is faster there."""

import contextlib
import os
from pathlib import Path

import keras


def _gpu():
    """Name and compute capability ("" where unknown) of the GPU that Keras computes on; None on a processor."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow

        gpus = tensorflow.config.list_physical_devices("GPU")
        details = tensorflow.config.experimental.get_device_details(gpus[0]) if gpus else {}
        return (details.get("device_name", "GPU"), details.get("compute_capability", ("",))[0]) if gpus else None
    if keras.backend.backend() == "jax":
        import jax

        first = jax.devices()[0]
        capability = str(getattr(first, "compute_capability", "")).split(".")[0]
        return None if first.platform == "cpu" else (first.device_kind, capability)
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name(), torch.cuda.get_device_capability()[0]
    return ("Apple GPU (mps)", "") if torch.backends.mps.is_available() else None


def device() -> str:
    """The device in words: "CPU, 2 cores" or the name of the GPU."""
    gpu, ours = _gpu(), getattr(os, "sched_getaffinity", None)
    return gpu[0] if gpu else f"CPU, {len(ours(0)) if ours else os.cpu_count()} cores"


def repeatable() -> bool:
    """Whether equal seeds give equal weights here, bit for bit: a GPU adds up in whatever order its threads finish."""
    return _gpu() is None


def has_bfloat16() -> bool:
    """Whether bfloat16 is faster here than float32: on an NVIDIA GPU of compute capability 8 or more, with TensorFlow
    also on a processor with AVX512_BF16 or AMX.
    """
    if gpu := _gpu():
        return str(gpu[1]).isdigit() and int(gpu[1]) >= 8  # "9" of 9.0; "gfx90a" of another maker
    with contextlib.suppress(OSError):
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        return keras.backend.backend() == "tensorflow" and ("avx512_bf16" in flags or "amx_bf16" in flags)
    return False
