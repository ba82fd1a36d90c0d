"""Nodes that no graph has: one element a line, taken, or put among zeros.

The coordinate along the axis is an operand that no array holds: kernels know it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graphgpu.dtypes import Array, accumulator
from graphgpu.graph import Operation
from graphgpu.nodes import Node
from graphgpu.ops.elementwise import Elementwise
from graphgpu.types import Guards, TensorType, TupleType, Type

__all__ = [
    "Among",
    "Assembled",
    "Chosen",
    "Normalizer",
    "Places",
    "is_made",
    "is_placed",
    "is_places",
    "made",
    "places",
]


@dataclass(frozen=True, slots=True)
class Places(Operation):
    """0, 1, 2, ... along an axis."""

    type: TensorType

    def infer(self, guards: Guards, *inputs: TensorType) -> Type:
        """Return the type."""
        return self.type

    def numpy(self, *inputs: object) -> object:
        """Nothing computes it."""
        raise AssertionError("a coordinate is known to kernels alone")


@dataclass(frozen=True, slots=True)
class Among(Elementwise):
    """A value in the place of its index, and zeros; no graph has it.

    ``wrap`` is added to an index that counts from the end; it is 0 if none does.
    """

    wrap: int

    operands = ("index", "place", "value")
    expression = (
        "where(logical_or(equal(index, place), equal(index + wrap, place)), "
        "value + 0, 0)"
    )
    lowest_kind = 1


@dataclass(frozen=True, slots=True)
class Chosen(Elementwise):
    """What is in the place of the index, and zeros; their sum is that element."""

    wrap: int

    operands = ("index", "place", "value")
    expression = (
        "where(logical_or(equal(index, place), equal(index + wrap, place)), value, 0)"
    )
    lowest_kind = 1


@dataclass(frozen=True, slots=True)
class Assembled(Operation):
    """An array whose parts, one a node of its own, are written by what computes them.

    They lie side by side along ``axis``.
    """

    axis: int
    type: TensorType

    def infer(self, guards: Guards, *inputs: TensorType) -> Type:
        """Return the type."""
        return self.type

    def numpy(self, *inputs: object) -> object:
        """Nothing computes it."""
        raise AssertionError("an assembled array is written by others")


@dataclass(frozen=True, slots=True)
class Normalizer(Operation):
    """The pair m = max x and Σ e^(x - m) over the axes, kept as 1; no graph has it."""

    axes: tuple[int, ...]

    def infer(self, guards: Guards, x: TensorType) -> TupleType:
        """Make the axes 1; a sum of halves is a float32."""
        shape = tuple(1 if a in self.axes else s for a, s in enumerate(x.shape))
        wide = TensorType(accumulator(x.dtype), shape)
        return TupleType((TensorType(x.dtype, shape), wide))

    def numpy(self, x: Array) -> tuple[Array, Array]:
        """Add up the exponentials."""
        wide = x.astype(accumulator(x.dtype), copy=False)
        largest = np.max(wide, axis=self.axes, keepdims=True, initial=-np.inf)
        total = np.sum(np.exp(wide - largest), axis=self.axes, keepdims=True)
        return largest.astype(x.dtype), np.asarray(total)


def made(
    node: Node, operation: Operation, inputs: tuple[Node, ...], type_: Type
) -> Node:
    """Return a node that is computed for another; its index is negative."""
    return Node(-2 - abs(node.index), node.variable, operation, inputs, type_)


def is_made(node: Node) -> bool:
    """Whether a node is computed for another."""
    return node.index < -1 and bool(node.inputs)


def is_placed(node: Node) -> bool:
    """Whether a node is a part of an assembled array: its only reader."""
    return len(node.readers) == 1 and isinstance(node.readers[0].operation, Assembled)


def places(like: Node, index: Node, axis: int) -> Node:
    """Return the coordinate along an axis of an array, in an index's dtype."""
    size, rest = like.shape[axis], len(like.shape) - axis - 1
    type_ = TensorType(index.tensor.dtype, (size, *[1] * rest))
    return Node(like.index, like.variable, Places(type_), (), type_)


def is_places(node: Node) -> bool:
    """Whether a node is a coordinate."""
    return isinstance(node.operation, Places)
