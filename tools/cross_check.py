"""graphgpu beside PyTorch: ``python tools/cross_check.py [group ...]``.

Every case is one computation written for both, on the same arrays, in float64
and float32: its values, its gradients along a random cotangent and, for most,
the derivatives of those (PyTorch's double backward).  The configurations are
drawn from fixed seeds, so two runs check the same.  PyTorch is a peer to compare
with and no dependency: ``pip install torch==2.13.0``.

The error of an entry is relative to itself plus 1, or plus the largest entry of
the case where that is smaller; NaN and infinities must be at the same places.
Where rounding is magnified, as by a mean far above the deviation from it, a case
has slack, with the reason beside it.  The exit code is the number of failures.

What differs on purpose, and so is not compared, beside what is set apart in
``cross_checks/elementwise.py``: at a bound the gradient of ``clip`` is 1/2, not 1;
of -inf alone that of ``logsumexp`` is 0, not NaN, and of NaN that of ``max`` and
``min``; that of ``det`` at a singular matrix is the cofactors, not 0; weights of
classes have gradients; ``x[0, :, i]`` has the axes of i in front, as in NumPy;
without a ``correction`` ``var`` and ``std`` divide by N; ``softplus`` has no
threshold; clipping by the global norm adds nothing to the norm.
"""

from __future__ import annotations

import argparse
import sys
import zlib
from collections.abc import Callable, Iterable

import numpy as np
from cross_checks import arrays, elementwise, networks, training
from cross_checks.case import Case, Random
from rich.console import Console
from rich.table import Table

TOLERANCE = {"float64": 1e-9, "float32": 2e-5}
GROUPS: dict[str, Callable[[Random], Iterable[Case]]] = {
    cases.__name__: cases
    for cases in (
        elementwise.elementwise,
        elementwise.special_values,
        arrays.reductions,
        arrays.cumulative,
        arrays.sorting,
        arrays.products,
        arrays.linear_algebra,
        arrays.indexing,
        arrays.shape,
        networks.convolution,
        networks.transposed_convolution,
        networks.pooling,
        networks.losses,
        networks.normalization,
        training.optimizers,
        training.residual_network,
    )
}


def main() -> int:
    """Run the groups asked for, or all; return how many cases fail."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("groups", nargs="*", help=f"some of {', '.join(GROUPS)}")
    wanted = parser.parse_args().groups or list(GROUPS)
    if unknown := set(wanted) - set(GROUPS):
        parser.error(f"unknown group {', '.join(sorted(unknown))}")
    table = Table("group", "cases", *(f"error in {d}" for d in TOLERANCE), "verdict")
    total, lines = 0, []
    for name in wanted:
        random = np.random.default_rng([zlib.crc32(name.encode()), 0])
        cases, failed = list(GROUPS[name](random)), 0
        largest = dict.fromkeys(TOLERANCE, 0.0)
        for case in cases:
            errors = {d: case.error(d) for d in TOLERANCE}
            wrong = {
                d for d, t in TOLERANCE.items() if not errors[d][0] <= t * case.slack
            }
            lines += [f"{name}: {case.name}: {d}, {errors[d]}" for d in sorted(wrong)]
            failed += bool(wrong)
            largest = {d: max(e, errors[d][0]) for d, e in largest.items()}
        verdict = f"{failed} failed" if failed else "passed"
        figures = [f"{e:.1e}" for e in largest.values()]
        table.add_row(name.replace("_", " "), str(len(cases)), *figures, verdict)
        total += failed
    console = Console()
    console.print(table)
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return min(total, 255)


if __name__ == "__main__":
    sys.exit(main())
