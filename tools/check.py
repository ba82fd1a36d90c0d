"""Run every check that guards the main branch: ``python tools/check.py``.

Format, lint, types, tests, doctests, kernels.  The tests include the layers of
the architecture and every example; the kernels that they make are compiled for
GPUs.  ``--slow`` adds what takes minutes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable
PATHS = ["graphgpu", "tests", "examples", "tools"]
KEPT = ROOT / "build" / "kernels"
"""Where the kernels are that the tests of the CUDA backend make."""

CHECKS: dict[str, list[str]] = {
    "format": [PYTHON, "-m", "ruff", "format", "--check", *PATHS],
    "lint": [PYTHON, "-m", "ruff", "check", *PATHS],
    "types": [PYTHON, "-m", "mypy"],
    "tests": [PYTHON, "-m", "pytest", "-n", "2"],
    "doctests": [PYTHON, "-m", "pytest", "--doctest-modules", "graphgpu"],
    "kernels": [PYTHON, "tools/compile_check.py", "--optional", f"--collected={KEPT}"],
}
SLOW = {
    "slow tests": [PYTHON, "-m", "pytest", "-m", "slow"],
    "all kernels": [*CHECKS["kernels"], "--all"],
}


def main() -> int:
    """Run the checks, all of them even if one fails; return how many failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slow", action="store_true", help="add the slow tests")
    parser.add_argument("only", nargs="*", help=f"some of {', '.join(CHECKS)}")
    options = parser.parse_args()
    unknown = set(options.only) - set(CHECKS)
    if unknown:
        parser.error(f"unknown check {', '.join(sorted(unknown))}")
    checks = {n: c for n, c in CHECKS.items() if not options.only or n in options.only}
    if options.slow:
        checks |= SLOW
    failed = []
    for name, command in checks.items():
        print(f"== {name}: {' '.join(command[1:])}", flush=True)
        start = time.perf_counter()
        code = subprocess.run(
            command, cwd=ROOT, env=_environment(name), check=False
        ).returncode
        verdict = "passed" if code == 0 else f"failed with {code}"
        print(f"== {name} {verdict}, {time.perf_counter() - start:.0f} s", flush=True)
        if code:
            failed.append(name)
    print(f"{len(checks) - len(failed)} passed, {len(failed)} failed", *failed)
    return len(failed)


def _environment(name: str) -> dict[str, str]:
    """Return a check's environment: the tests keep their kernels, and no older ones."""
    environment = dict(os.environ)
    if name == "tests":
        shutil.rmtree(KEPT, ignore_errors=True)
        environment["GRAPHGPU_KEEP_KERNELS"] = str(KEPT)
    return environment


if __name__ == "__main__":
    sys.exit(main())
