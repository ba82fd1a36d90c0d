"""What a loop keeps for its gradient: which values of each iteration are read again.

The gradient of the body reads values that the body computed.  Kept, one for each
iteration, are those that cost something; what is a cheap function of what is there
anyway is computed again.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Sequence

from graphgpu.dtypes import is_floating
from graphgpu.graph import RUN_KEY, Operation, Subgraph, Variable, ancestors
from graphgpu.ops.arithmetic import (
    Abs,
    Add,
    Maximum,
    Minimum,
    Multiply,
    Negative,
    Square,
    Subtract,
)
from graphgpu.ops.comparison import (
    Equal,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
    LogicalAnd,
    LogicalNot,
    LogicalOr,
    NotEqual,
    Where,
)
from graphgpu.ops.elementwise import Cast
from graphgpu.ops.markers import StopGradient
from graphgpu.ops.shape import BroadcastTo, Reshape, Transpose
from graphgpu.types import TensorType

__all__ = ["kept", "reach"]

_CHEAP = (
    *(Abs, Add, Cast, Maximum, Minimum, Multiply, Negative, Square, Subtract, Where),
    *(Equal, Greater, GreaterEqual, Less, LessEqual, NotEqual),
    *(LogicalAnd, LogicalNot, LogicalOr),
)

_SHOWN = (BroadcastTo, Reshape, StopGradient, Transpose)


def kept(
    body: Subgraph,
    slopes: Sequence[Variable],
    slots: Collection[Variable],
    carries: Collection[Variable],
    elements: Collection[Variable],
    *,
    carries_alone: bool,
) -> list[Variable]:
    """Return the values to be kept for each iteration, in order.

    ``slopes`` are what the gradient computes from variables of the body and from the
    ``slots``, incoming gradients; what needs none of these can be computed before.
    With ``carries_alone``, no others are kept.
    """
    leaves = {*body.inputs, *slots}
    used = ancestors(slopes, stop=leaves)
    later = _dependents(used, leaves, slots)
    if carries_alone:
        return [c for c in carries if c in used]
    read = {v for reader in later for v in reader.inputs if reader not in leaves}
    read.update(slopes)
    varying = _dependents(used, leaves, {*carries, *elements, RUN_KEY})
    border = [_source(v) for v in used if v in read and v not in later]
    free = {*elements, RUN_KEY}
    border = [v for v in used if v in border and v in varying and v not in free]
    saved = {v for v in border if v in carries or not _is_cheap(v.operation)}
    for variable in border:
        if not _is_there(variable, saved | free, varying):
            saved.add(variable)
    return [v for v in border if v in saved]


def reach(
    body: Subgraph, sources: Collection[Variable]
) -> dict[Variable, frozenset[Variable]]:
    """Return for each variable the sources that it depends on differentiably."""
    found: dict[Variable, frozenset[Variable]] = {}
    given = set(body.inputs)
    for variable in body.variables:
        parts = [frozenset([variable])] if variable in sources else []
        if variable.operation is not None and variable not in given:
            parts += [
                found[parent]
                for index, parent in enumerate(variable.inputs)
                if found[parent]
                and _is_differentiable(variable)
                and _is_differentiable(parent)
                and variable.operation.connects(index)
            ]
        found[variable] = frozenset().union(*parts)
    return found


def _dependents(
    variables: Sequence[Variable],
    leaves: Container[Variable],
    sources: Container[Variable],
) -> set[Variable]:
    """Return the variables, in order, that depend on the sources."""
    found: set[Variable] = set()
    for variable in variables:
        follows = variable not in leaves and not found.isdisjoint(variable.inputs)
        if variable in sources or follows:
            found.add(variable)
    return found


def _source(variable: Variable) -> Variable:
    """Return what a variable shows in another way, and that is no larger."""
    while isinstance(variable.operation, _SHOWN) or _is_wider(variable):
        variable = variable.inputs[0]
    return variable


def _is_wider(variable: Variable) -> bool:
    """Whether a variable has the numbers of one whose dtype has fewer bytes."""
    if not isinstance(variable.operation, Cast):
        return False
    return variable.inputs[0].dtype.itemsize <= variable.dtype.itemsize


def _is_cheap(operation: Operation | None) -> bool:
    return operation is not None and (
        operation.outputs_alias or isinstance(operation, _CHEAP)
    )


def _is_there(
    variable: Variable, saved: Container[Variable], varying: Container[Variable]
) -> bool:
    """Whether a value is cheap to compute from what is kept."""
    seen: set[Variable] = set()
    stack = [variable]
    while stack:
        current = stack.pop()
        if current in saved or current in seen or current not in varying:
            continue
        if not _is_cheap(current.operation):
            return False
        seen.add(current)
        stack.extend(current.inputs)
    return True


def _is_differentiable(variable: Variable) -> bool:
    type_ = variable.type
    parts = (type_,) if isinstance(type_, TensorType) else type_.components
    return any(is_floating(part.dtype) for part in parts)
