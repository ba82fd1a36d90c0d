"""Negative logarithms of likelihoods: Gaussian and Poisson."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from graphgpu.graph import Operand, Variable
from graphgpu.ops.arithmetic import square
from graphgpu.ops.comparison import equal, logical_and, where
from graphgpu.ops.elementwise import Binary, Pull, binary, cast, zero
from graphgpu.ops.exponential import exp, log
from graphgpu.ops.losses.reductions import (
    Reduction,
    broadcast_operand,
    counted,
    elementwise_loss,
    floating_pair,
    mask_of,
    reduced,
)
from graphgpu.ops.random import number_of
from graphgpu.ops.requirements import of_shape, require, widened

__all__ = ["gaussian_nll_loss", "poisson_nll_loss"]


@dataclass(frozen=True, slots=True)
class Xlogy(Binary):
    """x log y, 0 for x = 0 ≤ y."""

    expression = "where(logical_and(x == 0, y >= 0), 0, x * log(y))"
    lowest_kind = 2

    def pulls(
        self, inputs: tuple[Variable, ...], output: Variable, grad: Variable
    ) -> Sequence[Pull]:
        """∂/∂x = log y, ∂/∂y = x / y, 0 for x = y = 0."""
        x, y = inputs

        def pull_y() -> Variable:
            nothing = logical_and(equal(x, 0), equal(y, 0))
            return grad * (x / where(nothing, 1, y))

        return (lambda: grad * log(y)), pull_y


@dataclass(frozen=True, slots=True)
class AtLeast(Binary):
    """max(x, y), with the slope of x, so that x is led out of where it is too small."""

    expression = "maximum(x, y)"
    lowest_kind = 2

    def pulls(
        self, inputs: tuple[Variable, ...], output: Variable, grad: Variable
    ) -> Sequence[Pull]:
        """∂/∂x is said to be 1, ∂/∂y 0."""
        return (lambda: grad), zero


@dataclass(frozen=True, slots=True)
class SquareOver(Binary):
    """x² / y, without the square of x."""

    expression = "x * (x / y)"
    lowest_kind = 2

    def pulls(
        self, inputs: tuple[Variable, ...], output: Variable, grad: Variable
    ) -> Sequence[Pull]:
        """∂/∂x = 2 x / y, ∂/∂y = -(x / y)²."""
        x, y = inputs
        return (lambda: grad * (2 * (x / y))), (lambda: -(grad * square(x / y)))


@dataclass(frozen=True, slots=True)
class TimesExp(Binary):
    """x e^y, 0 for x = 0; e^y by its root twice, as a tiny x may undo an overflow."""

    expression = "where(x == 0, 0, x * exp(0.5 * y) * exp(0.5 * y))"
    lowest_kind = 2

    def pulls(
        self, inputs: tuple[Variable, ...], output: Variable, grad: Variable
    ) -> Sequence[Pull]:
        """∂/∂x = e^y, ∂/∂y = x e^y."""
        _, y = inputs
        return (lambda: binary(TimesExp(), grad, y)), (lambda: grad * output)


def gaussian_nll_loss(
    x: Operand,
    target: Operand,
    var: Operand,
    full: bool = False,
    eps: float = 1e-6,
    reduction: Reduction = "mean",
    log_var: bool = False,
    weight: Operand | None = None,
    mask: Operand | None = None,
) -> Variable:
    """Return [log v + (x - y)² / v] / 2, for a mean x and a variance v: both learned.

    Nix and Weigend, "Estimating the mean and variance of the target probability
    distribution", 1994.  Of one variance it is half the squared error over it plus a
    constant.  There are two ways to keep v positive.  It is at least ε, where the
    slope is taken as that of v = ε, not 0, so that learning leads out of it.  Or
    ``var`` is its logarithm s (``log_var=True``), and v = e^s is positive whatever s
    is: [s + (x - y)² e^(-s)] / 2.

    Parameters
    ----------
    x, target
        Of one shape.
    var
        The variance, or its logarithm; broadcast.
    full
        Whether to add the constant log(2π) / 2.
    eps
        The least variance; not used with ``log_var``.
    reduction
        ``"mean"``, ``"sum"`` or ``"none"``.
    log_var
        Whether ``var`` is the logarithm of the variance.
    weight
        A weight for each element, broadcast; the mean divides by their sum.
    mask
        Which elements count, broadcast.

    Raises
    ------
    ShapeError
        The shapes of x and target differ, or the variance does not broadcast to it.
    GraphError
        ε is negative.

    Properties
    ----------
    formula : (log(z) + (x - y) ** 2 / z) / 2
    derivative : (x - y) / z
    range : (-inf, inf)
    symmetry : f(x, y, z) == f(y, x, z)
    shift : f(x + c, y + c, z) == f(x, y, z)
    scale : none
    saturates : none
    kinks : none

    Examples
    --------
    >>> import graphgpu as gg
    >>> x, y = gg.constant([0.0, 2.0]), gg.constant([0.0, 0.0])
    >>> gg.evaluate(gg.gaussian_nll_loss(x, y, [1.0, 1.0], reduction="none"))
    array([0., 2.], dtype=float32)
    """
    name = "gaussian_nll_loss"
    least = number_of(f"{name}({eps=})", eps)
    require(name, least >= 0, f"{eps=}", "0 or a positive number")
    left, right = floating_pair(name, x, target)
    right = of_shape(name, "a target", right, left.shape)
    _, spread = floating_pair(name, left, var)
    what = "a logarithm of the variance" if log_var else "a variance"
    spread = broadcast_operand(name, what, widened(spread), left.shape)
    kept = mask_of(name, mask, left.shape)
    mean, wanted = (counted(kept, widened(v)) for v in (left, right))
    spread = counted(kept, spread, neutral=1)
    if log_var:
        error = binary(TimesExp(), mean - wanted, -0.5 * spread)
        loss = 0.5 * (spread + square(error))
    else:
        variance = binary(AtLeast(), spread, least)
        loss = 0.5 * (log(variance) + binary(SquareOver(), mean - wanted, variance))
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return cast(reduced(name, loss, reduction, weight, kept), left.dtype)


def poisson_nll_loss(
    x: Operand,
    target: Operand,
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
    reduction: Reduction = "mean",
    weight: Operand | None = None,
    mask: Operand | None = None,
) -> Variable:
    """Return e^x - y x, for the logarithm x of a rate, and a count y.

    That is -log of the Poisson probability of y, without log y!, which does not
    depend on x.  With ``log_input=False``, x is the rate: x - y log(x + ε).

    Parameters
    ----------
    x, target
        Of one shape.
    log_input
        Whether x is the logarithm of the rate.
    full
        Whether to add Stirling's approximation of log y!, for y > 1:
        y log y - y + log(2π y) / 2.
    eps
        What is added to a rate, so that the logarithm of 0 is finite; for y = 0 it
        may be 0.
    reduction
        ``"mean"``, ``"sum"`` or ``"none"``.
    weight
        A weight for each element, broadcast; the mean divides by their sum.
    mask
        Which elements count, broadcast.

    Raises
    ------
    ShapeError
        The shapes differ.
    GraphError
        ε is negative.

    Properties
    ----------
    formula : exp(x) - y * x
    derivative : exp(x) - y
    range : (-inf, inf)
    minimum : x == log(y)
    convex : yes
    symmetry : none
    shift : none
    scale : none
    saturates : none
    kinks : none

    Examples
    --------
    >>> import graphgpu as gg
    >>> x = gg.constant([0.0, 1.0])
    >>> gg.evaluate(gg.poisson_nll_loss(x, [3.0, 0.0], False, reduction="none", eps=0))
    array([inf,  1.], dtype=float32)
    """
    name = "poisson_nll_loss"
    least = number_of(f"{name}({eps=})", eps)
    require(name, least >= 0, f"{eps=}", "0 or a positive number")

    def loss(left: Variable, right: Variable) -> Variable:
        if log_input:
            result = exp(left) - right * left
        else:
            result = left - binary(Xlogy(), right, left + least)
        return result + _log_factorial(right) if full else result

    neutral = 0 if log_input else 1
    return elementwise_loss(
        name, loss, x, target, reduction, weight, mask, neutral=neutral
    )


def _log_factorial(y: Variable) -> Variable:
    """Return Stirling's approximation of log y!, and 0 up to 1."""
    many = y > 1
    safe = where(many, y, 1)
    terms = safe * log(safe) - safe + 0.5 * log(2 * math.pi * safe)
    return where(many, terms, 0)
