"""Rectifiers: the identity above a threshold, and a constant or a line below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphgpu.errors import GraphError, ShapeError
from graphgpu.graph import Operand, Variable, as_variable, located
from graphgpu.ops.activations.requirements import made_floating
from graphgpu.ops.comparison import where
from graphgpu.ops.elementwise import Binary, Pull, Unary, binary, cast, unary
from graphgpu.ops.random import key_of, number_of, random_uniform
from graphgpu.ops.requirements import floating, widened

__all__ = ["leaky_relu", "prelu", "relu", "rrelu", "threshold"]

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
class Prelu(Binary):
    """x where x > 0, else y x."""

    expression = "where(x > 0, x, y * x)"
    lowest_kind = 2

    def pulls(self, inputs: Inputs, output: Variable, grad: Variable) -> Sequence[Pull]:
        """∂/∂x = 1 where x > 0, else y; ∂/∂y = 0 where x > 0, else x."""
        x, y = inputs
        return (
            lambda: where(x > 0, grad, y * grad),
            lambda: grad * where(x > 0, 0, x),
        )


@dataclass(frozen=True, slots=True)
class Threshold(Unary):
    """x where x > t, else v."""

    threshold: float
    value: float

    expression = "where(x <= threshold, value, x)"
    lowest_kind = 2

    def pulls(self, inputs: Inputs, output: Variable, grad: Variable) -> Sequence[Pull]:
        """∂/∂x = 1 where x > t, else 0."""
        (x,) = inputs
        return ((lambda: where(x <= self.threshold, 0, grad)),)


def relu(x: Operand) -> Variable:
    """Return max(x, 0), the rectified linear unit; the derivative at 0 is 0.

    *Deep Learning*, section 6.3.1.  x may have any shape, which the result has.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.relu(gg.constant([-1.0, 2.0])))
    array([0., 2.], dtype=float32)

    Properties
    ----------
    formula : maximum(x, 0)
    derivative : where(x > 0, 1, 0)
    range : [0, inf)
    monotone : increasing
    kinks : 0 (slope 0)
    saturates : left
    scale : f(a * x) == a * f(x)
    shift : none
    symmetry : f(-x) == f(x) - x
    """
    return unary(Relu(), x)


def leaky_relu(x: Operand, negative_slope: float = 0.01) -> Variable:
    """Return x where x > 0, else ``negative_slope`` x; that is its slope at 0 too.

    Maas, Hannun and Ng, "Rectifier nonlinearities improve neural network acoustic
    models", 2013; *Deep Learning*, section 6.3.1.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.leaky_relu(gg.constant([-1.0, 2.0]), 0.25))
    array([-0.25,  2.  ], dtype=float32)

    Raises
    ------
    GraphError
        The slope is not a finite number.

    Properties
    ----------
    formula : where(x > 0, x, negative_slope * x)
    derivative : where(x > 0, 1, negative_slope)
    range : (-inf, inf)
    monotone : strictly increasing
    kinks : 0 (slope 0.01)
    saturates : none
    scale : f(a * x) == a * f(x)
    shift : none
    symmetry : f(-x) == f(x) - (1 + negative_slope) * x
    """
    name = f"leaky_relu(negative_slope={negative_slope!r})"
    return unary(LeakyRelu(number_of(name, negative_slope)), x)


def prelu(x: Operand, weight: Operand) -> Variable:
    """Return x where x > 0, else w x, with a slope w to be learned.

    He, Zhang, Ren and Sun, "Delving deep into rectifiers", 2015.  The derivative by
    x at 0 is w, by w at 0 it is 0.

    Parameters
    ----------
    x
        Of any shape; channels are its axis 1.
    weight
        One slope, a scalar or of shape (1,), or a slope for each channel.

    Raises
    ------
    ShapeError
        There are neither one slope nor as many as channels.

    Examples
    --------
    >>> import graphgpu as gg
    >>> x = gg.constant([[-1.0, -1.0], [2.0, 2.0]])
    >>> gg.evaluate(gg.prelu(x, gg.constant([0.25, 0.5])))
    array([[-0.25, -0.5 ],
           [ 2.  ,  2.  ]], dtype=float32)

    Properties
    ----------
    formula : where(x > 0, x, y * x)
    scale : f(a * x, y) == a * f(x, y)
    symmetry : f(-x, y) == f(x, y) - (1 + y) * x
    """
    variable = floating("prelu", x)
    slopes = as_variable(weight, variable.tensor)
    if slopes.ndim > 1:
        error = ShapeError("expected one slope, or a vector of one for each channel")
        raise located(error, "prelu", (variable, slopes))
    if slopes.shape in ((), (1,)):
        return binary(Prelu(), variable, slopes.reshape(()))
    if variable.ndim < 2:
        error = ShapeError("expected one slope for an input without channels, axis 1")
        raise located(error, "prelu", (variable, slopes))
    channels, given = variable.shape[1], slopes.shape[0]
    if isinstance(channels - given, int) and channels != given:
        error = ShapeError(f"expected one slope or {channels}, one for each channel")
        raise located(error, "prelu", (variable, slopes))
    slopes = slopes.reshape((given, *[1] * (variable.ndim - 2)))
    return binary(Prelu(), variable, slopes)


def rrelu(
    x: Operand,
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    training: bool = False,
    key: str | None = None,
) -> Variable:
    """Return x where x > 0, else s x, with random slopes s, uniform in [lower, upper).

    Xu, Wang, Chen and Li, "Empirical evaluation of rectified activations in
    convolutional network", 2015.  In training every element has a slope of its own,
    drawn anew at every step; the gradient sees the same.  Otherwise all have the
    expected one, (lower + upper) / 2.  The slope below 0 is that at 0.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.rrelu(gg.constant([-2.0, 2.0]), 0.25, 0.75))
    array([-1.,  2.], dtype=float32)
    >>> y = gg.evaluate(gg.rrelu(-gg.ones((1000,)), 0.25, 0.75, training=True))
    >>> bool(-0.75 < y.min() < -0.7), bool(-0.3 < y.max() <= -0.25)
    (True, True)

    Raises
    ------
    GraphError
        The bounds are not finite, or not in order.

    Properties
    ----------
    formula : where(x > 0, x, (lower + upper) / 2 * x)
    derivative : where(x > 0, 1, (lower + upper) / 2)
    range : (-inf, inf)
    monotone : strictly increasing
    kinks : 0 (slope 11 / 48)
    saturates : none
    scale : f(a * x) == a * f(x)
    shift : none
    symmetry : f(-x) == f(x) - (1 + (lower + upper) / 2) * x
    """
    name = f"rrelu(lower={lower!r}, upper={upper!r})"
    low, high = number_of(name, lower), number_of(name, upper)
    if low > high:
        raise located(GraphError("expected lower <= upper"), name)
    variable = made_floating("rrelu", x)
    if not training:
        return unary(LeakyRelu((low + high) / 2), variable)
    wide = widened(variable)
    slopes = random_uniform(variable.shape, low, high, wide.dtype, key_of(key, "rrelu"))
    return cast(binary(Prelu(), wide, slopes), variable.dtype)


def threshold(x: Operand, threshold: float = 0.0, value: float = 0.0) -> Variable:
    """Return x where x > ``threshold``, else ``value``; the derivative there is 0.

    Where the value is not the threshold the function jumps, and no gradient tells.
    At 0 and 0 it is :func:`relu`.  Konda, Memisevic and Krueger, "Zero-bias
    autoencoders and the benefits of co-adapting features", 2015.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.threshold(gg.constant([-1.0, 0.5, 2.0]), 1.0, -3.0))
    array([-3., -3.,  2.], dtype=float32)

    Raises
    ------
    GraphError
        An argument is not a finite number.

    Properties
    ----------
    formula : where(x > threshold, x, value)
    derivative : where(x > threshold, 1, 0)
    range : [0, inf)
    monotone : increasing
    kinks : 0 (slope 0)
    saturates : left
    scale : f(a * x) == a * f(x)
    shift : none
    symmetry : f(-x) == f(x) - x
    """
    name = f"threshold(threshold={threshold!r}, value={value!r})"
    numbers = number_of(name, threshold), number_of(name, value)
    return unary(Threshold(*numbers), x)
