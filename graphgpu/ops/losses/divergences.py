"""Divergences of one distribution from another, in nats, with 0 log 0 = 0."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from graphgpu.graph import Operand, Variable
from graphgpu.ops.comparison import equal, logical_and, where
from graphgpu.ops.creation import size_of
from graphgpu.ops.elementwise import Binary, Pull, binary, cast
from graphgpu.ops.exponential import exp, log
from graphgpu.ops.losses.reductions import (
    Reduction,
    check_reduction,
    counted,
    floating_pair,
    mask_of,
    reduced,
)
from graphgpu.ops.reduction import any as any_of
from graphgpu.ops.requirements import of_shape, require, widened
from graphgpu.ops.shape import axis_of

__all__ = ["js_divergence", "kl_div", "kl_divergence"]

BatchReduction: TypeAlias = Literal["mean", "batchmean", "sum", "none"]


@dataclass(frozen=True, slots=True)
class LogRatio(Binary):
    """log(x / y), where the quotient neither overflows nor loses its digits."""

    expression = (
        "where(logical_and(x / y > 1e-30, x / y < 1e30), log(x / y), log(x) - log(y))"
    )
    lowest_kind = 2

    def pulls(
        self, inputs: tuple[Variable, ...], output: Variable, grad: Variable
    ) -> Sequence[Pull]:
        """∂/∂x = 1/x, ∂/∂y = -1/y."""
        x, y = inputs
        return (lambda: grad / x), (lambda: -(grad / y))


@dataclass(frozen=True, slots=True)
class RelativeEntropy(Binary):
    """x log(x / y), 0 for x = 0 ≤ y and ∞ for x > 0 = y."""

    expression = f"where(logical_and(x == 0, y >= 0), 0, x * {LogRatio.expression})"
    lowest_kind = 2

    def pulls(
        self, inputs: tuple[Variable, ...], output: Variable, grad: Variable
    ) -> Sequence[Pull]:
        """∂/∂x = log(x/y) + 1, ∂/∂y = -x/y; both are 0 for x = y = 0."""
        x, y = inputs

        def nonzero() -> tuple[Variable, Variable, Variable]:
            nothing = logical_and(equal(x, 0), equal(y, 0))
            return nothing, where(nothing, 1, x), where(nothing, 1, y)

        def pull_x() -> Variable:
            nothing, left, right = nonzero()
            slope = binary(LogRatio(), left, right) + 1
            return grad * where(nothing, 0, slope)

        def pull_y() -> Variable:
            nothing, left, right = nonzero()
            return -(grad * where(nothing, 0, left / right))

        return pull_x, pull_y


@dataclass(frozen=True, slots=True)
class EntropyFromLog(Binary):
    """y (log y - x), for y = 0 too, when it is 0."""

    expression = "where(y == 0, 0, y * (log(y) - x))"
    lowest_kind = 2

    def pulls(
        self, inputs: tuple[Variable, ...], output: Variable, grad: Variable
    ) -> Sequence[Pull]:
        """∂/∂x = -y, ∂/∂y = log y - x + 1."""
        x, y = inputs
        return (lambda: -(grad * y)), (lambda: grad * (log(y) - x + 1))


def kl_div(
    x: Operand,
    target: Operand,
    reduction: BatchReduction = "mean",
    log_target: bool = False,
    weight: Operand | None = None,
    mask: Operand | None = None,
) -> Variable:
    """Return y (log y - x) for logarithms x of probabilities, and probabilities y.

    The sum over the classes is the divergence D(y ‖ e^x).  It is 0 for y = 0,
    whatever x is.  With ``log_target``, y is given by its logarithm too, which keeps
    every slope finite.  See :func:`kl_divergence` for two distributions.

    Parameters
    ----------
    x, target
        Of one shape.
    reduction
        ``"batchmean"``, the sum divided by the size of the first axis, is the mean
        divergence; ``"mean"`` divides by the number of elements, as in torch;
        ``"sum"`` or ``"none"``.
    log_target
        Whether the target holds logarithms.
    weight
        A weight for each element, broadcast; ``"mean"`` divides by their sum.
    mask
        Which elements count, broadcast; ``"batchmean"`` divides by the number of
        samples of which something counts.

    Raises
    ------
    ShapeError
        The shapes differ.

    Properties
    ----------
    formula : y * (log(y) - x)
    derivative : -y
    range : (-inf, inf)
    minimum : none
    convex : yes
    symmetry : none
    shift : none
    scale : none
    saturates : none
    kinks : none

    Examples
    --------
    >>> import graphgpu as gg
    >>> log_p = gg.log_softmax(gg.constant([[0.0, 0.0]]))
    >>> float(gg.evaluate(gg.kl_div(log_p, [[0.0, 1.0]], "batchmean")))
    0.6931471824645996
    """
    name = "kl_div"
    left, right = floating_pair(name, x, target)
    right = of_shape(name, "a target", right, left.shape)
    check_reduction(name, reduction, "batchmean")
    kept = mask_of(name, mask, left.shape)
    log_q, p = counted(kept, widened(left)), counted(kept, widened(right))
    loss = _from_logs(log_q, p) if log_target else binary(EntropyFromLog(), log_q, p)
    if reduction != "batchmean":
        return cast(reduced(name, loss, reduction, weight, kept), left.dtype)
    require(name, left.ndim > 0, f"{reduction=}", "a first axis")
    total = reduced(name, loss, "sum", weight, kept)
    if kept is None:
        return cast(total / size_of(loss, (0,), loss.dtype), left.dtype)
    some = any_of(kept, tuple(range(1, kept.ndim))) if kept.ndim > 1 else kept
    return cast(total / cast(some, loss.dtype).sum(), left.dtype)


def kl_divergence(
    p: Operand,
    q: Operand,
    reduction: Reduction = "mean",
    axis: int = -1,
    weight: Operand | None = None,
    mask: Operand | None = None,
) -> Variable:
    """Return D(p ‖ q) = Σ p log(p / q) of distributions along an axis.

    0 log(0 / q) is 0, and p log(p / 0) is ∞ (*Deep Learning*, equation 3.50).  It is
    not symmetric: D(p ‖ q) asks of q to be large wherever p is, D(q ‖ p) to be small
    wherever p is.  The slope by p is log(p / q) + 1, thus -∞ at p = 0 < q: where p is
    a softmax, :func:`kl_div` of logarithms has none that is infinite.

    Parameters
    ----------
    p, q
        Of one shape; not negative, and along the axis of sum 1, which is not checked.
    reduction
        Of the divergences, one for each pair: ``"mean"``, ``"sum"`` or ``"none"``.
    axis
        Along which the distributions lie.
    weight
        A weight for each divergence, broadcast; the mean divides by their sum.
    mask
        Which of them count, broadcast.

    Raises
    ------
    ShapeError
        The shapes differ, or the axis is out of range.

    Properties
    ----------
    formula : sum(x * log(x / y), axis=-1)
    derivative : log(x / y) + 1
    range : [0, inf]
    minimum : x == y
    convex : yes
    symmetry : none
    shift : none
    scale : f(a * x, a * y) == a * f(x, y)
    saturates : none
    kinks : none

    Examples
    --------
    >>> import graphgpu as gg
    >>> p, q = gg.constant([0.0, 1.0]), gg.constant([0.5, 0.5])
    >>> [float(gg.evaluate(gg.kl_divergence(*pair))) for pair in ((p, q), (q, p))]
    [0.6931471824645996, inf]
    """

    def divergence(left: Variable, right: Variable, axis: int) -> Variable:
        return binary(RelativeEntropy(), left, right).sum(axis)

    return _of_pairs("kl_divergence", divergence, p, q, reduction, axis, weight, mask)


def js_divergence(
    p: Operand,
    q: Operand,
    reduction: Reduction = "mean",
    axis: int = -1,
    weight: Operand | None = None,
    mask: Operand | None = None,
) -> Variable:
    """Return [D(p ‖ m) + D(q ‖ m)] / 2 with m = (p + q) / 2, along an axis.

    The Jensen-Shannon divergence (Lin, "Divergence measures based on the Shannon
    entropy", 1991): symmetric, and from 0 to log 2, which it is of distributions
    that have nothing in common.  The slope by p is log(p / m) / 2, -∞ at p = 0 < q.
    The parameters and errors are those of :func:`kl_divergence`.

    Properties
    ----------
    formula : sum(x * log(2 * x / (x + y)) + y * log(2 * y / (x + y)), axis=-1) / 2
    derivative : log(2 * x / (x + y)) / 2
    range : [0, log(2)]
    minimum : x == y
    convex : yes
    symmetry : f(x, y) == f(y, x)
    shift : none
    scale : f(a * x, a * y) == a * f(x, y)
    saturates : none
    kinks : none

    Examples
    --------
    >>> import graphgpu as gg
    >>> p, q = gg.constant([0.0, 1.0]), gg.constant([1.0, 0.0])
    >>> float(gg.evaluate(gg.js_divergence(p, q)))
    0.6931471824645996
    """

    def divergence(left: Variable, right: Variable, axis: int) -> Variable:
        twice = left + right  # not halved: the least floats have no half
        each = [binary(RelativeEntropy(), 2 * v, twice) for v in (left, right)]
        return 0.25 * (each[0] + each[1]).sum(axis)

    return _of_pairs("js_divergence", divergence, p, q, reduction, axis, weight, mask)


def _of_pairs(
    name: str,
    divergence: Callable[[Variable, Variable, int], Variable],
    p: Operand,
    q: Operand,
    reduction: str,
    axis: int,
    weight: Operand | None,
    mask: Operand | None,
) -> Variable:
    """Return the reduced divergences of distributions along an axis."""
    left, right = floating_pair(name, p, q)
    right = of_shape(name, "a second distribution", right, left.shape)
    axis = axis_of(name, left, axis)
    kept = mask_of(name, mask, (*left.shape[:axis], *left.shape[axis + 1 :]))
    first, second = (counted(kept, widened(v), 1, axis) for v in (left, right))
    losses = divergence(first, second, axis)
    return cast(reduced(name, losses, reduction, weight, kept), left.dtype)


def _from_logs(log_q: Variable, log_p: Variable) -> Variable:
    """Return p (log p - log q), 0 for log p = -∞."""
    nothing = equal(log_p, -np.inf)
    finite = where(nothing, 0, log_p)
    return where(nothing, 0, exp(finite) * (finite - log_q))
