"""The two gradients of a convolution, computed together where that saves work."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from graphgpu.backends.numpy.tiles.convolution import ConvolutionKernel
from graphgpu.nodes import Node
from graphgpu.ops.convolution_operations import (
    Convolution,
    ConvolutionFamily,
    ConvolutionInputGradient,
    ConvolutionWeightGradient,
)

__all__ = ["fits", "image_and_kernels", "partner_of"]


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
    """Return the other gradient of a convolution that is computed in the same loop."""
    operation: Any = node.operation
    inward = isinstance(operation, ConvolutionInputGradient)
    grad = node.inputs[0 if inward else 1]
    other = ConvolutionWeightGradient if inward else ConvolutionInputGradient
    for reader in grad.readers:
        found: Any = reader.operation
        if not isinstance(found, other) or reader not in nodes or not fits(reader):
            continue
        if reader.inputs[1 if inward else 0] is not grad:
            continue
        if _geometry(found) == _geometry(operation) and image_and_kernels(
            reader
        ) == image_and_kernels(node):
            return reader
    return None


def _geometry(operation: ConvolutionFamily) -> tuple[Any, ...]:
    return operation.stride, operation.padding, operation.dilation, operation.groups
