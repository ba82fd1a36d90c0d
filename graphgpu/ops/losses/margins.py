"""Losses that are zero once a score is right by a margin."""

from __future__ import annotations

from graphgpu.dtypes import is_integer
from graphgpu.errors import DTypeError
from graphgpu.graph import Operand, Variable, apply, as_variable, located
from graphgpu.ops.activations.rectifiers import relu
from graphgpu.ops.arithmetic import square
from graphgpu.ops.comparison import equal, logical_and, logical_not, not_equal, where
from graphgpu.ops.creation import arange, size_of
from graphgpu.ops.cumulative import cumsum
from graphgpu.ops.elementwise import cast
from graphgpu.ops.gather import Gather
from graphgpu.ops.indexing import take_along_axis
from graphgpu.ops.losses.classes import ClassIndex
from graphgpu.ops.losses.reductions import (
    Reduction,
    check_reduction,
    counted,
    elementwise_loss,
    floating_pair,
    mask_of,
    reduced,
    total_or_mean,
)
from graphgpu.ops.random import number_of
from graphgpu.ops.reduction import any as any_of
from graphgpu.ops.requirements import floating, of_shape, require, widened
from graphgpu.ops.shape import expand_dims

__all__ = [
    "hinge_loss",
    "margin_ranking_loss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "squared_hinge_loss",
]


def hinge_loss(
    x: Operand,
    target: Operand,
    reduction: Reduction = "mean",
    margin: float = 1.0,
    weight: Operand | None = None,
    mask: Operand | None = None,
) -> Variable:
    """Return max(0, m - x y) for scores x and signs y = -1 or 1.

    The loss of support vector machines (Cortes and Vapnik, "Support-vector
    networks", 1995), with a margin m of 1; for m = 0 that of the perceptron.  The
    slope where x y = m is 0.  The other parameters and the errors are those of
    :func:`mse`.

    Properties
    ----------
    formula : maximum(0, margin - x * y)
    derivative : where(x * y < margin, -y, 0)
    range : [0, inf)
    minimum : x == margin / y
    convex : yes
    symmetry : f(-x, -y) == f(x, y)
    shift : none
    scale : none
    saturates : where x * y > margin
    kinks : margin / y (slope 0)

    Examples
    --------
    >>> import graphgpu as gg
    >>> gg.evaluate(gg.hinge_loss(gg.constant([0.5, 2.0, 2.0]), [1, 1, -1], "none"))
    array([0.5, 0. , 3. ], dtype=float32)
    """
    reach = number_of(f"hinge_loss({margin=})", margin)

    def loss(left: Variable, right: Variable) -> Variable:
        return relu(reach - left * right)

    return elementwise_loss("hinge_loss", loss, x, target, reduction, weight, mask)


def squared_hinge_loss(
    x: Operand,
    target: Operand,
    reduction: Reduction = "mean",
    margin: float = 1.0,
    weight: Operand | None = None,
    mask: Operand | None = None,
) -> Variable:
    """Return max(0, m - x y)² for scores x and signs y = -1 or 1.

    The smooth :func:`hinge_loss` (Tang, "Deep learning using linear support vector
    machines", 2013), with its parameters and errors.

    Properties
    ----------
    formula : maximum(0, margin - x * y) ** 2
    derivative : -2 * y * maximum(0, margin - x * y)
    range : [0, inf)
    minimum : x == margin / y
    convex : yes
    symmetry : f(-x, -y) == f(x, y)
    shift : none
    scale : none
    saturates : where x * y > margin
    kinks : none

    Examples
    --------
    >>> import graphgpu as gg
    >>> x = gg.constant([0.5, 2.0, 2.0])
    >>> gg.evaluate(gg.squared_hinge_loss(x, [1, 1, -1], "none"))
    array([0.25, 0.  , 9.  ], dtype=float32)
    """
    reach = number_of(f"squared_hinge_loss({margin=})", margin)

    def loss(left: Variable, right: Variable) -> Variable:
        return square(relu(reach - left * right))

    name = "squared_hinge_loss"
    return elementwise_loss(name, loss, x, target, reduction, weight, mask)


def margin_ranking_loss(
    x1: Operand,
    x2: Operand,
    target: Operand,
    margin: float = 0.0,
    reduction: Reduction = "mean",
    weight: Operand | None = None,
    mask: Operand | None = None,
) -> Variable:
    """Return max(0, m - y (x₁ - x₂)): y = 1 asks for x₁ > x₂, y = -1 for x₁ < x₂.

    The three operands have one shape; the other parameters and the errors are those
    of :func:`hinge_loss`, which this is of the difference.

    Properties
    ----------
    formula : maximum(0, margin - z * (x - y))
    derivative : where(z * (x - y) < margin, -z, 0)
    range : [0, inf)
    symmetry : f(x, y, z) == f(y, x, -z)
    shift : f(x + c, y + c, z) == f(x, y, z)
    scale : f(a * x, a * y, z) == a * f(x, y, z)
    saturates : where z * (x - y) > margin
    kinks : y + margin / z (slope 0)

    Examples
    --------
    >>> import graphgpu as gg
    >>> first, second = gg.constant([1.0, 2.0]), gg.constant([3.0, 1.0])
    >>> gg.evaluate(gg.margin_ranking_loss(first, second, [1, 1], 0.5, "none"))
    array([2.5, 0. ], dtype=float32)
    """
    name = "margin_ranking_loss"
    left, right = floating_pair(name, x1, x2)
    right = of_shape(name, "a second operand", right, left.shape)
    _, sign = floating_pair(name, left, target)
    sign = widened(of_shape(name, "a target", sign, left.shape))
    kept = mask_of(name, mask, left.shape)
    first, second, sign = (counted(kept, widened(v)) for v in (left, right, sign))
    loss = relu(number_of(f"{name}({margin=})", margin) - sign * (first - second))
    return cast(reduced(name, loss, reduction, weight, kept), left.dtype)


def multi_margin_loss(
    x: Operand,
    target: Operand,
    p: int = 1,
    margin: float = 1.0,
    weight: Operand | None = None,
    reduction: Reduction = "mean",
    ignore_index: int = -100,
    mask: Operand | None = None,
) -> Variable:
    """Return w_y Σ_{k≠y} max(0, m - x_y + x_k)^p / C: the hinge loss of C classes.

    Weston and Watkins, "Support vector machines for multi-class pattern
    recognition", 1999.

    Parameters
    ----------
    x
        Scores of shape (N, C) or (C,).
    target
        Integer classes, of shape (N,) or ().
    p
        1, or 2 for the squared hinge.
    margin
        By which the score of the right class is to exceed the others.
    weight
        A weight for each class, of shape (C,); the mean divides by the number of
        samples.
    reduction
        ``"mean"``, ``"sum"`` or ``"none"``.
    ignore_index
        Samples whose target class is this count for nothing.
    mask
        Which samples count, broadcast.

    Raises
    ------
    ShapeError, DTypeError
        The target is not one integer class a sample.
    ComputeError
        While running: a target class does not exist.

    Properties
    ----------
    formula : (sum(maximum(0, margin - take_along_axis(x, y[:, newaxis], axis=1) + x)
        ** p, axis=1) - margin**p) / x.shape[1]
    range : [0, inf)
    minimum : none
    convex : yes
    symmetry : none
    shift : f(x + c, y) == f(x, y)
    scale : none

    Examples
    --------
    >>> import graphgpu as gg
    >>> loss = gg.multi_margin_loss(gg.constant([[0.1, 0.2, 0.4, 0.8]]), [3])
    >>> round(float(gg.evaluate(loss)), 4)
    0.325
    """
    name = "multi_margin_loss"
    require(name, p in (1, 2), f"{p=}", "1 or 2")
    reach = number_of(f"{name}({margin=})", margin)
    check_reduction(name, reduction)
    scores, classes = _scores_and_classes(name, x, target)
    rows = of_shape(name, "a target", classes, scores.shape[:-1])
    kept = mask_of(name, mask, rows.shape)
    rows = counted(kept, cast(rows, "int64"), int(ignore_index))
    counts = not_equal(rows, ignore_index)
    wide = widened(counted(kept, scores, axis=-1))
    index = apply(ClassIndex(wide.shape[-1], int(ignore_index)), rows)
    column = expand_dims(index, -1)
    # The difference first: it is exact where the scores are close, however large.
    short = relu((wide - take_along_axis(wide, column, -1)) + reach)
    each = where(equal(arange(wide.shape[-1]), column), 0, short)
    loss = (each if p == 1 else square(each)).sum(-1)
    loss = loss / size_of(wide, (wide.ndim - 1,), wide.dtype)
    if weight is not None:
        weights = cast(as_variable(weight, wide.tensor), wide.dtype)
        weights = of_shape(name, "a weight", weights, (wide.shape[-1],))
        loss = loss * where(counts, apply(Gather((0,)), weights, index), 0)
    number = cast(counts, loss.dtype)
    return cast(total_or_mean(where(counts, loss, 0), reduction, number), scores.dtype)


def multilabel_margin_loss(
    x: Operand,
    target: Operand,
    reduction: Reduction = "mean",
    weight: Operand | None = None,
    mask: Operand | None = None,
) -> Variable:
    """Return Σ_j Σ_k max(0, 1 - (x_j - x_k)) / C, j the right classes, k the others.

    Parameters
    ----------
    x
        Scores of shape (N, C) or (C,).
    target
        Integers of the shape of x: of each sample the right classes, in any order,
        then -1, after which nothing is read.
    reduction
        ``"mean"``, ``"sum"`` or ``"none"``.
    weight
        A weight for each sample, broadcast; the mean divides by their sum.
    mask
        Which samples count, broadcast.

    Raises
    ------
    ShapeError, DTypeError
        The target is not of integers, or not of the shape of x.
    ComputeError
        While running: a target class does not exist.

    Properties
    ----------
    range : [0, inf)
    minimum : none
    convex : yes
    symmetry : none
    shift : f(x + c, y) == f(x, y)
    scale : none

    Examples
    --------
    >>> import graphgpu as gg
    >>> x = gg.constant([[0.1, 0.2, 0.4, 0.8]])
    >>> loss = gg.multilabel_margin_loss(x, [[3, 0, -1, 1]])
    >>> round(float(gg.evaluate(loss)), 4)
    0.85
    """
    name = "multilabel_margin_loss"
    scores, classes = _scores_and_classes(name, x, target)
    rows = cast(of_shape(name, "a target", classes, scores.shape), "int64")
    kept = mask_of(name, mask, scores.shape[:-1])
    rows = counted(kept, rows, -1, axis=-1)
    wide = widened(counted(kept, scores, axis=-1))
    listed = equal(cumsum(cast(equal(rows, -1), "int64"), -1), 0)
    index = apply(ClassIndex(wide.shape[-1], -1), where(listed, rows, -1))
    places = arange(wide.shape[-1])
    hits = logical_and(equal(expand_dims(index, -1), places), expand_dims(listed, -1))
    others = logical_not(any_of(hits, -2))
    right = expand_dims(take_along_axis(wide, index, -1), -1)
    pairs = logical_and(expand_dims(listed, -1), expand_dims(others, -2))
    short = where(pairs, relu((expand_dims(wide, -2) - right) + 1), 0)
    loss = short.sum((-2, -1)) / size_of(wide, (wide.ndim - 1,), wide.dtype)
    return cast(reduced(name, loss, reduction, weight, kept), scores.dtype)


def _scores_and_classes(
    name: str, x: Operand, target: Operand
) -> tuple[Variable, Variable]:
    """Return floating-point scores with a class axis, and integers."""
    scores, classes = floating(name, x), as_variable(target)
    require(name, scores.ndim > 0, f"{scores.type}", "scores with a class axis")
    if not is_integer(classes.dtype):
        error = DTypeError("expected integer classes as the target")
        raise located(error, name, (scores, classes))
    return scores, classes
