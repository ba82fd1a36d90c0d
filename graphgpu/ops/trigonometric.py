"""Trigonometric and hyperbolic functions, and their inverses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphgpu.graph import Operand, Variable
from graphgpu.ops.arithmetic import reciprocal, rsqrt, square
from graphgpu.ops.comparison import equal, where
from graphgpu.ops.elementwise import Binary, Pull, Unary, binary, unary

__all__ = [
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "cos",
    "cosh",
    "hypot",
    "sin",
    "sinh",
    "tan",
    "tanh",
]

Inputs = tuple[Variable, ...]


@dataclass(frozen=True, slots=True)
class Sin(Unary):
    """The sine of x radians."""

    expression = "sin(x)"
    lowest_kind = 2

    def derivative(self, x: Variable, y: Variable) -> Variable:
        """Return cos x."""
        return cos(x)


@dataclass(frozen=True, slots=True)
class Cos(Unary):
    """The cosine of x radians."""

    expression = "cos(x)"
    lowest_kind = 2

    def derivative(self, x: Variable, y: Variable) -> Variable:
        """Return -sin x."""
        return -sin(x)


@dataclass(frozen=True, slots=True)
class Tan(Unary):
    """The tangent of x radians."""

    expression = "tan(x)"
    lowest_kind = 2

    def derivative(self, x: Variable, y: Variable) -> Variable:
        """Return 1 + tan² x."""
        return 1 + square(y)


@dataclass(frozen=True, slots=True)
class Asin(Unary):
    """The angle in [-π/2, π/2] whose sine is x."""

    expression = "asin(x)"
    lowest_kind = 2

    def derivative(self, x: Variable, y: Variable) -> Variable:
        """Return 1 / √(1 - x²); the product of two roots' squares keeps digits."""
        return rsqrt((1 - x) * (1 + x))


@dataclass(frozen=True, slots=True)
class Acos(Unary):
    """The angle in [0, π] whose cosine is x."""

    expression = "acos(x)"
    lowest_kind = 2

    def derivative(self, x: Variable, y: Variable) -> Variable:
        """Return -1 / √(1 - x²)."""
        return -rsqrt((1 - x) * (1 + x))


@dataclass(frozen=True, slots=True)
class Atan(Unary):
    """The angle in [-π/2, π/2] whose tangent is x."""

    expression = "atan(x)"
    lowest_kind = 2

    def derivative(self, x: Variable, y: Variable) -> Variable:
        """Return 1 / (1 + x²)."""
        return reciprocal(1 + square(x))


@dataclass(frozen=True, slots=True)
class Atan2(Binary):
    """The angle in [-π, π] of the point (x, y)."""

    operands = ("y", "x")
    expression = "atan2(y, x)"
    lowest_kind = 2

    def pulls(self, inputs: Inputs, output: Variable, grad: Variable) -> Sequence[Pull]:
        """∂/∂y = x / r², ∂/∂x = -y / r², where r² = x² + y²; NaN at the origin."""
        y, x = inputs

        def along(component: Variable) -> Variable:
            radius = hypot(x, y)
            return grad * (component / radius / radius)

        return (lambda: along(x)), (lambda: along(-y))


@dataclass(frozen=True, slots=True)
class Hypot(Binary):
    """√(x² + y²), where x² and y² may be too large or small to be numbers."""

    expression = "hypot(x, y)"
    lowest_kind = 2

    def pulls(self, inputs: Inputs, output: Variable, grad: Variable) -> Sequence[Pull]:
        """∂/∂x = x / √(x² + y²), ∂/∂y = y / √(x² + y²); at the origin 0, as of abs."""
        x, y = inputs

        def along(component: Variable) -> Variable:
            return grad * (component / where(equal(output, 0), 1, output))

        return (lambda: along(x)), (lambda: along(y))


@dataclass(frozen=True, slots=True)
class Sinh(Unary):
    """(e^x - e^(-x)) / 2."""

    expression = "sinh(x)"
    lowest_kind = 2

    def derivative(self, x: Variable, y: Variable) -> Variable:
        """Return cosh x."""
        return cosh(x)


@dataclass(frozen=True, slots=True)
class Cosh(Unary):
    """(e^x + e^(-x)) / 2."""

    expression = "cosh(x)"
    lowest_kind = 2

    def derivative(self, x: Variable, y: Variable) -> Variable:
        """Return sinh x."""
        return sinh(x)


@dataclass(frozen=True, slots=True)
class Tanh(Unary):
    """(e^x - e^(-x)) / (e^x + e^(-x))."""

    expression = "tanh(x)"
    lowest_kind = 2

    def derivative(self, x: Variable, y: Variable) -> Variable:
        """Return 1 - tanh² x, of the value that is there: x need not be kept."""
        return 1 - square(y)


@dataclass(frozen=True, slots=True)
class Asinh(Unary):
    """The number whose hyperbolic sine is x."""

    expression = "asinh(x)"
    lowest_kind = 2

    def derivative(self, x: Variable, y: Variable) -> Variable:
        """Return 1 / √(x² + 1), also where x² is too large to be a number."""
        return reciprocal(hypot(x, 1))


@dataclass(frozen=True, slots=True)
class Acosh(Unary):
    """The number ≥ 0 whose hyperbolic cosine is x; NaN below 1."""

    expression = "acosh(x)"
    lowest_kind = 2

    def derivative(self, x: Variable, y: Variable) -> Variable:
        """Return 1 / √(x² - 1), also where x² is too large to be a number."""
        return rsqrt(x - 1) * rsqrt(x + 1)


@dataclass(frozen=True, slots=True)
class Atanh(Unary):
    """The number whose hyperbolic tangent is x; NaN outside [-1, 1]."""

    expression = "atanh(x)"
    lowest_kind = 2

    def derivative(self, x: Variable, y: Variable) -> Variable:
        """Return 1 / (1 - x²)."""
        return reciprocal((1 - x) * (1 + x))


def sin(x: Operand) -> Variable:
    """Return the sine of x radians.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.sin(gg.constant([0.0])))
    array([0.], dtype=float32)
    """
    return unary(Sin(), x)


def cos(x: Operand) -> Variable:
    """Return the cosine of x radians."""
    return unary(Cos(), x)


def tan(x: Operand) -> Variable:
    """Return the tangent of x radians."""
    return unary(Tan(), x)


def asin(x: Operand) -> Variable:
    """Return the angle in [-π/2, π/2] whose sine is x; NaN outside [-1, 1]."""
    return unary(Asin(), x)


def acos(x: Operand) -> Variable:
    """Return the angle in [0, π] whose cosine is x; NaN outside [-1, 1]."""
    return unary(Acos(), x)


def atan(x: Operand) -> Variable:
    """Return the angle in [-π/2, π/2] whose tangent is x."""
    return unary(Atan(), x)


def atan2(y: Operand, x: Operand) -> Variable:
    """Return the angle in [-π, π] from the first axis to the point (x, y).

    The ordinate y comes first, as everywhere; the derivatives at the origin do
    not exist and are NaN.

    >>> import graphgpu as gg
    >>> float(gg.evaluate(gg.atan2(gg.constant(0.0), -1.0)))
    3.1415927410125732
    """
    return binary(Atan2(), y, x)


def hypot(x: Operand, y: Operand) -> Variable:
    """Return √(x² + y²) without overflow; the derivatives at the origin are 0.

    >>> import graphgpu as gg
    >>> float(gg.evaluate(gg.hypot(gg.constant(3.0), 4.0)))
    5.0
    """
    return binary(Hypot(), x, y)


def sinh(x: Operand) -> Variable:
    """Return the hyperbolic sine, (e^x - e^(-x)) / 2."""
    return unary(Sinh(), x)


def cosh(x: Operand) -> Variable:
    """Return the hyperbolic cosine, (e^x + e^(-x)) / 2."""
    return unary(Cosh(), x)


def tanh(x: Operand) -> Variable:
    """Return the hyperbolic tangent, sinh x / cosh x = 2 σ(2x) - 1.

    *Deep Learning*, section 6.3.2.

    Properties
    ----------
    formula : (exp(x) - exp(-x)) / (exp(x) + exp(-x))
    derivative : 1 - tanh(x) ** 2
    range : (-1, 1)
    monotone : strictly increasing
    kinks : none
    saturates : both
    scale : none
    shift : none
    symmetry : f(-x) == -f(x)
    """
    return unary(Tanh(), x)


def asinh(x: Operand) -> Variable:
    """Return the number whose hyperbolic sine is x."""
    return unary(Asinh(), x)


def acosh(x: Operand) -> Variable:
    """Return the number ≥ 0 whose hyperbolic cosine is x; NaN below 1."""
    return unary(Acosh(), x)


def atanh(x: Operand) -> Variable:
    """Return the number whose hyperbolic tangent is x; NaN outside [-1, 1]."""
    return unary(Atanh(), x)
