"""Kernels of a body, planned once and made for every iteration.

Only what they read and write differs from one iteration to the next: their sources
are the same, and are compiled once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any, TypeAlias, final

from graphgpu.backends.cuda.kernels.kernel import Operand, Workspace
from graphgpu.backends.cuda.lowering.views import Part, Slot, offset, root
from graphgpu.backends.cuda.lowering.work import Mark, Work
from graphgpu.nodes import Node
from graphgpu.ops.losses.classes import ClassIndex
from graphgpu.types import TensorType

__all__ = ["Checked", "Iteration", "Template"]

Checked: TypeAlias = set[tuple[object, ...]]
"""The ranges of indices that have been checked, by :attr:`Range.key`."""

_Where: TypeAlias = tuple[Node, int, int, TensorType]
"""The node and the component that an operand is a part of, its start and type."""


@final
class Template:
    """The kernels of a body whose inputs stand for those of any iteration."""

    def __init__(self, works: Iterable[Work | Mark], of: Node) -> None:
        self.works = list(works)
        self.of = of
        self.own: set[Node] = set()
        """What the body computes; views are left out."""
        self._where: dict[tuple[Node, int], _Where] = {}
        for work in self.works:
            if isinstance(work, Work):
                self.own.update(self.where(o)[0] for o in work.kernel.writes)

    def where(self, operand: Operand) -> _Where:
        """Return the memory of an operand."""
        key = operand.node, operand.component
        if key not in self._where:
            type_ = operand.node.components[operand.component]
            self._where[key] = *root(*key), offset(operand.node), type_
        return self._where[key]

    def whole(self, value: Node) -> Slot | None:
        """Return the array that a value is all of, if the body computes it."""
        node, component, start, _ = self.where(Operand(value))
        slot = node, component
        same = start == 0 and nbytes(node.components[component]) == value.nbytes
        return slot if node in self.own and same else None


@final
class Iteration:
    """One iteration of a body.

    ``values`` are what its inputs are, and where results are to be; whatever else
    the body computes has memory of its own.
    """

    def __init__(self, template: Template, values: Mapping[Slot, Node]) -> None:
        self._template = template
        self._values = values
        self._own: dict[Node, Node] = {}
        self._made: dict[tuple[Any, ...], Operand] = {}
        self._spaces: dict[Workspace, Workspace] = {}

    def works(self, checked: Checked) -> Iterator[Work | Mark]:
        """Yield the kernels; what has been checked is not checked again."""
        for work in self._template.works:
            if isinstance(work, Mark):
                yield work if work.flag is None else self._marked(work, work.flag)
                continue
            checks = work.checks
            if checks is not None:
                checks = checks._replace(indices=self.node(checks.indices))
                if not checks.guarded:
                    known = checks.key in checked or _is_class(
                        checks.indices, checks.low
                    )
                    checked.add(checks.key)
                    if known:
                        continue
            kernel = replace(
                work.kernel,
                reads=self._operands(work.kernel.reads),
                writes=self._operands(work.kernel.writes),
                scratch=[self._space(s) for s in work.kernel.scratch],
            )
            nodes = work.nodes
            if nodes[-1] is not self._template.of:
                nodes = *nodes, self._template.of
            yield Work(nodes, kernel, checks, work.last)

    def node(self, value: Node) -> Node:
        """Return what a value of the body is in this iteration."""
        return self._operand(Operand(value)).node

    def _marked(self, mark: Mark, flag: Node) -> Mark:
        return replace(mark, flag=self.node(flag))

    def _operands(self, operands: Sequence[Operand]) -> list[Operand]:
        return [self._operand(o) for o in operands]

    def _operand(self, operand: Operand) -> Operand:
        where = self._template.where(operand)
        if where not in self._made:
            self._made[where] = self._new(operand, *where)
        return self._made[where]

    def _new(
        self,
        operand: Operand,
        node: Node,
        component: int,
        start: int,
        type_: TensorType,
    ) -> Operand:
        base = self._values.get((node, component))
        if base is not None:
            component = 0
            if start == 0 and base.type == type_:
                return Operand(base)
        elif node not in self._template.own:
            return operand
        else:
            base = self._of_its_own(node)
            if operand.node is node:
                return Operand(base, component)
        of, part = self._template.of, Part(component, start, type_)
        return Operand(Node(of.index, base.variable, part, (base,), type_, of.tf32))

    def _of_its_own(self, node: Node) -> Node:
        """Return an array for what the body computes."""
        if node not in self._own:
            self._own[node] = Node(
                node.index,
                node.variable,
                node.operation,
                node.inputs,
                node.type,
                node.tf32,
            )
        return self._own[node]

    def _space(self, space: int | Workspace) -> int | Workspace:
        if isinstance(space, int):
            return space
        return self._spaces.setdefault(space, Workspace(space.nbytes))


def _is_class(index: Node, low: int) -> bool:
    """Whether an index that may count from the end is a class, and so is checked."""
    return low < 0 and isinstance(root(index, 0)[0].operation, ClassIndex)


def nbytes(type_: TensorType) -> int:
    """Return the bytes of an array."""
    shape: Any = type_.shape
    return int(prod(shape)) * type_.dtype.itemsize
