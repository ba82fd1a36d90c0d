"""Which kernels are compiled for which architectures, where not all are for all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from compile_checks.units import Entry

__all__ = ["FAMILIES", "ONE", "USUAL", "chosen"]

FAMILIES = 75, 80, 90, 100, 120
"""Of the templates that were written by hand: 86 and 89 compute as 80 does."""
USUAL = 75, 120
"""Of what is generated from element expressions, or merged of several kernels."""
ONE = 90
"""Of templates in the sizes of tests."""


def chosen(own: Sequence[Entry], tests: Sequence[Entry]) -> dict[int, list[Entry]]:
    """Return the kernels by architecture; those of tests are for one.

    Of the others a family's take turns, so that each is compiled at least once, and
    the family at least once for every architecture.
    """
    found: dict[int, list[Entry]] = defaultdict(list)
    for architectures, generated in ((USUAL, True), (FAMILIES, False)):
        for members in _families(e for e in own if e.generated == generated):
            for turn in range(max(len(members), len(architectures))):
                architecture = architectures[turn % len(architectures)]
                found[architecture].append(members[turn % len(members)])
    if tests:
        found[ONE] += tests
    return dict(found)


def _families(entries: Iterable[Entry]) -> list[list[Entry]]:
    families: dict[str, list[Entry]] = defaultdict(list)
    for one in entries:
        families[one.family].append(one)
    return list(families.values())
