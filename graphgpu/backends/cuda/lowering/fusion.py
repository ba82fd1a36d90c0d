"""Which nodes are computed by one kernel: elementwise ones, folds, and row programs.

A *region* goes over the places of one shape.  It computes elementwise nodes in
registers, writes some, and may fold values over axes.  An elementwise node that is
read in one place only is computed there; one that is read in several is either
*stored*, or computed again by each reader: whichever moves fewer bytes.  Regions of
one shape that read the same array become one, if neither waits for the other.

What reads a row's fold in that row alone may join the region, which then goes over
rows in stages (:mod:`~graphgpu.backends.cuda.lowering.row_regions`).

A region's *level* is one more than that of all it reads, so whatever reads a region
is on a higher level, and what reads only lower levels may join it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from math import prod
from typing import Any, TypeAlias

from graphgpu.backends.cuda.lowering.expansion import expanded
from graphgpu.backends.cuda.lowering.row_regions import Region, is_known, joined_rows
from graphgpu.backends.cuda.lowering.views import root
from graphgpu.backends.cuda.lowering.windows import in_parts, shared, windowed
from graphgpu.backends.cuda.rules.rows.reductions import reduces
from graphgpu.backends.cuda.rules.rows.stages import is_pointwise
from graphgpu.graph import Stored
from graphgpu.nodes import Node
from graphgpu.ops.expression import Apply, Tree, parse

__all__ = ["Region", "regions"]

_MOST_NODES = 64
_MOST_ARRAYS = 24
"""What a kernel reads and writes at most: each takes a register or two."""
_MOST_FOLDS = 4
_AGAIN = 24
"""So many nodes are computed more than once at most."""
_CHEAP = frozenset(
    "add subtract multiply negative square abs sign maximum minimum where equal "
    "not_equal less less_equal greater greater_equal logical_and logical_or "
    "logical_xor logical_not isnan isinf isfinite signbit floor ceil trunc rint "
    "divide reciprocal sqrt copysign".split()
)
_MOST_DEAR = 2
"""So many of the other primitives are computed more than once at most."""
_SEARCHED = 256
"""Nodes that are looked at to tell what another reader reads."""

Sinks: TypeAlias = dict[Any, tuple[Node, ...]]
"""The kernels that a value goes into: stored nodes, and folds over the same axes."""


def regions(
    nodes: Sequence[Node],
    needed: Collection[Node],
    late: Collection[Node] = (),
) -> list[Region]:
    """Return the regions, in no order in which they could be computed.

    Parameters
    ----------
    nodes
        What is to be computed, in a topological order.
    needed
        What must be in memory at the end.
    late
        What is computed again, and must not be computed with what was before.
    """
    nodes, late = expanded(nodes, needed, late)
    nodes = windowed(nodes, needed, late)
    return _Planner(nodes, needed, late).regions()


class _Planner:
    def __init__(
        self, nodes: Sequence[Node], needed: Collection[Node], late: Collection[Node]
    ) -> None:
        self.nodes = nodes
        self.needed = needed
        self.late = late
        self.position = {n: k for k, n in enumerate(nodes)}
        self.stored = {n for n in nodes if is_pointwise(n) and self._is_forced(n)}
        self.region_of: dict[Node, Region] = {}
        self.near: dict[tuple[Node, tuple[int, ...]], Region] = {}
        """The last region of a shape that reads or computes an array."""

    def regions(self) -> list[Region]:
        """Choose what is stored; form regions."""
        self._store()
        made = list(self._form())
        for region in made:
            self._compute_again(region)
        for region in made:
            if region.view:
                owner = self._owner(region.nodes[0])
                region.level = owner.level if owner else 0
        return self._read(made)

    # --- what is stored

    def _is_forced(self, node: Node) -> bool:
        return node in self.needed or not all(takes(r, node) for r in node.readers)

    def _store(self) -> None:
        """Decide which of the nodes that may be computed by their readers, are not."""
        sinks = self._sinks()
        for node in self.nodes:
            if node in self.stored or not is_pointwise(node):
                continue
            inside, reads = self._cone(node)
            arrays = len(reads) > _MOST_ARRAYS - 4
            many = len(sinks[node]) > 1 and not self._worth(node, sinks[node])
            if many or arrays or len(inside) >= _MOST_NODES // 2:
                self.stored.add(node)

    def _sinks(self) -> dict[Node, Sinks]:
        sinks: dict[Node, Sinks] = {}
        for node in reversed(self.nodes):
            if not is_pointwise(node):
                continue
            found: Sinks = {}
            for reader in dict.fromkeys(node.readers):
                if reader in self.stored:
                    found[reader] = (reader,)
                elif is_pointwise(reader):
                    found |= sinks.get(reader, {})
                elif reduces(reader):
                    key = (_axes(reader), reader.inputs[0].shape)
                    found[key] = (*found.get(key, ()), reader)
            sinks[node] = found if len(found) <= 4 else dict(list(found.items())[:5])
        return sinks

    def _worth(self, node: Node, sinks: Sinks) -> bool:
        """Whether computing a node in each reader moves fewer bytes than storing it."""
        inside, reads = self._cone(node)
        if len(inside) > _AGAIN or sum(map(_dear, inside)) > _MOST_DEAR:
            return False
        if len(sinks) > 4:
            return False
        costs = []
        for readers in sinks.values():
            other = {p for r in readers for p in self._others(r, node)}
            costs.append(sum(p.nbytes for p in reads if not self._is_read(p, other)))
        again, once = sum(costs), min(costs) + node.nbytes * len(sinks)
        return again <= once

    def _is_read(self, array: Node, others: Collection[Node]) -> bool:
        """Whether an array costs no reading: it is read, or computed of what is."""
        if array in others:
            return True
        if array not in self.stored:
            return False
        reads = self._cone(array)[1]
        return all(p in others or 8 * p.nbytes <= array.nbytes for p in reads)

    def _others(self, reader: Node, node: Node) -> set[Node]:
        """Return the arrays that a kernel reads other than for a node."""
        found: set[Node] = set()
        seen = {node}
        waiting = list(reader.inputs)
        while waiting and len(seen) < _SEARCHED:
            parent = waiting.pop()
            if parent in seen:
                continue
            seen.add(parent)
            if is_pointwise(parent) and parent not in self.stored:
                waiting += parent.inputs
            else:
                found.add(parent)
        return found

    def _cone(self, node: Node) -> tuple[list[Node], list[Node]]:
        """Return what is computed for a node, itself last, and what that reads."""
        inside = {node}
        reads: dict[Node, None] = {}
        waiting = [node]
        while waiting:
            for parent in waiting.pop().inputs:
                if parent in inside:
                    continue
                if self._is_inside(parent):
                    inside.add(parent)
                    waiting.append(parent)
                elif not is_known(parent):
                    reads[parent] = None
        return sorted(inside, key=self.position.__getitem__), list(reads)

    def _is_inside(self, node: Node) -> bool:
        """Whether whatever reads a node computes it."""
        known = node in self.position
        return known and is_pointwise(node) and node not in self.stored

    # --- regions

    def _form(self) -> Iterator[Region]:
        for node in self.nodes:
            pointwise = is_pointwise(node)
            if pointwise and node not in self.stored:
                continue
            region = None
            if pointwise or reduces(node):
                region = self._joined(node)
            if region is None:
                region = self._new(node)
                yield region
            self.region_of[node] = region
            reads = region.reads
            if not region.view:
                for owner in map(self._owner, reads):
                    if owner is not None and owner is not region:
                        owner.read = True
            if not region.alone:
                for array in (*reads, *region.outputs):
                    self.near[shared(array), region.shape] = region

    def _owner(self, node: Node) -> Region | None:
        """Return the region that computes what a node is, or is a view of."""
        return self.region_of.get(root(node, 0)[0])

    def _parts(self, node: Node) -> tuple[list[Node], list[Node]]:
        """Return the nodes that a stored node or a fold adds, and what they read."""
        if is_pointwise(node):
            return self._cone(node)
        (value,) = node.inputs
        if self._is_inside(value):
            return self._cone(value)
        return [], [] if is_known(value) else [value]

    def _new(self, node: Node) -> Region:
        place, late = self.position[node], node in self.late
        if is_pointwise(node):
            inside, reads = self._parts(node)
            return Region(inside, [node], [], self._level(reads), False, late, place)
        if reduces(node):
            inside, reads = self._parts(node)
            return Region(inside, [], [node], self._level(reads), False, late, place)
        level = self._level(node.inputs)
        return Region([node], [node], [], level, True, late, place)

    def _level(self, reads: Iterable[Node]) -> int:
        owners = map(self._owner, reads)
        return 1 + max((o.level for o in owners if o is not None), default=-1)

    def _joined(self, node: Node) -> Region | None:
        """Let a node join a region, if it may.

        One whose rows it goes on with, or that reads the same large array.
        """
        inside, reads = self._parts(node)
        shape = node.shape if is_pointwise(node) else node.inputs[0].shape
        largest = max((p.nbytes for p in reads), default=0)
        owners = {o: None for o in map(self._owner, reads) if o and not o.alone}
        for region in sorted(owners, key=lambda r: -r.level):
            if self._joins_rows(region, node, inside):
                return region
        for array in reads:
            near = self.near.get((shared(array), shape))
            if near is None or 2 * array.nbytes < largest:
                continue
            if near.rows is not None:
                if self._joins_rows(near, node, inside):
                    return near
            elif self._may_join(near, node, inside, reads):
                near.add(inside, self.position)
                (near.outputs if is_pointwise(node) else near.folds).append(node)
                return near
        return None

    def _joins_rows(self, region: Region, node: Node, inside: list[Node]) -> bool:
        """Let a node join a region in a row program, if it may."""
        late = region.late != (node in self.late)
        parted = not region.folds or in_parts([*region.nodes, *inside, node])
        if late or parted or self._is_update(node, inside):
            return False
        made = joined_rows(region, node, inside, self.position)
        if made is None or len(made.nodes) > _MOST_NODES:
            return False
        arrays = made.reads
        if len(arrays) + len(made.outputs) > _MOST_ARRAYS:
            return False
        level = self._level(p for p in arrays if self._owner(p) is not region)
        if level > region.level and region.read:
            return False
        region.become(made)
        region.level = max(region.level, level)
        return True

    def _is_update(self, node: Node, inside: Sequence[Node]) -> bool:
        """Whether a node looks like the new value of what it reads.

        That is written over the old one, if its region has nothing else.
        """
        read = {p for n in inside for p in n.inputs}
        stored = any(
            isinstance(p.variable, Stored) and p.shape == node.shape for p in read
        )
        return stored and node in self.needed

    def _may_join(
        self, region: Region, node: Node, inside: list[Node], reads: list[Node]
    ) -> bool:
        folds = region.folds or not is_pointwise(node)
        parted = folds and in_parts([*region.nodes, *inside, node])
        if parted or region.late != (node in self.late):
            return False
        if not is_pointwise(node):
            if len(region.folds) >= _MOST_FOLDS:
                return False
            if region.folds and _axes(region.folds[0]) != _axes(node):
                return False
        members = {*region.nodes, *inside}
        outside = [p for p in reads if p not in members]
        if any(self._is_above(p, region) for p in outside):
            return False
        arrays = {*region.reads, *outside} - members
        written = len(region.outputs) + len(region.folds) + 1
        return (
            len(members) <= _MOST_NODES
            and len(arrays) + written <= _MOST_ARRAYS
            and (not folds or len(arrays) <= 8)
        )

    def _is_above(self, node: Node, region: Region) -> bool:
        """Whether a value comes too late for a region."""
        other = self._owner(node)
        return other is not None and other.level >= region.level

    # --- what is computed again though it is stored

    def _compute_again(self, region: Region) -> None:
        """Compute what else would be read, if that reads no other large array."""
        if region.alone:
            return
        for array in region.reads:
            if array not in self.stored or array.shape != region.shape:
                continue
            inside, reads = self._cone(array)
            others = {p for p in region.reads if p is not array} | set(region.computed)
            again = all(
                p in others or root(p, 0)[0] in others or 8 * p.nbytes <= array.nbytes
                for p in reads
            )
            many = len(inside) + len(region.nodes) > _MOST_NODES
            dear = sum(map(_dear, inside)) > _MOST_DEAR
            if not again or many or dear or len(inside) > _AGAIN:
                continue
            if region.rows is None:
                region.add(inside, self.position)
                continue
            made = joined_rows(region, None, inside, self.position)
            if made is not None and len(made.reads) < _MOST_ARRAYS:
                region.become(made)

    def _read(self, made: Sequence[Region]) -> list[Region]:
        """Write no longer what nothing reads but what computes it again."""
        read = {m for n in self.needed for m in (n, root(n, 0)[0])}
        found = []
        for region in sorted(made, key=lambda r: -r.level):
            if not region.alone:
                region.outputs = [n for n in region.outputs if n in read]
                if not region.outputs and (region.rows or not region.folds):
                    continue
            found.append(region)
            if region.view:
                continue
            for node in region.reads:
                read |= {node, root(node, 0)[0]}
        return found


def takes(reader: Node, node: Node) -> bool:
    """Whether a reader may compute a node itself."""
    if is_pointwise(reader):
        return reader.shape == node.shape
    return reduces(reader) and prod(node.shape) > 0


def _axes(node: Node) -> tuple[int, ...]:
    axes: tuple[int, ...] = node.operation.axes  # type: ignore[union-attr]
    return axes


def _dear(node: Node) -> int:
    """Return how many costly primitives a node has."""
    expression = getattr(node.operation, "expression", None)
    return _dear_in(parse(expression)) if isinstance(expression, str) else 0


def _dear_in(tree: Tree) -> int:
    if not isinstance(tree, Apply):
        return 0
    return (tree.primitive not in _CHEAP) + sum(map(_dear_in, tree.arguments))
