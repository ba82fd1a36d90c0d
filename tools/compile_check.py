"""Compile the CUDA kernels by NVRTC, without a GPU: ``python tools/compile_check.py``.

The kernels that the rules make for every operation, for training steps of the
bundled nets, and those that the test suite made (``--collected FOLDER``), each
source once.  Of every family of kernels its members take turns, so that a template
that was written by hand is compiled for every family of architectures, what is
generated from element expressions, or merged of several kernels, for the oldest and
the newest; templates in the sizes of tests for one.
``--all``: every kernel, of the tests' too, for every architecture.  An error, more
registers than the stored budget of the kernel's family, a family without a budget, or
a byte spilled is a failure.

``--update`` writes the budget anew, after it has run the tests of the CUDA backend
for their kernels.  ``--show FAMILY`` shows what a family's kernels take, and the
source of the one that takes most.
NVRTC is no dependency: ``pip install "graphgpu[compile-check]"``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from compile_checks import nvrtc
from compile_checks.cache import Cache, usual_path
from compile_checks.choice import ONE, USUAL, chosen
from compile_checks.kept import VARIABLE, kept
from compile_checks.report import beyond, failures, say, shown, table
from compile_checks.representative import collect
from compile_checks.units import Entry, Outcome, check, entries
from compile_checks.usage import Budget, most

ROOT = Path(__file__).parent.parent
BUDGET = Path(__file__).parent / "compile_budget.json"
ALL = 75, 80, 86, 89, 90, 100, 120


def main() -> int:
    """Compile and compare; return 1 on any failure."""
    options = _options()
    if (reason := nvrtc.missing()) is not None:
        say(f"the compile check is skipped: {reason}" if options.optional else reason)
        return 0 if options.optional else 1
    start = time.perf_counter()
    collected = collect(nets=not options.no_nets)
    own = _wanted(entries(collected.kernels), options)
    known = {(e.source, e.name) for e in own}
    tests = _wanted(_of_tests(options), options)
    tests = [e for e in tests if (e.source, e.name) not in known]
    if not options.all and not options.update:
        tests = [e for e in tests if not e.generated]
    made = time.perf_counter()
    cache = Cache(None if options.cold else usual_path())
    try:
        outcome = _compiled(own, tests, options, cache)
    finally:
        cache.write()
    budget = Budget.read(options.budget)
    if options.update:
        worst = most((e.family, usage) for e, _, usage in outcome.usages)
        budget = budget.updated(nvrtc.version(), worst)
        budget.write(options.budget)
    over = beyond(outcome, budget)
    if options.show:
        shown(outcome, options.show)
    else:
        table(outcome, budget, options.whole)
    for text in collected.gaps:
        say(f"gap: {text}")
    failures(outcome, over, budget)
    end = time.perf_counter()
    counts = Counter(architecture for _, architecture, _ in outcome.usages)
    say(
        f"{len(own)} kernels of operations and nets, {len(tests)} more of tests; "
        f"{', '.join(f'{n} for sm_{a}' for a, n in sorted(counts.items()))}; "
        f"{outcome.units} units, NVRTC {nvrtc.version()}: {made - start:.0f} s to make "
        f"and {end - made:.0f} s to compile; {len(outcome.failures)} errors, "
        f"{len(over)} beyond the budget"
    )
    return 1 if outcome.failures or over or collected.uncovered else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("arch", nargs="*", type=int, help="these architectures alone, such as 90")
    add("--all", action="store_true", help="every kernel for all architectures")
    add("--collected", type=Path, metavar="FOLDER", help="kernels that tests made")
    add("--update", action="store_true", help="write what is found as the budget")
    add("--show", metavar="FAMILY", help="show this family alone")
    add("--whole", action="store_true", help="show every family")
    add("--budget", type=Path, default=BUDGET, metavar="FILE")
    add("--cold", action="store_true", help="compile what was compiled before, too")
    add("--optional", action="store_true", help="pass where there is no NVRTC")
    add("--workers", type=int, default=os.cpu_count() or 2)
    add("--no-nets", action="store_true", help="no bundled nets")
    options = parser.parse_args()
    if options.update and (options.no_nets or options.arch or options.show):
        parser.error("a budget is of all operations and nets, on all architectures")
    return options


def _wanted(found: Sequence[Entry], options: argparse.Namespace) -> list[Entry]:
    return [e for e in found if options.show in (None, e.family)]


def _of_tests(options: argparse.Namespace) -> list[Entry]:
    if options.collected is not None:
        found = kept(options.collected)
        if not found:
            say(f"no kernels in {options.collected}: run the tests with {VARIABLE}")
        return found
    if not options.update:
        return []
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pytest", "-n", "2", "tests/backends/cuda"]
        say(" ".join(command[1:]))
        environment = os.environ | {VARIABLE: folder}
        done = subprocess.run(command, cwd=ROOT, env=environment, check=False)
        if done.returncode:
            say("the tests fail; the budget is of the kernels that they made so far")
        return kept(Path(folder))


def _compiled(
    own: Sequence[Entry],
    tests: Sequence[Entry],
    options: argparse.Namespace,
    cache: Cache,
) -> Outcome:
    """Compile each kernel for its architectures."""
    if options.all or options.arch:
        found = [*own, *tests]
        return check(found, options.arch or ALL, options.workers, cache)
    parts = _all_of(own, tests) if options.update else chosen(own, tests)
    outcome = Outcome()
    for architecture, found in parts.items():
        outcome += check(found, (architecture,), options.workers, cache)
    return outcome


def _all_of(own: Sequence[Entry], tests: Sequence[Entry]) -> dict[int, list[Entry]]:
    """Return the kernels by architecture, none left out where it may be compiled."""
    parts = {a: [e for e in own if a in USUAL or not e.generated] for a in ALL}
    parts[ONE] += tests
    return parts


if __name__ == "__main__":
    sys.exit(main())
