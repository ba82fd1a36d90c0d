"""Exponentials, logarithms and the error function."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from graphgpu.graph import Operand, Variable
from graphgpu.ops.elementwise import Pull, Unary, unary

__all__ = ["erf", "erfc", "exp", "expm1", "log", "log1p", "log2", "log10"]


@dataclass(frozen=True, slots=True)
class Exp(Unary):
    """e^x."""

    expression = "exp(x)"
    lowest_kind = 2

    def derivative(self, x: Variable, y: Variable) -> Variable:
        """Return e^x."""
        return y


@dataclass(frozen=True, slots=True)
class Expm1(Unary):
    """e^x - 1, accurate near 0."""

    expression = "expm1(x)"
    lowest_kind = 2

    def derivative(self, x: Variable, y: Variable) -> Variable:
        """Return e^x."""
        return exp(x)


class Logarithm(Unary):
    """A logarithm. Abstract."""

    lowest_kind = 2

    def pulls(
        self, inputs: tuple[Variable, ...], output: Variable, grad: Variable
    ) -> Sequence[Pull]:
        """Divide by what the derivative has below the fraction line."""
        return ((lambda: grad / self.slope(inputs[0])),)

    def slope(self, x: Variable) -> Variable:
        """Return 1 / f'(x)."""
        return x


@dataclass(frozen=True, slots=True)
class Log(Logarithm):
    """The natural logarithm, log x."""

    expression = "log(x)"


@dataclass(frozen=True, slots=True)
class Log1p(Logarithm):
    """log(1 + x), accurate near 0."""

    expression = "log1p(x)"

    def slope(self, x: Variable) -> Variable:
        """Return 1 + x."""
        return 1 + x


@dataclass(frozen=True, slots=True)
class Log2(Logarithm):
    """The logarithm to base 2."""

    expression = "log2(x)"

    def slope(self, x: Variable) -> Variable:
        """Return x log 2."""
        return x * math.log(2)


@dataclass(frozen=True, slots=True)
class Log10(Logarithm):
    """The logarithm to base 10."""

    expression = "log10(x)"

    def slope(self, x: Variable) -> Variable:
        """Return x log 10."""
        return x * math.log(10)


@dataclass(frozen=True, slots=True)
class Erf(Unary):
    """2/√π ∫ e^(-t²) dt from 0 to x."""

    expression = "erf(x)"
    lowest_kind = 2

    def derivative(self, x: Variable, y: Variable) -> Variable:
        """Return 2/√π e^(-x²)."""
        return (2 / math.sqrt(math.pi)) * exp(-(x * x))


@dataclass(frozen=True, slots=True)
class Erfc(Unary):
    """1 - erf x, accurate where it is small."""

    expression = "erfc(x)"
    lowest_kind = 2

    def derivative(self, x: Variable, y: Variable) -> Variable:
        """Return -2/√π e^(-x²)."""
        return (-2 / math.sqrt(math.pi)) * exp(-(x * x))


def exp(x: Operand) -> Variable:
    """Return e^x.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.exp(gg.constant([0.0])))
    array([1.], dtype=float32)
    """
    return unary(Exp(), x)


def expm1(x: Operand) -> Variable:
    """Return e^x - 1, accurate near 0."""
    return unary(Expm1(), x)


def log(x: Operand) -> Variable:
    """Return the natural logarithm; -inf at 0, NaN below."""
    return unary(Log(), x)


def log1p(x: Operand) -> Variable:
    """Return log(1 + x), accurate near 0."""
    return unary(Log1p(), x)


def log2(x: Operand) -> Variable:
    """Return the logarithm to base 2."""
    return unary(Log2(), x)


def log10(x: Operand) -> Variable:
    """Return the logarithm to base 10."""
    return unary(Log10(), x)


def erf(x: Operand) -> Variable:
    """Return the error function, 2/√π ∫ e^(-t²) dt from 0 to x."""
    return unary(Erf(), x)


def erfc(x: Operand) -> Variable:
    """Return the complementary error function 1 - erf x, accurate where it is small.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.erfc(gg.constant([0.0, 9.0])))
    array([1.0000000e+00, 4.1370317e-37], dtype=float32)
    """
    return unary(Erfc(), x)
