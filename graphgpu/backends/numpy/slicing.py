"""Which operations can be computed image by image.

A value is *batched* if its first axis is that of the batch.  An operation can be
computed for a block of images alone if each image of its output depends on the
same image of some inputs, and on all of the others.  Sums over the batch can be
computed from the sums over its blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from math import prod
from typing import Any, TypeAlias

from graphgpu.graph import Constant, Operation
from graphgpu.nodes import Node
from graphgpu.ops.activations.normalized import Normalized
from graphgpu.ops.convolution_operations import (
    Convolution,
    ConvolutionInputGradient,
    ConvolutionWeightGradient,
)
from graphgpu.ops.elementwise import Cast, Elementwise
from graphgpu.ops.gather import AddAlongAxis, Gather, ScatterAdd, TakeAlongAxis
from graphgpu.ops.indexing import OneHot
from graphgpu.ops.joining import Concat
from graphgpu.ops.losses.classes import ClassIndex
from graphgpu.ops.matrix_product import Matmul
from graphgpu.ops.moments import Moments
from graphgpu.ops.pooling_operations import Pooling
from graphgpu.ops.reduction import Mean, Reduction, Sum
from graphgpu.ops.shape import BroadcastTo, Reshape, Transpose
from graphgpu.ops.slicing import Slice, Unslice
from graphgpu.ops.tuples import Item
from graphgpu.ops.window_picks import Selection

__all__ = ["Relation", "for_block", "relation"]


@dataclass(frozen=True, slots=True)
class Relation:
    """How a node can be cut along the batch.

    ``sliced`` says for each input whether a block reads its own images of it, or
    all of it; ``total`` that the output is a sum over the images.
    """

    sliced: tuple[bool, ...]
    total: bool = False


Rule: TypeAlias = Callable[[Any, Node, int], "Relation | None"]


def relation(node: Node, count: int) -> Relation | None:
    """Return how a node can be cut into ``count`` images; None if it cannot be."""
    operation = node.operation
    if operation is None:
        return None
    for cls in type(operation).__mro__:
        if cls in _RULES:
            return _RULES[cls](operation, node, count)
    return None


def for_block(node: Node, count: int, size: int) -> Operation:
    """Return the operation for a block of ``size`` images of ``count``."""
    operation = node.operation
    assert operation is not None
    for field in fields(operation):  # type: ignore[arg-type]
        value = getattr(operation, field.name)
        if field.name == "shape" and isinstance(value, tuple) and value[0] == count:
            return replace(operation, shape=(size, *value[1:]))  # type: ignore[type-var]
    return operation


def _first(node: Node, count: int) -> bool:
    """Whether a node's first axis can be that of the batch."""
    return all(t.ndim > 0 and t.shape[0] == count for t in node.components)


def _elementwise(operation: Any, node: Node, count: int) -> Relation | None:
    """Each element depends on the elements beside it."""
    if not _first(node, count):
        return None
    ndim = node.tensor.ndim
    return Relation(
        tuple(n.tensor.ndim == ndim and _first(n, count) for n in node.inputs)
    )


def _by_image(operation: Any, node: Node, count: int) -> Relation | None:
    """Each image of the output depends on that of every input."""
    if all(_first(n, count) for n in (node, *node.inputs)):
        return Relation((True,) * len(node.inputs))
    return None


def _along_axis(operation: Any, node: Node, count: int) -> Relation | None:
    """The same, unless the axis that is worked along is the first."""
    axes = operation.axes if hasattr(operation, "axes") else (operation.axis,)
    return None if 0 in axes else _by_image(operation, node, count)


def _gathered(operation: Any, node: Node, count: int) -> Relation | None:
    """The same, where places within an image are constants."""
    x, *places = node.inputs
    fixed = all(isinstance(p.variable, Constant) for p in places)
    within = len(operation.axes) == 1 and operation.axes[0] > 0
    if fixed and within and _first(node, count) and _first(x, count):
        return Relation((True, *(False for _ in places)))
    return None


def _reduction(operation: Any, node: Node, count: int) -> Relation | None:
    """Sums over the batch are made of the sums over blocks."""
    if 0 not in operation.axes:
        return _by_image(operation, node, count)
    summable = isinstance(operation, Sum | Mean | Moments)
    if summable and _first(node.inputs[0], count) and _is_float(node.inputs[0]):
        return Relation((True,), total=True)
    return None


def _is_float(node: Node) -> bool:
    return node.tensor.dtype.name in ("float32", "float64")


def _matmul(operation: Any, node: Node, count: int) -> Relation | None:
    """The rows of the left give those of the product; stacks go together."""
    x, y = node.inputs
    if not _first(node, count) or x.tensor.ndim != node.tensor.ndim:
        return None
    stacked = node.tensor.ndim > 2 and y.tensor.ndim == node.tensor.ndim
    return Relation((_first(x, count), stacked and _first(y, count)))


def _reshape(operation: Any, node: Node, count: int) -> Relation | None:
    """The first axis stays."""
    (x,) = node.inputs
    both = _first(node, count) and _first(x, count)
    same = both and prod(node.shape[1:]) == prod(x.shape[1:])
    return Relation((True,)) if same else None


def _transpose(operation: Any, node: Node, count: int) -> Relation | None:
    return _by_image(operation, node, count) if operation.axes[0] == 0 else None


def _broadcast(operation: Any, node: Node, count: int) -> Relation | None:
    same = node.inputs[0].tensor.ndim == node.tensor.ndim
    return _by_image(operation, node, count) if same else None


def _convolution(operation: Any, node: Node, count: int) -> Relation | None:
    """The images go together; every one meets all kernels."""
    if _first(node, count) and _first(node.inputs[0], count):
        return Relation((True, False))
    return None


def _weight_gradient(operation: Any, node: Node, count: int) -> Relation | None:
    """It is a sum over the images."""
    if all(_first(n, count) for n in node.inputs):
        return Relation((True, True), total=True)
    return None


def _slice(operation: Any, node: Node, count: int) -> Relation | None:
    whole = (operation.starts[0], operation.lengths[0], operation.steps[0])
    return _by_image(operation, node, count) if whole == (0, count, 1) else None


_RULES: dict[type, Rule] = {
    Elementwise: _elementwise,
    Cast: _by_image,
    ClassIndex: _by_image,
    OneHot: _by_image,
    Normalized: _along_axis,
    TakeAlongAxis: _along_axis,
    AddAlongAxis: _along_axis,
    Gather: _gathered,
    ScatterAdd: _gathered,
    Concat: _along_axis,
    Reduction: _reduction,
    Moments: _reduction,
    Matmul: _matmul,
    Reshape: _reshape,
    Transpose: _transpose,
    BroadcastTo: _broadcast,
    Convolution: _convolution,
    ConvolutionInputGradient: _convolution,
    ConvolutionWeightGradient: _weight_gradient,
    Pooling: _by_image,
    Selection: _by_image,
    Item: _by_image,
    Slice: _slice,
    Unslice: _slice,
}
