"""Whose memory a value is: its own, or that of what it is a view of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from graphgpu.graph import Operation
from graphgpu.nodes import Node
from graphgpu.ops.markers import StopGradient, WithStateUpdate
from graphgpu.ops.shape import Reshape
from graphgpu.ops.tuples import Item
from graphgpu.types import Guards, TensorType, Type

__all__ = ["Part", "Slot", "Window", "is_leaf", "is_view", "offset", "root"]

Slot: TypeAlias = tuple[Node, int]
"""An array: a node without views, and which component of its value."""


@dataclass(frozen=True, slots=True)
class Part(Operation):
    """Bytes of a component of a value, from an ``offset`` on, as an array of a type.

    No graph has it: a loop's iterations read and write parts of arrays.
    """

    component: int
    offset: int
    type: TensorType

    def infer(self, guards: Guards, *inputs: TensorType) -> Type:
        """Return the type."""
        return self.type

    def numpy(self, *inputs: object) -> object:
        """Nothing computes it."""
        raise AssertionError("a part is memory of something else")


@dataclass(frozen=True, slots=True)
class Window(Operation):
    """y[c] = x[start + Σ strideᵢ cᵢ], which only elementwise kernels can read.

    No graph has it: it is a slice, and rests in the memory of what it is a slice of.
    """

    start: int
    strides: tuple[int, ...]
    type: TensorType

    def infer(self, guards: Guards, *inputs: TensorType) -> Type:
        """Return the type."""
        return self.type

    def numpy(self, *inputs: object) -> object:
        """Nothing computes it."""
        raise AssertionError("a window is memory of something else")


_VIEWS = frozenset((Reshape, Item, StopGradient, WithStateUpdate, Part, Window))


def is_leaf(node: Node) -> bool:
    """Whether a value is there before the step: also what is made of nothing."""
    return not node.inputs


def is_view(node: Node) -> bool:
    """Whether a value is its operand's memory."""
    return type(node.operation) in _VIEWS


def root(node: Node, component: int) -> Slot:
    """Return the array that a view is of."""
    while node.operation is not None and is_view(node):
        if isinstance(node.operation, Item):
            component = node.operation.index
        elif isinstance(node.operation, Part):
            component = node.operation.component
        node = node.inputs[0]
    return node, component


def offset(node: Node) -> int:
    """Return how many bytes after the start of its root a view begins."""
    total = 0
    while node.operation is not None and is_view(node):
        if isinstance(node.operation, Part):
            total += node.operation.offset
        node = node.inputs[0]
    return total
