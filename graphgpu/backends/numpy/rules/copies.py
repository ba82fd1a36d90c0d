"""Operations that only move elements: written straight to their places."""

from __future__ import annotations

from typing import Any

from graphgpu.backends.numpy.body import Body
from graphgpu.backends.numpy.rules.registry import Rules, sliced_inputs
from graphgpu.backends.numpy.storage import View
from graphgpu.backends.numpy.translation import Value, sized
from graphgpu.nodes import Node
from graphgpu.ops.joining import Concat
from graphgpu.ops.shape import Reshape
from graphgpu.ops.slicing import Unslice, python_slices

__all__ = ["RULES"]

RULES = Rules()


@RULES.of(Reshape)
def reshape(body: Body, node: Node) -> bool:
    """Copy to the output, seen in the input's shape."""
    if node in body.whole.work.tiles:
        return False
    (cut,) = sliced_inputs(body, node)
    value, out = body.value(node.inputs[0], cut).plain(), body.output(node)
    shape = value.shape
    seen = out.view.then("from", lambda a, b: a.reshape(sized(shape, b)), True)
    body.copy(seen, value)
    return True


@RULES.of(Concat)
def concat(body: Body, node: Node) -> bool:
    """Copy each array to its part of the output."""
    operation: Any = node.operation
    out = body.output(node).plain()
    before = (slice(None),) * operation.axis
    start = 0
    cuts = sliced_inputs(body, node)
    for place, (parent, cut) in enumerate(zip(node.inputs, cuts, strict=True)):
        stop = start + parent.shape[operation.axis]
        target = _part(out, f"part{place}", (*before, slice(start, stop)))
        body.copy(target, body.value(parent, cut).plain())
        start = stop
    return True


@RULES.of(Unslice)
def unslice(body: Body, node: Node) -> bool:
    """Fill the output, then copy to the slice."""
    operation: Any = node.operation
    (cut,) = sliced_inputs(body, node)
    value = body.value(node.inputs[0], cut).plain()
    out = body.output(node)
    slices = python_slices(operation)
    if cut:
        slices = (slice(None), *slices[1:])
    number = body.constant(operation.value, node.tensor.dtype)
    body.say(f"{body.text(out)}.fill({number})")
    body.copy(_part(out.plain(), "slice", slices), value)
    return True


def _part(value: Value, name: str, slices: tuple[slice, ...]) -> View:
    """Return a part of an array."""
    return value.view.then(name, lambda a, _: a[slices])
