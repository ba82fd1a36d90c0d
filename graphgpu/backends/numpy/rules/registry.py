"""Which rule writes the code of which operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from graphgpu.backends import rules as backend_rules
from graphgpu.backends.numpy.body import Body
from graphgpu.backends.numpy.slicing import for_block
from graphgpu.backends.numpy.storage import Block
from graphgpu.nodes import Node
from graphgpu.types import TupleType

__all__ = ["FLOATS", "Rule", "Rules", "sliced_inputs", "slot"]

Rule: TypeAlias = Callable[[Body, Node], bool]
"""Writes a node's statements; False, with nothing written, where it does not fit."""

FLOATS = ("float32", "float64")


class Rules(backend_rules.Rules[Rule]):
    """The rules of the CPU."""


def sliced_inputs(body: Body, node: Node) -> tuple[bool, ...]:
    """Return for each input whether the body reads a block's images of it."""
    cut = body.whole.work.relations.get(node)
    if cut is None or not body.in_blocks:
        return (False,) * len(node.inputs)
    return cut.sliced


def slot(body: Body, node: Node) -> None:
    """Call the operation's ``numpy``, and copy what it returns."""
    count = body.whole.work.count

    def make(block: Block | None) -> Callable[..., object]:
        if block is None or not body.in_blocks:
            assert node.operation is not None
            return node.operation.numpy
        return for_block(node, count, block.size).numpy

    texts = []
    for parent, cut in zip(node.inputs, sliced_inputs(body, node), strict=True):
        parts = [body.text(v.plain()) for v in body.values(parent, cut)]
        tuples = isinstance(parent.type, TupleType)
        texts.append(f"({', '.join(parts)},)" if tuples else parts[0])
    assert node.operation is not None
    name = body.given(f"{node.operation.kind()}_numpy_{node.index}", make)
    call = f"{name}({', '.join(texts)})"
    outs = [v.plain() for v in body.outputs(node)]
    if isinstance(node.type, TupleType):
        stores = [f"store({body.text(o)}, parts[{k}])" for k, o in enumerate(outs)]
        body.say("; ".join([f"parts = {call}", *stores]))
    else:
        body.say(f"store({body.text(outs[0])}, {call})")
    for out in outs:
        body.forget(out.view.buffer)
