"""Convolutions of tiles, block by block, and their gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphgpu.backends.numpy.body import Body
from graphgpu.backends.numpy.pairs import fits, image_and_kernels, partner_of
from graphgpu.backends.numpy.rules.depthwise import (
    depthwise_sums,
    is_depthwise,
    write_depthwise,
    write_sums,
)
from graphgpu.backends.numpy.rules.registry import Rules
from graphgpu.backends.numpy.storage import View
from graphgpu.backends.numpy.tiles.convolution import (
    ConvolutionForward,
    forward_order,
)
from graphgpu.backends.numpy.tiles.input_gradient import ConvolutionInput
from graphgpu.backends.numpy.tiles.weight_gradient import (
    ConvolutionBackward,
    ConvolutionWeight,
)
from graphgpu.backends.numpy.translation import Value, label_of
from graphgpu.nodes import Node
from graphgpu.ops.convolution_operations import (
    Convolution,
    ConvolutionInputGradient,
    ConvolutionWeightGradient,
)

__all__ = ["FINISH", "RULES", "contiguous"]

RULES = Rules()
FINISH = Rules()


def _planner(cls: type[Any], node: Node) -> Callable[[int], Any]:
    """Return what plans a kernel for so many images."""
    operation: Any = node.operation
    (_, channels, height, width), weight = image_and_kernels(node)

    def plan(images: int) -> Any:
        return cls(
            height,
            images,
            width,
            channels,
            weight[0],
            weight[2:],
            operation.stride,
            operation.padding,
            operation.dilation,
            node.tensor.dtype,
        )

    return plan


def _kernel_name(node: Node) -> str:
    return f"tiled_{label_of(node)}"


def contiguous(body: Body, value: Value) -> Value:
    """Return the value as a contiguous tile, copied if it must be."""
    tile = value.as_tile()
    if tile.view.contiguous:
        return tile

    def make() -> Value:
        memory = body.scratch(tile.shape, tile.dtype, "tile")
        copied = Value(View(memory), tile.shape, tile=True)
        body.copy(copied, tile)
        return copied

    made: Value = body.once(("tile", value.view.buffer, value.view.key), make)
    return made


def _weights(body: Body, node: Node, plan: Any) -> View:
    """Return the kernels in the order of the product, made before the loops."""
    weight = node.inputs[1]
    forward = isinstance(node.operation, Convolution)
    shape = plan.product_shape if forward else plan.input_shape
    geometry = plan.stride, plan.padding, plan.dilation  # the adjoint's order needs all
    key: tuple[Any, ...] = ("adjoint", weight, geometry)
    if forward:  # not held from the forward pass until it is computed again
        key = ("weights", weight, shape, node in body.whole.late)

    def make() -> View:
        buffer = body.whole.buffer(
            f"rows_of_{label_of(weight)}_{'forward' if forward else 'backward'}",
            shape,
            node.tensor.dtype,
            variable=weight.variable,
        )
        order = forward_order if forward else plan.input_order
        before = body.before
        name = before.given(f"order_{label_of(node)}", lambda _: order)
        source = before.value(weight, sliced=False).plain()
        if not forward and plan.stride[1] > 1:  # it leaves places out
            before.say(f"{before.text(View(buffer))}.fill(0)", of=node)
        before.say(
            f"{name}({before.text(source)}, {before.text(View(buffer))})", of=node
        )
        return View(buffer)

    made: View = body.whole.once(key, make)
    return made


@RULES.of(Convolution)
def convolution(body: Body, node: Node) -> bool:
    """Convolve a tile."""
    if body.kind != "tile" or not fits(node):
        return _depthwise(body, node)
    plan = _planner(ConvolutionForward, node)
    x = body.value(node.inputs[0]).as_tile()
    if node.inputs[1].shape[2:] == (1, 1):
        x = contiguous(body, x)
    weights = _weights(body, node, plan(1))
    out = body.output(node, tile=True)
    written = contiguous_output(body, out)
    body.kernel(_kernel_name(node), plan, x, weights, written)
    if written is not out:
        body.copy(out.as_tile(), written)
    return True


def _depthwise(body: Body, node: Node) -> bool:
    if body.kind != "tile" or not is_depthwise(node):
        return False
    write_depthwise(body, node)
    return True


def contiguous_output(body: Body, out: Value) -> Value:
    """Return the output, or a tile to be copied to it where it is no tile."""
    if out.tile and out.view.contiguous:
        return out
    tile = out.as_tile()
    memory = body.scratch(tile.shape, tile.dtype, "tile")
    return Value(View(memory), tile.shape, tile=True)


@RULES.of(ConvolutionInputGradient)
def input_gradient(body: Body, node: Node) -> bool:
    """Apply the adjoint in the input; with it the one in the kernels, if asked for."""
    if body.kind != "tile" or not fits(node):
        return _depthwise(body, node)
    partner = partner_of(node, body.nodes)
    grad = contiguous(body, body.value(node.inputs[0]))
    out = body.output(node, tile=True)
    written = contiguous_output(body, out)
    if partner is None:
        plan = _planner(ConvolutionInput, node)
        weights = _weights(body, node, plan(1))
        body.kernel(_kernel_name(node), plan, grad, weights, written)
    else:
        plan = _planner(ConvolutionBackward, node)
        weights = _weights(body, node, plan(1))
        x = contiguous(body, body.value(partner.inputs[0]))
        acc = _accumulator(body, partner, plan(1))
        body.kernel(_kernel_name(node), plan, x, grad, weights, written, acc, "False")
    if written is not out:
        body.copy(out.as_tile(), written)
    return True


@RULES.of(ConvolutionWeightGradient)
def weight_gradient(body: Body, node: Node) -> bool:
    """Add a block's part to the lane's sum."""
    if not body.in_blocks:
        return False
    if body.kind == "tile" and is_depthwise(node):
        sums = depthwise_sums(node)
        grad = contiguous(body, body.value(node.inputs[1]))
        write_sums(body, node, grad, _accumulator(body, node, sums), sums)
        return True
    if not (body.kind == "tile" and fits(node)):
        _add_slot(body, node)
        return True
    if partner_of(node, body.nodes) is not None:
        return True  # computed with the input's gradient
    plan = _planner(ConvolutionWeight, node)
    x = body.value(node.inputs[0]).as_tile()
    if node.shape[2:] == (1, 1):
        x = contiguous(body, x)
    grad = contiguous(body, body.value(node.inputs[1]))
    acc = _accumulator(body, node, plan(1))
    body.kernel(_kernel_name(node), plan, x, grad, acc, "False")
    return True


def _accumulator(body: Body, node: Node, plan: Any) -> View:
    """Return the lane's sum of the kernels' gradient, 0 before the first block."""
    shape = plan.acc_shape if plan is not None else node.shape
    buffer = body.whole.buffer(
        f"sum_of_{label_of(node)}",
        shape,
        node.tensor.dtype,
        "lanes",
        cut=body.cut,
        variable=node.variable,
    )
    body.whole.partials[node] = buffer
    body.whole.plans[node] = plan
    body.say(f"{body.text(View(buffer))}.fill(0)", enter=True)
    return View(buffer)


def _add_slot(body: Body, node: Node) -> None:
    """Add what the operation's ``numpy`` returns."""
    operation: Any = node.operation
    name = body.given(
        f"{operation.kind()}_numpy_{node.index}", lambda _: operation.numpy
    )
    x, grad = (body.text(body.value(n).plain()) for n in node.inputs)
    total = body.text(_accumulator(body, node, None))
    body.say(f"add({total}, {name}({x}, {grad}), out={total})")


@FINISH.of(ConvolutionWeightGradient)
def finish_weight_gradient(body: Body, node: Node) -> bool:
    """Add up the lanes' sums, and write them in the order of the kernels."""
    buffer, plan = body.whole.partials[node], body.whole.plans[node]
    out = body.output(node)
    shape, size = buffer.shape, buffer.items(1)

    def of_lane(lane: int) -> View:
        return View(buffer).then(
            f"lane{lane}", lambda a, _: a[lane, :size].reshape(shape)
        )

    assert buffer.cut is not None
    first, *others = sorted({b.lane for b in buffer.cut.blocks})
    total = of_lane(first)
    for lane in others:  # a lane without blocks has no sum
        body.call("add", total, of_lane(lane), out=total)
    if plan is None:
        body.copy(out, total)
    else:
        name = body.given(f"order_{label_of(node)}", lambda _: plan.to_logical)
        body.say(f"{name}({body.text(total)}, {body.text(out)})")
    return True
