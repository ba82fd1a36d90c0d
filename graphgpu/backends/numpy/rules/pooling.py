"""Pooling of tiles, block by block, and its gradients; sums over whole images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphgpu.backends.numpy.body import Body
from graphgpu.backends.numpy.lowering import MaxPoolGradient, MaxPoolTaps
from graphgpu.backends.numpy.rules.images import contiguous, contiguous_output
from graphgpu.backends.numpy.rules.registry import Rules
from graphgpu.backends.numpy.rules.sums import reduction
from graphgpu.backends.numpy.tiles.average_pool import (
    AveragePoolBackward,
    AveragePoolForward,
    GlobalAverageForward,
)
from graphgpu.backends.numpy.tiles.max_pool import (
    MaxPoolBackward,
    MaxPoolForward,
    MaxPoolSearch,
)
from graphgpu.backends.numpy.tiles.windows import PoolingKernel
from graphgpu.backends.numpy.translation import label_of
from graphgpu.nodes import Node
from graphgpu.ops.pooling_operations import AveragePool, AveragePoolGradient, MaxPool
from graphgpu.ops.reduction import Mean, Sum

__all__ = ["RULES"]

RULES = Rules()


@RULES.of(MaxPool)
def max_pool(body: Body, node: Node) -> bool:
    """Compare the taps of all windows."""
    return _pool(body, node, MaxPoolForward)


@RULES.of(AveragePool)
def average_pool(body: Body, node: Node) -> bool:
    """Add the taps of all windows, then divide."""
    return _pool(body, node, AveragePoolForward)


@RULES.of(MaxPoolTaps)
def max_pool_taps(body: Body, node: Node) -> bool:
    """Compare the taps with the maxima."""
    return _pool(body, node, MaxPoolSearch)


@RULES.of(MaxPoolGradient)
def max_pool_gradient(body: Body, node: Node) -> bool:
    """Give the gradient to the taps that were the maxima."""
    return _spread(body, node, MaxPoolBackward)


@RULES.of(AveragePoolGradient)
def average_pool_gradient(body: Body, node: Node) -> bool:
    """Divide the gradient, then give it to the taps of all windows."""
    return _spread(body, node, AveragePoolBackward)


@RULES.of(Sum, Mean)
def sum_of_images(body: Body, node: Node) -> bool:
    """Sum over rows and columns by products with ones; other sums as elsewhere."""
    operation: Any = node.operation
    (image,) = node.inputs
    same = node.tensor.dtype == image.tensor.dtype
    if not (same and operation.axes == (2, 3) and _fits(body, image)):
        return reduction(body, node)
    x = body.value(image)
    if not (x.tile and x.view.contiguous):
        return reduction(body, node)
    out = body.output(node)
    h, _, w, c = x.shape
    mean = isinstance(operation, Mean)

    def plan(images: int) -> GlobalAverageForward:
        return GlobalAverageForward(h, images, w, c, x.dtype, mean)

    vectors = out.view.then("vectors", lambda a, _: a.reshape(-1, c), True)
    body.kernel(f"tiled_{label_of(node)}", plan, x, vectors)
    return True


def _pool(body: Body, node: Node, cls: type[PoolingKernel]) -> bool:
    """Write what each window of an image gives."""
    return _computed(body, node, cls, image=node.inputs[0])


def _spread(body: Body, node: Node, cls: type[PoolingKernel]) -> bool:
    """Write the image that windows give."""
    return _computed(body, node, cls, image=node)


def _computed(body: Body, node: Node, cls: type[PoolingKernel], image: Node) -> bool:
    """Call a kernel with the inputs and the output, if it can compute the node."""
    if not _fits(body, image):
        return False
    inputs = [contiguous(body, body.value(n)) for n in node.inputs]
    out = body.output(node, tile=True)
    written = contiguous_output(body, out)
    plan = _planner(cls, node, image)
    body.kernel(f"tiled_{label_of(node)}", plan, *inputs, written)
    if written is not out:
        body.copy(out.as_tile(), written)
    return True


def _fits(body: Body, image: Node) -> bool:
    """Whether a kernel on tiles can compute with images."""
    if body.kind != "tile" or len(image.shape) != 4:
        return False
    return PoolingKernel.fits(image.shape, 2, image.tensor.dtype)


def _planner(
    cls: type[PoolingKernel], node: Node, image: Node
) -> Callable[[int], PoolingKernel]:
    """Return what plans a kernel for so many images."""
    operation: Any = node.operation
    _, channels, height, width = image.shape
    window = operation.sliding
    average = isinstance(operation, AveragePool | AveragePoolGradient)
    more = (operation.count_include_pad,) if average else ()

    def plan(images: int) -> PoolingKernel:
        return cls(
            height,
            images,
            width,
            channels,
            window.kernel,
            window.stride,
            window.padding,
            window.dilation,
            operation.ceil_mode,
            image.tensor.dtype,
            *more,
        )

    return plan
