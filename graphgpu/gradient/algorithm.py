"""Algorithms 6.5 and 6.6 of *Deep Learning*, section 6.5.6.

``gradients`` is Algorithm 6.5, the outermost part of back-propagation: it
prunes the graph G to G', the ancestors of the cost that are descendants of the
targets, and calls ``build_grad`` for each target.  ``build_grad`` is Algorithm
6.6: the gradient with respect to V is the sum over the consumers C of V of
``op.bprop(inputs of C, V, D)``, D being the gradient with respect to C, which is
built first and kept in ``grad_table``.  Here an operation is asked once for all
its wanted inputs, and the recursion is an explicit stack, so that a chain of a
million nodes needs no deep calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from itertools import compress
from typing import Any, Literal, TypeAlias, overload

from graphgpu.dtypes import is_floating
from graphgpu.errors import GradientError
from graphgpu.graph import (
    Context,
    Graph,
    Operand,
    Variable,
    as_variable,
    describe,
    inside,
)
from graphgpu.ops.creation import ones_like, zeros_like
from graphgpu.ops.tuples import Item
from graphgpu.types import TensorType, TupleType

__all__ = ["GradTable", "Pruned", "build_grad", "gradients", "prune"]

TupleGradient: TypeAlias = tuple[Variable | None, ...]


@dataclass(eq=False)
class GradTable:
    """The book's ``grad_table``: the gradients built so far.

    ``seeds`` are the gradients that are given: 1 for the cost.  ``gradients``
    maps a variable to the gradient of the cost with respect to it, None
    standing for one that is zero.  ``arrived`` holds what the bprops of the
    consumers have given so far, with the consumer's place for a fixed order.
    """

    seeds: Mapping[Variable, Variable]
    gradients: dict[Variable, Variable | TupleGradient | None] = field(
        default_factory=dict
    )
    arrived: dict[Variable, list[tuple[int, int, Variable]]] = field(
        default_factory=dict
    )


@dataclass(frozen=True, eq=False)
class Pruned:
    """The book's G': what lies on a differentiable path from a target to a cost.

    ``consumers`` has, for each variable of it, the consumers within it;
    ``edges`` the operands through which the gradient flows.
    """

    consumers: dict[Variable, list[Variable]]
    edges: dict[Variable, tuple[bool, ...]]


@overload
def gradients(
    cost: Variable | None,
    wrt: Sequence[Variable],
    known: Mapping[Variable, Operand] | None = None,
    constant: Iterable[Variable] = (),
    disconnected: Literal["raise", "zero"] = "raise",
) -> list[Variable]: ...


@overload
def gradients(
    cost: Variable | None,
    wrt: Sequence[Variable],
    known: Mapping[Variable, Operand] | None = None,
    constant: Iterable[Variable] = (),
    *,
    disconnected: Literal["none"],
) -> list[Variable | None]: ...


def gradients(
    cost: Variable | None,
    wrt: Sequence[Variable],
    known: Mapping[Variable, Operand] | None = None,
    constant: Iterable[Variable] = (),
    disconnected: Literal["raise", "zero", "none"] = "raise",
) -> list[Variable] | list[Variable | None]:
    """Return the gradients of a scalar cost with respect to variables, as graph.

    Algorithm 6.5.  A gradient has the type of its variable, and can be
    differentiated again.

    Parameters
    ----------
    cost
        A floating-point scalar; or None, or anything, when ``known`` says what
        the gradients with respect to it are.
    wrt
        The variables to differentiate with respect to.
    known
        Gradients that are given: back-propagation starts from them.
    constant
        Variables to be taken as constants.
    disconnected
        What stands for the gradient of a variable that no differentiable path
        leads from: an error, zeros, or None.

    Raises
    ------
    GradientError
        The cost is not a scalar and not known; something is an integer; no
        path leads to a variable (the message names the node that blocks it).

    Examples
    --------
    >>> import graphgpu as gg
    >>> x = gg.placeholder("x", ())
    >>> (dx,) = gg.gradients(x * x * x, [x])
    >>> (ddx,) = gg.gradients(dx, [x])
    >>> float(gg.evaluate(dx, {x: 2.0})), float(gg.evaluate(ddx, {x: 2.0}))
    (12.0, 12.0)
    """
    if disconnected not in ("raise", "zero", "none"):
        raise GradientError(
            f"disconnected must be 'raise', 'zero' or 'none'; got {disconnected!r}"
        )
    targets, constants = _listed(wrt), set(constant)
    seeds = _seeds(cost, known or {}, targets)
    graph = Graph(list(seeds))
    pruned = prune(graph, targets, constants)
    table = GradTable(seeds)
    results: list[Variable | None] = []
    for target in targets:
        connected = target in pruned.consumers
        if not connected and disconnected == "raise":
            raise GradientError(_blocked(graph, target, constants))
        if not connected and disconnected == "none":
            results.append(None)
            continue
        built = build_grad(target, graph, pruned, table) if connected else None
        if built is None:
            with _as_gradient_of(target):
                built = zeros_like(target)
        assert isinstance(built, Variable)
        results.append(built)
    return results


def prune(graph: Graph, targets: Iterable[Variable], constant: set[Variable]) -> Pruned:
    """Return G': the part of the graph that gradients flow through.

    Forwards, the descendants of the targets; of these, backwards, the
    ancestors of the outputs; both along the edges that gradients pass.
    """
    reached = {t for t in targets if t in graph} - constant
    edges: dict[Variable, tuple[bool, ...]] = {}
    for variable in graph.variables:
        if variable in constant or not variable.inputs:
            continue
        flows = tuple(
            parent in reached and _connects(variable, index)
            for index, parent in enumerate(variable.inputs)
        )
        if any(flows):
            edges[variable] = flows
            reached.add(variable)
    live = reached.intersection(graph.outputs)
    for variable in reversed(edges):
        if variable in live:
            live.update(compress(variable.inputs, edges[variable]))
    consumers: dict[Variable, list[Variable]] = {v: [] for v in live}
    kept = {v: flows for v, flows in edges.items() if v in live}
    for variable, flows in kept.items():
        for parent in dict.fromkeys(compress(variable.inputs, flows)):
            consumers[parent].append(variable)
    return Pruned(consumers, kept)


def build_grad(
    variable: Variable, graph: Graph, pruned: Pruned, grad_table: GradTable
) -> Variable | TupleGradient | None:
    """Return the gradient with respect to a variable, building what it needs.

    Algorithm 6.6, with the recursion on an explicit stack: V, G, G' and
    ``grad_table`` as in the book.  None is a gradient that is zero.
    """
    if variable not in graph:
        raise GradientError(f"{describe(variable)} is not part of the graph")
    stack = [variable]
    while stack:
        current = stack[-1]
        if current in grad_table.gradients:
            stack.pop()
            continue
        consumers = pruned.consumers.get(current, ())
        waiting = [c for c in consumers if c not in grad_table.gradients]
        if waiting:
            stack.extend(reversed(waiting))
            continue
        stack.pop()
        grad = _total(current, grad_table)
        grad_table.gradients[current] = grad
        if grad is not None and current in pruned.edges:
            _back_propagate(current, grad, pruned.edges[current], grad_table)
    return grad_table.gradients[variable]


def _back_propagate(
    variable: Variable,
    grad: Variable | TupleGradient,
    wanted: tuple[bool, ...],
    table: GradTable,
) -> None:
    """Ask the operation of a variable for the gradients of its inputs."""
    operation = variable.operation
    assert operation is not None
    if isinstance(operation, Item):
        assert isinstance(grad, Variable)
        arrived = table.arrived.setdefault(variable.inputs[0], [])
        arrived.append((variable.serial, operation.index, grad))
        return
    with _as_gradient_of(variable):
        try:
            answer = tuple(operation.bprop(variable.inputs, variable, grad, wanted))
        except GradientError as error:
            raise GradientError(f"{error}; asked of {describe(variable)}") from None
    if len(answer) != len(variable.inputs):
        raise GradientError(
            f"{describe(variable)} has a bprop that gives {len(answer)} gradients "
            f"for {len(variable.inputs)} inputs"
        )
    for place, (parent, part) in enumerate(zip(variable.inputs, answer, strict=True)):
        if part is None or not wanted[place]:
            continue
        fitted = _fitted(part, parent)
        if fitted is None:
            given = part.type if isinstance(part, Variable) else type(part).__name__
            raise GradientError(
                f"{describe(variable)} has a bprop that gives {given} for an "
                f"input of type {parent.type}"
            )
        arrived = table.arrived.setdefault(parent, [])
        arrived.append((variable.serial, place, fitted))


def _fitted(part: Any, parent: Variable) -> Variable | None:
    """Return a gradient with the type of its variable; None if it has another.

    Sizes that may be equal are taken to be: operations guard what they assume.
    """
    if not isinstance(part, Variable) or isinstance(part.type, TupleType):
        return None
    given, want = part.type, parent.tensor
    if given == want:
        return part
    if given.dtype != want.dtype or given.ndim != want.ndim:
        return None
    for size, expected in zip(given.shape, want.shape, strict=True):
        if size != expected and (size == 1 or isinstance(size - expected, int)):
            return None
    return part.broadcast_to(want.shape)


def _total(variable: Variable, table: GradTable) -> Variable | TupleGradient | None:
    """Sum the gradients that arrived, in the order of the consumers as written."""
    arrived = sorted(table.arrived.pop(variable, ()), key=lambda entry: entry[:2])
    with _as_gradient_of(variable):
        if isinstance(variable.type, TupleType):
            parts: list[Variable | None] = [None] * len(variable.type.components)
            for _, index, part in arrived:
                present = parts[index]
                parts[index] = part if present is None else present + part
            return tuple(parts) if arrived else None
        total = table.seeds.get(variable)
        for _, _, part in arrived:
            total = part if total is None else total + part
    return total


def _connects(variable: Variable, index: int) -> bool:
    """Whether a gradient flows from a variable to its operand."""
    operation = variable.operation
    assert operation is not None
    return (
        _is_differentiable(variable)
        and _is_differentiable(variable.inputs[index])
        and operation.connects(index)
    )


def _is_differentiable(variable: Variable) -> bool:
    if isinstance(variable.type, TensorType):
        return is_floating(variable.type.dtype)
    return any(is_floating(c.dtype) for c in variable.type.components)


def _as_gradient_of(variable: Variable) -> AbstractContextManager[Context]:
    """Create nodes in the scope of a variable, as part of its gradient."""
    return inside(replace(variable.context, phase="gradient", origin=variable.trace))


def _listed(wrt: Any) -> list[Variable]:
    if isinstance(wrt, Variable):
        raise GradientError(f"wrt is a list of variables; got {describe(wrt)} alone")
    return list(wrt)


def _seeds(
    cost: Variable | None,
    known: Mapping[Variable, Operand],
    targets: Sequence[Variable],
) -> dict[Variable, Variable]:
    """Return the gradients that back-propagation starts from."""
    for variable in (*targets, *known, *([] if cost is None else [cost])):
        if not isinstance(variable, Variable):
            raise GradientError(f"expected a variable; got {variable!r}")
        if not isinstance(variable.type, TensorType) or not _is_differentiable(
            variable
        ):
            raise GradientError(
                f"{describe(variable)} is not floating-point and has no gradient; "
                "use gg.cast before it"
            )
    seeds: dict[Variable, Variable] = {}
    for variable, value in known.items():
        grad = as_variable(value, variable.tensor)
        if grad.type != variable.type:
            raise GradientError(
                f"known gradient of {describe(variable)} expected type "
                f"{variable.type}; got {grad.type}, created at {grad.trace}"
            )
        seeds[variable] = grad
    if cost is not None and cost not in seeds:
        if cost.shape != () and not known:
            raise GradientError(
                f"{describe(cost)} is no scalar; give its gradient in `known`, or "
                "reduce it, for instance with gg.mean"
            )
        if cost.shape == ():
            with _as_gradient_of(cost):
                seeds[cost] = ones_like(cost)
    if not seeds:
        raise GradientError("expected a cost, or known gradients to start from")
    return seeds


def _blocked(graph: Graph, target: Variable, constant: set[Variable]) -> str:
    """Return why no gradient reaches a target: the node that blocks the path."""
    wanted = describe(target)
    if target not in graph:
        return f"the cost does not depend on {wanted} and so has no gradient there"
    if target in constant:
        return f"{wanted} was to be taken as a constant"
    reached = {target}
    stack = [target]
    blocking: Variable | None = None
    while stack:
        variable = stack.pop()
        for consumer in graph.get_consumers(variable):
            passes = consumer not in constant and any(
                parent is variable and _connects(consumer, index)
                for index, parent in enumerate(consumer.inputs)
            )
            if not passes:
                blocking = consumer if blocking is None else blocking
            elif consumer not in reached:
                reached.add(consumer)
                stack.append(consumer)
    assert blocking is not None
    why = "was to be taken as a constant and " if blocking in constant else ""
    return (
        f"no gradient reaches {wanted} because {describe(blocking)} {why}blocks the "
        "path; "
        "use disconnected='zero' if that is meant"
    )
