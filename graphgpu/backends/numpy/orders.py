"""Orders in which a program needs less memory than in that as written."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from graphgpu.backends.base import Task
from graphgpu.backends.numpy.residence import is_view
from graphgpu.nodes import Node
from graphgpu.order import low_peak_order, peak
from graphgpu.types import TensorType, TupleType

__all__ = ["better_order"]

_MOST = 20_000
"""Nodes beyond which looking for an order takes too long."""
_WORTH = 0.98
"""What part of the peak as written another order must stay below."""


def better_order(task: Task) -> list[Node] | None:
    """Return the nodes in an order of a lower peak; None if none was found.

    Values are counted one by one, views with what they are views of.
    """
    place = {node: i for i, node in enumerate(task.nodes)}
    roots = [_root(node) for node in task.nodes]
    if len(place) > _MOST:
        return None
    inputs = []
    for node in task.nodes:
        reads = [place[n] for n in node.inputs]
        inputs.append([*reads, *(place[roots[i]] for i in reads)])
    sizes = [
        0 if node.operation is None or roots[i] is not node else _bytes(node)
        for i, node in enumerate(task.nodes)
    ]
    wanted = [*task.outputs, *(value for _, value in task.updates)]
    keep = {place[n] for node in wanted for n in (node, roots[place[node]])}
    order = low_peak_order(len(sizes), inputs, sizes, keep)
    written = peak(range(len(sizes)), inputs, sizes, keep)
    if peak(order, inputs, sizes, keep) > _WORTH * written:
        return None
    return [task.nodes[i] for i in order]


def _root(node: Node) -> Node:
    """Return the node whose memory a value is a view of: itself, if of none."""
    while node.operation is not None and is_view(node, ()):
        node = node.inputs[0]
    return node


def _bytes(node: Node) -> int:
    type_ = node.type
    parts: Sequence[TensorType] = (
        type_.components if isinstance(type_, TupleType) else (type_,)
    )
    return sum(prod(_sizes(t)) * t.dtype.itemsize for t in parts)


def _sizes(type_: TensorType) -> tuple[int, ...]:
    return type_.shape  # type: ignore[return-value]
