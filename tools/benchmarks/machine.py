"""Where the figures come from: the CPU, its BLAS, versions; and even conditions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

from benchmarks.peers import THREADS

PACKAGES = ("graphgpu", "numpy", "torch", "jax", "jaxlib")
# Settings of BLAS, OpenMP and XLA; one for OpenBLAS would slow NumPy alone.
_SETTINGS = ("OPENBLAS_", "GOTO_", "OMP_", "GOMP_", "KMP_", "MKL_", "XLA_", "NPROC")
_SYSTEM = Path("/sys/devices/system/cpu")


def clean_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment without settings of BLAS and of threads.

    >>> clean_environment({"HOME": "/root", "OPENBLAS_CORETYPE": "Haswell"})
    {'HOME': '/root'}
    """
    kept = "KMP_DUPLICATE_LIB_OK"  # threadpoolctl sets it; it changes no speed
    return {
        name: value
        for name, value in environment.items()
        if name == kept or not name.startswith(_SETTINGS)
    }


def keep_to_two_cores() -> None:
    """Allow this process and its children two CPUs, of different cores if it may be.

    Libraries ask the system for what is allowed, so all take two threads.
    """
    if not hasattr(os, "sched_setaffinity"):
        return
    allowed = sorted(os.sched_getaffinity(0))
    others = [c for c in allowed if c not in _same_core(allowed[0])]
    picked = [allowed[0], *others, *allowed[1:]][:THREADS]
    os.sched_setaffinity(0, picked)


def _same_core(cpu: int) -> set[int]:
    try:
        path = _SYSTEM / f"cpu{cpu}" / "topology" / "thread_siblings_list"
        text = path.read_text().strip()
    except OSError:
        return {cpu}
    bounds = [[int(n) for n in part.split("-")] for part in text.split(",")]
    return {c for ends in bounds for c in range(ends[0], ends[-1] + 1)}


def conditions() -> dict[str, Any]:
    """Return what a report says of the moment, to be asked before measuring."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "load average": round(os.getloadavg()[0], 2),
        "settings removed": sorted(set(os.environ) - set(clean_environment())),
    }


def facts() -> dict[str, Any]:
    """Return what a report says of the machine, to be asked where it measures."""
    np.dot(np.ones(1), np.ones(1))
    return {
        "cpu": _cpu_name(),
        "cpus allowed": _allowed(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {p: _version(p) for p in PACKAGES},
        "commit": _commit(),
        "blas": [
            {k: lib.get(k) for k in ("internal_api", "version", "architecture")}
            | {"threads": lib["num_threads"]}
            for lib in threadpool_info()
            if lib["user_api"] == "blas"
        ],
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    found = (line.partition(":")[2].strip() for line in lines if "model name" in line)
    return next(found, platform.processor() or platform.machine())


def _allowed() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Return the commit that is checked out, with + if something was changed."""
    here = Path(__file__).parent
    try:
        said = [
            subprocess.run(
                ["git", *words], cwd=here, capture_output=True, text=True, check=True
            ).stdout.strip()
            for words in (("rev-parse", "--short", "HEAD"), ("status", "--porcelain"))
        ]
    except (OSError, subprocess.CalledProcessError):
        return None
    return said[0] + ("+" if said[1] else "")
