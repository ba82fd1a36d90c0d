"""In which order regions are computed: as nodes were, or so that memory is saved."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from heapq import heapify, heappop, heappush

from graphgpu.backends.cuda.lowering.row_regions import Region
from graphgpu.backends.cuda.lowering.views import is_view, root
from graphgpu.nodes import Node
from graphgpu.order import low_peak_order, peak

__all__ = ["ordered"]

_MOST = 20_000
"""Regions beyond which looking for an order takes too long."""
_WORTH = 0.98
"""What part of the peak another order must stay below."""


def ordered(made: Sequence[Region], needed: Collection[Node]) -> list[Region]:
    """Return regions in an order in which each comes after what it reads.

    It is that of their first nodes, with late ones right before they are read; or
    another, if that takes less memory.
    """
    order = _Edges(made).order()
    if len(order) > _MOST:
        return order
    edges = _Edges(order)
    sizes = [sum(n.nbytes for n in r.written if not is_view(n)) for r in order]
    inputs = [[*edges.reads[k], *edges.roots[k]] for k in range(len(order))]
    wanted = [m for n in needed for m in (n, root(n, 0)[0])]
    keep = {edges.owner[n] for n in wanted if n in edges.owner}
    found = low_peak_order(len(order), inputs, sizes, keep)
    as_is = peak(range(len(order)), inputs, sizes, keep)
    if peak(found, inputs, sizes, keep) > _WORTH * as_is:
        return order
    return [order[k] for k in found]


class _Edges:
    """Which regions read which."""

    def __init__(self, regions: Sequence[Region]) -> None:
        self.regions = regions
        self.owner = {n: k for k, r in enumerate(regions) for n in r.written}
        self.reads: list[list[int]] = []
        self.roots: list[list[int]] = []
        """The regions that own the memory of views that are read."""
        for region in regions:
            reads = region.reads
            self.reads.append(self._owners(reads))
            self.roots.append(self._owners([root(n, 0)[0] for n in reads]))

    def _owners(self, nodes: Sequence[Node]) -> list[int]:
        return list(dict.fromkeys(self.owner[n] for n in nodes if n in self.owner))

    def order(self) -> list[Region]:
        """Return the regions by place, each after what it reads."""
        readers: list[list[int]] = [[] for _ in self.regions]
        for k, reads in enumerate(self.reads):
            for other in reads:
                readers[other].append(k)
        places = self._places(readers)
        waits = [len(reads) for reads in self.reads]
        ready = [(places[k], k) for k, count in enumerate(waits) if not count]
        heapify(ready)
        found = []
        while ready:
            _, k = heappop(ready)
            found.append(self.regions[k])
            for reader in readers[k]:
                waits[reader] -= 1
                if not waits[reader]:
                    heappush(ready, (places[reader], reader))
        assert len(found) == len(self.regions), "a region waits for itself"
        return found

    def _places(self, readers: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
        """Return when each is due: late ones when the first reader is."""
        due = [region.place for region in self.regions]
        for k in sorted(range(len(due)), key=self._last_first):
            if self.regions[k].late and readers[k]:
                due[k] = min(due[reader] for reader in readers[k])
        return [(due[k], r.place) for k, r in enumerate(self.regions)]

    def _last_first(self, k: int) -> tuple[int, bool, int]:
        """Order readers before what they read; a view has the level of what it is."""
        region = self.regions[k]
        return -region.level, not region.view, -region.place
