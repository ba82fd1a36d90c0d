"""The launches of a step in order: loops are driven by the host, which reads flags."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["BoundLoop", "Order", "walk"]


@dataclass(frozen=True, eq=False, slots=True)
class BoundLoop:
    """The condition's launches, the address of its flag, the body's, and a bound."""

    condition: Order
    flag: int
    body: Order
    most: int | None

    def rounds(self) -> Iterator[int]:
        """Yield the numbers of the iterations that there may be."""
        yield from itertools.count() if self.most is None else range(self.most)


Order: TypeAlias = Sequence["int | BoundLoop"]
"""Numbers of launches, and loops of such."""


def walk(order: Order, goes_on: Callable[[BoundLoop], bool]) -> Iterator[int]:
    """Yield the numbers of the launches as they are to be done.

    ``goes_on`` is asked when the condition's launches are done.
    """
    for part in order:
        if not isinstance(part, BoundLoop):
            yield part
            continue
        for _ in part.rounds():
            yield from walk(part.condition, goes_on)
            if not goes_on(part):
                break
            yield from walk(part.body, goes_on)
