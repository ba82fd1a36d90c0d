"""A model's layers: shapes, parameters, floating-point operations, windows."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from graphgpu.dims import Size, evaluate_size, symbols_of
from graphgpu.errors import GraphError
from graphgpu.graph.graph import Graph, install_views
from graphgpu.graph.leaves import Parameter, Placeholder
from graphgpu.graph.node import Variable
from graphgpu.types import TensorType, Type

__all__ = ["Row", "Summary", "summarize"]

Field: TypeAlias = tuple[tuple[Size, Size], ...]
"""For each spatial axis, the receptive field and the step between two of them."""


@final
@dataclass(slots=True)
class Row:
    """What one scope computes in the forward part of a graph.

    ``operation`` is the one that takes most FLOPs; ``output`` the type of what
    was computed last; ``receptive_field`` how many of the input's pixels along
    each spatial axis that depends on, None where that has no meaning.
    Parameters are counted in the layer that reads them first.
    """

    name: str
    operation: str = ""
    output: Type | None = None
    parameters: int = 0
    flops: Size = 0
    receptive_field: tuple[Size, ...] | None = None
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
        for row in self.layers:
            seen = row.receptive_field
            cells = (
                row.name or "(no scope)",
                row.operation,
                str(row.output),
                f"{row.parameters:,}",
                _number(row.flops),
                " x ".join(map(str, seen)) if seen else "",
            )
            table.add_row(*map(Text, cells))
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


def summarize(graph: Graph, **sizes: int) -> Summary:
    """Return the summary of a graph; ``sizes`` gives named sizes their values.

    The receptive field of a window of size k and dilation d is
    r + d (k - 1) j, where r and j are the field and the step of its input; its
    own step is j times the stride (Araujo, Norris & Sim, "Computing receptive
    fields of convolutional neural networks", Distill, 2019).

    >>> import graphgpu as gg
    >>> x = gg.placeholder("x", ("batch", 1, 28, 28))
    >>> y = gg.nn.Conv2d(1, 8, 5, stride=2, name="conv")(x)
    >>> (row,) = gg.Graph(y).summary(batch=1).layers
    >>> row.name, row.parameters, row.receptive_field
    ('conv', 208, (5, 5))

    Raises
    ------
    GraphError
        The graph has no size of a name that is given a value.
    """
    if sizes:
        _require_known(graph, sizes)
    layers: dict[str, Row] = {}
    fields: dict[Variable, Field] = {}
    others: dict[str, Counter[Size]] = {"gradient": Counter(), "update": Counter()}
    counted: set[Variable] = set()
    for variable in graph.variables:
        if isinstance(variable, Placeholder) and variable.ndim > 2:
            fields[variable] = ((1, 1),) * (variable.ndim - 2)
        if variable.operation is None:
            continue
        flops = _flops(variable)
        if variable.phase != "forward":
            others[variable.phase][flops] += 1
            continue
        layer = layers.get(variable.context.path)
        if layer is None:
            layer = layers[variable.context.path] = Row(variable.context.path)
        layer._work[variable.operation.kind(), flops] += 1
        layer.output = variable.type
        for parent in variable.inputs:
            if isinstance(parent, Parameter) and parent not in counted:
                counted.add(parent)
                layer.parameters += parent.storage.array.size
        _see(variable, fields)
        seen = fields.get(variable)
        layer.receptive_field = tuple(r for r, _ in seen) if seen else None
    for layer in layers.values():
        _finish(layer, sizes)
    return Summary(
        tuple(layers.values()),
        len(graph),
        sum(row.parameters for row in layers.values()),
        _sum(row.flops for row in layers.values()),
        _total(others["gradient"].items(), sizes),
        _total(others["update"].items(), sizes),
    )


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
        fields[variable] = max((fields[v] for v in arriving), key=_known_fields)


def _known_fields(seen: Field) -> tuple[int, ...]:
    return tuple(r if isinstance(r, int) else 0 for r, _ in seen)


def _finish(layer: Row, sizes: Mapping[str, int]) -> None:
    """Total a layer's work, name what does most of it, and fill in the sizes."""
    if layer.output is not None and layer.output.symbols() <= set(sizes):
        layer.output = layer.output.at(sizes)
    if layer.receptive_field is not None:
        layer.receptive_field = tuple(_at(r, sizes) for r in layer.receptive_field)
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
