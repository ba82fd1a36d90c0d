"""Losses of regression: powers of the difference."""

from __future__ import annotations

from dataclasses import dataclass

from graphgpu.graph import Operand, Variable
from graphgpu.ops.arithmetic import abs, clip, square
from graphgpu.ops.elementwise import Unary, cast, unary
from graphgpu.ops.losses.reductions import (
    Reduction,
    counted,
    elementwise_loss,
    floating_pair,
    mask_of,
    reduced,
)
from graphgpu.ops.random import number_of
from graphgpu.ops.requirements import of_shape, require, widened
from graphgpu.ops.shape import axis_of

__all__ = [
    "euclidean_loss",
    "huber_loss",
    "l1_loss",
    "mae",
    "mse",
    "mse_loss",
    "smooth_l1_loss",
]


@dataclass(frozen=True, slots=True)
class Huber(Unary):
    """x²/2 where |x| ≤ δ, else δ (|x| - δ/2): with m = min(|x|, δ), m (|x| - m/2).

    No square of a large x is formed only not to be chosen.
    """

    delta: float

    expression = "minimum(abs(x), delta) * (abs(x) - 0.5 * minimum(abs(x), delta))"
    lowest_kind = 2

    def derivative(self, x: Variable, y: Variable) -> Variable:
        """Return x within [-δ, δ] and ±δ beyond."""
        return clip(x, -self.delta, self.delta)


def mse(
    x: Operand,
    target: Operand,
    reduction: Reduction = "mean",
    weight: Operand | None = None,
    mask: Operand | None = None,
) -> Variable:
    """Return the mean of (x - y)²; its sum, or all of them, by ``reduction``.

    The constant that minimises it is the mean of the targets, the function their
    conditional mean (*Deep Learning*, section 6.2.1.2).

    Parameters
    ----------
    x, target
        Of one shape.  An array takes the dtype of the variable beside it; of two
        variables the wider dtype is that of the loss.
    reduction
        ``"mean"``, ``"sum"`` or ``"none"``.
    weight
        One number, or a weight for each element, of as many axes, those of size 1
        being broadcast; or of the last axes, if the first are of other sizes.  The
        mean divides by their sum.
    mask
        Which elements count, broadcast as the weight.  The others may be infinite
        or NaN; what they were computed from may not, as a layer's gradient
        multiplies it by 0: put :func:`where` before the layers.

    Raises
    ------
    ShapeError
        The shapes differ: an (N, 1) beside an (N,) is not broadcast to (N, N), nor
        a mask or weight (N,) to losses (N, D).

    Properties
    ----------
    formula : (x - y) ** 2
    derivative : 2 * (x - y)
    range : [0, inf)
    minimum : x == y
    convex : yes
    symmetry : f(x, y) == f(y, x)
    shift : f(x + c, y + c) == f(x, y)
    scale : f(a * x, a * y) == a**2 * f(x, y)
    saturates : none
    kinks : none

    Examples
    --------
    >>> import graphgpu as gg
    >>> float(gg.evaluate(gg.mse(gg.constant([1.0, 2.0]), [1.0, 4.0])))
    2.0
    """

    def loss(left: Variable, right: Variable) -> Variable:
        return square(left - right)

    return elementwise_loss("mse", loss, x, target, reduction, weight, mask)


mse_loss = mse


def euclidean_loss(
    x: Operand,
    target: Operand,
    reduction: Reduction = "mean",
    axis: int = -1,
    weight: Operand | None = None,
    mask: Operand | None = None,
) -> Variable:
    """Return ‖x - y‖² / 2, the squares summed along an axis: one loss a sample.

    The parameters are those of :func:`mse`; weights and mask are of samples.  It
    grows with the square of an error, so one outlier may outweigh all others.

    Raises
    ------
    ShapeError
        The shapes differ, or the axis is out of range.

    Properties
    ----------
    formula : sum((x - y) ** 2, axis=-1) / 2
    derivative : x - y
    range : [0, inf)
    minimum : x == y
    convex : yes
    symmetry : f(x, y) == f(y, x)
    shift : f(x + c, y + c) == f(x, y)
    scale : f(a * x, a * y) == a**2 * f(x, y)
    saturates : none
    kinks : none

    Examples
    --------
    >>> import graphgpu as gg
    >>> x, y = gg.constant([[3.0, 4.0], [0.0, 2.0]]), gg.zeros((2, 2))
    >>> gg.evaluate(gg.euclidean_loss(x, y, "none"))
    array([12.5,  2. ], dtype=float32)
    """
    name = "euclidean_loss"
    left, right = floating_pair(name, x, target)
    right = of_shape(name, "a target", right, left.shape)
    axis = axis_of(name, left, axis)
    kept = mask_of(name, mask, (*left.shape[:axis], *left.shape[axis + 1 :]))
    wide = (counted(kept, widened(v), axis=axis) for v in (left, right))
    distance = 0.5 * square(next(wide) - next(wide)).sum(axis)
    return cast(reduced(name, distance, reduction, weight, kept), left.dtype)


def l1_loss(
    x: Operand,
    target: Operand,
    reduction: Reduction = "mean",
    weight: Operand | None = None,
    mask: Operand | None = None,
) -> Variable:
    """Return the mean of |x - y|; its sum, or all of them, by ``reduction``.

    The constant that minimises it is the median of the targets, so that an outlier
    weighs no more than any other.  The parameters and errors are those of
    :func:`mse`; the slope where x = y is 0.

    Properties
    ----------
    formula : abs(x - y)
    derivative : sign(x - y)
    range : [0, inf)
    minimum : x == y
    convex : yes
    symmetry : f(x, y) == f(y, x)
    shift : f(x + c, y + c) == f(x, y)
    scale : f(a * x, a * y) == a * f(x, y)
    saturates : none
    kinks : y (slope 0)

    Examples
    --------
    >>> import graphgpu as gg
    >>> float(gg.evaluate(gg.l1_loss(gg.constant([1.0, 2.0]), [1.0, 4.0])))
    1.0
    """

    def loss(left: Variable, right: Variable) -> Variable:
        return abs(left - right)

    return elementwise_loss("l1_loss", loss, x, target, reduction, weight, mask)


mae = l1_loss


def huber_loss(
    x: Operand,
    target: Operand,
    reduction: Reduction = "mean",
    delta: float = 1.0,
    weight: Operand | None = None,
    mask: Operand | None = None,
) -> Variable:
    """Return (x - y)²/2 up to a difference of δ, and δ (|x - y| - δ/2) beyond.

    Huber, "Robust estimation of a location parameter", 1964.  It is smooth at its
    minimum as the square is, and an outlier has a slope of no more than δ.  The
    other parameters and the errors are those of :func:`mse`; ``delta`` is positive.
    A weighted mean divides by the weights, where torch's divides by their number.

    Properties
    ----------
    formula : where(abs(x - y) <= delta, (x - y)**2 / 2, delta * (abs(x - y) - delta/2))
    derivative : clip(x - y, -delta, delta)
    range : [0, inf)
    minimum : x == y
    convex : yes
    symmetry : f(x, y) == f(y, x)
    shift : f(x + c, y + c) == f(x, y)
    scale : none
    saturates : none
    kinks : none

    Examples
    --------
    >>> import graphgpu as gg
    >>> gg.evaluate(gg.huber_loss(gg.constant([1.0, 10.0]), [0.0, 0.0], "none"))
    array([0.5, 9.5], dtype=float32)
    """
    name = "huber_loss"
    end = number_of(f"{name}({delta=})", delta)
    require(name, end > 0, f"{delta=}", "a positive number")

    def loss(left: Variable, right: Variable) -> Variable:
        return unary(Huber(end), left - right)

    return elementwise_loss(name, loss, x, target, reduction, weight, mask)


def smooth_l1_loss(
    x: Operand,
    target: Operand,
    reduction: Reduction = "mean",
    beta: float = 1.0,
    weight: Operand | None = None,
    mask: Operand | None = None,
) -> Variable:
    """Return (x - y)²/2β up to a difference of β, and |x - y| - β/2 beyond.

    Girshick, "Fast R-CNN", 2015.  It is the Huber loss divided by β, and for β = 0
    :func:`l1_loss`.  The other parameters and the errors are those of :func:`mse`.

    Properties
    ----------
    formula : where(abs(x - y) < beta, (x - y)**2 / (2 * beta), abs(x - y) - beta / 2)
    derivative : clip((x - y) / beta, -1, 1)
    range : [0, inf)
    minimum : x == y
    convex : yes
    symmetry : f(x, y) == f(y, x)
    shift : f(x + c, y + c) == f(x, y)
    scale : none
    saturates : none
    kinks : none

    Examples
    --------
    >>> import graphgpu as gg
    >>> loss = gg.smooth_l1_loss(gg.constant([1.0, 10.0]), [0.0, 0.0], "none", 2)
    >>> gg.evaluate(loss)
    array([0.25, 9.  ], dtype=float32)
    """
    name = "smooth_l1_loss"
    end = number_of(f"{name}({beta=})", beta)
    require(name, end >= 0, f"{beta=}", "0 or a positive number")

    def loss(left: Variable, right: Variable) -> Variable:
        if left.dtype.type(end) == 0:
            return abs(left - right)
        return unary(Huber(end), left - right) / end

    return elementwise_loss(name, loss, x, target, reduction, weight, mask)
