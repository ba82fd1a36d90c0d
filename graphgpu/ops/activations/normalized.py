"""Softmax and its like: what a vector is made a distribution by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphgpu.dims import Size
from graphgpu.dtypes import Array, accumulator, is_floating
from graphgpu.errors import DTypeError, ShapeError
from graphgpu.graph import Operand, Operation, Variable, apply
from graphgpu.ops.activations.requirements import made_floating
from graphgpu.ops.exponential import exp
from graphgpu.ops.shape import axis_of
from graphgpu.types import Guards, TensorType, Type

__all__ = ["log_softmax", "softmax", "softmin"]

Inputs = tuple[Variable, ...]


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


def softmax(x: Operand, axis: int = -1) -> Variable:
    """Return e^(x_i) / Σ_j e^(x_j) along an axis: positive, of sum 1.

    *Deep Learning*, sections 4.1 and 6.2.2.3.  No finite x overflows.  An entry of
    -inf gives 0; a row that is -inf throughout, or holds +inf, gives NaN.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.softmax(gg.constant([1e4, 1e4, -1e4])))
    array([0.5, 0.5, 0. ], dtype=float32)

    Raises
    ------
    ShapeError
        The axis is out of range.

    Properties
    ----------
    formula : exp(x) / sum(exp(x), axis, keepdims=True)
    range : (0, 1)
    scale : none
    shift : f(x + c) == f(x)
    """
    variable = made_floating("softmax", x)
    return apply(Softmax(axis_of("softmax", variable, axis)), variable)


def softmin(x: Operand, axis: int = -1) -> Variable:
    """Return e^(-x_i) / Σ_j e^(-x_j) along an axis: the smallest has the largest part.

    It is softmax(-x), and as stable.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.softmin(gg.constant([1e4, -1e4, -1e4])))
    array([0. , 0.5, 0.5], dtype=float32)

    Raises
    ------
    ShapeError
        The axis is out of range.

    Properties
    ----------
    formula : exp(-x) / sum(exp(-x), axis, keepdims=True)
    range : (0, 1)
    scale : none
    shift : f(x + c) == f(x)
    """
    variable = made_floating("softmin", x)
    place = axis_of("softmin", variable, axis)
    return apply(Softmax(place), -variable)


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

    Properties
    ----------
    formula : x - log(sum(exp(x), axis, keepdims=True))
    range : (-inf, 0)
    scale : none
    shift : f(x + c) == f(x)
    """
    variable = made_floating("log_softmax", x)
    return apply(LogSoftmax(axis_of("log_softmax", variable, axis)), variable)
