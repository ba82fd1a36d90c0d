"""Loops as kernels: their iterations one after the other, on parts of arrays.

An iteration reads its element where it lies in the sequence, and the carries where
the iteration before wrote them; it writes its result where that belongs.  Elements
that do not lie at multiples of 16 bytes, as kernels expect, are copied.

The body is planned once, for inputs that stand for those of any iteration: what an
iteration costs is little more than its launches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, final

import numpy as np

from graphgpu.backends.cuda.lowering.inlining import (
    ALIGNED,
    Lower,
    copied,
    inlined,
    leaf,
    made,
)
from graphgpu.backends.cuda.lowering.iterations import Checked, Iteration, Template
from graphgpu.backends.cuda.lowering.targets import Target, targets
from graphgpu.backends.cuda.lowering.views import Part, Slot, offset
from graphgpu.backends.cuda.lowering.work import Mark, Work
from graphgpu.control import Scan
from graphgpu.graph import RUN_KEY, constant
from graphgpu.nodes import Node
from graphgpu.ops.arithmetic import Add, Multiply
from graphgpu.ops.elementwise import Cast
from graphgpu.types import TensorType

__all__ = ["unrolled"]

_ROW = 4
"""Words of a row of numbers, so that each begins at a multiple of 16 bytes."""


def unrolled(node: Node, lower: Lower, checked: Checked) -> Iterator[Work | Mark]:
    """Yield the kernels of a loop; ``lower`` returns those of nodes.

    What has been ``checked`` is not checked again.
    """
    operation = node.operation
    assert isinstance(operation, Scan)
    order = list(operation.order())
    if not order:
        for j, value in enumerate(node.inputs[: operation.carries]):
            yield copied(_part(node, j, 0, value.tensor), value, node)
        return
    loop = _Loop(node, operation, lower, checked)
    yield from loop.begin(order[0])
    for i, after in zip(order, [*order[1:], None], strict=True):
        yield from loop.iteration(i, after)


@dataclass(frozen=True, eq=False, slots=True)
class _Plan:
    """The results of a body, where they belong, and the kernels."""

    results: Sequence[Node]
    targets: Sequence[Target]
    template: Template
    twice: bool
    """Whether any are written twice."""


@final
class _Loop:
    def __init__(
        self, node: Node, operation: Scan, lower: Lower, checked: Checked
    ) -> None:
        self._node = node
        self._checked = checked
        self._first = operation.carries
        self._sequences = operation.sequences
        self._carries: list[Node] = list(node.inputs[: operation.carries])
        """Where the carries are now."""
        self._body = operation.body
        self._heads = self._stand_ins(operation)
        self._given = [*self._heads, *node.inputs[len(self._heads) :]]
        self._numbers = self._number = None
        if RUN_KEY in operation.body.inputs:
            self._numbers = leaf(node, constant(_numbers(operation)))
            self._number = leaf(node, constant(np.zeros(3, np.uint64)))
        self._scale = operation.scale
        self._plan = self._planned(lower, twice=True)
        if self._plan.twice:  # which no product's kernel can do
            other = self._planned(lower, twice=False)
            if len(other.template.works) < len(self._plan.template.works):
                self._plan = other

    def _planned(self, lower: Lower, *, twice: bool) -> _Plan:
        """Plan the body; values may be written ``twice``."""
        given, before = [*self._given], self._key()
        if before:
            given[-1] = before[-1]
        nodes, results = inlined(self._body, given, self._node, {}, before)
        heads = self._heads[: self._first]
        belonging, again = targets(results, heads, nodes, twice=twice)
        wanted = {*results, *(t.value for t in belonging)}
        template = Template(lower(nodes, wanted & set(nodes)), self._node)
        return _Plan(results, belonging, template, again)

    def _stand_ins(self, operation: Scan) -> list[Node]:
        """Return leaves that stand for the carries and elements of any iteration."""
        body, of = operation.body, self._node
        count = operation.carries + operation.sequences
        types = zip(body.inputs[:count], body.input_types[:count], strict=True)
        return [Node(of.index, v, None, (), t, of.tf32) for v, t in types]

    def _key(self) -> list[Node]:
        """Return what computes the run key of an iteration, modulo 2^64, if it does."""
        if self._number is None:
            return []
        node, key = self._node, self._given[-1]
        scale = leaf(node, constant(np.array([1, 1, self._scale], np.uint64)))
        scaled = made(node, Multiply(), [key, scale], key.type)
        return [scaled, made(node, Add(), [scaled, self._number], key.type)]

    def begin(self, i: int) -> Iterator[Work]:
        """Yield what the iteration before i, the first, would have written."""
        heads = self._heads[: self._first]
        for t in self._plan.targets:
            if t.when == "next":
                start = self._carries[heads.index(self._plan.results[t.result])]
                target = _part(self._node, t.result, i, start.tensor)
                yield copied(target, start, self._node)

    def iteration(self, i: int, after: int | None) -> Iterator[Work | Mark]:
        """Yield the kernels of iteration i, and let them write where results belong.

        ``after`` is the next one, None after the last.
        """
        values: dict[Slot, Node] = {}
        yield from self._inputs(i, values)
        rest = []
        for t in self._plan.targets:
            place = {"here": i, "next": after, "end": 0 if after is None else None}
            element = place[t.when]
            if element is None:
                continue
            target = _part(self._node, t.result, element, t.value.tensor)
            slot = self._plan.template.whole(t.value)
            if slot is None or slot in values or offset(target) % ALIGNED:
                rest.append((target, t.value))
            else:
                values[slot] = target
        iteration = Iteration(self._plan.template, values)
        yield from iteration.works(self._checked)
        for target, value in rest:
            yield copied(target, iteration.node(value), self._node)
        self._carries = [iteration.node(v) for v in self._plan.results[: self._first]]

    def _inputs(self, i: int, values: dict[Slot, Node]) -> Iterator[Work]:
        """Note what iteration i is given, and yield the copies that it takes."""
        for place, head in enumerate(self._heads):
            if place < self._first:
                values[head, 0] = self._carries[place]
                continue
            element = _part(self._node.inputs[place], 0, i, head.tensor)
            if offset(element) % ALIGNED:
                own = made(self._node, Cast(head.tensor.dtype), [element], head.type)
                yield copied(own, element, self._node)
                element = own
            values[head, 0] = element
        if self._number is not None and self._numbers is not None:
            type_ = self._number.tensor
            part = Part(0, i * _ROW * type_.dtype.itemsize, type_)
            values[self._number, 0] = made(self._node, part, [self._numbers], type_)


def _numbers(operation: Scan) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Return a row for each iteration: what is added to its run key."""
    length: Any = operation.length
    found = np.zeros((length, _ROW), np.uint64)
    for i in range(length):
        found[i, 2] = (operation.first + operation.step * i) % 2**64
    return found


def _part(array: Node, component: int, i: int, type_: TensorType) -> Node:
    """Return element i of an array along its first axis."""
    shape: Any = type_.shape
    part = Part(component, i * prod(shape) * type_.dtype.itemsize, type_)
    return made(array, part, [array], type_)
