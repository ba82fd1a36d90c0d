"""What something takes in one run of a program: time, operations, bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import PurePath
from typing import Any, TypeAlias, TypeVar, final

from graphgpu.graph import Variable
from graphgpu.nodes import Node
from graphgpu.ops.shape import BroadcastTo
from graphgpu.types import TensorType, TupleType, Type

__all__ = [
    "Cost",
    "NodeCost",
    "Part",
    "as_dict",
    "bytes_moved",
    "created_at",
    "dearest_first",
    "flops_of",
    "kind_of",
    "name_of",
    "owner_of",
    "shares_of",
]

Part: TypeAlias = tuple[Node, float]
"""A node and its share of what several take together."""
C = TypeVar("C", bound="Cost")


@dataclass(frozen=True)
class Cost:
    """What something takes in one run: seconds, and the share of the whole run.

    ``nbytes`` are those of what its operations read and write, each alone: what is
    computed together stays in cache, and so can pass memory's bandwidth.
    """

    name: str
    seconds: float
    share: float
    flops: int = 0
    nbytes: int = 0

    @property
    def gflops(self) -> float:
        """The floating-point operations done a second, in 10⁹."""
        return self.flops / self.seconds / 1e9 if self.seconds else 0.0

    @property
    def gbytes(self) -> float:
        """The bytes moved a second, in 10⁹."""
        return self.nbytes / self.seconds / 1e9 if self.seconds else 0.0


@final
@dataclass(frozen=True)
class NodeCost(Cost):
    """What a node takes, or several that are computed by the same statements.

    ``variables`` are those of the rewritten graph; ``evaluations`` says in how many
    loops the node is computed.
    """

    operation: str = ""
    scope: str = ""
    phase: str = "forward"
    created: str = ""
    functions: tuple[str, ...] = ()
    evaluations: int = 1
    variables: tuple[Variable, ...] = ()


def dearest_first(costs: Sequence[C]) -> tuple[C, ...]:
    """Return costs by time, then by name."""
    return tuple(sorted(costs, key=lambda c: (-c.seconds, c.name)))


def as_dict(cost: Cost) -> dict[str, Any]:
    """Return a cost as JSON has it."""
    found = {k: v for k, v in vars(cost).items() if k != "variables"}
    return {**found, "gflops": cost.gflops, "gbytes": cost.gbytes}


def kind_of(node: Node) -> str:
    """Return the name of a node's operation."""
    return node.operation.kind() if node.operation else "leaf"


def name_of(done: Sequence[Node]) -> str:
    """Return what nodes that are computed together are called."""
    first = done[0].variable.path
    if len(done) == 1:
        return first
    return f"{first} and {len(done) - 1} more"


def created_at(variable: Variable) -> str:
    """Return where a variable was created: ``train.py:41``."""
    return f"{PurePath(variable.trace.filename).name}:{variable.trace.line}"


def flops_of(node: Node) -> int:
    """Return the floating-point operations of one evaluation."""
    types = [n.type for n in node.inputs]
    known = [t for t in types if isinstance(t, TensorType)]
    if node.operation is None or len(known) < len(types):
        return 0
    return int(node.operation.flops(known, node.type))  # type: ignore[arg-type]


def bytes_moved(node: Node) -> int:
    """Return the bytes that one evaluation reads and writes."""
    reads = dict.fromkeys(_read(n) for n in node.inputs)
    return sum(_nbytes(n.type) for n in (node, *reads))


def _read(node: Node) -> Node:
    """Return what is read where a value is repeated."""
    while isinstance(node.operation, BroadcastTo):
        node = node.inputs[0]
    return node


def _nbytes(type_: Type) -> int:
    if isinstance(type_, TupleType):
        return sum(map(_nbytes, type_.components))
    shape: tuple[int, ...] = type_.shape  # type: ignore[assignment]
    return prod(shape) * type_.dtype.itemsize


def shares_of(node: Node, work: Sequence[tuple[Node, int, int]]) -> list[Part]:
    """Return what statements compute, with shares by FLOPs, or by bytes."""
    for column in ([w[1] for w in work], [w[2] for w in work]):
        if sum(column):
            shares = [part / sum(column) for part in column]
            return [(w[0], share) for w, share in zip(work, shares, strict=True)]
    return [(node, 1.0)]


def owner_of(node: Node, owners: Mapping[Variable, Variable]) -> Variable:
    """Return the variable as written that a node is, or that it is computed for."""
    seen = {node}
    queue = [node]
    for near in queue:
        if near.variable in owners:
            return owners[near.variable]
        fresh = [r for r in near.readers if r not in seen]
        seen.update(fresh)
        queue += fresh
    return node.variable
