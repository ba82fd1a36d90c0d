"""Which forward values are computed twice, and what that saves and costs.

A *replay* is told by the values it drops: forward values that are not held for
the backward pass, but computed again when that first reads them.  Here the
graph is a list of numbers, so that many replays can be weighed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeAlias

from graphgpu.dims import evaluate_size
from graphgpu.graph import Variable
from graphgpu.order import low_peak_order
from graphgpu.schedule import look_through, schedule
from graphgpu.types import TensorType, TupleType, Type

__all__ = ["Cost", "Program", "Weight"]

Cost: TypeAlias = Callable[[Variable, int, int], float]
"""What one evaluation costs, from its FLOPs and the bytes that it reads and writes."""

_FLOPS_A_BYTE = 10
"""How many operations a processor does in the time in which it moves a byte."""


@dataclass(frozen=True, slots=True)
class Weight:
    """The most bytes alive at once, and what all nodes together cost."""

    peak: int
    work: float
    flops: int


class Program:
    """A graph as numbers: forward nodes as written, others in an order of low peak.

    With ``reorder`` False all is as written.  Clones are numbered from ``count``.
    ``forward`` nodes are those of that phase that read no gradient.  Leaves are
    left out and outputs take no bytes: both lie outside the arena.  A view lives
    in the bytes of its ``root``.
    """

    def __init__(
        self,
        outputs: Sequence[Variable],
        sizes: Mapping[str, int],
        cost: Cost | None = None,
        *,
        reorder: bool = True,
    ) -> None:
        plan = schedule(outputs)
        written = [v for v in plan.order if v.operation is not None]
        self.outputs = frozenset(v for v in plan.outputs if v.operation is not None)
        self.variables = written
        types = {v: v.type.at(sizes) for v in plan.order}
        self._number(plan.inputs, types)
        if reorder:
            self.variables = [written[v] for v in self._low_peak()]
            self._number(plan.inputs, types)
        self._weigh(plan.inputs, types, sizes, cost or default_cost)

    def _number(
        self,
        inputs: Mapping[Variable, tuple[Variable, ...]],
        types: Mapping[Variable, Type],
    ) -> None:
        number = {v: i for i, v in enumerate(self.variables)}
        self.count = len(number)
        self.inputs = [
            tuple(dict.fromkeys(number[p] for p in inputs[v] if p in number))
            for v in self.variables
        ]
        self.is_view = [
            v.operation.outputs_alias for v in self.variables if v.operation
        ]
        self.forward: list[bool] = []
        self.root = list(range(self.count))
        self.nbytes = [0] * self.count
        for node, variable in enumerate(self.variables):
            self.forward.append(
                variable.phase == "forward"
                and all(self.forward[v] for v in self.inputs[node])
            )
            if self.is_view[node]:
                first = number.get(look_through(variable.inputs[0]))
                if first is not None:
                    self.root[node] = self.root[first]
            elif variable not in self.outputs:
                self.nbytes[node] = _nbytes(types[variable])

    def _low_peak(self) -> list[int]:
        """Return the forward nodes as written, then the others in a better order.

        Among all nodes, those of the backward pass that read forward values alone
        would be moved into the forward pass, and clones with them.
        """
        rest = [v for v in range(self.count) if not self.forward[v]]
        place = {v: i for i, v in enumerate(rest)}
        reads = [
            [place[r] for v in self.inputs[n] for r in (v, self.root[v]) if r in place]
            for n in rest
        ]
        order = low_peak_order(len(rest), reads, [self.nbytes[v] for v in rest], ())
        first = [v for v in range(self.count) if self.forward[v]]
        return first + [rest[v] for v in order]

    def _weigh(
        self,
        inputs: Mapping[Variable, tuple[Variable, ...]],
        types: Mapping[Variable, Type],
        sizes: Mapping[str, int],
        cost: Cost,
    ) -> None:
        self.flops = [0] * self.count
        self.cost = [0.0] * self.count
        for node, v in enumerate(self.variables):
            if self.is_view[node]:
                continue
            read = [types[p] for p in inputs[v]]
            known = [t for t in read if isinstance(t, TensorType)]
            if v.operation and len(known) == len(read):
                flops = v.operation.flops(known, types[v])
                self.flops[node] = evaluate_size(flops, sizes)
            moved = sum(map(_nbytes, (*read, types[v])))
            self.cost[node] = cost(v, self.flops[node], moved)

    def nodes(self, dropped: Sequence[bool]) -> list[int]:
        """Return what is computed, in order; a clone when it is first read."""
        needed = self._needed(dropped)
        count, forward = self.count, self.forward
        done = [False] * count
        result: list[int] = []
        for node in range(count):
            if not needed[node]:
                continue
            if not forward[node]:
                for value in self.inputs[node]:
                    if dropped[value] and not done[value]:
                        self._clone(value, dropped, done, result)
            result.append(node)
        return result

    def _clone(
        self,
        value: int,
        dropped: Sequence[bool],
        done: list[bool],
        result: list[int],
    ) -> None:
        """Add the clone of a value, after those of what it reads, as written."""
        missing = {value}
        stack = [value]
        while stack:
            for parent in self.inputs[stack.pop()]:
                if dropped[parent] and not done[parent] and parent not in missing:
                    missing.add(parent)
                    stack.append(parent)
        for node in sorted(missing):
            done[node] = True
            result.append(self.count + node)

    def _needed(self, dropped: Sequence[bool]) -> list[bool]:
        """Return which nodes are still read as they are, not by their clones."""
        count = self.count
        needed = [v in self.outputs for v in self.variables]
        cloned = [False] * count
        for node in range(count - 1, -1, -1):
            forward = self.forward[node]
            if needed[node] or not forward:
                needed[node] = True
                for value in self.inputs[node]:
                    if forward or not dropped[value]:
                        needed[value] = True
                    else:
                        cloned[value] = True
            if cloned[node]:
                for value in self.inputs[node]:
                    (cloned if dropped[value] else needed)[value] = True
        return needed

    def reads(self, node: int, dropped: Sequence[bool]) -> tuple[int, ...]:
        """Return what a node or a clone reads."""
        count = self.count
        if node < count and self.forward[node]:
            return self.inputs[node]
        return tuple(
            [v + count if dropped[v] else v for v in self.inputs[node % count]]
        )

    def weigh(self, dropped: Sequence[bool]) -> Weight:
        """Return the peak and the work of a replay."""
        count, nbytes = self.count, self.nbytes
        nodes = self.nodes(dropped)
        root = list(range(2 * count))
        last = [0] * (2 * count)
        for place, node in enumerate(nodes):
            base = node % count
            reads = self.reads(node, dropped)
            if self.root[base] != base:  # a view, of its first input
                root[node] = root[reads[0]]
            last[node] = place
            for value in reads:
                last[root[value]] = place
        dying: list[list[int]] = [[] for _ in nodes]
        for node in nodes:
            dying[last[node]].append(node % count)
        alive = peak = 0
        for node, dead in zip(nodes, dying, strict=True):
            alive += nbytes[node % count]
            peak = max(peak, alive)
            for base in dead:
                alive -= nbytes[base]
        return Weight(
            peak,
            sum(self.cost[node % count] for node in nodes),
            sum(self.flops[node % count] for node in nodes),
        )


def default_cost(variable: Variable, flops: int, moved: int) -> float:
    """Return the operations and the bytes moved, in the time of an operation."""
    return flops + _FLOPS_A_BYTE * moved


def _nbytes(type_: Type) -> int:
    """Return the bytes of a type without named sizes."""
    if isinstance(type_, TupleType):
        return sum(map(_nbytes, type_.components))
    shape: tuple[int, ...] = type_.shape  # type: ignore[assignment]
    return prod(shape) * type_.dtype.itemsize
