"""Gradients as graph: Algorithms 6.5 and 6.6 of *Deep Learning*, section 6.5.6.

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
from typing import Literal, TypeAlias

from graphgpu.dtypes import is_floating
from graphgpu.errors import GradientError
from graphgpu.graph import (
    Context,
    Graph,
    Variable,
    describe,
    inside,
)
from graphgpu.ops.creation import ones_like, zeros_like
from graphgpu.ops.tuples import Item
from graphgpu.types import TensorType, TupleType

__all__ = [
    "GradTable",
    "build_grad",
    "gradients",
    "hessian_vector_product",
    "jvp",
    "vjp",
]

Disconnected = Literal["raise", "zero", "none"]
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

    ``edges`` has, for each variable of it, the operands through which the
    gradient flows; ``consumers`` its consumers within it.
    """

    consumers: dict[Variable, list[Variable]]
    edges: dict[Variable, tuple[bool, ...]]


def gradients(
    cost: Variable | None,
    wrt: Sequence[Variable],
    known: Mapping[Variable, Variable] | None = None,
    constant: Iterable[Variable] = (),
    disconnected: Disconnected = "raise",
) -> list[Variable]:
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
    targets = list(wrt)
    seeds = _seeds(cost, known or {}, targets)
    constants = set(constant)
    if disconnected not in ("raise", "zero", "none"):
        raise GradientError(
            f"disconnected must be 'raise', 'zero' or 'none'; got {disconnected!r}"
        )
    graph = Graph(list(seeds))
    pruned = prune(graph, targets, constants)
    table = GradTable(seeds)
    results: list[Variable] = []
    for target in targets:
        connected = target in pruned.consumers or target in seeds
        if not connected and disconnected == "raise":
            raise GradientError(_blocked(graph, target, constants))
        if not connected and disconnected == "none":
            results.append(None)  # type: ignore[arg-type]
            continue
        built = build_grad(target, graph, pruned, table) if connected else None
        if built is None:
            with _as_gradient_of(target):
                built = zeros_like(target)
        assert isinstance(built, Variable)
        results.append(built)
    return results


def prune(graph: Graph, targets: Iterable[Variable], constant: set[Variable]) -> Pruned:
    """Return G': the part of the graph that gradients flow through."""
    reached = {t for t in targets if t in graph} - constant
    consumers: dict[Variable, list[Variable]] = {v: [] for v in reached}
    edges: dict[Variable, tuple[bool, ...]] = {}
    for variable in graph.variables:
        if variable in constant or not variable.inputs:
            continue
        flows = tuple(
            parent in consumers and _connects(variable, index)
            for index, parent in enumerate(variable.inputs)
        )
        if not any(flows):
            continue
        edges[variable] = flows
        consumers.setdefault(variable, [])
        for parent in dict.fromkeys(compress(variable.inputs, flows)):
            consumers[parent].append(variable)
    return Pruned(consumers, edges)


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
        answer = operation.bprop(variable.inputs, variable, grad, wanted)
    for place, (parent, part) in enumerate(zip(variable.inputs, answer, strict=True)):
        if part is None or not wanted[place]:
            continue
        if part.type != parent.type:
            raise GradientError(
                f"{describe(variable)} has a bprop that gives {part.type} for an "
                f"input of type {parent.type}"
            )
        arrived = table.arrived.setdefault(parent, [])
        arrived.append((variable.serial, place, part))


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


def _seeds(
    cost: Variable | None,
    known: Mapping[Variable, Variable],
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
    for variable, grad in known.items():
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
                blocking = blocking or consumer
            elif consumer not in reached:
                reached.add(consumer)
                stack.append(consumer)
    assert blocking is not None
    return (
        f"no gradient reaches {wanted} because {describe(blocking)} blocks the path; "
        "use disconnected='zero' if that is meant"
    )


def vjp(
    outputs: Sequence[Variable],
    wrt: Sequence[Variable],
    cotangents: Sequence[Variable],
) -> list[Variable]:
    """Return the vector-Jacobian products Σ_i cotangent_i ∂output_i/∂wrt.

    A variable that the outputs do not depend on has the product zero.
    """
    known: dict[Variable, Variable] = {}
    for output, cotangent in _pairs(outputs, cotangents, "cotangent"):
        known[output] = known[output] + cotangent if output in known else cotangent
    return gradients(None, wrt, known=known, disconnected="zero")


def jvp(
    outputs: Sequence[Variable],
    wrt: Sequence[Variable],
    tangents: Sequence[Variable],
) -> list[Variable]:
    """Return the Jacobian-vector products Σ_j ∂output/∂wrt_j tangent_j.

    The vector-Jacobian product is linear in its cotangent u; differentiating
    it with respect to u once more, along the tangents, gives the product from
    the other side (J. Townsend, "A new trick for calculating Jacobian vector
    products", 2017).  What depended on u alone is dropped as unused.

    >>> import graphgpu as gg
    >>> x = gg.placeholder("x", ())
    >>> (y,) = gg.jvp([gg.exp(x)], [x], [gg.constant(2.0)])
    >>> float(gg.evaluate(y, {x: 0.0}))
    2.0
    """
    pairs = _pairs(wrt, tangents, "tangent")
    dummies = [zeros_like(v) for v in outputs]
    products = vjp(outputs, wrt, dummies)
    known: dict[Variable, Variable] = {}
    for product, (_, tangent) in zip(products, pairs, strict=True):
        known[product] = known[product] + tangent if product in known else tangent
    return gradients(None, dummies, known=known, disconnected="zero")


def hessian_vector_product(
    cost: Variable, wrt: Sequence[Variable], vectors: Sequence[Variable]
) -> list[Variable]:
    """Return Hv, the Hessian of a scalar cost times a vector (a list of arrays).

    Hx = ∇[(∇cost)ᵀ v] (Christianson, 1992; *Deep Learning*, section 6.5.10).
    """
    pairs = _pairs(wrt, vectors, "vector")
    slopes = gradients(cost, wrt, disconnected="zero")
    known: dict[Variable, Variable] = {}
    for slope, (_, vector) in zip(slopes, pairs, strict=True):
        known[slope] = known[slope] + vector if slope in known else vector
    return gradients(None, wrt, known=known, disconnected="zero")


def _pairs(
    variables: Sequence[Variable], vectors: Sequence[Variable], name: str
) -> list[tuple[Variable, Variable]]:
    """Pair variables with vectors of their types."""
    if len(variables) != len(vectors):
        raise GradientError(
            f"expected one {name} for each of {len(variables)} variables; "
            f"got {len(vectors)}"
        )
    for variable, vector in zip(variables, vectors, strict=True):
        if variable.type != vector.type:
            raise GradientError(
                f"{name} of {describe(variable)} expected type {variable.type}; "
                f"got {vector.type}"
            )
    return list(zip(variables, vectors, strict=True))
