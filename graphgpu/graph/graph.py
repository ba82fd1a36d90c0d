"""A graph: an immutable view of all ancestors of some outputs."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from functools import cached_property
from operator import attrgetter
from typing import Any, final

from graphgpu.errors import GraphError
from graphgpu.graph.node import Variable, describe
from graphgpu.graph.operation import Operation

__all__ = ["Graph", "ancestors", "install_views"]

_views: dict[str, Callable[..., Any]] = {}


def install_views(**functions: Callable[..., Any]) -> None:
    """Give :class:`Graph` its drawings and exports; called once, by each of them."""
    _views.update(functions)


_by_serial = attrgetter("serial")


def ancestors(
    outputs: Iterable[Variable], stop: Container[Variable] = ()
) -> list[Variable]:
    """Return the outputs and all their ancestors, in the order as written.

    An input is always created before the variable computed from it, so the
    order of creation is a topological order, and the same in every process.
    The ancestors of a variable in ``stop`` are left out.
    """
    found = set(outputs)
    stack = list(found)
    while stack:
        variable = stack.pop()
        if variable in stop:
            continue
        for parent in variable.inputs:
            if parent not in found:
                found.add(parent)
                stack.append(parent)
    return sorted(found, key=_by_serial)


@final
class Graph:
    """The graph that computes ``outputs``: the book's G.

    >>> import graphgpu as gg
    >>> x = gg.placeholder("x", ())
    >>> y = gg.exp(x) * x
    >>> graph = gg.Graph(y)
    >>> [v.path for v in graph.variables]
    ['x', 'exp', 'multiply']
    >>> graph.get_consumers(x) == (y.inputs[0], y)
    True
    """

    __slots__ = ("__dict__", "outputs", "variables")

    outputs: tuple[Variable, ...]
    variables: tuple[Variable, ...]

    def __init__(self, outputs: Variable | Sequence[Variable]) -> None:
        if isinstance(outputs, Variable):
            outputs = (outputs,)
        if not isinstance(outputs, Iterable):
            raise GraphError(f"a graph's outputs are variables; got {outputs!r}")
        listed = tuple(outputs)
        for output in listed:
            if not isinstance(output, Variable):
                raise GraphError(f"a graph's outputs are variables; got {output!r}")
        self.outputs = listed
        self.variables = tuple(ancestors(listed))

    def __len__(self) -> int:
        return len(self.variables)

    def __iter__(self) -> Iterator[Variable]:
        return iter(self.variables)

    def __contains__(self, variable: object) -> bool:
        return variable in self._consumers

    def __repr__(self) -> str:
        return f"<Graph of {len(self)} variables, outputs {list(self.outputs)}>"

    @cached_property
    def _consumers(self) -> dict[Variable, list[Variable]]:
        table: dict[Variable, list[Variable]] = {v: [] for v in self.variables}
        for variable in self.variables:
            for parent in dict.fromkeys(variable.inputs):
                table[parent].append(variable)
        return table

    def get_operation(self, variable: Variable) -> Operation | None:
        """Return the operation that computes a variable; None for a leaf."""
        self._check(variable)
        return variable.operation

    def get_inputs(self, variable: Variable) -> tuple[Variable, ...]:
        """Return the parents of a variable, operand by operand."""
        self._check(variable)
        return variable.inputs

    def get_consumers(self, variable: Variable) -> tuple[Variable, ...]:
        """Return the children of a variable, in the order as written."""
        self._check(variable)
        return tuple(self._consumers[variable])

    def _check(self, variable: Variable) -> None:
        if variable not in self._consumers:
            raise GraphError(f"{describe(variable)} is not part of this graph")

    # --- views, each made by the part of the library of that name

    def summary(self, depth: int | None = None, /, **sizes: int) -> Any:
        """Return the layers with shapes, parameters, FLOPs and receptive fields.

        It prints as a table; ``depth`` is how many levels of scopes are told
        apart, and ``sizes`` gives named sizes their values.
        """
        return _views["summary"](self, depth, **sizes)

    def to_networkx(self) -> Any:
        """Return a ``networkx.MultiDiGraph`` whose nodes are the variables."""
        return _views["to_networkx"](self)

    def to_dot(self, **options: Any) -> str:
        """Return the drawing in DOT; the options are :func:`graphgpu.draw.to_dot`'s."""
        return str(_views["to_dot"](self, **options))
