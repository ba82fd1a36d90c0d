"""Choices and logic whose outcome is known: part of ``simplify``."""

from __future__ import annotations

from graphgpu.graph import Variable, apply
from graphgpu.ops.arithmetic import Maximum, Minimum
from graphgpu.ops.comparison import (
    Equal,
    LogicalAnd,
    LogicalNot,
    LogicalOr,
    NotEqual,
    Where,
)
from graphgpu.rewrite.patterns import either_way, fit, made_by, number
from graphgpu.rewrite.simplify import simplify

__all__: list[str] = []


@simplify.on(Where)
def known_choice(v: Variable) -> Variable | None:
    """where(true, x, y) = x, where(false, x, y) = y, where(c, x, x) = x."""
    condition, x, y = v.inputs
    if x is y:
        return fit(x, v)
    known = number(condition)
    if known is None:
        return None
    return fit(x if known else y, v)


@simplify.on(Where)
def choice_by_negation(v: Variable) -> Variable | None:
    """where(not c, x, y) = where(c, y, x)."""
    condition, x, y = v.inputs
    if not made_by(condition, LogicalNot):
        return None
    return fit(apply(Where(), condition.inputs[0], y, x), v)


@simplify.on(Where)
def choice_again(v: Variable) -> Variable | None:
    """where(c, where(c, x, _), y) = where(c, x, y) = where(c, x, where(c, _, y))."""
    condition, x, y = v.inputs
    if made_by(x, Where) and x.inputs[0] is condition:
        return fit(apply(Where(), condition, x.inputs[1], y), v)
    if made_by(y, Where) and y.inputs[0] is condition:
        return fit(apply(Where(), condition, x, y.inputs[2]), v)
    return None


@simplify.on(Maximum, Minimum, LogicalAnd, LogicalOr)
def with_itself(v: Variable) -> Variable | None:
    """max(x, x) = min(x, x) = x; of bools, x and x = x or x = x."""
    x, y = v.inputs
    return x if x is y and x.dtype == v.dtype else None


@simplify.on(LogicalAnd, LogicalOr)
def known_truth(v: Variable) -> Variable | None:
    """x and true = x or false = x; x and false = false, x or true = true."""
    neutral = made_by(v, LogicalAnd)
    for x, y in either_way(v):
        known = number(y)
        if known is not None and x.dtype == v.dtype:
            return fit(x if known == neutral else y, v)
    return None


@simplify.on(LogicalNot)
def negated(v: Variable) -> Variable | None:
    """not not x = x, not x = y is x ≠ y, not x ≠ y is x = y."""
    (x,) = v.inputs
    if made_by(x, LogicalNot) and x.inputs[0].dtype == v.dtype:
        return x.inputs[0]
    if made_by(x, Equal):
        return apply(NotEqual(), *x.inputs)
    if made_by(x, NotEqual):
        return apply(Equal(), *x.inputs)
    return None
