"""Switches: one of several inputs, or a mixture of them; and gates that are sparse."""

from __future__ import annotations

from collections.abc import Sequence

from graphgpu.dims import Size
from graphgpu.dtypes import is_floating, is_integer
from graphgpu.errors import DTypeError, ShapeError
from graphgpu.graph import Operand, Variable, as_variable, located
from graphgpu.ops.activations.normalized import softmax
from graphgpu.ops.activations.requirements import made_floating
from graphgpu.ops.arithmetic import square
from graphgpu.ops.attention import masked_softmax, soft_attention
from graphgpu.ops.comparison import equal, where
from graphgpu.ops.creation import arange, size_of
from graphgpu.ops.elementwise import cast, operands_of
from graphgpu.ops.indexing import one_hot, take
from graphgpu.ops.joining import stack
from graphgpu.ops.requirements import (
    Naming,
    floating,
    of_shape,
    require,
    shape_text,
    widened,
)
from graphgpu.ops.shape import axis_of, moveaxis
from graphgpu.ops.sorting import argmax, top_k
from graphgpu.types import Shape

__all__ = [
    "hard_switch",
    "importance_loss",
    "load_balancing_loss",
    "soft_switch",
    "top_k_gates",
]


def hard_switch(selector: Operand, *inputs: Operand) -> Variable:
    """Return x_s: the one of the inputs that the selector says.

    The gradient flows along the chosen path only: the others have exactly 0,
    whatever their values, and the selector has none.

    Parameters
    ----------
    selector
        Integers from 0 (-1 is the last), of shape (...); or floating-point scores
        (..., n) of the n inputs, of which the largest decides, the first of equal
        ones.  A scalar switches the inputs as wholes; a selector (batch,), or scores
        (batch, n), each sample for itself.
    *inputs
        Of one shape (..., d1, ...) that begins with that of the selector.

    Raises
    ------
    ShapeError
        There is no input, their shapes differ, or the selector does not fit.
    DTypeError
        The selector is neither of integers nor of floating-point numbers.
    ComputeError
        While running: the selector is out of range.

    Examples
    --------
    >>> import graphgpu as gg
    >>> left, right = gg.constant([1.0, 2.0]), gg.constant([3.0, 4.0])
    >>> gg.evaluate(gg.hard_switch(gg.constant([0, 1]), left, right))
    array([1., 4.], dtype=float32)
    """
    name = "hard_switch"
    paths = _paths(name, inputs)
    chosen = as_variable(selector)
    if is_floating(chosen.dtype):
        _require_scores(name, chosen, len(paths))
        chosen = argmax(chosen, -1)
    elif not is_integer(chosen.dtype):
        error = DTypeError("expected integers or scores as the selector")
        raise located(error, name, (chosen, *paths))
    _require_leading(name, chosen.shape, paths)
    with Naming(name, (chosen, *paths)):
        place = take(arange(len(paths)), chosen)  # it checks the range
    place = place.reshape((*place.shape, *(1,) * (paths[0].ndim - place.ndim)))
    result = paths[-1]
    for number, path in reversed(list(enumerate(paths[:-1]))):
        result = where(equal(place, number), path, result)
    return result.broadcast_to(paths[0].shape)


def soft_switch(scores: Operand, *inputs: Operand) -> Variable:
    """Return Σ_i p_i x_i with p = softmax(scores): a switch that can be learned.

    Every input has the gradient p_i G, and the scores have one; for large gaps
    between the scores it becomes the :func:`hard_switch` of the largest.

    Parameters
    ----------
    scores
        Of shape (n,), or (batch, n): each sample for itself; any leading axes.
    *inputs
        n of one shape that begins with the leading axes of the scores.

    Raises
    ------
    ShapeError
        There is no input, their shapes differ, or the scores do not fit.
    DTypeError
        The scores are not floating-point.  Inputs of integers become float32.

    Examples
    --------
    >>> import graphgpu as gg
    >>> y = gg.soft_switch(gg.constant([0.0, 0.0]), gg.constant(1.0), gg.constant(4.0))
    >>> float(gg.evaluate(y))
    2.5
    """
    name = "soft_switch"
    paths = [made_floating(name, path) for path in _paths(name, inputs)]
    given = floating(name, scores)
    _require_scores(name, given, len(paths))
    _require_leading(name, given.shape[:-1], paths)
    share = softmax(widened(given))
    return cast(soft_attention(share, stack(paths, given.ndim - 1)), paths[0].dtype)


def top_k_gates(
    logits: Operand, k: int, axis: int = -1, renormalize: bool = True
) -> Variable:
    """Return gates of which only those of the k largest logits are not 0.

    The gates of the chosen are the softmax over them, so that they have the sum 1
    (Shazeer et al., "Outrageously large neural networks: the sparsely-gated
    mixture-of-experts layer", 2017, equations 3 to 5); or, not renormalised, their
    probabilities in the softmax over all (Fedus, Zoph and Shazeer, "Switch
    transformers", 2022, equation 1), which for k = 1 is what leaves a gradient.
    The others have gate and gradient 0.  Of equal logits the first are chosen.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.top_k_gates(gg.constant([1.0, 3.0, 3.0, -1.0]), 2))
    array([0. , 0.5, 0.5, 0. ], dtype=float32)

    Raises
    ------
    GraphError
        k is not an int > 0.
    ShapeError
        The axis is out of range, or has fewer than k elements.
    DTypeError
        The logits are not floating-point.
    """
    name = "top_k_gates"
    scores = floating(name, logits)
    axis = axis_of(name, scores, axis)
    chosen = _largest(name, scores, k, axis)
    if renormalize:
        return masked_softmax(scores, chosen, axis)
    share = softmax(widened(scores), axis)
    return cast(where(chosen, share, 0), scores.dtype)


def load_balancing_loss(logits: Operand, k: int = 1) -> Variable:
    """Return E Σ_e f_e P_e: 1 where the load of E experts is even, up to E else.

    f_e is the share of expert e in the choices of the k largest logits, P_e its mean
    probability, the softmax of the logits, both over all samples.  The gradient flows
    through P alone.  Fedus, Zoph and Shazeer, "Switch transformers", 2022, equations
    4 to 6, there with k = 1.

    >>> import graphgpu as gg
    >>> float(gg.evaluate(gg.load_balancing_loss(gg.constant([[50.0, 0], [0, 50.0]]))))
    1.0
    >>> float(gg.evaluate(gg.load_balancing_loss(gg.constant([[50.0, 0], [50.0, 0]]))))
    2.0

    Raises
    ------
    GraphError
        k is not an int > 0.
    ShapeError
        The logits have no axis, or fewer than k along the last.
    DTypeError
        They are not floating-point.
    """
    name = "load_balancing_loss"
    scores = floating(name, logits)
    axis = axis_of(name, scores, -1)
    samples = tuple(range(axis))
    wide = widened(scores)
    share = cast(_largest(name, scores, k, axis), wide.dtype).mean(samples) / k
    probability = softmax(wide, axis).mean(samples)
    loss = (share * probability).sum() * size_of(wide, (axis,), wide.dtype)
    return cast(loss, scores.dtype)


def importance_loss(gates: Operand) -> Variable:
    """Return the squared coefficient of variation of the experts' importance.

    The importance of an expert is the sum of its gates over all samples; the loss is
    variance / mean², 0 where all are equal and E - 1 where one of E has all.  Shazeer
    et al., "Outrageously large neural networks", 2017, equations 6 and 7.

    >>> import graphgpu as gg
    >>> float(gg.evaluate(gg.importance_loss(gg.constant([[1.0, 0.0], [1.0, 0.0]]))))
    1.0

    Raises
    ------
    ShapeError
        The gates have no axis.
    DTypeError
        They are not floating-point.
    """
    name = "importance_loss"
    given = floating(name, gates)
    axis = axis_of(name, given, -1)
    importance = widened(given).sum(tuple(range(axis)))
    share = importance / importance.mean()
    return cast(square(share - 1).mean(), given.dtype)


def _largest(name: str, scores: Variable, k: int, axis: int) -> Variable:
    """Return, for each score, whether it is one of the k largest along the axis."""
    fits = isinstance(k, int) and not isinstance(k, bool) and k > 0
    require(name, fits, f"{k=}", "k to be an int > 0")
    with Naming(f"{name}({k=})", (scores,)):
        _, places = top_k(scores, k, axis)
    times = one_hot(places, scores.shape[axis], "int64").sum(axis)
    return moveaxis(times, -1, axis) > 0


# --- what goes through a switch


def _paths(name: str, inputs: Sequence[Operand]) -> tuple[Variable, ...]:
    """Return the inputs of a switch in one dtype; they must be of one shape."""
    if not inputs:
        raise located(
            ShapeError("expected at least one input after the selector"), name
        )
    first, *rest = operands_of(name, *inputs)
    what = "inputs of one shape, each"
    return first, *(of_shape(name, what, path, first.shape) for path in rest)


def _require_scores(name: str, scores: Variable, count: int) -> None:
    if not scores.ndim or not _may_equal(scores.shape[-1], count):
        message = f"expected scores (..., {count}), one for each input"
        raise located(ShapeError(message), name, (scores,))


def _require_leading(name: str, leading: Shape, paths: Sequence[Variable]) -> None:
    """Require the axes of a selector to be the first axes of the inputs."""
    shape = paths[0].shape
    fits = len(leading) <= len(shape) and all(map(_may_equal, leading, shape))
    if not fits:
        message = f"expected inputs whose shape begins with {shape_text(leading)}"
        raise located(ShapeError(message), name, paths)


def _may_equal(left: Size, right: Size) -> bool:
    difference = left - right
    return not isinstance(difference, int) or difference == 0
