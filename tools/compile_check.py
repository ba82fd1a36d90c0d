"""Compile the CUDA kernels by NVRTC, without a GPU: ``python tools/compile_check.py``.

The kernels that the rules make for every operation, and for training steps of the
bundled nets, each source once.  An error, more registers than the stored budget of
the kernel's family, or bytes spilled beyond it, is a failure.
NVRTC is no dependency: ``pip install "graphgpu[compile-check]"``.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from compile_checks import nvrtc
from compile_checks.representative import collect
from compile_checks.units import Entry, Outcome, check, entries
from compile_checks.usage import Budget, Usage, excesses, family, most
from rich.console import Console
from rich.table import Table

BUDGET = Path(__file__).parent / "compile_budget.json"
USUAL = [75, 90, 120]
ALL = [75, 80, 86, 89, 90, 100, 120]
_ROWS = 25
_TOLD = 5
"""Failures that are told in full."""
# A terminal knows its width; a file or a pipe takes whole tables.
CONSOLE = Console(width=None if sys.stdout.isatty() else 100)


def main() -> int:
    """Compile and compare; return 1 on any failure."""
    options = _options()
    if (reason := nvrtc.missing()) is not None:
        _say(reason)
        return 1
    wanted = ALL if options.all else options.arch or USUAL
    start = time.perf_counter()
    collected = collect(nets=not options.no_nets)
    found = entries(collected.kernels)
    made = time.perf_counter()
    outcome = check(found, wanted, options.workers)
    budget = (
        _update(outcome, options.budget)
        if options.update
        else Budget.read(options.budget)
    )
    over = [
        f"{e.name} of {e.origin}, sm_{a}: {text}"
        for e, a, usage in outcome.usages
        for text in excesses(e.name, usage, budget)
    ]
    _table(outcome, found, budget, options.whole)
    for text in collected.gaps:
        _say(f"gap: {text}")
    _failures(outcome, over, budget)
    end = time.perf_counter()
    _say(
        f"{len(found)} kernels of {collected.met} met, {outcome.units} units, "
        f"{', '.join(f'sm_{a}' for a in wanted)}, NVRTC {nvrtc.version()}: "
        f"{made - start:.0f} s to make and {end - made:.0f} s to compile; "
        f"{len(outcome.failures)} errors, {len(over)} beyond the budget"
    )
    return 1 if outcome.failures or over or collected.uncovered else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "arch", nargs="*", type=int, help=f"architectures ({USUAL}), such as 90"
    )
    parser.add_argument("--all", action="store_true", help=f"architectures {ALL}")
    parser.add_argument(
        "--update", action="store_true", help="write what is found as the budget"
    )
    parser.add_argument("--budget", type=Path, default=BUDGET, metavar="FILE")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--no-nets", action="store_true", help="operations only")
    parser.add_argument("--whole", action="store_true", help="show every family")
    options = parser.parse_args()
    if options.update and (options.no_nets or options.arch):
        parser.error("a budget is of all operations and nets, on the usual or --all")
    return options


def _say(text: str) -> None:
    CONSOLE.print(text, markup=False, highlight=False, soft_wrap=True)


def _update(outcome: Outcome, path: Path) -> Budget:
    """Write what was found as the budget, and return it."""
    found = most((e.name, usage) for e, _, usage in outcome.usages)
    budget = Budget(nvrtc.version(), found)
    budget.write(path)
    return budget


def _table(
    outcome: Outcome, found: Sequence[Entry], budget: Budget, whole: bool
) -> None:
    table = Table("family", title="The most that kernels take, of any architecture")
    for name in ("kernels", "registers", "budget", "stack", "spill", "shared"):
        table.add_column(name, justify="right")
    counts: dict[str, int] = {}
    for entry in found:
        counts[family(entry.name)] = counts.get(family(entry.name), 0) + 1
    worst = most((e.name, usage) for e, _, usage in outcome.usages)
    ranked = sorted(worst, key=lambda n: (-worst[n].spill, -worst[n].registers, n))
    for name in ranked[: None if whole else _ROWS]:
        usage = worst[name]
        limit = budget.families.get(name, Usage(255))
        numbers = [
            counts[name],
            usage.registers,
            limit.registers,
            usage.stack,
            usage.spill,
            usage.shared,
        ]
        table.add_row(name, *map(str, numbers))
    CONSOLE.print(table)
    if len(worst) > len(table.rows):
        _say(f"and {len(worst) - len(table.rows)} families that take no more: --whole")
    if new := sorted(set(worst) - set(budget.families)):
        _say(f"{len(new)} families without a budget (--update): {', '.join(new)}")


def _failures(outcome: Outcome, over: Sequence[str], budget: Budget) -> None:
    for failure in outcome.failures[:_TOLD]:
        _say(str(failure))
    if len(outcome.failures) > _TOLD:
        names = sorted({f.entry.name for f in outcome.failures[_TOLD:]})
        _say(f"and {len(outcome.failures) - _TOLD} more: {', '.join(names)}")
    for text in over:
        _say(f"beyond the budget: {text}")
    if over and budget.version != nvrtc.version():
        _say(f"the budget is of NVRTC {budget.version}, this is {nvrtc.version()}")


if __name__ == "__main__":
    sys.exit(main())
