"""Activation functions: what layers apply to their units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphgpu.dims import Size
from graphgpu.dtypes import Array, accumulator, is_floating
from graphgpu.errors import DTypeError, ShapeError
from graphgpu.graph import Operand, Operation, Variable, apply, as_variable
from graphgpu.ops.comparison import where
from graphgpu.ops.elementwise import Pull, Unary, cast, unary
from graphgpu.ops.exponential import exp
from graphgpu.ops.shape import axis_of
from graphgpu.types import Guards, TensorType, Type

__all__ = [
    "elu",
    "leaky_relu",
    "log_softmax",
    "relu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
]

Inputs = tuple[Variable, ...]


@dataclass(frozen=True, slots=True)
class Relu(Unary):
    """max(x, 0)."""

    expression = "maximum(x, 0)"
    lowest_kind = 1

    def pulls(self, inputs: Inputs, output: Variable, grad: Variable) -> Sequence[Pull]:
        """∂/∂x = 1 where x > 0, else 0; chosen, so that an infinite G gives no NaN.

        The output has the sign that decides it, and so x need not be kept.
        """
        return ((lambda: where(output <= 0, 0, grad)),)


@dataclass(frozen=True, slots=True)
class LeakyRelu(Unary):
    """x where x > 0, else a x."""

    negative_slope: float

    expression = "where(x > 0, x, negative_slope * x)"
    lowest_kind = 2

    def pulls(self, inputs: Inputs, output: Variable, grad: Variable) -> Sequence[Pull]:
        """∂/∂x = 1 where x > 0, else a."""
        (x,) = inputs
        return ((lambda: where(x > 0, grad, self.negative_slope * grad)),)


@dataclass(frozen=True, slots=True)
class Elu(Unary):
    """x where x > 0, else a (e^x - 1)."""

    alpha: float

    expression = "where(x > 0, x, alpha * expm1(minimum(x, 0)))"
    lowest_kind = 2

    def pulls(self, inputs: Inputs, output: Variable, grad: Variable) -> Sequence[Pull]:
        """∂/∂x = 1 where x > 0, else a e^x."""
        (x,) = inputs

        def pull() -> Variable:
            slope = self.alpha * exp(where(x > 0, 0, x))
            return where(x > 0, grad, grad * slope)

        return (pull,)


@dataclass(frozen=True, slots=True)
class Sigmoid(Unary):
    """σ(x) = 1 / (1 + e^(-x)), by that exponential which does not overflow."""

    expression = "exp(minimum(x, 0)) / (1 + exp(-abs(x)))"
    lowest_kind = 2

    def derivative(self, x: Variable, y: Variable) -> Variable:
        """Return σ(x) (1 - σ(x))."""
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
class Silu(Unary):
    """x σ(x)."""

    expression = "x * (exp(minimum(x, 0)) / (1 + exp(-abs(x))))"
    lowest_kind = 2

    def derivative(self, x: Variable, y: Variable) -> Variable:
        """Return σ(x) + x σ(x) (1 - σ(x))."""
        s = sigmoid(x)
        return s + y * (1 - s)


class Normalized(Operation):
    """A function of the elements along an axis, each shifted by the largest. Abstract.

    The shift changes nothing but the rounding: every exponent is then at most 0
    and one of them is 0.
    """

    axis: int

    def infer(self, guards: Guards, x: TensorType) -> TensorType:
        """Keep the type."""
        if not is_floating(x.dtype):
            raise DTypeError("expected a floating-point dtype")
        if not 0 <= self.axis < x.ndim:
            raise ShapeError(f"axis {self.axis} is out of range")
        return x

    def shifted(self, x: Array) -> Array:
        """Return a fresh x - max x, halves in float32."""
        wide = x.astype(accumulator(x.dtype), copy=False)
        largest = np.max(wide, axis=self.axis, keepdims=True, initial=-np.inf)
        result: Array = wide - largest
        return result

    def flops(self, inputs: Sequence[TensorType], output: Type) -> Size:
        """A maximum, a difference, an exponential, a sum and a quotient an element."""
        return 5 * inputs[0].size


@dataclass(frozen=True, slots=True)
class Softmax(Normalized):
    """y_i = e^(x_i) / Σ_j e^(x_j) along ``axis``."""

    axis: int

    def numpy(self, x: Array) -> Array:
        """Divide the exponentials by their sum."""
        powers = self.shifted(x)
        np.exp(powers, out=powers)
        powers /= np.sum(powers, axis=self.axis, keepdims=True)
        return powers.astype(x.dtype, copy=False)

    def bprop(
        self,
        inputs: Inputs,
        output: Variable,
        grad: Variable,
        wanted: tuple[bool, ...],
    ) -> list[Variable | None]:
        """∂/∂x = y (G - Σ G y)."""
        mean = (grad * output).sum(self.axis, keepdims=True)
        return [output * (grad - mean)]


@dataclass(frozen=True, slots=True)
class LogSoftmax(Normalized):
    """y_i = x_i - log Σ_j e^(x_j) along ``axis``."""

    axis: int

    def numpy(self, x: Array) -> Array:
        """Subtract the logarithm of the sum of the exponentials."""
        result = self.shifted(x)
        result -= np.log(np.sum(np.exp(result), axis=self.axis, keepdims=True))
        return result.astype(x.dtype, copy=False)

    def bprop(
        self,
        inputs: Inputs,
        output: Variable,
        grad: Variable,
        wanted: tuple[bool, ...],
    ) -> list[Variable | None]:
        """∂/∂x = G - e^y Σ G."""
        return [grad - exp(output) * grad.sum(self.axis, keepdims=True)]


def relu(x: Operand) -> Variable:
    """Return max(x, 0), the rectified linear unit; the derivative at 0 is 0.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.relu(gg.constant([-1.0, 2.0])))
    array([0., 2.], dtype=float32)
    """
    return unary(Relu(), x)


def leaky_relu(x: Operand, negative_slope: float = 0.01) -> Variable:
    """Return x where x > 0, else ``negative_slope`` x; that is its slope at 0 too."""
    return unary(LeakyRelu(float(negative_slope)), x)


def elu(x: Operand, alpha: float = 1.0) -> Variable:
    """Return x where x > 0, else ``alpha`` (e^x - 1).

    Clevert, Unterthiner and Hochreiter, "Fast and accurate deep network learning
    by exponential linear units", 2016.
    """
    return unary(Elu(float(alpha)), x)


def sigmoid(x: Operand) -> Variable:
    """Return the logistic sigmoid σ(x) = 1 / (1 + e^(-x)).

    It keeps its digits on both sides: σ(-100) is 3.72e-44.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.sigmoid(gg.constant([-1e4, 0.0, 1e4])))
    array([0. , 0.5, 1. ], dtype=float32)
    """
    return unary(Sigmoid(), x)


def softplus(x: Operand, beta: float = 1.0) -> Variable:
    """Return ζ(βx) / β with the softplus ζ(x) = log(1 + e^x).

    It is exact to rounding for every x, so it needs no threshold above which x
    stands for it.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.softplus(gg.constant([-1e4, 1e4])))
    array([    0., 10000.], dtype=float32)
    """
    if beta == 1:
        return unary(Softplus(), x)
    return unary(Softplus(), beta * as_variable(x)) / beta


def silu(x: Operand) -> Variable:
    """Return x σ(x), also called swish.

    Elfwing, Uchibe and Doya, "Sigmoid-weighted linear units for neural network
    function approximation in reinforcement learning", 2018.
    """
    return unary(Silu(), x)


def softmax(x: Operand, axis: int = -1) -> Variable:
    """Return e^(x_i) / Σ_j e^(x_j) along an axis: positive, of sum 1.

    No finite x overflows.  An entry of -inf gives 0; a row that is -inf
    throughout, or holds +inf, gives NaN.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.softmax(gg.constant([1e4, 1e4, -1e4])))
    array([0.5, 0.5, 0. ], dtype=float32)

    Raises
    ------
    ShapeError
        The axis is out of range.
    """
    variable = _floating(x)
    return apply(Softmax(axis_of("softmax", variable, axis)), variable)


def log_softmax(x: Operand, axis: int = -1) -> Variable:
    """Return x_i - log Σ_j e^(x_j) along an axis: the logarithm of the softmax.

    No finite x overflows, and probabilities too small for a float keep their
    logarithms.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.log_softmax(gg.constant([0.0, -1e4])))
    array([     0., -10000.], dtype=float32)

    Raises
    ------
    ShapeError
        The axis is out of range.
    """
    variable = _floating(x)
    return apply(LogSoftmax(axis_of("log_softmax", variable, axis)), variable)


def _floating(x: Operand) -> Variable:
    """Return a variable of floating-point numbers."""
    variable = as_variable(x)
    return variable if is_floating(variable.dtype) else cast(variable, "float32")
