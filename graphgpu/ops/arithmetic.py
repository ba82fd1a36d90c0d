"""Sums, products, powers, and what chooses the larger or smaller number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphgpu.dtypes import is_floating
from graphgpu.errors import DTypeError
from graphgpu.graph import Constant, Operand, Variable, apply, as_variable, located
from graphgpu.ops.comparison import equal, greater, logical_and, where
from graphgpu.ops.elementwise import (
    Binary,
    Pull,
    Unary,
    binary,
    operands_of,
    unary,
    zero,
)
from graphgpu.ops.exponential import log

__all__ = [
    "abs",
    "add",
    "clip",
    "divide",
    "floor_divide",
    "maximum",
    "minimum",
    "multiply",
    "negative",
    "power",
    "reciprocal",
    "remainder",
    "rsqrt",
    "sign",
    "sqrt",
    "square",
    "subtract",
]

Inputs = tuple[Variable, ...]


@dataclass(frozen=True, slots=True)
class Add(Binary):
    """x + y."""

    expression = "x + y"

    def pulls(self, inputs: Inputs, output: Variable, grad: Variable) -> Sequence[Pull]:
        """∂/∂x = 1, ∂/∂y = 1."""
        return (lambda: grad), (lambda: grad)


@dataclass(frozen=True, slots=True)
class Subtract(Binary):
    """x - y."""

    expression = "x - y"
    lowest_kind = 1

    def pulls(self, inputs: Inputs, output: Variable, grad: Variable) -> Sequence[Pull]:
        """∂/∂x = 1, ∂/∂y = -1."""
        return (lambda: grad), (lambda: -grad)


@dataclass(frozen=True, slots=True)
class Multiply(Binary):
    """x y."""

    expression = "x * y"

    def pulls(self, inputs: Inputs, output: Variable, grad: Variable) -> Sequence[Pull]:
        """∂/∂x = y, ∂/∂y = x."""
        x, y = inputs
        return (lambda: grad * y), (lambda: grad * x)


@dataclass(frozen=True, slots=True)
class Divide(Binary):
    """x / y."""

    expression = "x / y"
    lowest_kind = 2

    def pulls(self, inputs: Inputs, output: Variable, grad: Variable) -> Sequence[Pull]:
        """∂/∂x = 1/y, ∂/∂y = -(x/y)/y."""
        _, y = inputs
        return (lambda: grad / y), (lambda: -(grad * (output / y)))


@dataclass(frozen=True, slots=True)
class FloorDivide(Binary):
    """⌊x / y⌋: constant between its steps."""

    expression = "x // y"
    lowest_kind = 1

    def pulls(self, inputs: Inputs, output: Variable, grad: Variable) -> Sequence[Pull]:
        """∂/∂x = 0, ∂/∂y = 0."""
        return zero, zero


@dataclass(frozen=True, slots=True)
class Remainder(Binary):
    """x - ⌊x / y⌋ y, of the sign of y."""

    expression = "x % y"
    lowest_kind = 1

    def pulls(self, inputs: Inputs, output: Variable, grad: Variable) -> Sequence[Pull]:
        """∂/∂x = 1, ∂/∂y = -⌊x / y⌋."""
        x, y = inputs
        return (lambda: grad), (lambda: -(grad * (x // y)))


@dataclass(frozen=True, slots=True)
class Power(Binary):
    """x to the power y."""

    expression = "power(x, y)"
    lowest_kind = 1

    def pulls(self, inputs: Inputs, output: Variable, grad: Variable) -> Sequence[Pull]:
        """∂/∂x = y x^(y-1), 0 for x = y = 0; ∂/∂y = x^y log x, 0 for x = 0 ≤ y."""
        x, y = inputs

        def pull_x() -> Variable:
            base = where(logical_and(equal(x, 0), equal(y, 0)), 1, x)
            return grad * (y * power(base, y - 1))

        def pull_y() -> Variable:
            vanishes = logical_and(equal(x, 0), y >= 0)
            safe = where(vanishes, 1, x)
            return grad * where(vanishes, 0, output * log(safe))

        return pull_x, pull_y


@dataclass(frozen=True, slots=True)
class Maximum(Binary):
    """The larger of x and y; NaN if either is."""

    expression = "maximum(x, y)"

    def pulls(self, inputs: Inputs, output: Variable, grad: Variable) -> Sequence[Pull]:
        """The gradient goes to the larger; equal operands share it equally."""
        x, y = inputs
        return (lambda: _share(grad, x, y)), (lambda: _share(grad, y, x))


@dataclass(frozen=True, slots=True)
class Minimum(Binary):
    """The smaller of x and y; NaN if either is."""

    expression = "minimum(x, y)"

    def pulls(self, inputs: Inputs, output: Variable, grad: Variable) -> Sequence[Pull]:
        """The gradient goes to the smaller; equal operands share it equally."""
        x, y = inputs
        return (lambda: _share(grad, y, x)), (lambda: _share(grad, x, y))


@dataclass(frozen=True, slots=True)
class Negative(Unary):
    """-x."""

    expression = "-x"
    lowest_kind = 1

    def pulls(self, inputs: Inputs, output: Variable, grad: Variable) -> Sequence[Pull]:
        """∂/∂x = -1."""
        return ((lambda: -grad),)


@dataclass(frozen=True, slots=True)
class Abs(Unary):
    """|x|."""

    expression = "abs(x)"

    def derivative(self, x: Variable, y: Variable) -> Variable:
        """Return sign x: 0 at 0, the middle of the subdifferential."""
        return sign(x)


@dataclass(frozen=True, slots=True)
class Sign(Unary):
    """-1, 0 or 1 as x is negative, zero or positive; NaN stays."""

    expression = "sign(x)"
    lowest_kind = 1

    def derivative(self, x: Variable, y: Variable) -> None:
        """Return zero."""


@dataclass(frozen=True, slots=True)
class Square(Unary):
    """x²."""

    expression = "square(x)"
    lowest_kind = 1

    def derivative(self, x: Variable, y: Variable) -> Variable:
        """Return 2x."""
        return 2 * x


@dataclass(frozen=True, slots=True)
class Sqrt(Unary):
    """√x; NaN below 0."""

    expression = "sqrt(x)"
    lowest_kind = 2

    def derivative(self, x: Variable, y: Variable) -> Variable:
        """Return 1 / (2 √x)."""
        return 0.5 / y


@dataclass(frozen=True, slots=True)
class Rsqrt(Unary):
    """1 / √x."""

    expression = "1 / sqrt(x)"
    lowest_kind = 2

    def derivative(self, x: Variable, y: Variable) -> Variable:
        """Return -1 / (2 x √x)."""
        return -0.5 * y / x


@dataclass(frozen=True, slots=True)
class Reciprocal(Unary):
    """1 / x."""

    expression = "1 / x"
    lowest_kind = 2

    def derivative(self, x: Variable, y: Variable) -> Variable:
        """Return -1 / x²."""
        return -square(y)


def add(x: Operand, y: Operand) -> Variable:
    """Return x + y; of bools, x or y.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.constant([1.0, 2.0]) + 1)
    array([2., 3.], dtype=float32)
    """
    return binary(Add(), x, y)


def subtract(x: Operand, y: Operand) -> Variable:
    """Return x - y."""
    return binary(Subtract(), x, y)


def multiply(x: Operand, y: Operand) -> Variable:
    """Return x y; of bools, x and y."""
    return binary(Multiply(), x, y)


def divide(x: Operand, y: Operand) -> Variable:
    """Return x / y; of integers, in float32.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.constant([1, 2]) / 2)
    array([0.5, 1. ], dtype=float32)
    """
    return binary(Divide(), x, y)


def floor_divide(x: Operand, y: Operand) -> Variable:
    """Return ⌊x / y⌋; an integer divided by zero gives 0, as in NumPy."""
    return binary(FloorDivide(), x, y)


def remainder(x: Operand, y: Operand) -> Variable:
    """Return x - ⌊x / y⌋ y, which has the sign of y."""
    return binary(Remainder(), x, y)


def power(x: Operand, y: Operand) -> Variable:
    """Return x to the power y; x ** 2 is :func:`square`.

    Raises
    ------
    DTypeError
        The power of an integer is a negative integer: it has no integer value.
    ComputeError
        The same, found while running.
    """
    base, exponent = operands_of("power", x, y)
    if isinstance(y, int | float) and y == 2:
        return square(base)
    negative = isinstance(exponent, Constant) and (exponent.value < 0).any()
    if negative and not is_floating(base.dtype):
        error = DTypeError("an integer has no negative integer power; use gg.cast")
        raise located(error, "power", (base, exponent))
    return apply(Power(), base, exponent)


def maximum(x: Operand, y: Operand) -> Variable:
    """Return the larger of x and y; NaN if either is.

    Where they are equal each gets half of the gradient.
    """
    return binary(Maximum(), x, y)


def minimum(x: Operand, y: Operand) -> Variable:
    """Return the smaller of x and y; NaN if either is.

    Where they are equal each gets half of the gradient.
    """
    return binary(Minimum(), x, y)


def negative(x: Operand) -> Variable:
    """Return -x."""
    return unary(Negative(), x)


def abs(x: Operand) -> Variable:
    """Return |x|; the derivative at 0 is 0.

    As an activation, absolute value rectification: *Deep Learning*, section 6.3.1.

    Properties
    ----------
    formula : abs(x)
    derivative : sign(x)
    range : [0, inf)
    monotone : no
    kinks : 0 (slope 0)
    saturates : none
    scale : f(a * x) == a * f(x)
    shift : none
    symmetry : f(-x) == f(x)
    """
    return unary(Abs(), x)


def sign(x: Operand) -> Variable:
    """Return -1, 0 or 1 as x is negative, zero or positive; the derivative is 0."""
    return unary(Sign(), x)


def square(x: Operand) -> Variable:
    """Return x²."""
    return unary(Square(), x)


def sqrt(x: Operand) -> Variable:
    """Return √x; NaN below 0."""
    return unary(Sqrt(), x)


def rsqrt(x: Operand) -> Variable:
    """Return 1 / √x."""
    return unary(Rsqrt(), x)


def reciprocal(x: Operand) -> Variable:
    """Return 1 / x."""
    return unary(Reciprocal(), x)


def clip(
    x: Operand, min: Operand | None = None, max: Operand | None = None
) -> Variable:
    """Return x, but ``min`` where it is below and ``max`` where it is above.

    The gradient is 1 inside, 0 outside and 1/2 at a bound.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.clip(gg.constant([-2.0, 0.5, 3.0]), 0, 1))
    array([0. , 0.5, 1. ], dtype=float32)
    """
    result = as_variable(x)
    if min is not None:
        result = maximum(result, min)
    if max is not None:
        result = minimum(result, max)
    return result


def _share(grad: Variable, larger: Variable, smaller: Variable) -> Variable:
    """Return the gradient where ``larger`` is larger, half where they are equal."""
    half = where(equal(larger, smaller), 0.5 * grad, 0)
    return where(greater(larger, smaller), grad, half)
