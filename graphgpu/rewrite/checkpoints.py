"""Candidates: sets of forward values to drop, from sparing to drastic.

Three choices make a candidate.  A *price*: what takes less than that a byte to
compute again is dropped.  A *segment*: after so many bytes dropped, everything
that crosses a narrow place of the graph is held, so that the backward pass
computes one segment again at a time (Chen, Xu, Zhang & Guestrin, "Training deep
nets with sublinear memory cost", 2016, with √n segments of a chain).  A *part*:
values of the beginning of the forward pass are dropped, which would be held the
longest; those of its end are held.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

from graphgpu.rewrite.replay import Program

__all__ = ["candidates"]

_NARROW = 16
"""A value this many times smaller than what it is computed from is not dropped."""
_PRICES = (0.3, 0.6, 0.8, 0.95, 1.0)
_HALVINGS = 10
"""How often the dropped bytes are halved for the size of a segment."""
_PARTS = 8
_MANY = 10_000
"""From how many nodes on fewer candidates are tried."""


def candidates(program: Program) -> Iterator[list[bool]]:
    """Return, one after another, what is dropped, node by node."""
    choice = _Choice(program)
    many = program.count >= _MANY
    parts = 2 if many else _PARTS
    seen = set()
    for price in choice.prices():
        cheap = choice.cheap(price)
        total = sum(choice.bytes_of(cheap))
        for halvings in range(0, _HALVINGS, 3 if many else 1):
            dropped = choice.segmented(cheap, total >> halvings)
            amounts = list(accumulate(choice.bytes_of(dropped)))
            for part in range(1, parts + 1):
                end = bisect_left(amounts, amounts[-1] * part // parts) + 1
                beginning = [d and i < end for i, d in enumerate(dropped)]
                if (key := bytes(beginning)) not in seen:
                    seen.add(key)
                    yield beginning


class _Choice:
    """What the candidates of a program are chosen by."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._values = [
            node
            for node in range(program.count)
            if program.forward[node] and program.root[node] == node
        ]
        self._saved = self._find_saved()
        self._price = self._find_prices()
        self._last_read = self._find_last_reads()

    def _find_saved(self) -> list[bool]:
        """Return which values the backward pass reads."""
        program = self.program
        saved = [False] * program.count
        for node in range(program.count):
            if not program.forward[node]:
                for value in program.inputs[node]:
                    saved[program.root[value]] = program.forward[program.root[value]]
        return saved

    def _find_prices(self) -> list[float]:
        """Return what each value costs to compute again, from values that are saved."""
        program = self.program
        total = [0.0] * program.count
        for node in range(program.count):
            roots = {program.root[v] for v in program.inputs[node]} - {node}
            total[node] = program.cost[node] + sum(
                total[v] for v in roots if not self._saved[v]
            )
        return total

    def _find_last_reads(self) -> list[int]:
        """Return the last forward node that reads each value, or a view of it."""
        program = self.program
        last = list(range(program.count))
        for node in range(program.count):
            if program.forward[node]:
                for value in program.inputs[node]:
                    last[program.root[value]] = node
        return last

    def prices(self) -> list[float]:
        """Return the prices a byte that some parts of what is saved are within."""
        program = self.program
        by_price = sorted(
            (self._price[v] / program.nbytes[v], program.nbytes[v])
            for v in self._values
            if self._saved[v] and program.nbytes[v] and not self._is_narrow(v)
        )
        sums = list(accumulate(nbytes for _, nbytes in by_price))
        found = [
            by_price[bisect_left(sums, sums[-1] * part)][0]
            for part in _PRICES
            if by_price
        ]
        return sorted(set(found))

    def _is_narrow(self, node: int) -> bool:
        """Whether it is so small, beside what it reads, that to hold it is free."""
        program = self.program
        roots = [program.root[v] for v in program.inputs[node]]
        read = max((program.nbytes[v] for v in roots), default=0)
        return program.nbytes[node] * _NARROW <= read

    def cheap(self, price: float) -> list[bool]:
        """Return what can be dropped at a price a byte: what is not saved, too."""
        program = self.program
        dropped = [False] * program.count
        for node in range(program.count):
            if not program.forward[node]:
                continue
            root = program.root[node]
            if root != node:
                dropped[node] = dropped[root]
            elif not self._is_narrow(node):
                limit = price * program.nbytes[node]
                dropped[node] = not self._saved[node] or self._price[node] <= limit
        return dropped

    def bytes_of(self, dropped: list[bool]) -> list[int]:
        """Return for each node the bytes that its being dropped saves."""
        program = self.program
        return [
            program.nbytes[v] if dropped[v] and self._saved[v] else 0
            for v in range(program.count)
        ]

    def segmented(self, dropped: list[bool], segment: int) -> list[bool]:
        """Hold what crosses the narrowest place in the second half of each segment."""
        program = self.program
        result = list(dropped)
        saved = self.bytes_of(dropped)
        crossing: list[int] = []
        crossed = gathered = 0
        best: tuple[int, list[int], int] | None = None
        for node in self._values:
            gathered += saved[node]
            crossing = [v for v in crossing if self._last_read[v] > node]
            if dropped[node] and self._last_read[node] > node:
                crossing.append(node)
            if 2 * gathered < segment:
                continue
            crossed = sum(program.nbytes[v] for v in crossing)
            if best is None or crossed <= best[0]:
                best = crossed, crossing, gathered
            if gathered >= segment:
                for value in best[1]:
                    result[value] = False
                gathered -= best[2]
                best = None
        for node in range(program.count):
            if program.forward[node]:
                result[node] = result[node] and result[program.root[node]]
        return result
