"""x times a smooth gate of x: 0 far below, 1 far above.

Where the gate is a 0 in floating point, x is taken no farther, so that -∞ gives 0
and not NaN; in derivatives, x is taken no farther on either side, where the slope
of the gate is 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from graphgpu.errors import GraphError
from graphgpu.graph import Operand, Variable, apply, located
from graphgpu.ops.activations.clipped import hardtanh
from graphgpu.ops.activations.requirements import positive
from graphgpu.ops.activations.sigmoidal import sigmoid
from graphgpu.ops.arithmetic import square
from graphgpu.ops.elementwise import Unary, unary

__all__ = ["gelu", "mish", "silu", "swish"]

_GATE = "(exp(minimum({0}, 0)) / (1 + exp(-abs({0}))))"
_LOGISTIC_END = 1000
"""e^(-1000) is 0, in every dtype."""
_GAUSSIAN_END = 40
"""Φ(-40) is 0, in every dtype."""
_CUBIC = 0.044715
_SLOPE = 1.5957691216057308
"""2 √(2/π)."""


@dataclass(frozen=True, slots=True)
class Silu(Unary):
    """x σ(x)."""

    expression = "maximum(x, -1000) * " + _GATE.format("x")
    lowest_kind = 2

    def derivative(self, x: Variable, y: Variable) -> Variable:
        """Return σ(x) (1 + x σ(-x))."""
        return _silu_slope(x)


@dataclass(frozen=True, slots=True)
class Swish(Unary):
    """x σ(bx)."""

    beta: float

    expression = "maximum(x, -1000 / beta) * " + _GATE.format("(beta * x)")
    lowest_kind = 2

    def derivative(self, x: Variable, y: Variable) -> Variable:
        """Return σ(bx) (1 + bx σ(-bx))."""
        return _silu_slope(self.beta * x)


@dataclass(frozen=True, slots=True)
class MishGate(Unary):
    """tanh log(1 + e^x)."""

    expression = "tanh(maximum(x, 0) + log1p(exp(-abs(x))))"
    lowest_kind = 2

    def derivative(self, x: Variable, y: Variable) -> Variable:
        """Return 4 s r² / (1 + r²)², where s = σ(x) and r = σ(-x)."""
        r = sigmoid(-x)
        return sigmoid(x) * square(2 * r / (1 + square(r)))


@dataclass(frozen=True, slots=True)
class Mish(Unary):
    """x tanh log(1 + e^x)."""

    expression = f"maximum(x, -1000) * {MishGate.expression}"
    lowest_kind = 2

    def derivative(self, x: Variable, y: Variable) -> Variable:
        """Return g(x) + x g'(x), g being the gate."""
        near = hardtanh(x, -_LOGISTIC_END, _LOGISTIC_END)
        gate = apply(MishGate(), near)
        return gate + near * MishGate().derivative(near, gate)


_NEAR = f"minimum(maximum(x, -{_GAUSSIAN_END}), {_GAUSSIAN_END})"
_SIXTEENTHS = f"(trunc({_NEAR} * 16) / 16)"


@dataclass(frozen=True, slots=True)
class NormalDensity(Unary):
    """φ(x) = e^(-x²/2) / √(2π).

    With h, x rounded to sixteenths, x² is h² + (x - h) (x + h), and h² is exact: a
    rounded x² would cost the exponential digits.
    """

    expression = (
        f"0.3989422804014327 * exp(-0.5 * square({_SIXTEENTHS})) "
        f"* exp(-0.5 * ({_NEAR} - {_SIXTEENTHS}) * ({_NEAR} + {_SIXTEENTHS}))"
    )
    lowest_kind = 2

    def derivative(self, x: Variable, y: Variable) -> Variable:
        """Return -x φ(x)."""
        return -hardtanh(x, -_GAUSSIAN_END, _GAUSSIAN_END) * y


@dataclass(frozen=True, slots=True)
class NormalCdf(Unary):
    """Φ(x), the integral of φ from -∞ to x."""

    expression = "normcdf(x)"
    lowest_kind = 2

    def derivative(self, x: Variable, y: Variable) -> Variable:
        """Return φ(x)."""
        return apply(NormalDensity(), x)


@dataclass(frozen=True, slots=True)
class Gelu(Unary):
    """x Φ(x)."""

    expression = "maximum(x, -40) * normcdf(x)"
    lowest_kind = 2

    def derivative(self, x: Variable, y: Variable) -> Variable:
        """Return Φ(x) + x φ(x)."""
        near = hardtanh(x, -_GAUSSIAN_END, _GAUSSIAN_END)
        return apply(NormalCdf(), x) + near * apply(NormalDensity(), x)


_ARGUMENT = f"({_SLOPE} * {_NEAR} * (1 + {_CUBIC} * square({_NEAR})))"


@dataclass(frozen=True, slots=True)
class GeluTanh(Unary):
    """x σ(v), v = 2 √(2/π) (x + 0.044715 x³): σ(v) is (1 + tanh(v/2)) / 2."""

    expression = "maximum(x, -40) * " + _GATE.format(_ARGUMENT)
    lowest_kind = 2

    def derivative(self, x: Variable, y: Variable) -> Variable:
        """Return σ(v) (1 + x σ(-v) v')."""
        near = hardtanh(x, -_GAUSSIAN_END, _GAUSSIAN_END)
        v = _SLOPE * near * (1 + _CUBIC * square(near))
        slope = _SLOPE * (1 + 3 * _CUBIC * square(near))
        return sigmoid(v) * (1 + near * sigmoid(-v) * slope)


def _silu_slope(x: Variable) -> Variable:
    near = hardtanh(x, -_LOGISTIC_END, _LOGISTIC_END)
    return sigmoid(near) * (1 + near * sigmoid(-near))


def silu(x: Operand, beta: float = 1.0) -> Variable:
    """Return x σ(βx), also called swish; ``swish`` is the same function.

    Elfwing, Uchibe and Doya, "Sigmoid-weighted linear units for neural network
    function approximation in reinforcement learning", 2018; with β, Ramachandran,
    Zoph and Le, "Searching for activation functions", 2017.  The larger β > 0, the
    nearer it is to max(x, 0).

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.silu(gg.constant([-1e30, 0.0, 1e30])))
    array([-0.e+00,  0.e+00,  1.e+30], dtype=float32)

    Raises
    ------
    GraphError
        β is not a finite number > 0.

    Properties
    ----------
    formula : x * sigmoid(beta * x)
    derivative : sigmoid(beta * x) * (1 + beta * x * (1 - sigmoid(beta * x)))
    range : [-0.2784645427610738, inf)
    monotone : no
    kinks : none
    saturates : left
    scale : none
    shift : none
    symmetry : f(-x) == f(x) - x
    """
    sharpness = positive("silu", "beta", beta)
    return unary(Silu() if sharpness == 1 else Swish(sharpness), x)


def mish(x: Operand) -> Variable:
    """Return x tanh ζ(x), with the softplus ζ(x) = log(1 + e^x).

    Misra, "Mish: a self regularized non-monotonic activation function", 2020.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.mish(gg.constant([-1e30, 0.0, 1e30])))
    array([-0.e+00,  0.e+00,  1.e+30], dtype=float32)

    Properties
    ----------
    formula : x * tanh(log(1 + exp(x)))
    derivative : tanh(log(1 + exp(x)))
        + x * sigmoid(x) / cosh(log(1 + exp(x))) ** 2
    range : [-0.30884341301725, inf)
    monotone : no
    kinks : none
    saturates : left
    scale : none
    shift : none
    symmetry : none
    """
    return unary(Mish(), x)


def gelu(x: Operand, approximate: Literal["none", "tanh"] = "none") -> Variable:
    """Return x Φ(x), with the distribution function Φ of the standard normal.

    Hendrycks and Gimpel, "Gaussian error linear units", 2016.  Φ keeps its digits
    far below 0: gelu(-10) is -7.6e-23.

    Parameters
    ----------
    x
        Of any shape.
    approximate
        ``"tanh"`` for x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2, at most 5e-4 away.

    Raises
    ------
    GraphError
        ``approximate`` is another word.

    Examples
    --------
    >>> import graphgpu as gg
    >>> gg.evaluate(gg.gelu(gg.constant([-1e30, 0.0, 1e30])))
    array([-0.e+00,  0.e+00,  1.e+30], dtype=float32)

    Properties
    ----------
    formula : x * erfc(-x / sqrt(2)) / 2
    derivative : erfc(-x / sqrt(2)) / 2 + x * exp(-x ** 2 / 2) / sqrt(2 * pi)
    range : [-0.16997120747990369, inf)
    monotone : no
    kinks : none
    saturates : left
    scale : none
    shift : none
    symmetry : f(-x) == f(x) - x
    """
    if approximate not in ("none", "tanh"):
        error = GraphError("expected approximate to be 'none' or 'tanh'")
        raise located(error, f"gelu(approximate={approximate!r})")
    return unary(GeluTanh() if approximate == "tanh" else Gelu(), x)


swish = silu
