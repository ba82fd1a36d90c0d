"""Shrinkage: what is small becomes 0, or nearly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from graphgpu.graph import Operand, Variable
from graphgpu.ops.activations.requirements import at_least_zero
from graphgpu.ops.arithmetic import abs, square
from graphgpu.ops.comparison import where
from graphgpu.ops.elementwise import Pull, Unary, unary
from graphgpu.ops.trigonometric import tanh

__all__ = ["hardshrink", "softshrink", "tanhshrink"]

Inputs = tuple[Variable, ...]


def _series(square: str, terms: int) -> str:
    """Write (z cosh z - sinh z) / z³ = Σ 2k z^(2k - 2) / (2k + 1)!, by Horner's rule.

    All terms are positive: nothing cancels.
    """
    text = "0.0"
    for k in range(terms, 0, -1):
        text = f"({2 * k / math.factorial(2 * k + 1)!r} + {square} * {text})"
    return text


_NEAR = "minimum(abs(x), 1)"


@dataclass(frozen=True, slots=True)
class Tanhshrink(Unary):
    """x - tanh x; where |x| < 1, (x cosh x - sinh x) / cosh x by its series."""

    expression = (
        f"where(abs(x) < 1, x * square({_NEAR}) * {_series(f'square({_NEAR})', 9)}"
        f" / cosh({_NEAR}), x - tanh(x))"
    )
    lowest_kind = 2

    def derivative(self, x: Variable, y: Variable) -> Variable:
        """Return tanh² x."""
        return square(tanh(x))


class Shrinkage(Unary):
    """0 where |x| ≤ λ, of slope 1 beyond. Abstract."""

    lambd: float
    lowest_kind = 2

    def pulls(self, inputs: Inputs, output: Variable, grad: Variable) -> Sequence[Pull]:
        """∂/∂x = 1 where |x| > λ, else 0."""
        (x,) = inputs
        return ((lambda: where(abs(x) <= self.lambd, 0, grad)),)


@dataclass(frozen=True, slots=True)
class Hardshrink(Shrinkage):
    """x where |x| > λ, else 0."""

    lambd: float

    expression = "where(abs(x) <= lambd, 0, x)"


@dataclass(frozen=True, slots=True)
class Softshrink(Shrinkage):
    """x - min(max(x, -λ), λ)."""

    lambd: float

    expression = "x - minimum(maximum(x, -lambd), lambd)"


def tanhshrink(x: Operand) -> Variable:
    """Return x - tanh x: x³/3 near 0, x ∓ 1 far from it.

    It keeps its digits near 0, where the difference would lose them.  PyTorch's
    ``Tanhshrink``; a soft threshold as in Gregor and LeCun, "Learning fast
    approximations of sparse coding", 2010.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.tanhshrink(gg.constant([1e-4, 100.0])))
    array([3.333333e-13, 9.900000e+01], dtype=float32)

    Properties
    ----------
    formula : x - tanh(x)
    derivative : tanh(x) ** 2
    range : (-inf, inf)
    monotone : strictly increasing
    kinks : none
    saturates : none
    scale : none
    shift : none
    symmetry : f(-x) == -f(x)
    """
    return unary(Tanhshrink(), x)


def hardshrink(x: Operand, lambd: float = 0.5) -> Variable:
    """Return x where |x| > ``lambd``, else 0; the derivative at the jumps is 0.

    Hard thresholding: Donoho and Johnstone, "Ideal spatial adaptation by wavelet
    shrinkage", 1994.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.hardshrink(gg.constant([-2.0, 0.5, 0.75])))
    array([-2.  ,  0.  ,  0.75], dtype=float32)

    Raises
    ------
    GraphError
        ``lambd`` is not a finite number >= 0.

    Properties
    ----------
    formula : where(abs(x) > lambd, x, 0)
    derivative : where(abs(x) > lambd, 1, 0)
    range : (-inf, inf)
    monotone : increasing
    kinks : -0.5 (slope 0), 0.5 (slope 0)
    jumps : -0.5, 0.5
    saturates : none
    scale : none
    shift : none
    symmetry : f(-x) == -f(x)
    """
    return unary(Hardshrink(at_least_zero("hardshrink", "lambd", lambd)), x)


def softshrink(x: Operand, lambd: float = 0.5) -> Variable:
    """Return x - ``lambd`` above ``lambd``, x + ``lambd`` below -``lambd``, else 0.

    The derivative at ±``lambd`` is 0.  Soft thresholding, the proximal operator of
    ``lambd`` |x|: Donoho, "De-noising by soft-thresholding", 1995.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.softshrink(gg.constant([-2.0, 0.5, 0.75])))
    array([-1.5 ,  0.  ,  0.25], dtype=float32)

    Raises
    ------
    GraphError
        ``lambd`` is not a finite number >= 0.

    Properties
    ----------
    formula : where(abs(x) > lambd, x - sign(x) * lambd, 0)
    derivative : where(abs(x) > lambd, 1, 0)
    range : (-inf, inf)
    monotone : increasing
    kinks : -0.5 (slope 0), 0.5 (slope 0)
    saturates : none
    scale : none
    shift : none
    symmetry : f(-x) == -f(x)
    """
    return unary(Softshrink(at_least_zero("softshrink", "lambd", lambd)), x)
