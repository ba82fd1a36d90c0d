"""Loops that end when a condition does not hold: unrolled, or driven by the host.

The carries lie where the loop's results are to be.  An iteration computes the next
ones elsewhere, and then they are copied there.  Of a loop with a small bound all
iterations are launched, each guarded by a flag that says whether it is taken, so that
nobody waits.  Of any other the host reads the flag before every iteration.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import final

import numpy as np

from graphgpu.backends.cuda.lowering.branches import both, guarded
from graphgpu.backends.cuda.lowering.inlining import (
    Lower,
    copied,
    inlined,
    leaf,
    made,
    part,
)
from graphgpu.backends.cuda.lowering.views import root
from graphgpu.backends.cuda.lowering.work import Mark, Work
from graphgpu.control import WhileLoop
from graphgpu.graph import RUN_KEY, Variable, constant
from graphgpu.nodes import Node
from graphgpu.ops.arithmetic import Add, Multiply
from graphgpu.ops.elementwise import Cast
from graphgpu.types import TensorType

__all__ = ["is_unrolled", "repeated"]

_UNROLLED = 8
"""Iterations that are launched whether they are taken or not, at most."""
_UINT64 = np.dtype(np.uint64)


def is_unrolled(node: Node) -> bool:
    """Whether all iterations of a loop are launched, guarded."""
    operation = node.operation
    assert isinstance(operation, WhileLoop)
    most = operation.max_iterations
    return most is not None and most <= _UNROLLED


def repeated(node: Node, lower: Lower) -> Iterator[Work | Mark]:
    """Yield the kernels of a loop; ``lower`` returns those of nodes.

    They may be no library's calls if the loop is unrolled.
    """
    loop = _Loop(node, lower)
    yield from loop.begin()
    if not is_unrolled(node):
        yield from loop.driven()
        return
    most = loop.operation.max_iterations
    assert most is not None
    flag: Node | None = None
    for _ in range(most):
        works, more = loop.condition()
        if flag is None:
            yield from works
            flag = loop.flag(more)
            yield copied(flag, more, node)
        else:
            yield from guarded(works, flag, node)
            before, flag = flag, loop.flag(more)
            yield both(before, more, flag, node)
        yield from guarded(loop.body(), flag, node)


@final
class _Loop:
    def __init__(self, node: Node, lower: Lower) -> None:
        operation = node.operation
        assert isinstance(operation, WhileLoop)
        self.operation = operation
        self._node = node
        self._lower = lower
        self._count = part(node, operation.carries)
        self._leaves: dict[Variable, Node] = {}
        self._carries = [part(node, j) for j in range(operation.carries)]

    def begin(self) -> Iterator[Work | Mark]:
        """Yield what sets the carries and the number of iterations."""
        starts = self._node.inputs[: self.operation.carries]
        for target, source in zip(self._carries, starts, strict=True):
            yield copied(target, source, self._node)
        zero = leaf(self._node, constant(np.zeros((), np.int64)))
        yield copied(self._count, zero, self._node)

    def driven(self) -> Iterator[Work | Mark]:
        """Yield one iteration, between marks."""
        yield Mark("loop")
        works, more = self.condition()
        yield from works
        yield Mark("body", more, self.operation.max_iterations)
        yield from self.body()
        yield Mark("end")

    def condition(self) -> tuple[Iterable[Work | Mark], Node]:
        """Return the kernels of the condition, and what it computes."""
        before, inputs = self._inputs()
        part_of = self.operation.condition
        nodes, (more,) = inlined(part_of, inputs, self._node, self._leaves, before)
        return self._lower(nodes, {more} & set(nodes)), more

    def flag(self, more: Node) -> Node:
        """Return a node for a flag that stays as it is when the carries change."""
        return made(self._node, Cast(more.tensor.dtype), [more], more.type)

    def body(self) -> Iterator[Work | Mark]:
        """Yield the kernels of one iteration."""
        node, (before, inputs) = self._node, self._inputs()
        nodes, results = inlined(
            self.operation.body, inputs, node, self._leaves, before
        )
        one = leaf(node, constant(np.ones((), np.int64)))
        nodes.append(made(node, Add(), [self._count, one], self._count.type))
        results.append(nodes[-1])
        yield from self._lower(nodes, set(results) & set(nodes))
        pairs = []
        for value, target in zip(results, [*self._carries, self._count], strict=True):
            if value is target:
                continue
            if root(value, 0)[0] is node:  # which other copies write over
                own = made(node, Cast(value.tensor.dtype), [value], value.type)
                yield copied(own, value, node)
                pairs.append((target, own))
            else:
                pairs.append((target, value))
        for target, value in pairs:
            yield copied(target, value, node)

    def _inputs(self) -> tuple[list[Node], list[Node]]:
        """Return the inputs of condition and body, and first what computes them.

        The run key of an iteration has the number outer * scale + i, modulo 2^64.
        """
        operation, node = self.operation, self._node
        inputs = [*self._carries, *node.inputs[operation.carries :]]
        if RUN_KEY not in operation.body.inputs:
            return [], inputs
        key, count = inputs[-1], self._count
        scale = leaf(node, constant(np.array([1, 1, operation.scale], _UINT64)))
        last = leaf(node, constant(np.array([0, 0, 1], _UINT64)))
        number = made(node, Cast(_UINT64), [count], TensorType(_UINT64, ()))
        nodes = [
            number,
            made(node, Multiply(), [key, scale], key.type),
            made(node, Multiply(), [last, number], key.type),
        ]
        nodes.append(made(node, Add(), nodes[1:], key.type))
        return nodes, [*inputs[:-1], nodes[-1]]
