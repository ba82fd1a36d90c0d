"""Normalisation: activations of mean 0 and variance 1, then scaled and shifted.

Mean and variance come from :func:`~graphgpu.moments`, and the mean is subtracted
before anything is scaled, so a mean much larger than the standard deviation
costs no digits.  Halves are normalised in float32, then rounded.  Except by batch
normalisation, samples are brought near 1 by a power of two first: none is so large
that its squares overflow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import pi, sqrt
from typing import Literal

from graphgpu.dims import Size
from graphgpu.dtypes import epsilon
from graphgpu.errors import GraphError, ShapeError
from graphgpu.graph import (
    Operand,
    State,
    Variable,
    as_variable,
    current,
    inside,
    located,
)
from graphgpu.ops.arithmetic import abs as absolute
from graphgpu.ops.arithmetic import maximum, rsqrt, square
from graphgpu.ops.creation import size_of
from graphgpu.ops.elementwise import cast
from graphgpu.ops.markers import with_state_update
from graphgpu.ops.moments import moments
from graphgpu.ops.norms import any_empty, balancing
from graphgpu.ops.random import number_of
from graphgpu.ops.reduction import mean as mean_of
from graphgpu.ops.requirements import floating, of_shape, shape_text, widened
from graphgpu.types import Shape, make_shape

__all__ = ["batch_norm", "layer_norm", "rms_norm"]

Norm = Literal["l2", "l1"]


def layer_norm(
    x: Operand,
    normalized_shape: int | Size | str | Sequence[int | Size | str],
    weight: Operand | None = None,
    bias: Operand | None = None,
    eps: float = 1e-5,
) -> Variable:
    """Return (x - μ) / √(σ² + ε) · weight + bias, by sample.

    μ and σ² are the mean and the population variance over the last axes, those
    of ``normalized_shape``, which is also the shape of weight and bias (Ba, Kiros
    and Hinton, "Layer normalization", 2016).

    >>> import graphgpu as gg
    >>> x = gg.constant([[1.0, 3.0], [1e6, 1e6 + 2]])
    >>> gg.evaluate(gg.layer_norm(x, 2, eps=0))
    array([[-1.,  1.],
           [-1.,  1.]], dtype=float32)

    Raises
    ------
    ShapeError
        The last axes of x, or weight or bias, do not have that shape.
    """
    name = f"layer_norm(normalized_shape={normalized_shape})"
    variable, shape = _ending_in(name, x, normalized_shape)
    wide = widened(variable)
    result = standardized(wide, _last_axes(wide, shape), least_variance(name, eps))
    if weight is not None:
        result = result * _vector(name, "weight", weight, shape, wide)
    if bias is not None:
        result = result + _vector(name, "bias", bias, shape, wide)
    return cast(result, variable.dtype)


def rms_norm(
    x: Operand,
    normalized_shape: int | Size | str | Sequence[int | Size | str],
    weight: Operand | None = None,
    eps: float | None = None,
) -> Variable:
    """Return x / √(Σ x² / n + ε) · weight, by sample.

    The mean of the squares is over the last axes, those of ``normalized_shape``,
    which is also the shape of the weight; no mean is subtracted (Zhang and Sennrich,
    "Root mean square layer normalization", 2019).  ε is by default the distance from
    1 to the next number of the dtype of x.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.rms_norm(gg.constant([[1.0, 7.0], [1e30, 7e30]]), 2))
    array([[0.2, 1.4],
           [0.2, 1.4]], dtype=float32)

    Raises
    ------
    ShapeError
        The last axes of x, or the weight, do not have that shape.
    """
    name = f"rms_norm(normalized_shape={normalized_shape})"
    variable, shape = _ending_in(name, x, normalized_shape)
    wide = widened(variable)
    axes = _last_axes(wide, shape)
    added = least_variance(name, epsilon(variable.dtype) if eps is None else eps)
    result = wide
    if not any_empty(wide, axes):
        size = mean_of(absolute(wide), axes, keepdims=True)
        shrink = balancing(size, 1.0 if added else None)
        scaled = wide * shrink
        mean_square = mean_of(square(scaled), axes, keepdims=True)
        result = scaled * rsqrt(mean_square + added * shrink * shrink)
    if weight is not None:
        result = result * _vector(name, "weight", weight, shape, wide)
    return cast(result, variable.dtype)


def batch_norm(
    x: Operand,
    running_mean: Operand | None,
    running_var: Operand | None,
    weight: Operand | None = None,
    bias: Operand | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    norm: Norm = "l2",
) -> Variable:
    """Return (x - μ) / √(σ² + ε) · weight + bias, by channel: axis 1 of x.

    Ioffe and Szegedy, "Batch normalization", 2015.  In training, μ and σ² are the
    mean and the population variance over the batch and its positions, and
    gradients flow through them; else they are the running statistics.

    With ``norm="l1"``, σ is √(π/2) times the mean of |x - μ|, which of normally
    distributed x is their standard deviation too, and needs no squares of x (Hoffer,
    Banner, Golan and Soudry, "Norm matters: efficient and accurate normalization
    schemes in deep networks", 2018, section 4.1).

    A variance that overflows (deviations beyond 1e19 in float32) gives no numbers.

    In training, the result carries updates of the running statistics, which
    :func:`~graphgpu.state_updates` collects for a program's ``updates``: they
    become (1 - momentum) of themselves plus momentum times the batch's mean and
    its variance, that with the divisor N - 1.  (Of a single value a channel the
    variance is taken to be 0.)

    Parameters
    ----------
    x
        Of shape (N, C), or (N, C, d1, ...).
    running_mean, running_var
        Of shape (C,).  In training, states (:func:`graphgpu.state`) to be updated,
        or None; else any values.
    weight, bias
        Of shape (C,), or None for 1 and 0.
    training
        Which graph to build.
    momentum
        The part that the batch has in the new running statistics.
    eps
        ε, added to the variance.
    norm
        ``"l2"`` or ``"l1"``: how training finds σ.

    Raises
    ------
    ShapeError
        x has fewer than two axes, or a vector is not of shape (C,).
    GraphError
        The running statistics are missing, or, in training, are no states; the norm
        is another.

    Examples
    --------
    >>> import graphgpu as gg
    >>> x = gg.constant([[1.0], [3.0]])
    >>> mean, var = gg.state("mean", [0.0]), gg.state("var", [1.0])
    >>> y = gg.batch_norm(x, mean, var, training=True, eps=0)
    >>> gg.compile([], y, gg.state_updates(y))().tolist()
    [[-1.0], [1.0]]
    >>> float(mean.value[0]), float(var.value[0])
    (0.20000000298023224, 1.100000023841858)
    """
    name = f"batch_norm(training={training})"
    variable = floating(name, x)
    if variable.ndim < 2:
        error = ShapeError("expected x of shape (N, C) or (N, C, d1, ...)")
        raise located(error, name, (variable,))
    if norm not in ("l1", "l2"):
        unknown = GraphError(f"expected norm 'l2' or 'l1', got {norm!r}")
        raise located(unknown, name, (variable,))
    eps = least_variance(name, eps)
    wide = widened(variable)
    states: list[tuple[State, Variable]] = []
    if training:
        axes = (0, *range(2, variable.ndim))
        mean, variance, scale = _statistics(wide, axes, eps, norm)
        unbiased = _unbiased(variance, wide, axes)
        states = [
            *_update(name, "running_mean", running_mean, mean, momentum),
            *_update(name, "running_var", running_var, unbiased, momentum),
        ]
    else:
        mean = by_channel(name, "running_mean", running_mean, wide)
        variance = by_channel(name, "running_var", running_var, wide)
        scale = rsqrt(variance + eps)
    if weight is not None:
        scale = scale * by_channel(name, "weight", weight, wide)
    result = (wide - mean) * scale
    if bias is not None:
        result = result + by_channel(name, "bias", bias, wide)
    result = cast(result, variable.dtype)
    for state, value in states:
        result = with_state_update(result, state, value)
    return result


def standardized(x: Variable, axes: tuple[int, ...], eps: float) -> Variable:
    """Return (x - μ) / √(σ² + ε) over axes, of float32 or float64 numbers."""
    if any_empty(x, axes):
        return x
    shrink = balancing(mean_of(absolute(x), axes, keepdims=True), 1.0)
    scaled = x * shrink
    mean, variance = moments(scaled, axes)
    return (scaled - mean) * rsqrt(variance + eps * shrink * shrink)


def least_variance(name: str, eps: float) -> float:
    """Return what is added to variances: a finite number >= 0."""
    number = number_of(f"{name}, {eps=}", eps)
    if number < 0:
        raise located(GraphError("expected eps >= 0"), f"{name}, {eps=}")
    return number


def _statistics(
    x: Variable, axes: tuple[int, ...], eps: float, norm: Norm
) -> tuple[Variable, Variable, Variable]:
    """Return μ, σ² and 1 / √(σ² + ε), with σ as the norm says."""
    if norm == "l2":
        mean, variance = moments(x, axes)
        return mean, variance, rsqrt(variance + eps)
    mean = mean_of(x, axes, keepdims=True)
    deviation = sqrt(pi / 2) * mean_of(absolute(x - mean), axes, keepdims=True)
    shrink = balancing(deviation, 1.0 if eps else None)
    inverse = shrink * rsqrt(square(deviation * shrink) + eps * shrink * shrink)
    return mean, square(deviation), inverse


def _ending_in(
    name: str, x: Operand, normalized_shape: int | Size | str | Sequence[Size | str]
) -> tuple[Variable, Shape]:
    """Return x, which must have that shape in its last axes, and the shape."""
    variable = floating(name, x)
    shape = make_shape(normalized_shape)
    first = variable.ndim - len(shape)
    if not shape or first < 0:
        error = ShapeError(f"expected x to end in the axes {shape_text(shape)}")
        raise located(error, name, (variable,))
    return of_shape(name, "x", variable, (*variable.shape[:first], *shape)), shape


def _last_axes(x: Variable, shape: Shape) -> tuple[int, ...]:
    return tuple(range(x.ndim - len(shape), x.ndim))


def _update(
    name: str,
    what: str,
    state: Operand | None,
    statistic: Variable,
    momentum: float,
) -> list[tuple[State, Variable]]:
    """Return a state with its new value, (1 - momentum) old + momentum statistic."""
    if state is None:
        return []
    if not isinstance(state, State):
        error = GraphError(f"expected {what} made by gg.state, which can be updated")
        raise located(error, name)
    of_shape(name, what, state, (statistic.shape[1],))
    with inside(replace(current(), phase="update")):
        old = cast(state, statistic.dtype)
        new = (1 - momentum) * old + momentum * statistic.reshape(state.shape)
        return [(state, cast(new, state.dtype))]


def _unbiased(variance: Variable, x: Variable, axes: tuple[int, ...]) -> Variable:
    """Return the variance with the divisor N - 1 in place of N."""
    with inside(replace(current(), phase="update")):
        count = size_of(x, axes, x.dtype)
        return variance * (count / maximum(count - 1, 1))


def by_channel(name: str, what: str, value: Operand | None, x: Variable) -> Variable:
    """Return a vector of one value for each channel, so that it broadcasts to x."""
    if value is None:
        raise located(GraphError(f"expected {what}, got None"), name, (x,))
    vector = _vector(name, what, value, (x.shape[1],), x)
    return vector.reshape((1, x.shape[1], *[1] * (x.ndim - 2)))


def _vector(
    name: str, what: str, value: Operand, shape: Shape, x: Variable
) -> Variable:
    """Return a value of the shape given, in the dtype of x."""
    variable = as_variable(value, x.tensor)
    return cast(of_shape(name, what, variable, shape), x.dtype)
