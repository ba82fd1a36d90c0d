"""Rounding to integers; constant between its steps, so every gradient is zero."""

from __future__ import annotations

from dataclasses import dataclass

from graphgpu.dtypes import accumulator, is_floating, is_integer
from graphgpu.errors import DTypeError
from graphgpu.graph import Operand, Variable, apply, as_variable, located
from graphgpu.ops.elementwise import Unary, cast, unary

__all__ = ["ceil", "floor", "round", "trunc"]


class Step(Unary):
    """A function that is constant between its steps. Abstract."""

    lowest_kind = 1

    def derivative(self, x: Variable, y: Variable) -> None:
        """Return zero."""


@dataclass(frozen=True, slots=True)
class Floor(Step):
    """⌊x⌋, the largest integer that is not above x."""

    expression = "floor(x)"


@dataclass(frozen=True, slots=True)
class Ceil(Step):
    """⌈x⌉, the smallest integer that is not below x."""

    expression = "ceil(x)"


@dataclass(frozen=True, slots=True)
class Trunc(Step):
    """x without its fraction: the nearest integer that is not farther from 0."""

    expression = "trunc(x)"


@dataclass(frozen=True, slots=True)
class Round(Step):
    """The integer nearest to x; of two that are equally near, the even one."""

    expression = "rint(x)"


@dataclass(frozen=True, slots=True)
class RoundTo(Step):
    """The multiple of ``down / up`` nearest to x; x itself where that overflows."""

    up: float
    down: float

    expression = "where(isfinite(x * up), rint(x * up / down) / up * down, x)"
    lowest_kind = 2


def floor(x: Operand) -> Variable:
    """Return ⌊x⌋, the largest integer that is not above x, in the dtype of x.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.floor(gg.constant([-0.5, 1.5])))
    array([-1.,  1.], dtype=float32)
    """
    return _step(Floor(), x)


def ceil(x: Operand) -> Variable:
    """Return ⌈x⌉, the smallest integer that is not below x, in the dtype of x."""
    return _step(Ceil(), x)


def trunc(x: Operand) -> Variable:
    """Return x without its fraction, in the dtype of x."""
    return _step(Trunc(), x)


def round(x: Operand, decimals: int = 0) -> Variable:
    """Return x to some decimals; halfway between two, to the even one.

    ``decimals`` below 0 rounds to tens, hundreds and so on.  Halves are scaled
    in float32.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.round(gg.constant([0.5, 1.5, 2.5])))
    array([0., 2., 2.], dtype=float32)

    Raises
    ------
    DTypeError
        Integers are to be rounded to tens; ``decimals`` is no int, or beyond 37
        (300 in float64).
    """
    variable = as_variable(x)
    wide = accumulator(variable.dtype)
    limit = 300 if wide.itemsize == 8 else 37
    if isinstance(decimals, bool) or not isinstance(decimals, int):
        wrong = "expected an int for decimals"
    elif decimals < 0 and not is_floating(variable.dtype):
        wrong = "only floating-point numbers are rounded to tens; use gg.cast"
    elif not -limit <= decimals <= limit:
        wrong = f"expected decimals from {-limit} to {limit} for this dtype"
    elif decimals == 0 or not is_floating(variable.dtype):
        return _step(Round(), variable)
    else:
        operation = RoundTo(10.0 ** max(decimals, 0), 10.0 ** max(-decimals, 0))
        return cast(apply(operation, cast(variable, wide)), variable.dtype)
    raise located(DTypeError(wrong), f"round(decimals={decimals})", (variable,))


def _step(operation: Step, x: Operand) -> Variable:
    """Apply an operation; an integer is there already."""
    variable = as_variable(x)
    return variable if is_integer(variable.dtype) else unary(operation, variable)
