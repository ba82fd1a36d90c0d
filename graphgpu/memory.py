"""Lifetimes to offsets: which bytes of one arena each value takes.

Two values that are alive in the same step must not overlap, and the arena
should be no longer than the bytes alive in the widest step.  To find the best
offsets is NP-hard ("dynamic storage allocation", Garey & Johnson, 1979, SR2).
Here a few simple placements are tried and the best is kept:

- a sweep over the steps, forward and backward, which gives each value the
  tightest gap that is free when it is born: n log n, and exact on stacks;
- each value, in the order of size, length of life or both, in the gaps that
  those before it leave in its lifetime (Pisarchyk & Lee, "Efficient memory
  management for deep neural net inference", 2020): quadratic, in NumPy;
- while the best is above 1.02 of the widest step, that order again with the
  values that stick out moved to the front.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graphgpu.errors import GraphError
from graphgpu.graph import Variable

__all__ = ["Buffer", "Placement", "place", "widest"]

_QUADRATIC = 5_000
"""How many values the placements that compare all pairs are tried for."""
_PATIENCE = 12_000
"""How many values are placed again from each order, to improve it."""
_ROUNDS = 60
"""And in how many rounds at most."""

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False, slots=True)
class Buffer:
    """Bytes that are written first in step ``first`` and read last in step ``last``.

    ``variable`` is the one whose value it holds, for its creation line; ``kind``
    is ``"value"``, or ``"workspace"`` for what a kernel needs beside its result.
    """

    label: str
    nbytes: int
    first: int
    last: int
    variable: Variable | None = None
    kind: str = "value"


@dataclass(frozen=True, slots=True)
class Placement:
    """Where each buffer begins, how long the arena is, and what it cannot go below.

    ``widest`` is the most bytes alive in one step, each buffer rounded up to the
    alignment.
    """

    offsets: tuple[int, ...]
    arena_bytes: int
    widest: int


def place(buffers: Sequence[Buffer], alignment: int = 64) -> Placement:
    """Return offsets such that no two buffers alive in the same step overlap.

    The same buffers get the same offsets, in every process.

    >>> place([Buffer("a", 100, 0, 1), Buffer("b", 60, 1, 2), Buffer("c", 128, 2, 3)])
    Placement(offsets=(0, 128, 0), arena_bytes=192, widest=192)

    Raises
    ------
    GraphError
        A buffer has less than no bytes or dies before it is born, or the
        alignment is below 1.
    """
    lives, some = _lives(buffers, alignment)
    most = _widest(lives)
    offsets, top = _best(lives, most)
    placed = np.zeros(len(buffers), np.int64)
    placed[some] = offsets * alignment
    return Placement(tuple(placed.tolist()), top * alignment, most * alignment)


def widest(buffers: Sequence[Buffer], alignment: int = 64) -> int:
    """Return the most bytes alive in one step, each buffer rounded up.

    >>> widest([Buffer("a", 100, 0, 1), Buffer("b", 60, 1, 2), Buffer("c", 128, 2, 3)])
    192
    """
    return _widest(_lives(buffers, alignment)[0]) * alignment


def _lives(buffers: Sequence[Buffer], alignment: int) -> tuple[_Lives, Ints]:
    """Return sizes and lifetimes of the buffers that have bytes, and which they are."""
    _check(buffers, alignment)
    units = np.array([-(-b.nbytes // alignment) for b in buffers], np.int64)
    some = np.flatnonzero(units)
    first = np.array([b.first for b in buffers], np.int64)[some]
    last = np.array([b.last for b in buffers], np.int64)[some]
    return _Lives(units[some], first, last), some


def _check(buffers: Sequence[Buffer], alignment: int) -> None:
    if alignment < 1:
        raise GraphError(f"an alignment is at least 1 byte; got {alignment}")
    for buffer in buffers:
        if buffer.nbytes < 0 or buffer.last < buffer.first:
            raise GraphError(
                f"a buffer has no less than 0 bytes and is read last no earlier than "
                f"it is written; got {buffer}"
            )


@dataclass(frozen=True, slots=True)
class _Lives:
    """Sizes in units of the alignment, all above 0, and lifetimes."""

    size: Ints
    first: Ints
    last: Ints

    def __len__(self) -> int:
        return len(self.size)

    def __getitem__(self, chosen: Ints) -> _Lives:
        return _Lives(self.size[chosen], self.first[chosen], self.last[chosen])

    def backward(self) -> _Lives:
        """Return the same with time reversed."""
        return _Lives(self.size, -self.last, -self.first)


_Placed = tuple[Ints, int]
"""Offsets, and the end of the highest."""


def _widest(lives: _Lives) -> int:
    """Return the most that is alive in one step."""
    if not len(lives):
        return 0
    times = np.concatenate([lives.first, lives.last + 1])
    change = np.concatenate([lives.size, -lives.size])
    # At one time what died is freed first: negative changes sort before positive.
    return int(np.cumsum(change[np.lexsort((change, times))]).max())


def _best(lives: _Lives, widest: int) -> _Placed:
    """Return the best of the placements, trying no more once one is near perfect."""
    best: _Placed | None = None
    for placed in _candidates(lives):
        if best is None or placed[1] < best[1]:
            best = placed
        if 200 * best[1] <= 201 * widest:
            return best
    assert best is not None
    if len(lives) > _QUADRATIC:
        return best
    for order in _orders(lives):
        if 50 * best[1] <= 51 * widest:
            break
        placed = _improved(lives, order, widest)
        if placed[1] < best[1]:
            best = placed
    return best


def _candidates(lives: _Lives) -> Iterator[_Placed]:
    """Place by the simple ways, the fastest first."""
    yield _sweep(lives)
    yield _sweep(lives.backward())
    if len(lives) > _QUADRATIC:
        yield _in_two_parts(lives)
        return
    for order in _orders(lives):
        yield _in_order(lives, order, tightest=False)
        yield _in_order(lives, order, tightest=True)


def _orders(lives: _Lives) -> Iterator[Ints]:
    """Order by size; by length of life; by both; those of the widest step first."""
    life = lives.last - lives.first + 1
    yield np.lexsort((lives.first, -lives.size))
    yield np.lexsort((-lives.size, -life))
    yield np.lexsort((-life * lives.size,))
    yield np.lexsort((-life, -_widest_met(lives)))


def _widest_met(lives: _Lives) -> Ints:
    """Return for each value the most that is alive at once while it lives."""
    steps = np.unique(lives.first)  # the widest moments are births
    begin = np.searchsorted(steps, lives.first)
    end = np.searchsorted(steps, lives.last, side="right")
    change = np.zeros(len(steps) + 1, np.int64)
    np.add.at(change, begin, lives.size)
    np.subtract.at(change, end, lives.size)
    alive = np.cumsum(change)
    return np.array(
        [alive[b:e].max() for b, e in zip(begin, end, strict=True)], np.int64
    )


def _sweep(lives: _Lives) -> _Placed:
    """Give each value at birth the tightest gap; of those born at once, as they live.

    The one that lives longest comes first, and lowest.
    """
    births = np.lexsort((lives.first - lives.last, lives.first)).tolist()
    deaths = np.argsort(lives.last, kind="stable").tolist()
    size, first, last = lives.size.tolist(), lives.first.tolist(), lives.last.tolist()
    offsets = [0] * len(size)
    gaps = _Gaps()
    dead = 0
    for value in births:
        while last[deaths[dead]] < first[value]:
            gone = deaths[dead]
            gaps.give(offsets[gone], offsets[gone] + size[gone])
            dead += 1
        offsets[value] = gaps.take(size[value])
    return np.array(offsets, np.int64), gaps.top


class _Gaps:
    """The free stretches below the top: none touches another."""

    def __init__(self) -> None:
        self.top = 0
        self._end: dict[int, int] = {}  # of the gap that begins there
        self._begin: dict[int, int] = {}  # of the gap that ends there
        self._by_size: list[tuple[int, int]] = []

    def take(self, size: int) -> int:
        """Return the beginning of the tightest gap, cut from its low end."""
        place = bisect_left(self._by_size, (size, -1))
        if place < len(self._by_size):
            _, begin = self._by_size.pop(place)
            end = self._end.pop(begin)
            del self._begin[end]
            if begin + size < end:
                self._add(begin + size, end)
            return begin
        begin = self._begin.get(self.top, self.top)  # grow the gap below the top
        if begin < self.top:
            self._remove(begin, self.top)
        self.top = begin + size
        return begin

    def give(self, begin: int, end: int) -> None:
        """Free a stretch, and join it with the gaps beside it."""
        if begin in self._begin:
            below = self._begin[begin]
            self._remove(below, begin)
            begin = below
        if end in self._end:
            above = self._end[end]
            self._remove(end, above)
            end = above
        self._add(begin, end)

    def _add(self, begin: int, end: int) -> None:
        self._end[begin] = end
        self._begin[end] = begin
        insort(self._by_size, (end - begin, begin))

    def _remove(self, begin: int, end: int) -> None:
        del self._end[begin], self._begin[end]
        del self._by_size[bisect_left(self._by_size, (end - begin, begin))]


def _in_order(lives: _Lives, order: Ints, *, tightest: bool) -> _Placed:
    """Place each in a gap that those before it leave in its lifetime.

    The gap is the tightest, or else the lowest; above all where there is none.
    """
    count = len(order)
    # Of those placed, from the lowest up: birth, death, beginning, end.
    born, dies, low, high = (np.empty(count, np.int64) for _ in range(4))
    offsets = np.zeros(count, np.int64)
    size, first, last = lives.size.tolist(), lives.first.tolist(), lives.last.tolist()
    for done, value in enumerate(order.tolist()):
        meets = (born[:done] <= last[value]) & (dies[:done] >= first[value])
        end = np.maximum.accumulate(high[:done][meets])
        offset = _gap(low[:done][meets], end, size[value], tightest)
        offsets[value] = offset
        spot = int(np.searchsorted(low[:done], offset))
        new = (first[value], last[value], offset, offset + size[value])
        for column, entry in zip((born, dies, low, high), new, strict=True):
            column[spot + 1 : done + 1] = column[spot:done]
            column[spot] = entry
    return offsets, int((offsets + lives.size).max(initial=0))


def _gap(low: Ints, end: Ints, size: int, tightest: bool) -> int:
    """Return where to place a value among others: their beginnings, highest ends."""
    if not len(low):
        return 0
    if low[0] >= size and not tightest:
        return 0
    gaps = low.copy()
    gaps[1:] -= end[:-1]
    fits = np.flatnonzero(gaps >= size)
    if not len(fits):
        return int(end[-1])
    chosen = fits[gaps[fits].argmin()] if tightest else fits[0]
    return int(end[chosen - 1]) if chosen else 0


def _improved(lives: _Lives, order: Ints, widest: int) -> _Placed:
    """Place again and again, each time sooner what ended above the widest step."""
    count = len(order)
    best = offsets, top = _in_order(lives, order, tightest=False)
    rank = np.empty(count)
    for _ in range(min(_PATIENCE // count, _ROUNDS)):
        if 50 * best[1] <= 51 * widest:
            break
        rank[order] = np.arange(count)
        rank[offsets + lives.size > widest] *= 0.7
        sooner = np.argsort(rank, kind="stable")
        if (sooner == order).all():
            break
        order = sooner
        offsets, top = _in_order(lives, order, tightest=False)
        if top < best[1]:
            best = offsets, top
    return best


def _in_two_parts(lives: _Lives) -> _Placed:
    """Place the largest by size, and above them all the others by a sweep.

    Where most bytes are in few values, the others take little.
    """
    by_size = np.lexsort((lives.first, -lives.size))
    large, small = by_size[:_QUADRATIC], by_size[_QUADRATIC:]
    offsets = np.zeros(len(lives), np.int64)
    offsets[large], below = _in_order(
        lives[large], np.arange(len(large)), tightest=False
    )
    above, top = _sweep(lives[small])
    offsets[small] = above + below
    return offsets, below + top
