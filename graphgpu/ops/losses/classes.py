"""Losses of classes: the cross-entropy with a softmax, and the likelihood."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from graphgpu.dims import Size
from graphgpu.dtypes import Array, is_floating, is_integer
from graphgpu.errors import DTypeError, ShapeError
from graphgpu.graph import Operand, Operation, Variable, apply, as_variable, located
from graphgpu.ops.activations.normalized import log_softmax
from graphgpu.ops.comparison import not_equal, where
from graphgpu.ops.creation import size_of
from graphgpu.ops.elementwise import Binary, Pull, binary, cast, operands_of
from graphgpu.ops.gather import Gather
from graphgpu.ops.indexing import take_along_axis
from graphgpu.ops.losses.reductions import (
    Reduction,
    check_reduction,
    counted,
    floating_pair,
    mask_of,
    total_or_mean,
)
from graphgpu.ops.random import number_of
from graphgpu.ops.requirements import Naming, of_shape, require, widened
from graphgpu.ops.shape import axis_of, expand_dims, squeeze
from graphgpu.types import Guards, Shape, TensorType, Type

__all__ = ["cross_entropy", "nll_loss"]


@dataclass(frozen=True, slots=True)
class Share(Binary):
    """x y, 0 for x = 0 whatever y is: what a logarithm of 0 adds with the weight 0."""

    expression = "where(x == 0, 0, x * y)"
    lowest_kind = 2

    def pulls(
        self, inputs: tuple[Variable, ...], output: Variable, grad: Variable
    ) -> Sequence[Pull]:
        """∂/∂x = y, ∂/∂y = x."""
        x, y = inputs
        return (lambda: grad * y), (lambda: grad * x)


@dataclass(frozen=True, slots=True)
class ClassIndex(Operation):
    """The target's class where there is one; class 0 where it is to be ignored.

    With None for ``ignore_index``, none is.
    """

    classes: Size
    ignore_index: int | None
    what: str = field(default="target", repr=False)

    def infer(self, guards: Guards, target: TensorType) -> TensorType:
        """Keep the type."""
        if not is_integer(target.dtype):
            raise DTypeError("expected integer classes")
        return target

    def numpy(self, target: Array) -> Array:
        """Check every class; the executor says which node an error belongs to."""
        ignored = np.zeros(target.shape, bool)
        if self.ignore_index is not None:
            ignored = target == self.ignore_index
        wrong = ((target < 0) | (target >= self.classes)) & ~ignored
        if wrong.any():
            place = tuple(int(i) for i in np.argwhere(wrong)[0])
            found = f"{self.what} {target[place]} at {list(place)} is"
            last = self.classes - 1
            if self.what != "target":
                raise IndexError(f"{found} not from 0 to {last}")
            raise IndexError(
                f"{found} none of the classes 0 to {last}, nor ignore_index "
                f"{self.ignore_index}"
            )
        return np.asarray(np.where(ignored, 0, target), target.dtype)

    def flops(self, inputs: Sequence[TensorType], output: Type) -> Size:
        """None."""
        return 0


def cross_entropy(
    logits: Operand,
    target: Operand,
    weight: Operand | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
    axis: int = 1,
    mask: Operand | None = None,
) -> Variable:
    """Return the cross-entropy between target classes and softmax(logits).

    For a class y of weight w_y, and p = softmax(logits) along the class axis,
    the loss of a sample is -w_y log p_y; for probabilities t in place of a
    class it is -Σ_k w_k t_k log p_k.  Label smoothing by ε mixes the target with
    the uniform distribution: t_k becomes (1 - ε) t_k + ε / C (Szegedy et al.,
    "Rethinking the inception architecture", 2016).  The logarithm of the softmax
    is taken in one operation, so no finite logits overflow; and 0 log 0 is 0: a class
    whose logit is -∞ costs nothing where its t_k is 0.

    Parameters
    ----------
    logits
        Scores of shape (N, C), (N, C, d1, ...) or (C,).
    target
        Integer classes, of the shape of the logits without their class axis; or
        probabilities, of the shape of the logits.
    weight
        A weight for each class, of shape (C,).
    ignore_index
        Samples whose target class is this count for nothing.
    reduction
        ``"mean"``: of classes, divided by the sum of the weights w_y of the
        samples that count; of probabilities, by their number.  ``"sum"``, or
        ``"none"``: one loss a sample.
    label_smoothing
        From 0 to 1.
    axis
        The class axis; of logits of shape (C,) it is 0.
    mask
        Which samples count, of the shape of the logits without their class axis;
        axes of size 1 are broadcast.  The logits and the target of the others may
        be infinite or NaN; what the logits were computed from may not, as a layer's
        gradient multiplies it by 0: put :func:`where` before the layers.

    Raises
    ------
    ShapeError, DTypeError
        The target's shape is neither that of classes nor that of probabilities;
        the weights are not as many as the classes.
    ComputeError
        While running: a target class of a sample that counts does not exist.

    Properties
    ----------
    formula : -sum(y * (x - log(sum(exp(x), axis=1, keepdims=True))), axis=1)
    derivative : exp(x) / sum(exp(x), axis=1, keepdims=True) - y
    range : [0, inf)
    minimum : x == log(y)
    convex : yes
    symmetry : none
    shift : f(x + c, y) == f(x, y)
    scale : none
    kinks : none

    Examples
    --------
    >>> import graphgpu as gg
    >>> loss = gg.cross_entropy(gg.constant([[0.0, 1e4]]), gg.constant([0]))
    >>> float(gg.evaluate(loss))
    10000.0
    """
    name = "cross_entropy"
    scores, wanted = _scores_and_target(name, logits, target)
    check_reduction(name, reduction)
    part = number_of(f"{name}({label_smoothing=})", label_smoothing)
    require(name, 0 <= part <= 1, f"{label_smoothing=}", "0 to 1")
    axis = _class_axis(name, scores, axis)
    kept = mask_of(name, mask, _without(scores.shape, axis))
    log_p = log_softmax(widened(counted(kept, scores, axis=axis)), axis)
    weights = None if weight is None else _class_weights(name, weight, log_p, axis)
    if is_integer(wanted.dtype):
        wanted = _classes(name, wanted, log_p, axis, kept, ignore_index)
        loss, share = _of_classes(log_p, wanted, weights, ignore_index, axis)
        if part:
            rest = -_weighted(log_p, weights, axis).sum(axis)
            rest = where(not_equal(wanted, ignore_index), rest, 0)
            rest = rest / size_of(log_p, (axis,), log_p.dtype)
            loss = (1 - part) * loss + part * rest
        return cast(total_or_mean(loss, reduction, share), scores.dtype)
    require(name, ignore_index < 0, f"{ignore_index=}", "none for probabilities")
    wanted = widened(of_shape(name, "a target", wanted, log_p.shape))
    wanted = counted(kept, wanted, axis=axis)
    if part:
        uniform = 1 / size_of(log_p, (axis,), log_p.dtype)
        wanted = (1 - part) * wanted + part * uniform
    shares = binary(Share(), wanted, _weighted(log_p, weights, axis))
    loss = counted(kept, -shares.sum(axis))
    number = None if kept is None else cast(kept, loss.dtype)
    return cast(total_or_mean(loss, reduction, number), scores.dtype)


def nll_loss(
    log_probabilities: Operand,
    target: Operand,
    weight: Operand | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    axis: int = 1,
    mask: Operand | None = None,
) -> Variable:
    """Return the negative log-likelihood of target classes: -w_y log p_y.

    The parameters and errors are those of :func:`cross_entropy`, which takes
    scores, where this takes the logarithms of probabilities.  It reads only the
    logarithm of the correct class.

    Properties
    ----------
    formula : -take_along_axis(x, y[:, newaxis], axis=1)[:, 0]
    derivative : -1.0 * (arange(x.shape[1]) == y[:, newaxis])
    range : (-inf, inf)
    minimum : none
    convex : yes
    symmetry : none
    shift : none
    scale : f(a * x, y) == a * f(x, y)
    saturates : none
    kinks : none

    Examples
    --------
    >>> import graphgpu as gg
    >>> log_p = gg.log_softmax(gg.constant([[2.0, 2.0]]))
    >>> float(gg.evaluate(gg.nll_loss(log_p, gg.constant([1]))))
    0.6931471824645996
    """
    name = "nll_loss"
    scores, wanted = _scores_and_target(name, log_probabilities, target)
    check_reduction(name, reduction)
    axis = _class_axis(name, scores, axis)
    kept = mask_of(name, mask, _without(scores.shape, axis))
    log_p = widened(counted(kept, scores, axis=axis))
    weights = None if weight is None else _class_weights(name, weight, log_p, axis)
    if not is_integer(wanted.dtype):
        error = DTypeError("expected integer classes as the target")
        raise located(error, name, (scores, wanted))
    wanted = _classes(name, wanted, log_p, axis, kept, ignore_index)
    loss, share = _of_classes(log_p, wanted, weights, ignore_index, axis)
    return cast(total_or_mean(loss, reduction, share), scores.dtype)


# --- the cross-entropy of classes


def _of_classes(
    log_p: Variable,
    target: Variable,
    weights: Variable | None,
    ignore_index: int,
    axis: int,
) -> tuple[Variable, Variable]:
    """Return the loss of each sample, and the weight of each in their mean."""
    index = apply(ClassIndex(log_p.shape[axis], int(ignore_index)), target)
    kept = not_equal(target, ignore_index)
    picked = squeeze(take_along_axis(log_p, expand_dims(index, axis), axis), axis)
    if weights is None:
        return where(kept, -picked, 0), cast(kept, log_p.dtype)
    share = where(kept, apply(Gather((0,)), weights, index), 0)
    return where(kept, -picked * share, 0), share


def _classes(
    name: str,
    target: Variable,
    log_p: Variable,
    axis: int,
    mask: Variable | None,
    ignore_index: int,
) -> Variable:
    """Return the class of each sample; that of none that does not count."""
    target = of_shape(name, "a target", target, _without(log_p.shape, axis))
    return counted(mask, cast(target, "int64"), int(ignore_index))


def _weighted(log_p: Variable, weights: Variable | None, axis: int) -> Variable:
    """Return the logarithms times the weights of their classes."""
    if weights is None:
        return log_p
    shape = (log_p.shape[axis], *[1] * (log_p.ndim - axis - 1))
    return binary(Share(), weights.reshape(shape), log_p)


def _class_weights(name: str, weight: Operand, log_p: Variable, axis: int) -> Variable:
    """Return one weight for each class, in the dtype of the logarithms."""
    with Naming(f"{name}, weight"):
        weights = as_variable(weight, log_p.tensor)
    return of_shape(name, "a weight", cast(weights, log_p.dtype), (log_p.shape[axis],))


def _class_axis(name: str, scores: Variable, axis: int) -> int:
    """Return the class axis, counted from the front; a vector's is its only one."""
    return 0 if scores.ndim == 1 and axis == 1 else axis_of(name, scores, axis)


def _without(shape: Shape, axis: int) -> Shape:
    return (*shape[:axis], *shape[axis + 1 :])


# --- operands


def _scores_and_target(
    name: str, scores: Operand, target: Operand
) -> tuple[Variable, Variable]:
    """Return floating-point scores, and a target of integers or of their dtype."""
    (wanted,), (variable,) = operands_of(name, target), operands_of(name, scores)
    if is_floating(wanted.dtype):
        if wanted.ndim != variable.ndim:
            expected = (
                "expected floating-point targets, which are probabilities, to have "
                'the shape of the scores; cast classes with gg.cast(target, "int64")'
            )
            raise located(ShapeError(expected), name, (variable, wanted))
        return floating_pair(name, scores, target)
    for checked, right in ((variable, is_floating), (wanted, is_integer)):
        if not right(checked.dtype):
            error = DTypeError("expected floating-point scores, a target of integers")
            raise located(error, name, (variable, wanted))
    return variable, wanted
