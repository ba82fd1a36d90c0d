"""What one kernel computes, and how a region becomes one that goes over rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from graphgpu.backends.cuda.lowering.views import is_view, root
from graphgpu.backends.cuda.rules.cones import is_number
from graphgpu.backends.cuda.rules.places import is_places
from graphgpu.backends.cuda.rules.rows.reductions import reduces
from graphgpu.backends.cuda.rules.rows.stages import Rows, Stages
from graphgpu.nodes import Node

__all__ = ["Region", "is_known", "joined_rows"]


@dataclass(eq=False)
class Region:
    """What one kernel computes; a single node of another kind has its own rule.

    It goes over places, computes elementwise ``nodes`` and folds values, all of which
    are written: ``outputs`` and ``folds``.  If it has ``rows`` it goes over these in
    stages; then any node may read folds, and only ``outputs`` are written.
    """

    nodes: list[Node]
    outputs: list[Node] = field(default_factory=list)
    folds: list[Node] = field(default_factory=list)
    level: int = 0
    alone: bool = False
    late: bool = False
    place: int = 0
    """The position of its first node."""
    rows: Rows | None = None
    program: list[Node] = field(default_factory=list)
    """Nodes and folds in the order of a row program."""
    read: bool = False
    """Whether another region reads it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The places that it goes over."""
        return self.folds[0].inputs[0].shape if self.folds else self.outputs[0].shape

    @property
    def reads(self) -> list[Node]:
        """The arrays that it reads, once each."""
        if self.alone:
            return list(dict.fromkeys(self.nodes[0].inputs))
        inside = set(self.nodes)
        if self.rows is not None:
            inside.update(self.folds)
        wanted = [n.inputs[0] for n in self.folds]
        read = [p for n in self.nodes for p in n.inputs] + wanted
        found = [p for p in dict.fromkeys(read) if p not in inside and not is_known(p)]
        if self.rows is None:
            return found
        return [p for p in found if root(p, 0)[0] not in inside]

    @property
    def written(self) -> list[Node]:
        """What is in memory afterwards."""
        return self.outputs if self.rows else [*self.outputs, *self.folds]

    @property
    def computed(self) -> list[Node]:
        """All that has its value from here."""
        return [*self.nodes, *self.folds]

    @property
    def view(self) -> bool:
        """Whether it computes nothing."""
        return self.alone and is_view(self.nodes[0])

    def add(self, nodes: Sequence[Node], position: Mapping[Node, int]) -> None:
        """Compute elementwise nodes too."""
        self.nodes = sorted({*self.nodes, *nodes}, key=position.__getitem__)

    def become(self, other: Region) -> None:
        """Compute and write what another one does."""
        self.nodes, self.folds, self.outputs = other.nodes, other.folds, other.outputs
        self.rows, self.program = other.rows, other.program


def is_known(node: Node) -> bool:
    """Whether kernels know a value without reading it."""
    return is_number(node) or is_places(node)


def joined_rows(
    region: Region,
    node: Node | None,
    inside: Sequence[Node],
    position: Mapping[Node, int],
) -> Region | None:
    """Return a region of rows with a node more, and what is computed for it.

    None if it cannot be computed in the rows that the region folds.
    """
    rows = region.rows or Rows.of(region.folds[0])
    extra = [node] if node is not None else []
    new = {*inside, *extra} - set(region.computed)
    if not rows.fit() or any(rows.role(n) is None for n in new):
        return None
    members = {*region.computed, *new}
    program = sorted(members, key=position.__getitem__)
    for reader in program:
        for parent in reader.inputs:
            within = root(parent, 0)[0] in members
            if within and not rows.passes(parent, reader):
                return None
    outputs = list(dict.fromkeys([*region.written, *extra]))
    if not Stages(rows, program, outputs).fit():
        return None
    folds = [n for n in program if reduces(n)]
    nodes = [n for n in program if not reduces(n)]
    return Region(nodes, outputs, folds, rows=rows, program=program)
