"""to_dot: the drawing of a graph as text in the DOT language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from graphgpu.draw.book import Book
from graphgpu.draw.compact import Compact
from graphgpu.draw.drawing import Drawing, Part
from graphgpu.draw.options import Options
from graphgpu.errors import GraphError
from graphgpu.executor import Program
from graphgpu.graph import Graph, Variable

__all__ = ["to_dot"]

Drawable: TypeAlias = (
    Graph | Program | Variable | Sequence[Variable] | Mapping[str, Variable]
)

_STYLES: dict[str, type[Drawing]] = {"book": Book, "compact": Compact}


def to_dot(graph: Drawable, **options: Any) -> str:
    """Return the drawing of a graph in the DOT language of Graphviz."""
    checked = Options(**options)
    outputs, updates = _results(graph)
    updates |= checked.updates
    whole = Graph([*outputs, *updates.values()])
    part = Part(whole.variables, outputs, updates)
    drawing = _STYLES[checked.style](checked, part)
    drawing.draw()
    return drawing.finish()


def _results(
    graph: Drawable,
) -> tuple[dict[Variable, str | None], dict[Variable, Variable]]:
    """Return the outputs with names they may have, and the updates of a program."""
    if isinstance(graph, Program):
        outputs = {} if graph.outputs is None else _results(graph.outputs)[0]
        return outputs, dict(graph.updates)
    if isinstance(graph, Mapping):
        return {v: str(name) for name, v in graph.items()}, {}
    if isinstance(graph, Graph):
        graph = graph.outputs
    listed = [graph] if isinstance(graph, Variable) else list(graph)
    return dict.fromkeys(listed), {}
