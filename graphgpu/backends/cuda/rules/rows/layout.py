"""How threads share rows, and how a row program's arrays are read."""

from __future__ import annotations

from dataclasses import dataclass

from graphgpu.backends.cuda.kernels.text import stored_type
from graphgpu.backends.cuda.rules.places import is_places
from graphgpu.backends.cuda.rules.rows.stages import MEMBERS, Rows, Stages
from graphgpu.backends.cuda.rules.rows.walks import (
    BLOCK,
    ceil_power,
    lane_group,
    quotient,
)
from graphgpu.backends.cuda.rules.sources import Source, broadcast_axes
from graphgpu.nodes import Node

__all__ = ["Arrays", "Read", "Threads"]

Axes = tuple[tuple[int, int], ...]
_VECTOR = 16
"""Bytes that one access moves at most."""
_PER_LANE, _PER_THREAD = 32, 16
"""About as many registers keep values where a warp, or several, have a row."""
_MANY, _PER_LANE_OF_FEW = 2048, 8
"""With fewer rows than that, a warp each leaves most of a large GPU idle."""


@dataclass(frozen=True, slots=True)
class Read:
    """An array as it is read: ``base`` is the place that it is found by.

    That is ``i`` in the shape, ``c`` in the row, or the number ``r`` of the row.
    """

    source: Source
    base: str
    name: str
    place: str
    """Where the element is, in terms of the base."""

    @property
    def node(self) -> Node:
        """The array."""
        return self.source.node

    def packed(self, pack: int) -> str:
        """Return the C type of its elements in a pack of places."""
        width = pack if self.source.adjacent else 1
        return f"gg_pack<{stored_type(self.node.tensor.dtype)}, {width}>"


@dataclass(frozen=True, slots=True)
class Threads:
    """How threads share rows.

    A thread has ``packs`` packs of ``pack`` neighbouring places, in the last of
    which it may have none.  So many ``members`` share a row.
    """

    pack: int
    members: int
    packs: int
    whole: bool
    """Whether all threads have all their packs."""
    threads: int

    @classmethod
    def of(cls, rows: Rows, pack: int, words: float) -> Threads:
        """Return the threads for rows that take so many words a place."""
        total, each = rows.length // pack, pack * max(words, 1.0)
        lane = _PER_LANE if rows.count >= _MANY else _PER_LANE_OF_FEW
        members = ceil_power(quotient(total, max(int(lane // each), 1)))
        if members <= 32:
            members = min(ceil_power(quotient(total, 2)), 32)
        else:
            count = quotient(total, max(int(_PER_THREAD // each), 1))
            members = min(max(ceil_power(count), 64), MEMBERS)
        packs = quotient(total, members)
        threads = max(members, BLOCK)
        return cls(pack, members, packs, packs * members == total, threads)

    @property
    def rows(self) -> int:
        """How many rows a block has."""
        return self.threads // self.members

    def group(self) -> str:
        """Return ``together`` for a row's threads: all get the result."""
        if self.members <= 32:
            return lane_group(self.members)
        warps = self.members // 32
        return f"""\
__device__ __forceinline__ State together(State s, State* part) {{
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) s = merge(s, exchanged(s, mask, 32));
  if (threadIdx.x % 32u == 0) part[threadIdx.x / 32u] = s;
  __syncthreads();
  s = part[threadIdx.x / {self.members}u * {warps}u + threadIdx.x % {warps}u];
#pragma unroll
  for (int mask = {warps} / 2; mask > 0; mask /= 2)
    s = merge(s, exchanged(s, mask, {warps}));
  return s;
}}
"""


class Arrays:
    """The arrays that a row program reads, each as its nodes find it."""

    def __init__(self, stages: Stages, suffix: str) -> None:
        self.stages = stages
        self.rows = stages.rows
        self.suffix = suffix
        self.numbers: dict[Node, int] = {}
        """The numbers of pointers."""
        self.reads: dict[tuple[Node, str, tuple[tuple[int, int], ...]], Read] = {}
        for node in stages.live:
            for parent in node.inputs:
                if stages.is_source(parent):
                    self.read(parent, node)

    def read(self, array: Node, reader: Node) -> Read:
        """Return how a node reads an array."""
        base, axes = self._found(array, reader)
        key = array, base, axes
        if key not in self.reads:
            number = -1
            if not is_places(array):
                number = self.numbers.setdefault(array, len(self.numbers))
            name, source = f"x{len(self.reads)}", Source(array, number, axes)
            place = source.offset(self.suffix, base)
            self.reads[key] = Read(source, base, name, place)
        return self.reads[key]

    def _found(self, array: Node, reader: Node) -> tuple[str, Axes]:
        """Return by what a node finds an element, and the axes that lead there."""
        rows = self.rows
        shape = (1,) * (len(rows.shape) - len(array.shape)) + array.shape
        if self.stages.role[reader] == "row":
            return "r", broadcast_axes(array.shape, reader.shape)
        if not rows.varies(array):
            return "r", broadcast_axes(shape, rows.kept)
        if all(s == 1 for a, s in enumerate(shape) if a not in rows.axes):
            own, line = ([s[a] for a in rows.axes] for s in (shape, rows.shape))
            return "c", broadcast_axes(own, line)
        return "i", broadcast_axes(shape, rows.shape)

    @property
    def placed(self) -> list[Read]:
        """What is read place by place."""
        return [r for r in self.reads.values() if r.base != "r"]

    def pack(self) -> int:
        """Return how many places a thread may take at once."""
        read = [r for r in self.placed if not is_places(r.node)]
        moved = [r.node for r in read if r.source.adjacent]
        moved += [n for n in self.stages.outputs if self.stages.role[n] == "full"]
        largest = max((n.tensor.dtype.itemsize for n in moved), default=4)
        pack = max(_VECTOR // largest, 1)
        inner = [self.rows.length, *(r.source.axes[-1][0] for r in self.placed)]
        while any(size % pack for size in inner):
            pack //= 2
        return pack

    def keeps(self, read: Read) -> bool:
        """Whether an array's elements are kept from one stage to another."""
        return not is_places(read.node) and self.stages.keeps(read.node)
