"""Depthwise convolutions of tiles, and their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphgpu.backends.numpy.body import Body
from graphgpu.backends.numpy.pairs import image_and_kernels
from graphgpu.backends.numpy.rules.registry import FLOATS
from graphgpu.backends.numpy.storage import BLOCK, View
from graphgpu.backends.numpy.tiles.depthwise import Depthwise
from graphgpu.backends.numpy.translation import Value, label_of
from graphgpu.nodes import Node
from graphgpu.ops.convolution_operations import Convolution

__all__ = ["depthwise_sums", "is_depthwise", "write_depthwise", "write_sums"]


def is_depthwise(node: Node) -> bool:
    """Whether a convolution has a kernel for each channel, at stride 1."""
    operation: Any = node.operation
    image, weight = image_and_kernels(node)
    if len(image) != 4 or node.tensor.dtype.name not in FLOATS:
        return False
    if operation.stride != (1, 1) or min(*image, *weight) < 1:
        return False
    if min(e for pair in operation.padding for e in pair) < 0:
        return False
    inner = all(
        max(pair) <= (k - 1) * d
        for pair, k, d in zip(
            operation.padding, weight[2:], operation.dilation, strict=True
        )
    )
    channels = image[1]
    return inner and channels == operation.groups == weight[0] and channels > 1


def write_depthwise(body: Body, node: Node) -> None:
    """Write the convolution, or its adjoint: the same with kernels turned round."""
    x = body.value(node.inputs[0])
    out = body.output(node, tile=True)
    forward = isinstance(node.operation, Convolution)
    plan = _plan(node, node.shape[3], flipped=not forward)
    rows = _rows(body, node, plan)
    padded = _padded(body, node, x, forward)
    written = out
    if not (out.tile and out.view.contiguous):
        tile = out.as_tile()
        memory = body.scratch(tile.shape, tile.dtype, "tile")
        written = Value(View(memory), tile.shape, tile=True)
    term = _term(body, written)
    name = body.given(f"depthwise_{label_of(node)}", lambda _: plan.forward)
    texts = (body.text(v) for v in (padded, rows, written, term))
    body.say(f"{name}({', '.join(texts)})")
    if written is not out:
        body.copy(out.as_tile(), written)


def depthwise_sums(node: Node) -> Depthwise:
    """Return what adds up the gradient of the kernels."""
    return _plan(node, node.inputs[1].shape[3], flipped=False)


def write_sums(body: Body, node: Node, grad: Value, acc: View, plan: Any) -> None:
    """Add a block's part to the sums; the gradient is a contiguous tile."""
    x = body.value(node.inputs[0])
    padded = _padded(body, node, x, forward=True)
    term = _term(body, grad)
    name = body.given(f"depthwise_{label_of(node)}", lambda _: plan.weights)
    texts = (body.text(v) for v in (padded, grad, acc, term))
    body.say(f"{name}({', '.join(texts)})")


def _plan(node: Node, columns: int, flipped: bool) -> Depthwise:
    operation: Any = node.operation
    image, weight = image_and_kernels(node)
    kernel, dilation = (weight[2], weight[3]), operation.dilation
    return Depthwise(kernel, dilation, columns, image[1], flipped)


def _rows(body: Body, node: Node, plan: Depthwise) -> View:
    """Return the kernels, repeated for every column; made once by each lane."""
    weight = body.value(node.inputs[1], sliced=False).plain()

    def make() -> View:
        view = View(body.scratch(plan.acc_shape, weight.dtype, "kernels"))
        name = body.given(f"repeat_{label_of(node)}", lambda _: plan.repeat)
        body.say(f"{name}({body.text(weight)}, {body.text(view)})", enter=True)
        return view

    made: View = body.once((plan, weight.view.buffer, weight.view.key), make)
    return made


def _padded(body: Body, node: Node, value: Value, forward: bool) -> View:
    """Return a tile with the zeros around it that the kernels see."""
    operation: Any = node.operation
    _, weight = image_and_kernels(node)
    (top, bottom), (left, right) = operation.padding
    if not forward:
        (tall, wide) = (
            (k - 1) * d for k, d in zip(weight[2:], operation.dilation, strict=True)
        )
        top, bottom, left, right = tall - top, tall - bottom, wide - left, wide - right
    tile = value.as_tile()
    height, images, width, channels = tile.shape
    shape = (height + top + bottom, images, width + left + right, channels)
    key = ("padded", value.view.buffer, value.view.key, top, bottom, left, right)

    def make() -> View:
        view = View(body.scratch(shape, tile.dtype, "padded"))
        zero = body.constant(0, tile.dtype)
        inner = (slice(top, top + height), slice(None), slice(left, left + width))
        body.say(f"{body.text(view)}.fill({zero})")
        body.copy(view.then("inner", lambda a, _: a[inner]), tile)
        return view

    made: View = body.once(key, make)
    return made


def _term(body: Body, tile: Value) -> View:
    """Return memory for a term of the sum of some rows of a tile."""
    assert tile.shape[1] == BLOCK
    return View(body.scratch(tile.shape, np.dtype(tile.dtype), "term")).then(
        "flat", lambda a, _: a.reshape(-1)
    )
