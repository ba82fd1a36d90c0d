"""Graphs for networkx: every algorithm on graphs that there is, on ours."""

from __future__ import annotations

from typing import Any

import networkx as nx

from graphgpu.graph import (
    Constant,
    Graph,
    Parameter,
    Placeholder,
    State,
    Variable,
    install_views,
)
from graphgpu.types import TensorType

__all__ = ["to_networkx"]

_LEAVES = {
    Placeholder: "placeholder",
    Constant: "constant",
    Parameter: "parameter",
    State: "state",
}


def to_networkx(graph: Graph) -> nx.MultiDiGraph[Any]:
    """Return the graph as a ``networkx.MultiDiGraph``.

    The nodes are the variables, in the order as written, with the attributes
    ``label`` (the path), ``operation`` (its text, "" for leaves), ``kind``
    ("placeholder", "constant", "parameter", "state", "leaf" or "computed"),
    ``phase``, ``dtype``, ``shape`` (ints, and text for sizes that have names)
    and ``trace`` ("file:line").  There is an edge from each operand, with its
    place as ``operand``.

    >>> import graphgpu as gg
    >>> x = gg.placeholder("x", ("batch",))
    >>> exported = gg.Graph(x * x).to_networkx()
    >>> len(exported), exported.number_of_edges(), exported.nodes[x]["shape"]
    (2, 2, ('batch',))
    """
    result: nx.MultiDiGraph[Any] = nx.MultiDiGraph()
    for variable in graph.variables:
        result.add_node(variable, **_attributes(variable))
        for operand, parent in enumerate(variable.inputs):
            result.add_edge(parent, variable, operand=operand)
    return result


def _attributes(variable: Variable) -> dict[str, Any]:
    kind = "computed" if variable.operation else _LEAVES.get(type(variable), "leaf")
    tensor = variable.type if isinstance(variable.type, TensorType) else None
    return {
        "label": variable.path,
        "operation": str(variable.operation or ""),
        "kind": kind,
        "phase": variable.phase,
        "dtype": tensor.dtype.name if tensor else "tuple",
        "shape": _plain_shape(tensor) if tensor else (),
        "trace": str(variable.trace),
    }


def _plain_shape(tensor: TensorType) -> tuple[int | str, ...]:
    return tuple(s if isinstance(s, int) else str(s) for s in tensor.shape)


install_views(to_networkx=to_networkx)
