"""Which node is computed where: phases of loops over blocks of images.

Between two sums over the batch, a lane computes its images without waiting for
the others: a *phase*.  Within it, everything that can be done to a block of
images while it is in cache is done in one *loop*; images of convolutional nets
are taken a few at a time, rows of dense layers a lane's share at once.  At the
end of a phase all lanes meet, and what does not have the batch's axis is
computed once: the *serial* part.  Large sums over the batch of products, and other
large products, are computed by rows of the result: *split* over the lanes.  So are
loops whose iterations compute row by row.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Literal, TypeAlias

from graphgpu.backends.numpy.rows import rows_of
from graphgpu.backends.numpy.slicing import Relation, relation
from graphgpu.control.loop import Scan
from graphgpu.graph import Placeholder
from graphgpu.nodes import Node
from graphgpu.ops.convolution_operations import ConvolutionFamily
from graphgpu.ops.elementwise import Cast, Elementwise
from graphgpu.ops.matrix_product import Matmul
from graphgpu.ops.pooling_operations import Pooling
from graphgpu.ops.shape import Transpose
from graphgpu.ops.window_picks import Selection
from graphgpu.types import TupleType

__all__ = ["Kind", "Loop", "Phase", "Work", "divide"]

Kind: TypeAlias = Literal["tile", "rows", "split"]
Place: TypeAlias = tuple[int, int, str]
"""Phase, place in the phase, kind."""

_SPLIT = 2**12
"""Elements from which a product over the batch is split by rows of the result."""
_MANY = 2**23
"""Multiplications from which any product is."""
_LARGE = 2**20
"""Bytes of a value from which a product over the batch that reads it is not put off."""
_LAST = 10**9
"""The place of a loop that runs after the others of its phase."""


@dataclass(eq=False)
class Loop:
    """Nodes that are computed together, block by block."""

    kind: Kind
    nodes: list[Node] = field(default_factory=list)


@dataclass(eq=False)
class Phase:
    """Loops that every lane runs over its images, then what is computed once."""

    loops: list[Loop] = field(default_factory=list)
    serial: list[Node] = field(default_factory=list)


@dataclass(eq=False)
class Work:
    """What is computed where.

    ``relations`` has the nodes that are cut along the batch; ``tiles`` those of
    them that are kept as tiles [H, B, W, C]; ``loop_of`` the loop of each, and
    of products that are split.  The first phase has no loops.
    """

    count: int
    phases: list[Phase]
    relations: dict[Node, Relation]
    tiles: set[Node]
    loop_of: dict[Node, Loop]

    def is_batched(self, node: Node) -> bool:
        """Whether the node's value has the batch's axis and is cut along it."""
        return node in self.relations and not self.relations[node].total

    def total(self, node: Node) -> bool:
        """Whether the node is a sum over the images, made of those over blocks."""
        return node in self.relations and self.relations[node].total


def divide(
    nodes: Sequence[Node],
    count: int | None,
    late: Collection[Node] = (),
    lanes: int = 1,
) -> Work:
    """Assign nodes (in topological order) to the loops of phases.

    ``count`` is the size of the batch; None leaves everything to the serial part.
    All are computed as early as they can, but ``late``, and what is made of them
    alone, as late.  With several ``lanes``, they share loops, and large products.
    """
    relations = _relations(nodes, count) if count is not None else {}
    tiles = _tiles(relations)
    placed = _Placing(relations, tiles, lanes)
    for node in nodes:
        if node.operation is not None:
            placed.place(node)
    following: set[Node] = set()
    for node in nodes:
        if node in late or _follows(node, following, relations):
            following.add(node)
    for node in reversed(nodes):
        if node in following:
            placed.delay(node)
    return placed.work(nodes, count or 0)


def _follows(
    node: Node, following: Collection[Node], relations: dict[Node, Relation]
) -> bool:
    """Whether a node can be made as soon as what it follows, and need not be before.

    What reads a gradient too is not delayed: the two gradients of a convolution,
    for instance, stay together.
    """
    reads = [n for n in node.inputs if n.operation is not None]
    if relations:
        reads = [n for n in reads if n in relations and not relations[n].total]
    return bool(reads) and all(n in following for n in reads)


def _relations(nodes: Sequence[Node], count: int) -> dict[Node, Relation]:
    """Return the relation of every node that depends on the batch image by image."""
    found: dict[Node, Relation] = {}
    for node in nodes:
        if node.operation is None:
            if _is_input(node, count):
                found[node] = Relation(())
            continue
        cut = relation(node, count)
        if cut is None:
            continue
        reads = zip(node.inputs, cut.sliced, strict=True)
        if any(s and n in found and not found[n].total for n, s in reads):
            found[node] = cut
    return found


def _is_input(node: Node, count: int) -> bool:
    """Whether a leaf is an input of the program with the batch's axis."""
    given = isinstance(node.variable, Placeholder)
    return given and node.tensor.ndim > 0 and node.shape[0] == count


def _tiles(relations: dict[Node, Relation]) -> set[Node]:
    """Return the images: what convolutions and poolings read or write.

    And what elementwise operations make of that.
    """
    seeds: list[Node] = []
    for node, cut in relations.items():
        if isinstance(node.operation, ConvolutionFamily | Pooling | Selection):
            seeds += [n for n, s in zip(node.inputs, cut.sliced, strict=True) if s]
            seeds += [] if cut.total else [node]
    found: set[Node] = set()
    while seeds:
        node = seeds.pop()
        if node in found or not _is_image(node, relations):
            continue
        found.add(node)
        near = [r for r in node.readers if _passes(r)]
        seeds += near + (list(node.inputs) if _passes(node) else [])
    return {n for n in found if n.operation is not None}


def _passes(node: Node) -> bool:
    return isinstance(node.operation, Elementwise | Cast)


def _is_image(node: Node, relations: dict[Node, Relation]) -> bool:
    cut = relations.get(node)
    return cut is not None and not cut.total and _ndim(node) == 4


def _ndim(node: Node) -> int:
    return getattr(node.type, "ndim", 0)


def _is_shared(node: Node, lanes: int) -> bool:
    """Whether a node without the batch's axis has rows enough for all lanes."""
    if isinstance(node.operation, Scan):
        return rows_of(node.operation, lanes) is not None
    if not isinstance(node.operation, Matmul):
        return False
    if node.tensor.dtype.name not in ("float32", "float64"):
        return False
    right = node.inputs[1].shape
    many = prod(node.shape) * node.inputs[0].shape[-1] >= _MANY
    return many and len(right) == 2 <= len(node.shape) and node.shape[0] >= 2 * lanes


class _Placing:
    """Finds the earliest place for one node after the other."""

    def __init__(
        self, relations: dict[Node, Relation], tiles: set[Node], lanes: int
    ) -> None:
        self.relations = relations
        self.tiles = tiles
        self.lanes = lanes
        self._shared: dict[Node, bool] = {}
        self.places: dict[Node, Place] = {}
        self.serial: dict[Node, int] = {}

    def place(self, node: Node) -> None:
        """Assign a node whose inputs have been assigned."""
        cut = self.relations.get(node)
        if cut is not None and not (cut.total and self._is_split(node)):
            self._in_loop(node)
            return
        if self._is_split(node):
            phase = max((self._ready(n) for n in node.inputs), default=0)
            self.places[node] = (max(phase, 1), 0, "split")
            return
        self.serial[node] = max((self._ready(n) - 1 for n in node.inputs), default=0)

    def _ready(self, node: Node) -> int:
        """Return the first phase whose loops can read all of a value."""
        if node in self.places:
            return self.places[node][0] + 1
        return self.serial.get(node, 0) + 1

    def _in_loop(self, node: Node) -> None:
        cut = self.relations[node]
        kind = "tile" if self._touches_tiles(node) else "rows"
        phase, sub = 1, 0
        for parent, sliced in zip(node.inputs, cut.sliced, strict=True):
            near = self._is_batched(parent)
            if sliced and near and parent in self.places:
                there, before, other = self.places[parent]
                after = before + (other != kind)
                if self._feeds_split(parent):
                    there, after = there + 1, 0
            elif sliced and near:
                there, after = 1, 0
            else:
                there, after = self._ready(parent), 0
            phase, sub = max((phase, sub), (there, after))
        self.places[node] = (phase, sub, kind)

    def _is_batched(self, node: Node) -> bool:
        return node in self.relations and not self.relations[node].total

    def _touches_tiles(self, node: Node) -> bool:
        cut = self.relations[node]
        reads = zip(node.inputs, cut.sliced, strict=True)
        images = isinstance(node.operation, ConvolutionFamily | Pooling | Selection)
        return (
            images or node in self.tiles or any(s and n in self.tiles for n, s in reads)
        )

    def _is_split(self, node: Node) -> bool:
        """Whether lanes compute rows of the result of all operands."""
        if node not in self._shared:
            alone = self.lanes > 1 and node not in self.relations
            alone = alone and _is_shared(node, self.lanes)
            self._shared[node] = alone or self._is_sum(node)
        return self._shared[node]

    def _is_sum(self, node: Node) -> bool:
        """Whether it is a large product XᵀG over the batch."""
        if not isinstance(node.operation, Matmul) or len(node.shape) != 2:
            return False
        left = node.inputs[0]
        if not isinstance(left.operation, Transpose):
            return False
        source = left.inputs[0]
        large = node.shape[0] * node.shape[1] >= _SPLIT
        return large and self._is_batched(source) and self._is_batched(node.inputs[1])

    def _feeds_split(self, node: Node) -> bool:
        """Whether a large product over the batch waits for it, at the next meeting.

        What else reads it then waits too: so that products come one by one, and
        do not keep all their operands to the end.
        """
        if isinstance(node.type, TupleType):
            return False
        if prod(node.shape) * node.tensor.dtype.itemsize < _LARGE:
            return False
        return any(
            self._is_split(r) and r.inputs[1] is node
            for r in node.readers
            if r.operation is not None
        )

    def delay(self, node: Node) -> None:
        """Move a node to the last place at which nothing waits for it."""
        readers = [r for r in node.readers if r in self.places or r in self.serial]
        limits = [self._limit(node, r) for r in readers]
        if not limits or len(readers) < len(node.readers):
            return
        phase, sub = min(limits)
        if node in self.places:
            here = self.places[node]
            if here[2] != "split":
                self.places[node] = max(here, (phase, sub, here[2]))
        elif node in self.serial:
            self.serial[node] = max(self.serial[node], phase)

    def _limit(self, node: Node, reader: Node) -> tuple[int, int]:
        """Return the last phase, and place in it, at which a reader finds a value."""
        if reader in self.serial:
            return self.serial[reader], _LAST
        phase, sub, kind = self.places[reader]
        cut = self.relations.get(reader)
        here = self.places.get(node)
        if here is None or cut is None or kind == "split" or not self._is_batched(node):
            return phase - 1, _LAST
        reads = zip(reader.inputs, cut.sliced, strict=True)
        if any(n is node and not sliced for n, sliced in reads):
            return phase - 1, _LAST
        return phase, sub if here[2] == kind else sub - 1

    def work(self, nodes: Sequence[Node], count: int) -> Work:
        """Return phases and loops in order."""
        last = max(
            [p for p, _, _ in self.places.values()] + list(self.serial.values()),
            default=0,
        )
        phases = [Phase() for _ in range(last + 1)]
        loops: dict[Place, Loop] = {}
        loop_of: dict[Node, Loop] = {}
        for node in nodes:
            if node in self.places:
                place = self.places[node]
                loop = loops.setdefault(place, Loop(place[2]))  # type: ignore[arg-type]
                loop.nodes.append(node)
                loop_of[node] = loop
            elif node in self.serial:
                phases[self.serial[node]].serial.append(node)
        for place in sorted(loops):
            phases[place[0]].loops.append(loops[place])
        return Work(count, phases, self.relations, self.tiles, loop_of)
