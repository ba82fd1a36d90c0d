"""Losses: what training minimises, stable as written.

Every loss of float16 or bfloat16 is computed in float32 and then rounded, so
that a mean over many samples neither overflows nor loses the small ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np

from graphgpu.dims import Size
from graphgpu.dtypes import Array, is_floating, is_integer
from graphgpu.errors import DTypeError, ShapeError
from graphgpu.graph import Operand, Operation, Variable, apply, as_variable, located
from graphgpu.ops.activation import log_softmax, sigmoid, softplus
from graphgpu.ops.arithmetic import square
from graphgpu.ops.comparison import not_equal, where
from graphgpu.ops.creation import size_of
from graphgpu.ops.elementwise import Binary, Pull, binary, cast, operands_of
from graphgpu.ops.gather import Gather
from graphgpu.ops.indexing import take_along_axis
from graphgpu.ops.requirements import of_shape, require, widened
from graphgpu.ops.shape import axis_of, expand_dims, squeeze
from graphgpu.types import Guards, Shape, TensorType, Type

__all__ = [
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "mse",
    "mse_loss",
    "nll_loss",
]

Reduction: TypeAlias = Literal["mean", "sum", "none"]


@dataclass(frozen=True, slots=True)
class ClassIndex(Operation):
    """The target's class where there is one; class 0 where it is to be ignored."""

    classes: Size
    ignore_index: int

    def infer(self, guards: Guards, target: TensorType) -> TensorType:
        """Keep the type."""
        if not is_integer(target.dtype):
            raise DTypeError("expected integer classes")
        return target

    def numpy(self, target: Array) -> Array:
        """Check every class; the executor says which node an error belongs to."""
        ignored = target == self.ignore_index
        wrong = ((target < 0) | (target >= self.classes)) & ~ignored
        if wrong.any():
            place = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise IndexError(
                f"target {target[place]} at {list(place)} is none of the classes 0 to "
                f"{self.classes - 1}, nor ignore_index {self.ignore_index}"
            )
        return np.asarray(np.where(ignored, 0, target), target.dtype)

    def flops(self, inputs: Sequence[TensorType], output: Type) -> Size:
        """None."""
        return 0


@dataclass(frozen=True, slots=True)
class BinaryCrossEntropyWithLogits(Binary):
    """-y log σ(x) - (1 - y) log(1 - σ(x)) = (1 - y) x⁺ + y x⁻ + log(1 + e^(-|x|)).

    With x⁺ = max(x, 0) and x⁻ = max(-x, 0).  Nothing large is subtracted, as in
    x⁺ - x y, so a loss keeps its digits where y is 0, 1, or almost.
    """

    expression = "(1 - y) * maximum(x, 0) + y * maximum(-x, 0) + log1p(exp(-abs(x)))"
    lowest_kind = 2

    def pulls(
        self, inputs: tuple[Variable, ...], output: Variable, grad: Variable
    ) -> Sequence[Pull]:
        """∂/∂x = σ(x) - y, ∂/∂y = -x."""
        x, y = inputs
        return (lambda: grad * (sigmoid(x) - y)), (lambda: -(grad * x))


def cross_entropy(
    logits: Operand,
    target: Operand,
    weight: Operand | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
    axis: int = 1,
) -> Variable:
    """Return the cross-entropy between target classes and softmax(logits).

    For a class y of weight w_y, and p = softmax(logits) along the class axis,
    the loss of a sample is -w_y log p_y; for probabilities t in place of a
    class it is -Σ_k w_k t_k log p_k.  Label smoothing by ε mixes the target with
    the uniform distribution: t_k becomes (1 - ε) t_k + ε / C (Szegedy et al.,
    "Rethinking the inception architecture", 2016).  The logarithm of the softmax
    is taken in one operation, so no finite logits overflow.

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

    Raises
    ------
    ShapeError, DTypeError
        The target's shape is neither that of classes nor that of probabilities;
        the weights are not as many as the classes.
    ComputeError
        While running: a target class does not exist.

    Examples
    --------
    >>> import graphgpu as gg
    >>> loss = gg.cross_entropy(gg.constant([[0.0, 1e4]]), gg.constant([0]))
    >>> float(gg.evaluate(loss))
    10000.0
    """
    name = "cross_entropy"
    scores, wanted = _scores_and_target(name, logits, target)
    _check_reduction(name, reduction)
    require(name, 0 <= label_smoothing <= 1, f"{label_smoothing=}", "0 to 1")
    axis = _class_axis(name, scores, axis)
    log_p = log_softmax(widened(scores), axis)
    weights = None if weight is None else _class_weights(name, weight, log_p, axis)
    if is_integer(wanted.dtype):
        wanted = of_shape(name, "a target", wanted, _without(log_p.shape, axis))
        loss, share = _of_classes(log_p, wanted, weights, ignore_index, axis)
        if label_smoothing:
            rest = -_weighted(log_p, weights, axis).sum(axis)
            rest = where(not_equal(wanted, ignore_index), rest, 0)
            rest = rest / size_of(log_p, (axis,), log_p.dtype)
            loss = (1 - label_smoothing) * loss + label_smoothing * rest
        return cast(_reduce(loss, reduction, share), scores.dtype)
    require(name, ignore_index < 0, f"{ignore_index=}", "none for probabilities")
    wanted = widened(of_shape(name, "a target", wanted, log_p.shape))
    if label_smoothing:
        uniform = 1 / size_of(log_p, (axis,), log_p.dtype)
        wanted = (1 - label_smoothing) * wanted + label_smoothing * uniform
    loss = -(_weighted(log_p, weights, axis) * wanted).sum(axis)
    return cast(_reduce(loss, reduction), scores.dtype)


def nll_loss(
    log_probabilities: Operand,
    target: Operand,
    weight: Operand | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    axis: int = 1,
) -> Variable:
    """Return the negative log-likelihood of target classes: -w_y log p_y.

    The parameters and errors are those of :func:`cross_entropy`, which takes
    scores, where this takes the logarithms of probabilities.

    >>> import graphgpu as gg
    >>> log_p = gg.log_softmax(gg.constant([[2.0, 2.0]]))
    >>> float(gg.evaluate(gg.nll_loss(log_p, gg.constant([1]))))
    0.6931471824645996
    """
    name = "nll_loss"
    scores, wanted = _scores_and_target(name, log_probabilities, target)
    _check_reduction(name, reduction)
    axis = _class_axis(name, scores, axis)
    log_p = widened(scores)
    weights = None if weight is None else _class_weights(name, weight, log_p, axis)
    if not is_integer(wanted.dtype):
        error = DTypeError("expected integer classes as the target")
        raise located(error, name, (scores, wanted))
    wanted = of_shape(name, "a target", wanted, _without(log_p.shape, axis))
    loss, share = _of_classes(log_p, wanted, weights, ignore_index, axis)
    return cast(_reduce(loss, reduction, share), scores.dtype)


def mse(x: Operand, target: Operand, reduction: Reduction = "mean") -> Variable:
    """Return the mean of (x - target)²; its sum, or all of them, by ``reduction``.

    >>> import graphgpu as gg
    >>> float(gg.evaluate(gg.mse(gg.constant([1.0, 2.0]), [1.0, 4.0])))
    2.0

    Raises
    ------
    ShapeError
        The shapes differ: an (N, 1) beside an (N,) is not broadcast to (N, N).
    """
    left, right = _floating("mse", x, target)
    right = of_shape("mse", "a target", right, left.shape)
    _check_reduction("mse", reduction)
    return cast(_reduce(square(widened(left) - widened(right)), reduction), left.dtype)


mse_loss = mse


def binary_cross_entropy_with_logits(
    logits: Operand,
    target: Operand,
    weight: Operand | None = None,
    reduction: Reduction = "mean",
    pos_weight: Operand | None = None,
) -> Variable:
    """Return -w [q y log σ(x) + (1 - y) log(1 - σ(x))] for logits x and targets y.

    No finite logit overflows, and for y = 0 or 1 the loss keeps its digits
    however small it is.

    Parameters
    ----------
    logits, target
        Of one shape; the targets are probabilities of the positive class.
    weight
        The weight w of each loss; broadcast.
    reduction
        ``"mean"``, ``"sum"`` or ``"none"``.
    pos_weight
        The weight q of the positive class, for each class; broadcast.

    Raises
    ------
    ShapeError
        The shapes of logits and target differ.

    Examples
    --------
    >>> import graphgpu as gg
    >>> loss = gg.binary_cross_entropy_with_logits(gg.constant([-1e4, 1e4]), [1.0, 1.0])
    >>> float(gg.evaluate(loss))
    5000.0
    """
    name = "binary_cross_entropy_with_logits"
    left, right = _floating(name, logits, target)
    right = of_shape(name, "a target", right, left.shape)
    _check_reduction(name, reduction)
    x, y = widened(left), widened(right)
    if pos_weight is None:
        loss = binary(BinaryCrossEntropyWithLogits(), x, y)
    else:
        positive = widened(as_variable(pos_weight, left.tensor)) * y
        loss = positive * softplus(-x) + (1 - y) * softplus(x)
    if weight is not None:
        loss = loss * widened(as_variable(weight, left.tensor))
    return cast(_reduce(loss, reduction), left.dtype)


# --- the cross-entropy of classes


def _of_classes(
    log_p: Variable,
    target: Variable,
    weights: Variable | None,
    ignore_index: int,
    axis: int,
) -> tuple[Variable, Variable]:
    """Return the loss of each sample, and the weight of each in their mean."""
    target = cast(target, "int64")
    index = apply(ClassIndex(log_p.shape[axis], int(ignore_index)), target)
    kept = not_equal(target, ignore_index)
    picked = squeeze(take_along_axis(log_p, expand_dims(index, axis), axis), axis)
    if weights is None:
        return where(kept, -picked, 0), cast(kept, log_p.dtype)
    share = where(kept, apply(Gather((0,)), weights, index), 0)
    return where(kept, -picked * share, 0), share


def _weighted(log_p: Variable, weights: Variable | None, axis: int) -> Variable:
    """Return the logarithms times the weights of their classes."""
    if weights is None:
        return log_p
    return log_p * weights.reshape((log_p.shape[axis], *[1] * (log_p.ndim - axis - 1)))


def _class_weights(name: str, weight: Operand, log_p: Variable, axis: int) -> Variable:
    """Return one weight for each class, in the dtype of the logarithms."""
    weights = as_variable(weight, log_p.tensor)
    return of_shape(name, "a weight", cast(weights, log_p.dtype), (log_p.shape[axis],))


def _class_axis(name: str, scores: Variable, axis: int) -> int:
    """Return the class axis, counted from the front; a vector's is its only one."""
    return 0 if scores.ndim == 1 and axis == 1 else axis_of(name, scores, axis)


def _without(shape: Shape, axis: int) -> Shape:
    return (*shape[:axis], *shape[axis + 1 :])


# --- operands and reductions


def _scores_and_target(
    name: str, scores: Operand, target: Operand
) -> tuple[Variable, Variable]:
    """Return floating-point scores, and a target of integers or of their dtype."""
    wanted, variable = as_variable(target), as_variable(scores)
    if is_floating(wanted.dtype):
        if wanted.ndim != variable.ndim:
            expected = (
                "expected floating-point targets, which are probabilities, to have "
                'the shape of the scores; cast classes with gg.cast(target, "int64")'
            )
            raise located(ShapeError(expected), name, (variable, wanted))
        return _floating(name, scores, target)
    for checked, right in ((variable, is_floating), (wanted, is_integer)):
        if not right(checked.dtype):
            error = DTypeError("expected floating-point scores, a target of integers")
            raise located(error, name, (variable, wanted))
    return variable, wanted


def _floating(name: str, x: Operand, target: Operand) -> tuple[Variable, Variable]:
    """Return floating-point operands of one dtype."""
    left, right = operands_of(name, x, target)
    if is_floating(left.dtype):
        return left, right
    return cast(left, "float32"), cast(right, "float32")


def _check_reduction(name: str, reduction: str) -> None:
    known = reduction in get_args(Reduction)
    require(name, known, f"{reduction=}", "'mean', 'sum' or 'none'")


def _reduce(
    loss: Variable, reduction: Reduction, share: Variable | None = None
) -> Variable:
    """Return the losses, their sum, or their mean, ``share`` being their weights."""
    if reduction == "none":
        return loss
    if reduction == "sum":
        return loss.sum()
    return loss.mean() if share is None else loss.sum() / share.sum()
