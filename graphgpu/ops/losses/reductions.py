"""What the losses have in common: operands, weights, masks, and the reduction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

import numpy as np

from graphgpu.dtypes import is_floating
from graphgpu.errors import DTypeError, GraphError, ShapeError
from graphgpu.graph import Constant, Operand, Variable, as_variable, located
from graphgpu.ops.comparison import where
from graphgpu.ops.elementwise import cast, operands_of
from graphgpu.ops.requirements import Naming, of_shape, require, shape_text, widened
from graphgpu.ops.shape import broadcast_to, expand_dims
from graphgpu.types import Shape, TensorType

__all__: list[str] = []

Reduction: TypeAlias = Literal["mean", "sum", "none"]
Divisor: TypeAlias = Literal["weights", "count"]


# --- operands


def floating_pair(name: str, x: Operand, y: Operand) -> tuple[Variable, Variable]:
    """Return floating-point operands of one dtype."""
    left, right = operands_of(name, x, y)
    if is_floating(left.dtype):
        return left, right
    return cast(left, "float32"), cast(right, "float32")


def broadcast_operand(
    name: str, what: str, variable: Variable, shape: Shape
) -> Variable:
    """Return a variable broadcast to a shape, which it must not enlarge."""
    sizes = shape[len(shape) - variable.ndim :]
    fits = variable.ndim <= len(shape) and not any(
        left != 1 and isinstance(left - right, int) and left != right
        for left, right in zip(variable.shape, sizes, strict=True)
    )
    if not fits:
        expected = f"expected {what} that broadcasts to {shape_text(shape)}"
        raise located(ShapeError(expected), name, (variable,))
    return broadcast_to(variable, shape)


def mask_of(name: str, mask: Operand | None, shape: Shape) -> Variable | None:
    """Return which losses of a shape count, or None if all do."""
    if mask is None:
        return None
    (variable,) = operands_of(name, mask)
    if variable.dtype.name != "bool":
        expected = 'expected a mask of bools; use gg.cast(mask, "bool")'
        raise located(DTypeError(expected), name, (variable,))
    return _of_losses(name, "mask", variable, shape)


def _of_losses(name: str, what: str, variable: Variable, shape: Shape) -> Variable:
    """Return a mask or a weight broadcast to the losses.

    It has their axes, or the last of them if its sizes are not those of the first,
    too: one of samples would be taken for one of columns where these are as many.
    """
    sizes, axes = variable.shape, variable.ndim
    first = any(size != 1 for size in sizes) and _fit(sizes, shape[:axes], sure=True)
    last = _fit(sizes, shape[len(shape) - axes :], sure=False)
    if axes < len(shape) and (first or not last):
        expected = (
            f"expected a {what} of {len(shape)} axes that broadcasts to "
            f"{shape_text(shape)}, or a scalar; give it axes of size 1 with "
            "gg.expand_dims"
        )
        raise located(ShapeError(expected), name, (variable,))
    return broadcast_operand(name, f"a {what}", variable, shape)


def _fit(sizes: Shape, others: Shape, sure: bool) -> bool:
    """Whether sizes surely are, or may be, 1 or the others."""
    pairs = [pair for pair in zip(sizes, others, strict=False) if pair[0] != 1]
    unknown = not sure
    return all(
        left == right if isinstance(left - right, int) else unknown
        for left, right in pairs
    )


def require_among(
    name: str, target: Variable, mask: Operand | None, known: dict[int, str]
) -> None:
    """Require a target that is a constant, of which all counts, to hold these."""
    if mask is not None or not isinstance(target, Constant):
        return
    values = np.asarray(target.value, "float64")
    wrong = values[~np.isin(values, list(known))]
    if wrong.size:
        listed = " or ".join(f"{value} ({what})" for value, what in known.items())
        expected = f"expected a target of {listed}, not {wrong[0]:g}"
        raise located(GraphError(expected), name, (target,))


def counted(
    mask: Variable | None, x: Variable, neutral: float = 0, axis: int | None = None
) -> Variable:
    """Return x with harmless numbers where it does not count.

    Chosen before anything is computed, so that neither a value nor a slope of
    what does not count is ever multiplied by zero: it may be infinite or NaN.
    ``axis`` is one of x that the mask does not have.
    """
    if mask is None:
        return x
    return where(mask if axis is None else expand_dims(mask, axis), x, neutral)


# --- reductions


def check_reduction(name: str, reduction: str, *more: str) -> None:
    """Require a known reduction."""
    listed = [repr(known) for known in (*get_args(Reduction), *more)]
    expected = f"{', '.join(listed[:-1])} or {listed[-1]}"
    require(name, repr(reduction) in listed, f"{reduction=}", expected)


def reduced(
    name: str,
    loss: Variable,
    reduction: str,
    weight: Operand | None = None,
    mask: Variable | None = None,
    divisor: Divisor = "weights",
) -> Variable:
    """Return the weighted losses, their sum, or their mean over what counts."""
    check_reduction(name, reduction)
    share = None if mask is None else cast(mask, loss.dtype)
    if weight is not None:
        weights = _weights(name, weight, loss, mask)
        loss = loss * weights
        share = weights if divisor == "weights" else share
    return total_or_mean(counted(mask, loss), reduction, share)


def total_or_mean(
    loss: Variable, reduction: str, share: Variable | None = None
) -> Variable:
    """Return the losses, their sum, or their mean, ``share`` being their weights."""
    if reduction == "none":
        return loss
    if reduction == "sum":
        return loss.sum()
    return loss.mean() if share is None else loss.sum() / share.sum()


def elementwise_loss(
    name: str,
    function: Callable[[Variable, Variable], Variable],
    x: Operand,
    target: Operand,
    reduction: str,
    weight: Operand | None,
    mask: Operand | None,
    divisor: Divisor = "weights",
    neutral: float = 0,
) -> Variable:
    """Return the reduced losses of each element of x and of a target of its shape."""
    left, right = floating_pair(name, x, target)
    right = of_shape(name, "a target", right, left.shape)
    kept = mask_of(name, mask, left.shape)
    wide = (counted(kept, widened(v), neutral) for v in (left, right))
    loss = reduced(name, function(*wide), reduction, weight, kept, divisor)
    return cast(loss, left.dtype)


def _weights(
    name: str, weight: Operand, loss: Variable, mask: Variable | None
) -> Variable:
    """Return a weight for each loss, 0 for what does not count."""
    with Naming(f"{name}, weight"):
        weights = cast(as_variable(weight, TensorType(loss.dtype, ())), loss.dtype)
    return counted(mask, _of_losses(name, "weight", weights, loss.shape))
