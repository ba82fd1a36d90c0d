"""The identity, and it or its like between two bounds: piecewise linear saturation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphgpu.errors import GraphError
from graphgpu.graph import Operand, Variable, located
from graphgpu.ops.activations.requirements import made_floating
from graphgpu.ops.comparison import logical_or, where
from graphgpu.ops.elementwise import Pull, Unary, operands_of, unary
from graphgpu.ops.random import number_of

__all__ = [
    "clipped_linear",
    "hard_sigmoid",
    "hard_swish",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "identity",
    "relu6",
]

Inputs = tuple[Variable, ...]


@dataclass(frozen=True, slots=True)
class Hardtanh(Unary):
    """min(max(x, low), high)."""

    low: float
    high: float

    expression = "minimum(maximum(x, low), high)"
    lowest_kind = 2

    def pulls(self, inputs: Inputs, output: Variable, grad: Variable) -> Sequence[Pull]:
        """∂/∂x = 1 where low < x < high, else 0.

        The output decides it, and so x need not be kept.
        """

        def pull() -> Variable:
            outside = logical_or(output <= self.low, output >= self.high)
            return where(outside, 0, grad)

        return (pull,)


@dataclass(frozen=True, slots=True)
class Hardsigmoid(Unary):
    """min(max(x + 3, 0), 6) / 6."""

    expression = "minimum(maximum(x + 3, 0), 6) / 6"
    lowest_kind = 2

    def pulls(self, inputs: Inputs, output: Variable, grad: Variable) -> Sequence[Pull]:
        """∂/∂x = 1/6 where |x| < 3, else 0."""
        (x,) = inputs
        return ((lambda: where(logical_or(x <= -3, x >= 3), 0, grad / 6)),)


@dataclass(frozen=True, slots=True)
class Hardswish(Unary):
    """x min(max(x + 3, 0), 6) / 6; the first factor no less than -3, for x = -∞."""

    expression = "maximum(x, -3) * (minimum(maximum(x + 3, 0), 6) / 6)"
    lowest_kind = 2

    def derivative(self, x: Variable, y: Variable) -> Variable:
        """Return x/3 + 1/2 where |x| < 3; 0 below, 1 above."""
        inside = hardtanh(x, -3, 3) / 3 + 0.5
        return where(x <= -3, 0, where(x >= 3, 1, inside))


def identity(x: Operand) -> Variable:
    """Return x: the activation of a linear unit.

    *Deep Learning*, section 6.2.2.1.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.identity(gg.constant([-1.0, 2.0])))
    array([-1.,  2.], dtype=float32)

    Properties
    ----------
    formula : x
    derivative : 1
    range : (-inf, inf)
    monotone : strictly increasing
    kinks : none
    saturates : none
    scale : f(a * x) == a * f(x)
    shift : f(x + c) == f(x) + c
    symmetry : f(-x) == -f(x)
    """
    (variable,) = operands_of("identity", x)
    return variable


def hardtanh(x: Operand, min_val: float = -1.0, max_val: float = 1.0) -> Variable:
    """Return min(max(x, ``min_val``), ``max_val``); the derivative at the bounds is 0.

    Collobert, *Large scale machine learning*, 2004, section 4.4; *Deep Learning*,
    section 6.3.3.  x may have any shape, which the result has.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.hardtanh(gg.constant([-3.0, 0.5, 3.0])))
    array([-1. ,  0.5,  1. ], dtype=float32)

    Raises
    ------
    GraphError
        The bounds are not finite numbers, the second the larger.

    Properties
    ----------
    formula : minimum(maximum(x, min_val), max_val)
    derivative : where(abs(x) < 1, 1, 0)
    range : [-1, 1]
    monotone : increasing
    kinks : -1 (slope 0), 1 (slope 0)
    saturates : both
    scale : none
    shift : none
    symmetry : f(-x) == -f(x)
    """
    name = f"hardtanh(min_val={min_val!r}, max_val={max_val!r})"
    low, high = number_of(name, min_val), number_of(name, max_val)
    if low >= high:
        raise located(GraphError("expected min_val < max_val"), name)
    return unary(Hardtanh(low, high), x)


def clipped_linear(x: Operand) -> Variable:
    """Return max(0, min(1, x)); the derivative at 0 and 1 is 0.

    A linear unit that stays within the probabilities: *Deep Learning*, section
    6.2.2.2, which says why its gradient is no good for learning them.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.clipped_linear(gg.constant([-3.0, 0.5, 3.0])))
    array([0. , 0.5, 1. ], dtype=float32)

    Properties
    ----------
    formula : maximum(0, minimum(1, x))
    derivative : where((x > 0) & (x < 1), 1, 0)
    range : [0, 1]
    monotone : increasing
    kinks : 0 (slope 0), 1 (slope 0)
    saturates : both
    scale : none
    shift : none
    symmetry : none
    """
    return unary(Hardtanh(0.0, 1.0), made_floating("clipped_linear", x))


def relu6(x: Operand) -> Variable:
    """Return min(max(x, 0), 6); the derivative at 0 and 6 is 0.

    Krizhevsky, "Convolutional deep belief networks on CIFAR-10", 2010.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.relu6(gg.constant([-3.0, 0.5, 8.0])))
    array([0. , 0.5, 6. ], dtype=float32)

    Properties
    ----------
    formula : minimum(maximum(x, 0), 6)
    derivative : where((x > 0) & (x < 6), 1, 0)
    range : [0, 6]
    monotone : increasing
    kinks : 0 (slope 0), 6 (slope 0)
    saturates : both
    scale : none
    shift : none
    symmetry : none
    """
    return unary(Hardtanh(0.0, 6.0), made_floating("relu6", x))


def hardsigmoid(x: Operand) -> Variable:
    """Return min(max(x + 3, 0), 6) / 6; the derivative at -3 and 3 is 0.

    A sigmoid of straight lines: Courbariaux, Bengio and David, "BinaryConnect",
    2015, with the slope of Howard et al., "Searching for MobileNetV3", 2019.
    ``hard_sigmoid`` is the same function.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.hardsigmoid(gg.constant([-4.0, 0.0, 1.5, 4.0])))
    array([0.  , 0.5 , 0.75, 1.  ], dtype=float32)

    Properties
    ----------
    formula : minimum(maximum(x + 3, 0), 6) / 6
    derivative : where(abs(x) < 3, 1 / 6, 0)
    range : [0, 1]
    monotone : increasing
    kinks : -3 (slope 0), 3 (slope 0)
    saturates : both
    scale : none
    shift : none
    symmetry : f(-x) == 1 - f(x)
    """
    return unary(Hardsigmoid(), x)


def hardswish(x: Operand) -> Variable:
    """Return x min(max(x + 3, 0), 6) / 6; the derivative is 0 at -3 and 1 at 3.

    Howard et al., "Searching for MobileNetV3", 2019, section 5.2.  ``hard_swish`` is
    the same function.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.hardswish(gg.constant([-4.0, -1.5, 3.0])))
    array([-0.   , -0.375,  3.   ], dtype=float32)

    Properties
    ----------
    formula : x * minimum(maximum(x + 3, 0), 6) / 6
    derivative : where(abs(x) < 3, x / 3 + 1 / 2, x > 0)
    range : [-3 / 8, inf)
    monotone : no
    kinks : -3 (slope 0), 3 (slope 1)
    saturates : left
    scale : none
    shift : none
    symmetry : f(-x) == f(x) - x
    """
    return unary(Hardswish(), x)


hard_sigmoid = hardsigmoid
hard_swish = hardswish
