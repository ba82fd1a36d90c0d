"""Comparisons, logic, and the choice between two values by a condition.

Comparisons give bool and so end every gradient; ``where`` passes it on to the
side that was chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphgpu.dtypes import DType
from graphgpu.errors import DTypeError
from graphgpu.graph import Operand, Variable, apply
from graphgpu.ops.elementwise import (
    Binary,
    Elementwise,
    Pull,
    Unary,
    binary,
    cast,
    operands_of,
    unary,
    zero,
)
from graphgpu.types import Guards, TensorType, broadcast

__all__ = [
    "equal",
    "greater",
    "greater_equal",
    "isfinite",
    "isinf",
    "isnan",
    "less",
    "less_equal",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "not_equal",
    "where",
]

_BOOL = np.dtype(bool)


class Comparison(Binary):
    """An elementwise operation of two operands that gives bool. Abstract."""

    def result_dtype(self, operand: DType) -> DType:
        """Return bool."""
        return _BOOL


class Test(Unary):
    """An elementwise operation of one operand that gives bool. Abstract."""

    def result_dtype(self, operand: DType) -> DType:
        """Return bool."""
        return _BOOL


@dataclass(frozen=True, slots=True)
class Equal(Comparison):
    """x = y."""

    expression = "x == y"


@dataclass(frozen=True, slots=True)
class NotEqual(Comparison):
    """x ≠ y."""

    expression = "x != y"


@dataclass(frozen=True, slots=True)
class Less(Comparison):
    """x < y."""

    expression = "x < y"


@dataclass(frozen=True, slots=True)
class LessEqual(Comparison):
    """x ≤ y."""

    expression = "x <= y"


@dataclass(frozen=True, slots=True)
class Greater(Comparison):
    """x > y."""

    expression = "x > y"


@dataclass(frozen=True, slots=True)
class GreaterEqual(Comparison):
    """x ≥ y."""

    expression = "x >= y"


@dataclass(frozen=True, slots=True)
class LogicalAnd(Comparison):
    """x and y, of bools."""

    expression = "logical_and(x, y)"


@dataclass(frozen=True, slots=True)
class LogicalOr(Comparison):
    """x or y, of bools."""

    expression = "logical_or(x, y)"


@dataclass(frozen=True, slots=True)
class LogicalXor(Comparison):
    """Either x or y, of bools."""

    expression = "logical_xor(x, y)"


@dataclass(frozen=True, slots=True)
class LogicalNot(Test):
    """Not x, of bools."""

    expression = "logical_not(x)"


@dataclass(frozen=True, slots=True)
class Isnan(Test):
    """Whether x is not a number."""

    expression = "isnan(x)"
    lowest_kind = 2


@dataclass(frozen=True, slots=True)
class Isinf(Test):
    """Whether x is infinite."""

    expression = "isinf(x)"
    lowest_kind = 2


@dataclass(frozen=True, slots=True)
class Isfinite(Test):
    """Whether x is neither infinite nor NaN."""

    expression = "isfinite(x)"
    lowest_kind = 2


@dataclass(frozen=True, slots=True)
class Where(Elementwise):
    """x where the condition holds, y elsewhere."""

    operands = ("condition", "x", "y")
    expression = "where(condition, x, y)"

    def infer(self, guards: Guards, *inputs: TensorType) -> TensorType:
        """Broadcast all three; the condition is bool, x and y of one dtype."""
        condition, x, y = inputs
        if condition.dtype != _BOOL:
            raise DTypeError("expected a condition of dtype bool")
        checked = Comparison.infer(_EQUAL, guards, x, y)
        shape = broadcast(guards, condition.shape, checked.shape)
        return TensorType(x.dtype, shape)

    def pulls(
        self, inputs: tuple[Variable, ...], output: Variable, grad: Variable
    ) -> Sequence[Pull]:
        """Pass the gradient to the side that was chosen."""
        condition, _, _ = inputs
        return (
            zero,
            lambda: where(condition, grad, 0),
            lambda: where(condition, 0, grad),
        )


_EQUAL = Equal()


def equal(x: Operand, y: Operand) -> Variable:
    """Return x = y, element by element.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.equal(gg.constant([1, 2]), 2))
    array([False,  True])
    """
    return binary(Equal(), x, y)


def not_equal(x: Operand, y: Operand) -> Variable:
    """Return x ≠ y, element by element."""
    return binary(NotEqual(), x, y)


def less(x: Operand, y: Operand) -> Variable:
    """Return x < y, element by element."""
    return binary(Less(), x, y)


def less_equal(x: Operand, y: Operand) -> Variable:
    """Return x ≤ y, element by element."""
    return binary(LessEqual(), x, y)


def greater(x: Operand, y: Operand) -> Variable:
    """Return x > y, element by element."""
    return binary(Greater(), x, y)


def greater_equal(x: Operand, y: Operand) -> Variable:
    """Return x ≥ y, element by element."""
    return binary(GreaterEqual(), x, y)


def logical_and(x: Operand, y: Operand) -> Variable:
    """Return x and y; numbers other than 0 count as true."""
    return binary(LogicalAnd(), _truth("logical_and", x), _truth("logical_and", y))


def logical_or(x: Operand, y: Operand) -> Variable:
    """Return x or y; numbers other than 0 count as true."""
    return binary(LogicalOr(), _truth("logical_or", x), _truth("logical_or", y))


def logical_xor(x: Operand, y: Operand) -> Variable:
    """Return whether just one of x and y is true."""
    return binary(LogicalXor(), _truth("logical_xor", x), _truth("logical_xor", y))


def logical_not(x: Operand) -> Variable:
    """Return not x; numbers other than 0 count as true."""
    return unary(LogicalNot(), _truth("logical_not", x))


def isnan(x: Operand) -> Variable:
    """Return whether x is NaN, element by element."""
    return unary(Isnan(), x)


def isinf(x: Operand) -> Variable:
    """Return whether x is infinite, element by element."""
    return unary(Isinf(), x)


def isfinite(x: Operand) -> Variable:
    """Return whether x is neither infinite nor NaN, element by element."""
    return unary(Isfinite(), x)


def where(condition: Operand, x: Operand, y: Operand) -> Variable:
    """Return x where the condition holds and y elsewhere; all three broadcast.

    The gradient goes to the side that was chosen and is exactly zero on the
    other, whatever the other's value.

    >>> import graphgpu as gg
    >>> x = gg.constant([-1.0, 2.0])
    >>> gg.evaluate(gg.where(x > 0, x, 0))
    array([0., 2.], dtype=float32)
    """
    left, right = operands_of("where", x, y)
    return apply(Where(), _truth("where", condition), left, right)


def _truth(name: str, x: Operand) -> Variable:
    """Return whether x is not 0; ``name`` is the operation's, for errors."""
    (variable,) = operands_of(name, x)
    return cast(variable, _BOOL)
