"""The two gradients of a convolution, computed together where that saves work."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from graphgpu.backends.numpy.tiles.convolution import ConvolutionKernel
from graphgpu.nodes import Node
from graphgpu.ops.convolution_operations import (
    Convolution,
    ConvolutionInputGradient,
    ConvolutionWeightGradient,
)

__all__ = ["fits", "image_and_kernels", "partner_of"]

_GRADIENTS = (ConvolutionInputGradient, ConvolutionWeightGradient)


def image_and_kernels(node: Node) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the shapes of the input and of the kernels of a convolution."""
    operation = node.operation
    if isinstance(operation, Convolution):
        return node.inputs[0].shape, node.inputs[1].shape
    if isinstance(operation, ConvolutionInputGradient):
        return node.shape, node.inputs[1].shape
    return node.inputs[0].shape, node.shape


def fits(node: Node) -> bool:
    """Whether the kernels on tiles can compute a convolution of two axes."""
    operation: Any = node.operation
    image, weight = image_and_kernels(node)
    if len(image) != 4 or operation.groups != 1:
        return False
    return ConvolutionKernel.fits((*image, *weight), 2, 1, node.tensor.dtype)


def partner_of(node: Node, nodes: Collection[Node]) -> Node | None:
    """Return the other gradient of a convolution that is computed in the same loop.

    Where several share a gradient of the output, they pair off in their order.
    """
    inward = isinstance(node.operation, ConvolutionInputGradient)
    grad = node.inputs[0 if inward else 1]
    alike = [r for r in grad.readers if r in nodes and _is_alike(r, node, grad)]
    paired: dict[Node, Node] = {}
    for left in alike:
        if not isinstance(left.operation, ConvolutionInputGradient):
            continue
        for right in alike:
            other = isinstance(right.operation, ConvolutionWeightGradient)
            if other and right not in paired and _is_free(right.inputs[0], left):
                paired[left], paired[right] = right, left
                break
    return paired.get(node)


def _is_alike(node: Node, other: Node, grad: Node) -> bool:
    """Whether a node is a gradient of such a convolution, and ``grad`` is its y's."""
    operation: Any = node.operation
    if not isinstance(operation, _GRADIENTS) or not fits(node):
        return False
    inward = isinstance(operation, ConvolutionInputGradient)
    same = _geometry(operation) == _geometry(other.operation)
    same = same and image_and_kernels(node) == image_and_kernels(other)
    return same and node.inputs[0 if inward else 1] is grad


def _is_free(image: Node, node: Node) -> bool:
    """Whether an image can be computed before a gradient, whatever else is paired.

    It depends on no gradient of an input from this one on.
    """
    stack, seen = [image], set()
    while stack:
        here = stack.pop()
        if here.index < node.index or here in seen:
            continue
        if isinstance(here.operation, ConvolutionInputGradient):
            return False
        seen.add(here)
        stack += here.inputs
    return True


def _geometry(operation: Any) -> tuple[Any, ...]:
    return operation.stride, operation.padding, operation.dilation, operation.groups
