"""Closed subgraphs from Python functions: what control flow is made of.

The function is called once, with a placeholder for each of its arguments.  What it
reads from outside becomes further inputs of the subgraph, so that the node which
owns it has these variables as inputs and is differentiated with respect to them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeAlias

from graphgpu.errors import DTypeError, GraphError
from graphgpu.graph import (
    RUN_KEY,
    Constant,
    Operand,
    Subgraph,
    Variable,
    ancestors,
    as_variable,
    located,
    placeholder,
    substitute,
)
from graphgpu.ops.markers import WithStateUpdate
from graphgpu.ops.tuples import item
from graphgpu.types import Guards, TensorType, TupleType

__all__ = [
    "Bindings",
    "CreatedBefore",
    "Function",
    "called",
    "close",
    "components",
    "listed",
    "match_type",
    "require_arrays",
    "subgraph",
]

Function: TypeAlias = "Callable[..., Variable | Sequence[Variable]]"
Bindings: TypeAlias = "dict[Variable, Variable]"
"""The inputs of a subgraph, and the variables outside that they stand for."""


class CreatedBefore:
    """The variables that were there when this was made."""

    def __init__(self) -> None:
        self._serial = placeholder("now", (), "bool").serial

    def __contains__(self, variable: object) -> bool:
        return isinstance(variable, Variable) and variable.serial < self._serial


def called(
    function: Any, arguments: Sequence[Any], name: str, what: str, takes: str
) -> Any:
    """Return what a function of the user's returns.

    ``name`` is who calls it, ``what`` the argument that it was given as, and
    ``takes`` says what its arguments are.

    Raises
    ------
    GraphError
        It is no function, or not one of so many arguments.
    """
    if not callable(function):
        error = GraphError(
            f"expected {what} to be a function; got {function!r}; write lambda and the "
            "names of its arguments in front of what it computes"
        )
        raise located(error, name)
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some that are written in C have none
        return function(*arguments)
    try:
        signature.bind(*arguments)
    except TypeError:
        many = f"{len(arguments)} argument{'s' * (len(arguments) != 1)}"
        error = GraphError(
            f"expected {what} to take {many}, {takes}; got one that takes {signature}"
        )
        raise located(error, name) from None
    return function(*arguments)


def close(
    own: Collection[Variable],
    outputs: Sequence[Variable],
    outside: Any,
    name: str,
    *,
    hoist: bool = True,
) -> tuple[Bindings, list[Variable]]:
    """Return the outputs as a closed graph, and what its new inputs stand for.

    ``own`` are the inputs that there are, ``outside`` has the variables that were
    not made by the function, and ``name`` is who asks.  A new input stands for
    each variable from outside that is read inside; with ``hoist`` what depends on
    no input of its own is outside too, unless it is a random node, which varies.

    Raises
    ------
    GraphError
        A state is updated inside.
    """
    inside: set[Variable] = set(own)
    border: dict[Variable, None] = {}
    for variable in ancestors(outputs, stop=outside):
        if variable in outside or variable in inside:
            continue
        depends = RUN_KEY in variable.inputs or not inside.isdisjoint(variable.inputs)
        if not depends and (hoist or variable.operation is None):
            continue
        if isinstance(variable.operation, WithStateUpdate):
            error = GraphError(
                f"the function updates a state, which {name} cannot do; return the new "
                "value, and update the state with it outside"
            )
            raise located(error, name, (variable,))
        inside.add(variable)
        border.update(dict.fromkeys(variable.inputs))
    border.update(dict.fromkeys(outputs))
    captured = [v for v in border if v not in inside and not _is_constant(v)]
    shared: Bindings = {
        placeholder(f"shared{place}", v.shape, v.dtype): v
        for place, v in enumerate(captured)
    }
    return shared, substitute(outputs, {v: p for p, v in shared.items()})


def subgraph(
    inputs: Mapping[Variable, Variable], outputs: Sequence[Variable]
) -> tuple[Subgraph, list[Variable]]:
    """Return the closed subgraph, and the variables that its inputs stand for.

    If there are random nodes inside, the run key is one more input, the last one.
    """
    bound = {p: v for p, v in inputs.items() if p is not RUN_KEY}
    if RUN_KEY in ancestors(outputs, stop=bound):
        bound[RUN_KEY] = RUN_KEY
    return Subgraph(list(bound), outputs), list(bound.values())


def components(result: Variable) -> tuple[Variable, ...]:
    """Return the components of a tuple variable; an array alone."""
    if not isinstance(result.type, TupleType):
        return (result,)
    return tuple(item(result, j) for j in range(len(result.type.components)))


def listed(
    operands: Operand | Sequence[Operand], name: str, what: str
) -> tuple[bool, list[Variable]]:
    """Return whether there is one operand, no tuple of them; and all, as variables.

    A list is a tuple if a variable is in it, and else an array.  ``what`` is the
    argument of ``name`` that they were given as.

    Raises
    ------
    DTypeError
        One is a dict or a tuple of variables, or no numbers.
    """
    several = isinstance(operands, tuple) or (
        isinstance(operands, list) and any(isinstance(v, Variable) for v in operands)
    )
    parts: Any = operands if several else [operands]
    try:
        for part in parts:
            if isinstance(part, Mapping) or _has_variable(part):
                kind = type(part).__name__
                within = f"a {kind} in a tuple" if several else f"a {kind}"
                raise DTypeError(
                    f"expected {what} to be a variable, numbers, or one tuple of "
                    f"these; got {within}; write (a, b, ...), a tuple without names"
                )
        return not several, [as_variable(part) for part in parts]
    except GraphError as error:
        raise located(error, name) from None


def require_arrays(outputs: Any, name: str, what: str = "the function") -> None:
    """Require variables, each an array, or a tuple or list of at least one."""
    given = outputs if isinstance(outputs, list | tuple) else [outputs]
    try:
        if not given:
            raise GraphError(f"expected {what} to return at least one variable")
        for output in given:
            if not isinstance(output, Variable):
                raise DTypeError(
                    f"expected {what} to return a variable or a tuple of "
                    f"variables; got {output!r}"
                )
            if isinstance(output.type, TupleType):
                raise DTypeError("expected arrays; read a tuple's parts with gg.item")
    except GraphError as error:
        raise located(error, name) from None


def match_type(guards: Guards, given: TensorType, want: TensorType, what: str) -> None:
    """Require the type that a subgraph was built for."""
    if given.dtype != want.dtype or given.ndim != want.ndim:
        raise DTypeError(f"expected {want} as {what} of the body; got {given}")
    for axis, (left, right) in enumerate(zip(given.shape, want.shape, strict=True)):
        guards.equal(left, right, f"axis {axis} of {what}, that of the body")


def _has_variable(part: Any) -> bool:
    """Whether there is a variable in a tuple or list, or in one in it."""
    if not isinstance(part, tuple | list):
        return False
    return any(isinstance(v, Variable) or _has_variable(v) for v in part)


def _is_constant(variable: Variable) -> bool:
    """Whether a closed graph can contain it: numbers, or what is made from none."""
    if variable is RUN_KEY or isinstance(variable, Constant):
        return True
    return variable.operation is not None and not variable.inputs
