"""Loops whose iterations compute row by row: each lane can run its own on a share.

The rows of a recurrent layer's batch meet nowhere but in sums over it, which are
taken out of the loop where they can be.  A body is cut as a graph is cut into
blocks of images (:mod:`graphgpu.backends.numpy.slicing`): everything made of a carry
must depend on the same rows of what it reads that is made of carries.  Whatever else
is read, all of it is there; what is made of that alone every lane makes for itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, final

from graphgpu.backends.numpy.slicing import Relation, for_block, relation
from graphgpu.backends.numpy.storage import Block
from graphgpu.control.loop import Scan
from graphgpu.graph import RUN_KEY, Operation, Subgraph, Variable
from graphgpu.nodes import Node
from graphgpu.ops.slicing import Slice, Unslice
from graphgpu.types import Guards, TensorType, TupleType, Type

__all__ = ["Rows", "nodes_of", "rows_of"]

Values = dict[Variable, Node]
_VIEWS = 2**18
"""The views of iterations that all lanes may take: of each there is an object."""
_CALL = 1.5e-6
"""Seconds that an operation on a few numbers takes."""
_ELEMENT = 5e-10
"""Seconds of an operation for each element."""
_LEAST = 2e-3
"""Seconds of work from which lanes share a loop."""


@final
@dataclass(frozen=True, eq=False)
class Rows:
    """How the body of a loop is cut: its nodes, and which are of a lane's rows."""

    count: int
    nodes: list[Node]
    values: Values
    cut: dict[Node, Relation]
    """What is computed for some rows, and what of its inputs that reads."""
    given: set[Node] = field(default_factory=set)
    """The inputs of which no more than these rows are read."""

    def share(self, block: Block) -> tuple[list[Node], Values]:
        """Return the nodes of the body for a share of the rows."""
        return _Share(self, block).made()


def nodes_of(body: Subgraph) -> tuple[list[Node], Values]:
    """Return the nodes of a body, in order."""
    operations = {v: operation for v, operation, _ in body.steps}
    nodes: list[Node] = []
    values: Values = {}
    for variable in dict.fromkeys([*body.inputs, *body.variables]):
        operation = operations.get(variable)
        inputs = [values[v] for v in variable.inputs] if operation else []
        type_ = variable.type.at(body.sizes)
        node = _node(nodes, variable, operation, inputs, type_)
        values[variable] = node
    return nodes, values


def rows_of(scan: Scan, lanes: int) -> Rows | None:
    """Return how a loop is cut into rows; None if it cannot be, or would not pay."""
    if not scan.carries:
        return None
    nodes, values = nodes_of(scan.body)
    carries = [values[v] for v in scan.body.inputs[: scan.carries]]
    shape = carries[0].shape
    count = shape[0] if shape else 0
    if count < lanes or not _pays(scan, nodes, lanes):
        return None
    if any(n.shape[:1] != (count,) for n in carries):
        return None
    cut = _cut(scan, nodes, values, count)
    if cut is None:
        return None
    given = _given(scan, nodes, values, cut, count)
    if given is None:
        return None
    rows = Rows(count, nodes, values, cut, {*carries, *given})
    largest = Block(0, 0, 0, -(-count // lanes))
    return rows if _is_sound(rows.share(largest)[0]) else None


def _pays(scan: Scan, nodes: Sequence[Node], lanes: int) -> bool:
    """Whether most of the time goes by with elements, not with calls."""
    length: Any = scan.length
    computed = [n for n in nodes if n.operation is not None]
    if any(isinstance(n.operation, Scan) for n in computed):
        return False
    work = 0.0
    for node in computed:
        assert node.operation is not None
        shapes: Any = [t.shape for t in node.components]
        work += _ELEMENT * sum(map(prod, shapes))
        types: Any = [n.type for n in node.inputs]
        if all(isinstance(t, TensorType) for t in types):
            flops = node.operation.flops(types, node.type)
            work += flops * 2e-11 if isinstance(flops, int) else 0.0
    calls = _CALL * len(computed)
    few = length * len(computed) * 2 * lanes <= _VIEWS
    return few and work >= calls and length * (work + calls) >= _LEAST


def _cut(
    scan: Scan, nodes: Sequence[Node], values: Values, count: int
) -> dict[Node, Relation] | None:
    """Return what is computed for some rows; None if something mixes them."""
    inputs = scan.body.inputs
    carries = {values[v] for v in inputs[: scan.carries]}
    elements = {values[v] for v in inputs[scan.carries :][: scan.sequences]}
    cut: dict[Node, Relation] = {}
    for node in nodes:
        if node.operation is None:
            continue
        found = relation(node, count)
        sliced = found.sliced if found else (False,) * len(node.inputs)
        pairs = list(zip(node.inputs, sliced, strict=True))
        if any((n in cut or n in carries) and not s for n, s in pairs):
            return None
        own = any(s and (n in cut or n in carries or n in elements) for n, s in pairs)
        if not own or found is None:
            continue
        if found.total:
            if any(n in cut or n in carries for n in node.inputs):
                return None
            continue
        cut[node] = found
    return cut


def _given(
    scan: Scan,
    nodes: Sequence[Node],
    values: Values,
    cut: dict[Node, Relation],
    count: int,
) -> set[Node] | None:
    """Return the inputs of which rows are read alone; None if results are whole."""
    inputs = [values[v] for v in scan.body.inputs]
    elements = inputs[scan.carries :][: scan.sequences]
    of_rows, whole = set[Node](), set[Node]()
    for node in nodes:
        found = cut.get(node)
        for place, parent in enumerate(node.inputs):
            some = found is not None and found.sliced[place]
            (of_rows if some else whole).add(parent)
    for place, output in enumerate(scan.body.outputs):
        node = values[output]
        if node in cut or node in inputs[: scan.carries]:
            continue
        if place < scan.carries or node not in elements or node.shape[:1] != (count,):
            return None
        of_rows.add(node)
    read = {n for n in inputs if n in of_rows and n not in whole}
    if any(
        values[v] not in {*cut, *read, *inputs[: scan.carries]}
        for v in scan.body.outputs
    ):
        return None
    return {n for n in read if n.variable is not RUN_KEY}


def _is_sound(nodes: Sequence[Node]) -> bool:
    """Whether operations on a share compute what is expected of them."""
    for node in nodes:
        if node.operation is None or isinstance(node.operation, Slice):
            continue
        types: Any = [n.type for n in node.inputs]
        try:
            found = node.operation.infer(Guards(), *types)
        except Exception:
            return False
        if found != node.type:
            return False
    return True


@final
class _Share:
    """The nodes of a body for some rows, in the making."""

    def __init__(self, rows: Rows, block: Block) -> None:
        self._rows = rows
        self._block = block
        self._nodes: list[Node] = []
        self._found: dict[Node, Node] = {}
        self._pieces: dict[Node, Node] = {}

    def made(self) -> tuple[list[Node], Values]:
        """Return all nodes, and where those of variables are."""
        rows, size = self._rows, self._block.size
        for node in rows.nodes:
            relation = rows.cut.get(node)
            operation, type_ = node.operation, node.type
            inputs = [self._found[n] for n in node.inputs]
            if relation is not None:
                pairs = zip(node.inputs, relation.sliced, strict=True)
                inputs = [self._read(n, s) for n, s in pairs]
                operation = _operation(node, rows.count, size)
            if relation is not None or node in rows.given:
                type_ = _sized(type_, size)
            self._found[node] = _node(
                self._nodes, node.variable, operation, inputs, type_
            )
        return self._nodes, {v: self._found[n] for v, n in rows.values.items()}

    def _read(self, node: Node, sliced: bool) -> Node:
        """Return an operand: where all of it is there, its rows."""
        found = self._found[node]
        if not sliced or node in self._rows.cut or node in self._rows.given:
            return found
        if node not in self._pieces:
            start, size = self._block.start, self._block.size
            type_ = _sized(node.type, size)
            assert isinstance(type_, TensorType)
            ndim = type_.ndim
            starts = (start, *[0] * (ndim - 1))
            operation = Slice(starts, type_.shape, (1,) * ndim)
            self._pieces[node] = _node(
                self._nodes, node.variable, operation, [found], type_
            )
        return self._pieces[node]


def _node(
    nodes: list[Node],
    variable: Variable,
    operation: Operation | None,
    inputs: Sequence[Node],
    type_: Type,
) -> Node:
    """Add a node."""
    node = Node(len(nodes), variable, operation, tuple(inputs), type_)
    for parent in dict.fromkeys(inputs):
        parent.readers.append(node)
    nodes.append(node)
    return node


def _operation(node: Node, count: int, size: int) -> Operation:
    operation = for_block(node, count, size)
    if isinstance(operation, Slice | Unslice) and operation.lengths[0] == count:
        return replace(operation, lengths=(size, *operation.lengths[1:]))
    return operation


def _sized(type_: Type, size: int) -> Type:
    if isinstance(type_, TupleType):
        return TupleType(tuple(_resized(t, size) for t in type_.components))
    assert isinstance(type_, TensorType)
    return _resized(type_, size)


def _resized(type_: TensorType, size: int) -> TensorType:
    return TensorType(type_.dtype, (size, *type_.shape[1:]))
