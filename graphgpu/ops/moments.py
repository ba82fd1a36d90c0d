"""Mean and variance together, computed stably in one place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphgpu.dims import Size
from graphgpu.dtypes import Array, accumulator, is_floating
from graphgpu.errors import DTypeError, ShapeError
from graphgpu.graph import Operand, Operation, Variable, apply, as_variable
from graphgpu.ops.arithmetic import abs as absolute
from graphgpu.ops.arithmetic import maximum, sqrt
from graphgpu.ops.comparison import equal, where
from graphgpu.ops.creation import size_of
from graphgpu.ops.elementwise import cast
from graphgpu.ops.norms import balancing
from graphgpu.ops.reduction import Axis, axes_of, mean
from graphgpu.ops.requirements import widened
from graphgpu.ops.tuples import item
from graphgpu.types import Guards, TensorType, TupleType, Type

__all__ = ["moments", "std", "var"]


@dataclass(frozen=True, slots=True)
class Moments(Operation):
    """The pair μ = Σ x / N and σ² = Σ (x - μ)² / N over the axes, kept as 1."""

    axes: tuple[int, ...]

    def infer(self, guards: Guards, x: TensorType) -> TupleType:
        """Make the axes 1, twice."""
        if not is_floating(x.dtype):
            raise DTypeError("expected a floating-point dtype")
        if not all(0 <= a < x.ndim for a in self.axes):
            raise ShapeError(f"axes {self.axes} are out of range")
        shape = tuple(1 if a in self.axes else s for a, s in enumerate(x.shape))
        return TupleType((TensorType(x.dtype, shape), TensorType(x.dtype, shape)))

    def numpy(self, x: Array) -> tuple[Array, Array]:
        """Pass twice over x; halves are summed in float32.

        The second pass is corrected for the rounding of the first mean: T. F.
        Chan, G. H. Golub and R. J. LeVeque, "Algorithms for computing the sample
        variance", The American Statistician 37 (1983), equation (1.7).
        """
        wide = x.astype(accumulator(x.dtype), copy=False)
        count = wide.dtype.type(np.prod([x.shape[a] for a in self.axes], dtype=int))
        mean = np.sum(wide, axis=self.axes, keepdims=True) / count
        rest = wide - mean
        drift = np.sum(rest, axis=self.axes, keepdims=True)
        squares = np.sum(rest * rest, axis=self.axes, keepdims=True)
        variance = np.maximum(squares - drift * drift / count, 0) / count
        return np.asarray(mean, x.dtype), np.asarray(variance, x.dtype)

    def bprop(
        self,
        inputs: tuple[Variable, ...],
        output: Variable,
        grad: Any,
        wanted: tuple[bool, ...],
    ) -> list[Variable | None]:
        """∂/∂x = G_μ / N + 2 (x - μ) / N G_σ²; halves are multiplied in float32."""
        x = inputs[0]
        wide = accumulator(x.dtype)
        count = size_of(x, self.axes, wide)
        grad_mean, grad_variance = grad
        total: Variable | None = None
        if grad_variance is not None:
            rest = x.cast(wide) - item(output, 0).cast(wide)
            total = rest * (2 * grad_variance.cast(wide) / count)
        if grad_mean is not None:
            part = grad_mean.cast(wide) / count
            total = part.broadcast_to(x.shape) if total is None else total + part
        return [None if total is None else total.cast(x.dtype)]

    def flops(self, inputs: Sequence[TensorType], output: Type) -> Size:
        """Two sums, a difference and a square an element."""
        return 4 * inputs[0].size


def moments(
    x: Operand, axis: Axis = None, keepdims: bool = True
) -> tuple[Variable, Variable]:
    """Return the mean and the population variance over the axes given, or all.

    What normalisation needs, in one operation: the variance is that of two
    passes, so a large mean costs it no digits.  Bools and integers become
    float32; halves are summed in float32, then rounded.  Of nothing both are
    NaN.

    >>> import graphgpu as gg
    >>> mean, variance = gg.moments(gg.constant([[1.0, 3.0]]), axis=1)
    >>> gg.evaluate(mean), gg.evaluate(variance)
    (array([[2.]], dtype=float32), array([[1.]], dtype=float32))

    Raises
    ------
    ShapeError
        An axis is out of range or named twice.
    """
    variable = as_variable(x)
    if not is_floating(variable.dtype):
        variable = cast(variable, "float32")
    axes = axes_of("moments", variable, axis)
    pair = apply(Moments(axes), variable)
    mean, variance = item(pair, 0), item(pair, 1)
    if keepdims:
        return mean, variance
    shape = tuple(s for a, s in enumerate(variable.shape) if a not in axes)
    return mean.reshape(shape), variance.reshape(shape)


def var(
    x: Operand, axis: Axis = None, keepdims: bool = False, correction: float = 0
) -> Variable:
    """Return the variance Σ (x - μ)² / (N - correction) over the axes given, or all.

    Of N elements; NaN of nothing.  With correction 1 it is the unbiased
    estimate, NaN of one element.

    >>> import graphgpu as gg
    >>> x = gg.constant([1.0, 3.0])
    >>> float(gg.evaluate(gg.var(x))), float(gg.evaluate(gg.var(x, correction=1)))
    (1.0, 2.0)
    """
    variable = as_variable(x)
    axes = axes_of("var", variable, axis)
    _, variance = moments(variable, axes, keepdims)
    if correction == 0:
        return variance
    wide = accumulator(variance.dtype)
    count = size_of(variable, axes, wide)
    scale = count / maximum(count - correction, 0)
    return cast(cast(variance, wide) * scale, variance.dtype)


def std(
    x: Operand, axis: Axis = None, keepdims: bool = False, correction: float = 0
) -> Variable:
    """Return the standard deviation, the root of :func:`var`.

    Where it is 0, as of equal numbers, its gradient is taken to be 0.  It neither
    overflows nor vanishes where its square, the variance, does.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.std(gg.constant([[1.0, 3.0], [2.0, 2.0]]), axis=1))
    array([1., 0.], dtype=float32)
    """
    variable = as_variable(x)
    if not is_floating(variable.dtype):
        variable = cast(variable, "float32")
    axes = axes_of("std", variable, axis)
    wide = widened(variable)
    scale = balancing(mean(absolute(wide), axes, keepdims=True))
    variance = var(wide * scale, axes, keepdims, correction)
    flat = equal(variance, 0)
    root = where(flat, 0, sqrt(where(flat, 1, variance)))
    return cast(root / scale.reshape(root.shape), variable.dtype)
