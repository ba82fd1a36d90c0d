"""Sigmoid curves, and the softplus, whose slope is one."""

from __future__ import annotations

from dataclasses import dataclass

from graphgpu.graph import Operand, Variable
from graphgpu.ops.activations.requirements import made_floating, positive
from graphgpu.ops.arithmetic import abs, reciprocal, square
from graphgpu.ops.comparison import where
from graphgpu.ops.elementwise import Unary, unary
from graphgpu.ops.random import number_of

__all__ = ["log_sigmoid", "logsigmoid", "sigmoid", "softplus", "softsign"]


@dataclass(frozen=True, slots=True)
class Sigmoid(Unary):
    """σ(x) = 1 / (1 + e^(-x)), by that exponential which does not overflow."""

    expression = "exp(minimum(x, 0)) / (1 + exp(-abs(x)))"
    lowest_kind = 2

    def derivative(self, x: Variable, y: Variable) -> Variable:
        """Return σ(x) (1 - σ(x)), of the value that is there: x need not be kept."""
        return y * (1 - y)


@dataclass(frozen=True, slots=True)
class Softplus(Unary):
    """ζ(x) = log(1 + e^x), by that exponential which does not overflow."""

    expression = "maximum(x, 0) + log1p(exp(-abs(x)))"
    lowest_kind = 2

    def derivative(self, x: Variable, y: Variable) -> Variable:
        """Return σ(x) (*Deep Learning*, section 3.10)."""
        return sigmoid(x)


@dataclass(frozen=True, slots=True)
class SharpSoftplus(Unary):
    """ζ(bx) / b; where bx overflows it is max(x, 0)."""

    beta: float

    expression = "maximum(x, 0) + log1p(exp(-abs(beta * x))) / beta"
    lowest_kind = 2

    def derivative(self, x: Variable, y: Variable) -> Variable:
        """Return σ(bx)."""
        return sigmoid(self.beta * x)


@dataclass(frozen=True, slots=True)
class Softsign(Unary):
    """x / (1 + |x|); what is farther from 0 than 1e30 gives ±1 as 1e30 does."""

    expression = "minimum(maximum(x, -1e30), 1e30) / (1 + minimum(abs(x), 1e30))"
    lowest_kind = 2

    def derivative(self, x: Variable, y: Variable) -> Variable:
        """Return 1 / (1 + |x|)²."""
        return square(reciprocal(1 + abs(x)))


def sigmoid(x: Operand) -> Variable:
    """Return the logistic sigmoid σ(x) = 1 / (1 + e^(-x)).

    *Deep Learning*, section 3.10.  It keeps its digits on both sides: σ(-100) is
    3.72e-44.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.sigmoid(gg.constant([-1e4, 0.0, 1e4])))
    array([0. , 0.5, 1. ], dtype=float32)

    Properties
    ----------
    formula : 1 / (1 + exp(-x))
    derivative : sigmoid(x) * (1 - sigmoid(x))
    range : (0, 1)
    monotone : strictly increasing
    kinks : none
    saturates : both
    scale : none
    shift : none
    symmetry : f(-x) == 1 - f(x)
    """
    return unary(Sigmoid(), x)


def logsigmoid(x: Operand) -> Variable:
    """Return log σ(x) = -ζ(-x), with the softplus ζ: finite for every finite x.

    *Deep Learning*, section 3.10.  ``log_sigmoid`` is the same function.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.logsigmoid(gg.constant([-1e4, 0.0, 1e4])))
    array([-1.000000e+04, -6.931472e-01, -0.000000e+00], dtype=float32)

    Properties
    ----------
    formula : -log(1 + exp(-x))
    derivative : sigmoid(-x)
    range : (-inf, 0)
    monotone : strictly increasing
    kinks : none
    saturates : right
    scale : none
    shift : none
    symmetry : f(-x) == f(x) - x
    """
    return -unary(Softplus(), -made_floating("logsigmoid", x))


def softplus(x: Operand, beta: float = 1.0, threshold: float | None = None) -> Variable:
    """Return ζ(βx) / β with the softplus ζ(x) = log(1 + e^x), a smooth max(x, 0).

    Dugas, Bengio, Bélisle, Nadeau and Garcia, "Incorporating second-order functional
    knowledge for better option pricing", 2001; *Deep Learning*, section 3.10.  The
    larger β, the nearer it is to max(x, 0), from which it is at most log(2) / β away.

    Parameters
    ----------
    x
        Of any shape.
    beta
        The sharpness β > 0.
    threshold
        Where βx is larger, the result is x itself.  The function is exact to rounding
        for every x without one; give 20 to have what PyTorch computes.

    Raises
    ------
    GraphError
        β is not a finite number > 0, or the threshold is no number.

    Examples
    --------
    >>> import graphgpu as gg
    >>> gg.evaluate(gg.softplus(gg.constant([-1e4, 1e4])))
    array([    0., 10000.], dtype=float32)

    Properties
    ----------
    formula : log(1 + exp(beta * x)) / beta
    derivative : sigmoid(beta * x)
    range : (0, inf)
    monotone : strictly increasing
    kinks : none
    saturates : left
    scale : none
    shift : none
    symmetry : f(-x) == f(x) - x
    """
    sharpness = positive("softplus", "beta", beta)
    variable = made_floating("softplus", x)
    operation = Softplus() if sharpness == 1 else SharpSoftplus(sharpness)
    result = unary(operation, variable)
    if threshold is None:
        return result
    bound = number_of(f"softplus(threshold={threshold!r})", threshold) / sharpness
    return where(variable > bound, variable, result)


def softsign(x: Operand) -> Variable:
    """Return x / (1 + |x|), a sigmoid that saturates slowly, as 1 / x² does.

    Bergstra, Desjardins, Lamblin and Bengio, "Quadratic polynomials learn better
    image features", 2009.  The derivative is 1 at 0; the second is 0 there, in the
    middle of its jump from 2 to -2.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.softsign(gg.constant([-1.0, 0.0, 3.0, float("inf")])))
    array([-0.5 ,  0.  ,  0.75,  1.  ], dtype=float32)

    Properties
    ----------
    formula : x / (1 + abs(x))
    derivative : 1 / (1 + abs(x)) ** 2
    range : (-1, 1)
    monotone : strictly increasing
    kinks : none
    saturates : both
    scale : none
    shift : none
    symmetry : f(-x) == -f(x)
    """
    return unary(Softsign(), x)


log_sigmoid = logsigmoid
