"""Whether CUDA can be used here, and if not, why and what to do."""

from __future__ import annotations

import ctypes
import importlib.metadata
from dataclasses import dataclass

__all__ = ["CudaState", "probe"]


@dataclass(frozen=True, slots=True)
class CudaState:
    """What was found: versions, and why CUDA cannot be used."""

    driver: str | None
    cupy: str | None
    reason: str
    cure: str

    def __str__(self) -> str:
        return f"{self.reason}; {self.cure}"


def probe() -> CudaState:
    """Look for the driver and for CuPy, without starting either."""
    return CudaState(
        _driver_version(),
        _cupy_version(),
        reason="this version of graphgpu computes on the CPU only",
        cure='use device="cpu" or "auto"; CUDA kernels come with a later version',
    )


def _driver_version() -> str | None:
    """Return the CUDA version that the driver supports."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
        version = ctypes.c_int()
        if library.cuDriverGetVersion(ctypes.byref(version)):
            return None
    except (OSError, AttributeError):
        return None
    return f"{version.value // 1000}.{version.value % 1000 // 10}"


def _cupy_version() -> str | None:
    for name in ("cupy-cuda13x", "cupy-cuda12x", "cupy"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None
