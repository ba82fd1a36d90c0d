"""The head of a classifier: softmax, and elements picked by their class."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from graphgpu.backends.numpy.body import Body
from graphgpu.backends.numpy.rules.registry import FLOATS, Rules, sliced_inputs
from graphgpu.backends.numpy.runtime import checked_classes, copy_classes
from graphgpu.backends.numpy.storage import Block, View
from graphgpu.backends.numpy.translation import Value, label_of, sized
from graphgpu.dtypes import Array
from graphgpu.nodes import Node
from graphgpu.ops.activations.normalized import LogSoftmax, Softmax
from graphgpu.ops.elementwise import Cast
from graphgpu.ops.gather import AddAlongAxis, TakeAlongAxis, in_range
from graphgpu.ops.indexing import OneHot
from graphgpu.ops.losses.classes import ClassIndex
from graphgpu.ops.shape import Reshape

__all__ = ["RULES"]

RULES = Rules()


@RULES.of(Softmax, LogSoftmax)
def softmax(body: Body, node: Node) -> bool:
    """Subtract the largest, then divide by the sum of exponentials, or its log."""
    operation: Any = node.operation
    axis = operation.axis
    if node.tensor.dtype.name not in FLOATS or node.shape[axis] == 0:
        return False
    (cut,) = sliced_inputs(body, node)
    x, out = body.value(node.inputs[0], cut).plain(), body.output(node).plain()
    narrow = tuple(1 if a == axis else s for a, s in enumerate(x.shape))
    largest, total = (View(body.scratch(narrow, x.dtype)) for _ in range(2))
    _reduce(body, "maximum", x, axis, largest)
    body.call("subtract", x, largest, out=out)
    if isinstance(operation, Softmax):
        body.call("exp", out, out=out)
        _reduce(body, "add", out, axis, total)
        body.call("divide", out, total, out=out)
        return True
    powers = View(body.scratch(x.shape, x.dtype))
    body.call("exp", out, out=powers)
    _reduce(body, "add", powers, axis, total)
    body.call("log", total, out=total)
    body.call("subtract", out, total, out=out)
    return True


def _reduce(
    body: Body, function: str, value: Value | View, axis: int, out: View
) -> None:
    read, written = body.text(value), body.text(out)
    body.say(f"{function}.reduce({read}, axis={axis}, keepdims=True, out={written})")


# --- classes


@RULES.of(ClassIndex)
def class_index(body: Body, node: Node) -> bool:
    """Copy the classes if all of them exist; an error names a place in the batch."""
    operation: Any = node.operation
    ignored = operation.ignore_index
    if ignored is not None and 0 <= ignored < operation.classes:
        return False
    target = node.inputs[0]
    (cut,) = sliced_inputs(body, node)
    value, out = body.value(target, cut).plain(), body.output(node).plain()
    unsigned = np.dtype(f"u{value.dtype.itemsize}")
    bits = value.view.then("unsigned", lambda a, _: a.view(unsigned))
    while isinstance(target.operation, Cast):
        target = target.inputs[0]
    leaf = target.operation is None
    batch = body.value(target, sliced=False) if leaf else value
    name = body.given(f"{label_of(node)}_numpy", lambda _: operation.numpy)
    copy = body.given("copy_classes", lambda _: copy_classes)
    texts = [body.text(v) for v in (value, bits, out, batch)]
    body.say(f"{copy}({', '.join(texts)}, {operation.classes}, {name})")
    return True


@RULES.of(OneHot)
def one_hot(body: Body, node: Node) -> bool:
    """Compare with every class."""
    operation: Any = node.operation
    (cut,) = sliced_inputs(body, node)
    value, out = body.value(node.inputs[0], cut).plain(), body.output(node).plain()
    classes = np.arange(operation.classes, dtype=value.dtype)
    name = body.given(f"{label_of(node)}_numpy", lambda _: operation.numpy)
    check = body.given("checked_classes", lambda _: checked_classes)
    every = body.given(f"classes_{operation.classes}", lambda _: classes)
    column = value.view.then("column", lambda a, _: a[..., np.newaxis])
    equal = View(body.scratch(out.shape, np.dtype(bool)))
    body.say(f"{check}({body.text(value)}, {operation.classes}, {name})")
    body.call("equal", column, every, out=equal)
    body.say(f"copyto({body.text(out)}, {body.text(equal)}, casting='unsafe')")
    return True


# --- elements by their class


@RULES.of(TakeAlongAxis)
def take_along_axis(body: Body, node: Node) -> bool:
    """Take from rows, laid end to end, at the place of each index."""
    x, index = _operands(body, node)
    if not (_in_rows(body, node, x.shape) and x.view.contiguous):
        return False
    out = body.output(node)
    places = _places(body, node, x.shape, index)
    flat = x.view.then("flat", lambda a, _: a.reshape(-1), True)
    source, at, written = (body.text(v) for v in (flat, places, out))
    body.say(f"{source}.take({at}, out={written}, mode='clip')")
    return True


@RULES.of(AddAlongAxis)
def add_along_axis(body: Body, node: Node) -> bool:
    """Assign to rows of zeros, laid end to end, one element of each row."""
    y, index = _operands(body, node)
    if not (_in_rows(body, node, node.shape) and y.shape[-1] == 1):
        return False
    out = body.output(node)
    places = _places(body, node, out.shape, index)
    flat = out.view.then("flat", lambda a, _: a.reshape(-1), True)
    body.say(f"{body.text(flat)}.fill(0)")
    body.say(f"{body.text(flat)}[{body.text(places)}] = {body.text(y)}")
    return True


def _operands(body: Body, node: Node) -> tuple[Value, Value]:
    cuts = sliced_inputs(body, node)
    x, y = (body.value(n, c).plain() for n, c in zip(node.inputs, cuts, strict=True))
    return x, y


def _in_rows(body: Body, node: Node, shape: tuple[int, ...]) -> bool:
    """Whether the axis is the last of the shape, has elements, and no tile is made."""
    operation: Any = node.operation
    last = operation.axis == len(shape) - 1 and shape[-1] > 0
    return bool(last and node not in body.whole.work.tiles)


def _places(body: Body, node: Node, shape: tuple[int, ...], index: Value) -> View:
    """Write where indices along the last axis of a shape point to, in C order."""
    size = shape[-1]
    places = View(body.scratch(index.shape, np.dtype(np.intp), "places"))
    text = body.text(index)
    if not _has_classes(node.inputs[1], size):
        checked = body.given("in_range", lambda _: in_range)
        text = f"{checked}({text}, {size}, {len(shape) - 1})"
    body.call("add", text, _starts(body, shape), out=places)
    return places


def _starts(body: Body, shape: tuple[int, ...]) -> str:
    """Return where each row of a shape starts, in C order."""

    def starts(block: Block | None) -> Array:
        rows = sized(shape[:-1], block)
        made: Array = np.arange(prod(rows)).reshape(*rows, 1) * shape[-1]
        return made

    def make() -> str:
        return body.given(f"rows_of_{shape[-1]}", starts)

    return str(body.once(("starts", shape), make))


def _has_classes(index: Node, size: int) -> bool:
    """Whether an index surely is in range: it consists of classes."""
    while isinstance(index.operation, Reshape):
        index = index.inputs[0]
    operation: Any = index.operation
    return isinstance(index.operation, ClassIndex) and bool(operation.classes <= size)
