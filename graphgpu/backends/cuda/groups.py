"""Elementwise nodes of one shape that are computed by one kernel.

A node joins the group of something that it reads, if nothing outside has read
that group before it: what reads a group comes after all of it, so a group never
waits for itself.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from math import prod

from graphgpu.graph import Constant
from graphgpu.nodes import Node
from graphgpu.ops.elementwise import Cast, Elementwise

__all__ = ["Group", "grouped"]

_MOST_NODES = 64
_MOST_ARRAYS = 24
"""What a kernel reads and writes at most: each takes a register or two."""


@dataclass(eq=False)
class Group:
    """Nodes that are computed together, in order, and those that are written."""

    nodes: list[Node]
    outputs: list[Node] = field(default_factory=list)
    closed: bool = False

    def takes(self, node: Node) -> bool:
        """Whether a node may join."""
        if self.closed or len(self.nodes) == _MOST_NODES:
            return False
        members = [*self.nodes, node]
        inside = set(members)
        read = {p for m in members for p in m.inputs} - inside
        arrays = [p for p in read if not isinstance(p.variable, Constant)]
        alike = node.shape == self.nodes[0].shape
        return alike and len(arrays) + len(members) <= _MOST_ARRAYS


def grouped(nodes: Sequence[Node], needed: Collection[Node]) -> list[Group]:
    """Return the groups in the order in which they are computed.

    A node that is no elementwise operation is alone.  Written is what is needed at
    the end, or read by others.
    """
    group_of: dict[Node, Group] = {}
    for node in nodes:
        near = [group_of[p] for p in node.inputs if p in group_of]
        joined = next((g for g in near if _is_fusible(node) and g.takes(node)), None)
        for group in near:
            group.closed |= group is not joined
        if joined is None:
            joined = Group([], closed=not _is_fusible(node))
        joined.nodes.append(node)
        group_of[node] = joined
    for node in nodes:
        group = group_of[node]
        outside = any(group_of.get(r) is not group for r in node.readers)
        if outside or node in needed or not _is_fusible(node):
            group.outputs.append(node)
    last = {id(group_of[n]): n for n in nodes}
    return [group_of[n] for n in nodes if last[id(group_of[n])] is n]


def _is_fusible(node: Node) -> bool:
    fusible = isinstance(node.operation, Elementwise | Cast)
    return fusible and prod(node.shape) > 0
