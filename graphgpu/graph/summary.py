"""A model's layers: shapes, parameters, floating-point operations, windows."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import TypeAlias, final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from graphgpu.dims import Size, evaluate_size, maximum_size, symbols_of
from graphgpu.errors import GraphError
from graphgpu.graph.graph import Graph, install_views
from graphgpu.graph.leaves import Parameter, Placeholder
from graphgpu.graph.node import Variable
from graphgpu.types import TensorType, Type

__all__ = ["Row", "Summary", "summarize"]

_LONGEST = 200
"""How many rows a table shows."""

Field: TypeAlias = tuple[tuple[Size, Size], ...]
"""For each spatial axis, the receptive field and the jump from one to the next."""


@final
@dataclass(slots=True)
class Row:
    """What one scope computes in the forward part of a graph.

    ``operation`` is the one that takes most FLOPs; ``output`` the type of what
    was computed last; ``receptive_field`` how many of the input's pixels along
    each spatial axis that depends on, and ``jump`` how many lie between the
    fields of two neighbours, None where that has no meaning.  Parameters are
    counted in the layer that reads them first.  What lies in no scope has the
    name "" and a row for each weight.
    """

    name: str
    operation: str = ""
    output: Type | None = None
    parameters: int = 0
    flops: Size = 0
    receptive_field: tuple[Size, ...] | None = None
    jump: tuple[Size, ...] | None = None
    _work: Counter[tuple[str, Size]] = field(default_factory=Counter, repr=False)


@final
@dataclass(frozen=True, slots=True)
class Summary:
    """The layers of a graph in the order as written, and totals; prints as a table.

    ``gradient`` and ``update`` are the FLOPs of the backward pass and of the
    updates, where the graph has them.
    """

    layers: tuple[Row, ...]
    variables: int
    parameters: int
    flops: Size
    gradient: Size
    update: Size

    def __str__(self) -> str:
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for heading in ("layer", "operation", "output"):
            table.add_column(heading, overflow="fold")
        for heading in ("parameters", "FLOPs", "receptive field"):
            table.add_column(heading, justify="right")
        hidden = len(self.layers) - _LONGEST
        for place, row in enumerate(self.layers):
            if hidden <= 0 or not 0 <= place - _LONGEST // 2 < hidden:
                table.add_row(*map(Text, _cells(row)))
            elif place == _LONGEST // 2:
                table.add_row(Text(f"... {hidden:,} more ..."))
        text = io.StringIO()
        Console(file=text, width=120).print(table)
        lines = [line.rstrip() for line in text.getvalue().splitlines()]
        totals = (
            f"{_counted(self.variables, 'variable')}, "
            f"{_counted(self.parameters, 'parameter')}, "
            f"{_number(self.flops)} FLOPs forward"
        )
        for name, flops in (("gradient", self.gradient), ("update", self.update)):
            if flops != 0:
                totals += f", {_number(flops)} in the {name}"
        return "\n".join([*(line for line in lines if line), totals])


def _cells(row: Row) -> tuple[str, ...]:
    seen = row.receptive_field
    return (
        row.name or "(no scope)",
        row.operation,
        str(row.output),
        f"{row.parameters:,}",
        _number(row.flops),
        " x ".join(map(str, seen)) if seen else "",
    )


def summarize(graph: Graph, depth: int | None = None, /, **sizes: int) -> Summary:
    """Return the summary of a graph; ``sizes`` gives named sizes their values.

    A layer is a scope; with a ``depth``, scopes nested deeper are part of the
    scope that they are in.  The receptive field of a window of size k and
    dilation d is r + d (k - 1) j, where r and j are the field and the jump of its
    input; its own jump is j times the stride (Araujo, Norris & Sim, "Computing
    receptive fields of convolutional neural networks", Distill, 2019).

    >>> import graphgpu as gg
    >>> x = gg.placeholder("x", ("batch", 1, 28, 28))
    >>> y = gg.nn.Conv2d(1, 8, 5, stride=2, name="conv")(x)
    >>> (row,) = gg.Graph(y).summary(batch=1).layers
    >>> row.name, row.parameters, row.receptive_field, row.jump
    ('conv', 208, (5, 5), (2, 2))

    Raises
    ------
    GraphError
        The depth is below 1, or the graph has no size of a name that is given a
        value.
    """
    if depth is not None and (not isinstance(depth, int) or depth < 1):
        raise GraphError(f"depth must be an int >= 1 or None; got {depth!r}")
    if sizes:
        _require_known(graph, sizes)
    layers = _Layers(depth)
    fields: dict[Variable, Field] = {}
    others: dict[str, Counter[Size]] = {"gradient": Counter(), "update": Counter()}
    for variable in graph.variables:
        if isinstance(variable, Placeholder) and variable.ndim > 2:
            fields[variable] = ((1, 1),) * (variable.ndim - 2)
        if variable.operation is None:
            continue
        if variable.phase != "forward":
            others[variable.phase][_flops(variable)] += 1
            continue
        _see(variable, fields)
        layers.add(variable, fields.get(variable))
    for row in layers.rows:
        _finish(row, sizes)
    return Summary(
        tuple(layers.rows),
        len(graph),
        sum(row.parameters for row in layers.rows),
        _sum(row.flops for row in layers.rows),
        _total(others["gradient"].items(), sizes),
        _total(others["update"].items(), sizes),
    )


class _Layers:
    """The rows, and which of them each scope adds to."""

    def __init__(self, depth: int | None) -> None:
        self.rows: list[Row] = []
        self._depth = depth
        self._of_scope: dict[str, Row] = {}
        self._counted: set[Variable] = set()

    def add(self, variable: Variable, seen: Field | None) -> None:
        """Add what computes a variable to the row of its scope."""
        assert variable.operation is not None
        new = {
            v
            for v in variable.inputs
            if isinstance(v, Parameter) and v not in self._counted
        }
        row = self._row(variable.context.path, any(v.ndim > 1 for v in new))
        self._counted.update(new)
        row.parameters += sum(v.storage.array.size for v in new)
        row._work[variable.operation.kind(), _flops(variable)] += 1
        row.output = variable.type
        row.receptive_field = tuple(r for r, _ in seen) if seen else None
        row.jump = tuple(j for _, j in seen) if seen else None

    def _row(self, scope: str, has_weight: bool) -> Row:
        """Return the row of a scope; outside of scopes, a weight begins a new one.

        So does the first operation after a layer, that the order be as written.
        """
        name = scope
        if self._depth is not None:
            name = "/".join(scope.split("/", self._depth)[: self._depth])
        row = self._of_scope.get(name)
        if row is None or (not name and (has_weight or row is not self.rows[-1])):
            row = self._of_scope[name] = Row(name)
            self.rows.append(row)
        return row


def _require_known(graph: Graph, sizes: Mapping[str, int]) -> None:
    """Refuse a value for a size that the graph does not have."""
    known = frozenset().union(*(v.type.symbols() for v in graph.variables))
    unknown = sorted(set(sizes) - known)
    if unknown:
        names = ", ".join(sorted(known)) or "none"
        raise GraphError(
            f"the graph has no size named {unknown[0]!r}; its named sizes are: {names}"
        )


def _flops(variable: Variable) -> Size:
    assert variable.operation is not None
    inputs = [v.type for v in variable.inputs]
    known = [t for t in inputs if isinstance(t, TensorType)]
    if len(known) < len(inputs):
        return 0
    return variable.operation.flops(known, variable.type)


def _see(variable: Variable, fields: dict[Variable, Field]) -> None:
    """Set the receptive field of a variable from those of its inputs."""
    arriving = [v for v in variable.inputs if v in fields]
    if not arriving or not isinstance(variable.type, TensorType):
        return
    operation, first = variable.operation, arriving[0]
    assert operation is not None
    window = None
    if first is variable.inputs[0]:
        window = operation.window([v.tensor for v in variable.inputs])
    if window is not None:
        fields[variable] = tuple(
            (r + d * (k - 1) * j, j * s)
            for (r, j), k, d, s in zip(
                fields[first],
                window.kernel,
                window.dilation,
                window.stride,
                strict=True,
            )
        )
    elif all(v.shape[2:] == variable.shape[2:] for v in arriving):
        fields[variable] = reduce(_larger, (fields[v] for v in arriving))


def _larger(left: Field, right: Field) -> Field:
    """Return the field of what sees both, axis by axis."""
    if left == right:
        return left
    return tuple(
        (maximum_size(a, b), maximum_size(i, j))
        for (a, i), (b, j) in zip(left, right, strict=True)
    )


def _finish(layer: Row, sizes: Mapping[str, int]) -> None:
    """Total a layer's work, name what does most of it, and fill in the sizes."""
    if layer.output is not None and layer.output.symbols() <= set(sizes):
        layer.output = layer.output.at(sizes)
    if layer.receptive_field is not None:
        layer.receptive_field = tuple(_at(r, sizes) for r in layer.receptive_field)
    if layer.jump is not None:
        layer.jump = tuple(_at(j, sizes) for j in layer.jump)
    layer.flops = _total(
        ((flops, count) for (_, flops), count in layer._work.items()), sizes
    )
    by_kind: Counter[str] = Counter()
    for (kind, flops), count in layer._work.items():
        by_kind[kind] += _roughly(flops) * count
    layer.operation = by_kind.most_common(1)[0][0]


def _total(entries: Iterable[tuple[Size, int]], sizes: Mapping[str, int]) -> Size:
    return _at(_sum(flops * count for flops, count in entries), sizes)


def _at(size: Size, sizes: Mapping[str, int]) -> Size:
    """Return a size with the values given, if these are all that it needs."""
    return evaluate_size(size, sizes) if symbols_of(size) <= set(sizes) else size


def _sum(sizes: Iterable[Size]) -> Size:
    total: Size = 0
    for size in sizes:
        total = total + size
    return total


def _roughly(size: Size) -> int:
    """Return a size with every unknown taken as 64, to compare by."""
    return evaluate_size(size, dict.fromkeys(symbols_of(size), 64))


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _number(size: Size) -> str:
    return f"{size:,}" if isinstance(size, int) else str(size)


install_views(summary=summarize)
