"""to_dot: the drawing of a graph as text in the DOT language."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from graphgpu.draw.book import Book
from graphgpu.draw.compact import Compact
from graphgpu.draw.drawing import Drawing, Part
from graphgpu.draw.options import Options
from graphgpu.errors import GraphError
from graphgpu.executor import Program
from graphgpu.graph import Graph, Stored, Variable
from graphgpu.ops.markers import WithStateUpdate
from graphgpu.profile import Profile

__all__ = ["Drawable", "to_dot"]

Drawable: TypeAlias = (
    Graph | Program | Variable | Sequence[Variable] | Mapping[str, Variable]
)

_STYLES: dict[str, type[Drawing]] = {"book": Book, "compact": Compact}


def to_dot(
    graph: Drawable,
    *,
    style: str = "book",
    names: str = "all",
    show_types: bool | None = None,
    clusters: bool = True,
    phases: bool = True,
    legend: bool = True,
    bookkeeping: bool | None = None,
    depth: int | None = None,
    max_nodes: int = 1000,
    rankdir: str | None = None,
    title: str | None = None,
    updates: Mapping[Stored, Variable] | None = None,
    heat: Mapping[Variable, float] | Profile | None = None,
) -> str:
    """Return the drawing of a graph in the DOT language of Graphviz.

    In the book's style the variables are the nodes, as in *Deep Learning*, figure
    6.8: the edges from an operation's operands meet in a point, from which an
    arrow with the operation's name leads to the result; scalars are set in
    italics, vectors and matrices in bold.  In the compact style the operations
    are the nodes: numbers are written into them, reshapes and the like beside the
    edges.  A type without a dtype is of float32.  Where the order of operands
    matters, 0, 1, ... stand at the arrows.

    Parameters
    ----------
    graph
        A graph, a program (its updates are drawn too), a variable, a list of
        variables, or a dict that names them.
    style : {"book", "compact"}
        What the nodes are.
    names : {"all", "needed"}
        Whether, in the book's style, variables without a name are called
        u⁽¹⁾, u⁽²⁾, ... (g in the gradient, v in updates) or not at all; those in
        the bodies of loops and choices come after the others.
    show_types : bool, optional
        Whether shapes and dtypes are written; by default in the compact style.
    clusters : bool
        Whether scopes are drawn as boxes around what is in them.
    phases : bool
        Whether forward, gradient and update parts are told apart.
    legend : bool
        Whether a drawing of several parts says which is which.
    bookkeeping : bool, optional
        Whether reshapes, transposes, broadcasts and casts have nodes; by default
        in the book's style.
    depth : int, optional
        How many levels of scopes are opened; those below are one node each.  By
        default all, or as many as stay below ``max_nodes``.
    max_nodes : int
        How many variables are drawn at most.
    rankdir : {"BT", "TB", "LR", "RL"}, optional
        Where edges point; by default up in the book's style, else down.
    title : str, optional
        What is written below the drawing.
    updates : dict, optional
        Parameters and state with their new values: they are drawn as well.
    heat : Profile or dict, optional
        Fills what is computed with the colour of its share of the time: that of a
        profile, or numbers from 0 to 1.

    Raises
    ------
    GraphError
        ``graph`` is something else; an option is wrong, or the graph is too large.

    Examples
    --------
    >>> import graphgpu as gg
    >>> a, b = gg.placeholder("a", ()), gg.placeholder("b", ())
    >>> e = (a + b) * (b + 1)
    >>> "v2_joint -> v2 [label=<&#160;+>" in to_dot(e)
    True
    """
    options = Options(
        style=style,
        names=names,
        show_types=show_types,
        clusters=clusters,
        phases=phases,
        legend=legend,
        bookkeeping=bookkeeping,
        depth=depth,
        max_nodes=max_nodes,
        rankdir=rankdir,
        title=title,
        heat=heat.heat if isinstance(heat, Profile) else heat,
    )
    outputs, new = _results(graph)
    new |= updates or {}
    whole = Graph([*outputs, *new.values()])
    pairs = list(new.items())
    if not options.shows_bookkeeping:
        pairs += _marked_updates(whole, new)
    drawing = _STYLES[style](options, Part(whole.variables, outputs, pairs))
    drawing.draw()
    return drawing.finish()


def _results(
    graph: Drawable,
) -> tuple[dict[Variable, str | None], dict[Stored, Variable]]:
    """Return the outputs with names they may have, and the updates of a program."""
    if isinstance(graph, Program):
        outputs = {} if graph.outputs is None else _results(graph.outputs)[0]
        return outputs, dict(graph.updates)
    if isinstance(graph, Mapping):
        _require_variables(list(graph.values()), graph)
        return {v: str(name) for name, v in graph.items()}, {}
    if isinstance(graph, Graph):
        graph = graph.outputs
    several = isinstance(graph, Iterable) and not isinstance(graph, Variable)
    listed: list[Any] = list(graph) if several else [graph]
    _require_variables(listed, graph)
    return dict.fromkeys(listed), {}


def _require_variables(listed: Sequence[object], given: object) -> None:
    """Require what is to be drawn to be variables."""
    if not all(isinstance(v, Variable) for v in listed):
        raise GraphError(
            "expected a graph, a program, a variable, a list of variables, or a dict "
            f"that names them; got {given!r}; of a layer or a function, draw what it "
            "returns for a placeholder"
        )


def _marked_updates(
    graph: Graph, given: Container[Stored]
) -> list[tuple[Stored, Variable]]:
    """Return the updates of state that the graph asks for, beside those given."""
    found = []
    for variable in graph.variables:
        if isinstance(variable.operation, WithStateUpdate):
            _, state, value = variable.inputs
            if isinstance(state, Stored) and state not in given:
                found.append((state, value))
    return found
