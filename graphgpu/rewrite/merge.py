"""Equal nodes made one: common subexpressions, forward and backward together."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import cache
from typing import Any

from graphgpu.graph import Constant, Operation, Variable
from graphgpu.ops.arithmetic import Add, Multiply
from graphgpu.ops.comparison import Equal, LogicalAnd, LogicalOr, LogicalXor, NotEqual
from graphgpu.ops.random import Random
from graphgpu.ops.reduction import Reduction
from graphgpu.rewrite.draft import Draft, Found

__all__ = ["merge"]

_LARGEST = 1024
"""Bytes up to which constants are compared."""

# Not the maximum and minimum: of 0 and -0 they may give the first or the second.
_COMMUTATIVE = {Add, Multiply, Equal, NotEqual, LogicalAnd, LogicalOr, LogicalXor}

_EQUAL_IF_SAME = {
    *("int", "str", "bool", "DType", "Size", "Shape", "Subgraph", "Pairs"),
    *("tuple[int, ...]", "tuple[bool, ...]", "tuple[str, ...]"),
}
"""Types of fields of which equal values do the same, as 0.0 and -0.0 do not."""


def merge(draft: Draft) -> int:
    """Let the first of several equal variables compute the value of all.

    Equal are two constants with the same bits, and two variables of one
    operation on the same inputs.  Random numbers are never merged, equal keys
    or not.
    """
    known: dict[Any, Variable] = {}

    def offer(variable: Variable) -> Found:
        key = _key(variable)
        if key is None:
            return None
        try:
            first = known.setdefault(key, variable)
        except TypeError:  # a field of a user's operation that has no hash
            return None
        if first is variable:
            return None
        if first.type == variable.type:
            return first, "equal variables"
        if isinstance(variable.operation, Reduction):
            return first.reshape(variable.shape), "reductions over the same axes"
        return None

    return draft.sweep("merge", offer)


def _key(variable: Variable) -> Any:
    """Return what equal variables have in common; None if nothing is equal."""
    operation = variable.operation
    if operation is None:
        if variable.__class__ is Constant and variable.value.nbytes <= _LARGEST:
            value = variable.value
            return value.dtype, value.shape, value.tobytes()
        return None
    cls = operation.__class__
    inputs = variable.inputs
    if cls in _COMMUTATIVE:
        return cls, frozenset(inputs)
    delicate = _delicate_fields(cls)
    if delicate is None:
        return None
    if isinstance(operation, Reduction) and not operation.keepdims:
        operation = _kept(operation)
    if not delicate:
        return operation, inputs
    return operation, inputs, tuple(repr(getattr(operation, n)) for n in delicate)


def _kept(operation: Reduction) -> Operation:
    """Return the reduction that keeps its axes, which has the same elements."""
    kept: Any = operation
    result: Operation = replace(kept, keepdims=True)
    return result


@cache
def _delicate_fields(cls: type[Operation]) -> tuple[str, ...] | None:
    """Return the fields that can be equal and differ; None if never to be merged."""
    if issubclass(cls, Random):
        return None
    names = []
    for field in fields(cls):  # type: ignore[arg-type]
        kind = field.type if isinstance(field.type, str) else field.type.__name__
        if kind not in _EQUAL_IF_SAME:
            names.append(field.name)
    return tuple(names)
