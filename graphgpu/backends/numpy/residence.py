"""What is kept between loops, and what is computed again where it is read.

A value that is read in the loop that computes it alone lives in scratch memory,
in cache.  Any other must be kept for the whole batch, unless it takes few passes
to make it again from what is kept: a normalised activation costs less time to
compute twice than to write to memory and read back.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from graphgpu.backends.numpy.loops import Loop, Work
from graphgpu.backends.numpy.pairs import partner_of
from graphgpu.backends.numpy.slicing import Relation
from graphgpu.graph import Operation
from graphgpu.nodes import Node
from graphgpu.ops.convolution_operations import ConvolutionInputGradient
from graphgpu.ops.elementwise import Elementwise
from graphgpu.ops.expression import Apply, Tree, parse
from graphgpu.ops.shape import BroadcastTo, Reshape, Transpose
from graphgpu.ops.slicing import Slice
from graphgpu.ops.tuples import Item

__all__ = ["Residence", "is_view", "settle"]

_CHEAP = frozenset(
    "add subtract multiply negative abs maximum minimum square equal not_equal less "
    "less_equal greater greater_equal logical_and logical_or logical_not where".split()
)
_STRIDED = frozenset({Transpose, BroadcastTo, Slice})
_VIEWS = _STRIDED | {Item}
_LIMIT = 16
"""The passes over a block that computing a value again may take.

With 16 a step of ResNet-20 takes as long as with 5, in a tenth less memory."""


@dataclass(frozen=True, eq=False)
class Residence:
    """What is kept, and what each loop computes.

    ``kept`` are the batched values that outlive their loop; ``flat`` those of them
    that are kept in their logical layout, as something reads all of them.
    ``bodies`` has the nodes of each loop with those that it computes again.
    """

    kept: frozenset[Node]
    flat: frozenset[Node]
    bodies: dict[Loop, tuple[Node, ...]]


def is_view(node: Node, tiles: Collection[Node]) -> bool:
    """Whether a node's value is its input's memory, seen another way."""
    kind = type(node.operation)
    if kind in _VIEWS:
        return True
    if kind is not Reshape:
        return False
    source = node.inputs[0]
    while type(source.operation) is Reshape:
        source = source.inputs[0]
    return type(source.operation) not in _STRIDED and source not in tiles


def settle(work: Work, outputs: Collection[Node]) -> Residence:
    """Decide for every batched value."""
    readers = _foreign_readers(work, outputs)
    kept = _Choice(work, readers).kept
    bodies = {
        loop: tuple(_body(loop, work, kept))
        for phase in work.phases
        for loop in phase.loops
    }
    by_rows = _read_by_rows(work, bodies)
    flat = {
        n for n in kept if n not in work.tiles or None in readers[n] or n in by_rows
    }
    return Residence(frozenset(kept), frozenset(flat), bodies)


def _foreign_readers(
    work: Work, outputs: Collection[Node]
) -> dict[Node, set[Loop | None]]:
    """Return the other loops that read each value; None if all of it is read."""
    readers: dict[Node, set[Loop | None]] = {n: set() for n in work.relations}
    wanted = set(outputs)
    for node in reversed(work.relations):
        if not work.is_batched(node):
            continue
        found = readers[node]
        if node in wanted:
            found.add(None)
        for reader in node.readers:
            loop = work.loop_of.get(reader)
            cut = work.relations.get(reader)
            if loop is None or cut is None:
                found.add(None)
            elif loop is not work.loop_of.get(node):
                found.add(loop)
            if cut is not None and _reads_all(reader, cut, node):
                found.add(None)
        if node.operation is not None and is_view(node, work.tiles):
            source = node.inputs[0]
            if work.is_batched(source):
                readers[source] |= found
    return readers


def _reads_all(reader: Node, cut: Relation, node: Node) -> bool:
    """Whether a block of the reader reads all images of the node."""
    reads = zip(reader.inputs, cut.sliced, strict=True)
    return any(n is node and not sliced for n, sliced in reads)


class _Choice:
    """What is kept, decided node by node: all else can be made of what is kept."""

    def __init__(self, work: Work, readers: dict[Node, set[Loop | None]]) -> None:
        self.kept: set[Node] = set()
        self._work = work
        self._readers = readers
        self._passes: dict[Node, float] = {}
        """What another loop needs to compute each value again."""
        self._made_of: dict[Node, frozenset[Node]] = {}
        """The kept values that it then reads."""
        self._phase = _phases(work)
        self._last = {n: self._last_read(n) for n in work.relations}
        """The phase in which each value, or a view of it, is read last."""
        for node in work.relations:
            self._decide(node)

    def _last_read(self, node: Node) -> int:
        last = self._phase.get(node, 0)
        for reader in node.readers:
            last = max(last, self._phase.get(reader, 0))
            if reader.operation is not None and is_view(reader, self._work.tiles):
                last = max(last, self._last_read(reader))
        return last

    def _decide(self, node: Node) -> None:
        """Keep a value that another loop needs too many passes or values for."""
        work, passes = self._work, self._passes
        passes[node], self._made_of[node] = 0.0, frozenset()
        if node.operation is None or not work.is_batched(node):
            return
        if is_view(node, work.tiles):
            passes[node] = passes.get(node.inputs[0], 0.0)
            self._made_of[node] = self._made_of.get(node.inputs[0], frozenset())
            return
        passes[node], made_of = self._cost(node)
        readers = self._readers[node]
        if readers:
            again = passes[node] <= _LIMIT and None not in readers
            if not (again and self._lengthens_little(node, made_of)):
                self.kept.add(node)
                passes[node], made_of = 0.0, frozenset([node])
            else:
                for source in made_of:
                    self._last[source] = max(self._last[source], self._last[node])
        self._made_of[node] = made_of

    def _cost(self, node: Node) -> tuple[float, frozenset[Node]]:
        """Return the passes and the values that another loop needs for a value."""
        work, readers = self._work, self._readers
        assert node.operation is not None
        cost, made_of = _passes(node.operation), frozenset[Node]()
        for parent, sliced in zip(
            node.inputs, work.relations[node].sliced, strict=True
        ):
            if sliced and work.is_batched(parent):
                # Where a loop makes the parent anyway, it is there for nothing.
                shared = bool(readers[node]) and readers[node] <= readers[parent]
                free = shared and self._passes[parent] <= _LIMIT
                cost += 0.0 if free else self._passes[parent]
                made_of |= self._made_of[parent]
        return cost, made_of

    def _lengthens_little(self, node: Node, made_of: Collection[Node]) -> bool:
        """Whether what it is made of lives on as long, or takes no more memory."""
        longer = [n for n in made_of if self._last[n] < self._last[node]]
        return sum(n.nbytes for n in longer) <= node.nbytes


def _phases(work: Work) -> dict[Node, int]:
    """Return the number of the phase that computes each node."""
    found: dict[Node, int] = {}
    for number, phase in enumerate(work.phases):
        for nodes in (*(loop.nodes for loop in phase.loops), phase.serial):
            found.update(dict.fromkeys(nodes, number))
    return found


def _passes(operation: Operation) -> float:
    """Return how many cheap passes an operation takes; infinitely many if others."""
    if not isinstance(operation, Elementwise):
        return float("inf")
    return _count(parse(operation.expression))


def _count(tree: Tree) -> float:
    if not isinstance(tree, Apply):
        return 0.0
    own = 1.0 if tree.primitive in _CHEAP else float("inf")
    return own + sum(_count(a) for a in tree.arguments)


def _read_by_rows(work: Work, bodies: Mapping[Loop, Sequence[Node]]) -> set[Node]:
    """Return what loops without images read, also to compute something again."""
    return {
        source
        for loop, nodes in bodies.items()
        if loop.kind != "tile"
        for node in nodes
        for source in node.inputs
        if work.is_batched(source)
    }


def _body(loop: Loop, work: Work, kept: Collection[Node]) -> Sequence[Node]:
    """Return the nodes of a loop, each after those that it computes again for it."""
    if loop.kind == "split":
        return loop.nodes
    body: dict[Node, None] = {}
    own = set(loop.nodes)
    for node in loop.nodes:
        stack = [node]
        while stack:
            here = stack[-1]
            missing = [
                n
                for n in _sources(here, work, own)
                if n not in body and n.operation and (n in own or n not in kept)
            ]
            if missing:
                stack += missing
            else:
                body.setdefault(stack.pop())
    return _needed(tuple(body), own, work, kept)


def _needed(
    body: Sequence[Node], own: Collection[Node], work: Work, kept: Collection[Node]
) -> Sequence[Node]:
    """Drop what only other loops read, which compute it again."""
    read: set[Node] = set()
    result: list[Node] = []
    for node in reversed(body):
        stays = node in own and (node in kept or work.total(node))
        if stays or node in read:
            result.append(node)
            read.update(_sources(node, work, own))
    return result[::-1]


def _sources(node: Node, work: Work, own: Collection[Node]) -> list[Node]:
    """Return the batched inputs that a block reads its own images of."""
    cut = work.relations.get(node)
    if cut is None:
        return []
    reads = zip(node.inputs, cut.sliced, strict=True)
    found = [n for n, s in reads if s and work.is_batched(n)]
    if isinstance(node.operation, ConvolutionInputGradient):
        partner = partner_of(node, own)
        if partner is not None:
            found += _sources(partner, work, own)
    return found
