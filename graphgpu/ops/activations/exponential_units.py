"""Exponential linear units: the identity above 0, saturating exponentially below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphgpu.graph import Operand, Variable
from graphgpu.ops.activations.requirements import positive
from graphgpu.ops.comparison import where
from graphgpu.ops.elementwise import Pull, Unary, unary
from graphgpu.ops.exponential import exp
from graphgpu.ops.random import number_of

__all__ = ["celu", "elu", "selu"]

Inputs = tuple[Variable, ...]

SELU_ALPHA = 1.6732632423543772
SELU_SCALE = 1.0507009873554805


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
class Celu(Unary):
    """x where x > 0, else a (e^(x/a) - 1)."""

    alpha: float

    expression = "where(x > 0, x, alpha * expm1(minimum(x, 0) / alpha))"
    lowest_kind = 2

    def pulls(self, inputs: Inputs, output: Variable, grad: Variable) -> Sequence[Pull]:
        """∂/∂x = 1 where x > 0, else e^(x/a)."""
        (x,) = inputs

        def pull() -> Variable:
            slope = exp(where(x > 0, 0, x) / self.alpha)
            return where(x > 0, grad, grad * slope)

        return (pull,)


@dataclass(frozen=True, slots=True)
class Selu(Unary):
    """λ x where x > 0, else λ a (e^x - 1), with the two constants of the paper."""

    expression = (
        f"where(x > 0, {SELU_SCALE} * x, "
        f"{SELU_SCALE * SELU_ALPHA} * expm1(minimum(x, 0)))"
    )
    lowest_kind = 2

    def pulls(self, inputs: Inputs, output: Variable, grad: Variable) -> Sequence[Pull]:
        """∂/∂x = λ where x > 0, else λ a e^x."""
        (x,) = inputs

        def pull() -> Variable:
            slope = SELU_SCALE * SELU_ALPHA * exp(where(x > 0, 0, x))
            return where(x > 0, SELU_SCALE * grad, grad * slope)

        return (pull,)


def elu(x: Operand, alpha: float = 1.0) -> Variable:
    """Return x where x > 0, else ``alpha`` (e^x - 1); the derivative at 0 is ``alpha``.

    Clevert, Unterthiner and Hochreiter, "Fast and accurate deep network learning
    by exponential linear units", 2016.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.elu(gg.constant([-1e4, 0.0, 2.0]), 0.5))
    array([-0.5,  0. ,  2. ], dtype=float32)

    Raises
    ------
    GraphError
        ``alpha`` is not a finite number.

    Properties
    ----------
    formula : where(x > 0, x, alpha * (exp(x) - 1))
    derivative : where(x > 0, 1, alpha * exp(x))
    range : (-1, inf)
    monotone : strictly increasing
    kinks : none
    saturates : left
    scale : none
    shift : none
    symmetry : none
    """
    return unary(Elu(number_of(f"elu(alpha={alpha!r})", alpha)), x)


def celu(x: Operand, alpha: float = 1.0) -> Variable:
    """Return x where x > 0, else ``alpha`` (e^(x / ``alpha``) - 1).

    The derivative is continuous, and 1 at 0, for every ``alpha``.  Barron,
    "Continuously differentiable exponential linear units", 2017.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.celu(gg.constant([-1e4, 0.0, 2.0]), 0.5))
    array([-0.5,  0. ,  2. ], dtype=float32)

    Raises
    ------
    GraphError
        ``alpha`` is not a finite number > 0.

    Properties
    ----------
    formula : where(x > 0, x, alpha * (exp(x / alpha) - 1))
    derivative : where(x > 0, 1, exp(x / alpha))
    range : (-1, inf)
    monotone : strictly increasing
    kinks : none
    saturates : left
    scale : none
    shift : none
    symmetry : none
    """
    return unary(Celu(positive("celu", "alpha", alpha)), x)


def selu(x: Operand) -> Variable:
    """Return λ x where x > 0, else λ α (e^x - 1), λ = 1.0507..., α = 1.6732....

    Klambauer, Unterthiner, Mayr and Hochreiter, "Self-normalizing neural networks",
    2017: with these constants and weights of variance 1 / fan-in
    (:func:`graphgpu.nn.init.lecun_normal`) activations keep mean 0 and variance 1
    through any number of layers.  The derivative at 0 is λ α.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.selu(gg.constant([-1e4, 0.0, 1.0])))
    array([-1.7580993,  0.       ,  1.050701 ], dtype=float32)

    Properties
    ----------
    formula : 1.0507009873554805 * where(x > 0, x, 1.6732632423543772 * (exp(x) - 1))
    derivative : 1.0507009873554805 * where(x > 0, 1, 1.6732632423543772 * exp(x))
    range : (-1.7580993408473766, inf)
    monotone : strictly increasing
    kinks : 0 (slope 1.7580993408473766)
    saturates : left
    scale : none
    shift : none
    symmetry : none
    """
    return unary(Selu(), x)
