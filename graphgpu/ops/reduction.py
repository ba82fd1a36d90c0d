"""Reductions: one number from many, along some axes or all."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphgpu.dims import Size
from graphgpu.dtypes import Array, DType, accumulator, is_floating, kind
from graphgpu.errors import GraphError, ShapeError
from graphgpu.graph import Operand, Operation, Variable, apply, as_variable, located
from graphgpu.ops.comparison import equal
from graphgpu.ops.creation import size_of
from graphgpu.ops.elementwise import cast
from graphgpu.types import Guards, Shape, TensorType, Type, normalize_axes

__all__ = ["max", "mean", "min", "sum", "sum_to"]

Axis = int | Sequence[int] | None


class Reduction(Operation):
    """A reduction over ``axes`` (counted from the front, sorted). Abstract.

    The axes are dropped from the shape unless ``keepdims``.
    """

    axes: tuple[int, ...]
    keepdims: bool

    def infer(self, guards: Guards, x: TensorType) -> TensorType:
        """Drop the axes, or make them 1."""
        if not all(0 <= a < x.ndim for a in self.axes):
            raise ShapeError(f"axes {self.axes} are out of range")
        shape = tuple(
            1 if axis in self.axes else size
            for axis, size in enumerate(x.shape)
            if self.keepdims or axis not in self.axes
        )
        return TensorType(self.result_dtype(x.dtype), shape)

    def result_dtype(self, operand: DType) -> DType:
        """Return the output's dtype for that of the operand."""
        return operand

    @abstractmethod
    def numpy(self, x: Array) -> Array:
        """Reduce the axes."""

    def flops(self, inputs: Sequence[TensorType], output: Type) -> Size:
        """One operation an element."""
        return inputs[0].size

    def spread(self, variable: Variable, shape: Shape) -> Variable:
        """Return what has the output's shape broadcast back to the input's."""
        if not self.keepdims:
            kept = tuple(1 if a in self.axes else s for a, s in enumerate(shape))
            variable = variable.reshape(kept)
        return variable.broadcast_to(shape)


@dataclass(frozen=True, slots=True)
class Sum(Reduction):
    """Σ x over the axes."""

    axes: tuple[int, ...]
    keepdims: bool = False

    def result_dtype(self, operand: DType) -> DType:
        """Sum bools and small integers in int64 (unsigned in uint64), as NumPy."""
        if is_floating(operand):
            return operand
        return np.dtype("uint64") if operand.kind == "u" else np.dtype("int64")

    def numpy(self, x: Array) -> Array:
        """Sum; halves are summed in float32."""
        result = self.result_dtype(x.dtype)
        total = np.sum(
            x, axis=self.axes, keepdims=self.keepdims, dtype=accumulator(result)
        )
        return np.asarray(total, result)

    def bprop(
        self,
        inputs: tuple[Variable, ...],
        output: Variable,
        grad: Variable,
        wanted: tuple[bool, ...],
    ) -> list[Variable | None]:
        """Every element has the gradient of its sum."""
        return [self.spread(grad, inputs[0].shape)]


@dataclass(frozen=True, slots=True)
class Extremum(Reduction):
    """The largest or smallest x over the axes; NaN if one is. Abstract."""

    axes: tuple[int, ...]
    keepdims: bool = False

    def infer(self, guards: Guards, x: TensorType) -> TensorType:
        """Refuse an empty axis, which has no largest element."""
        result = Reduction.infer(self, guards, x)
        for axis in self.axes:
            if x.shape[axis] == 0:
                raise ShapeError(f"axis {axis} is empty and has no {self.kind()}")
        return result

    def bprop(
        self,
        inputs: tuple[Variable, ...],
        output: Variable,
        grad: Variable,
        wanted: tuple[bool, ...],
    ) -> list[Variable | None]:
        """Share the gradient equally among the elements that are extreme."""
        x = inputs[0]
        chosen = cast(equal(x, self.spread(output, x.shape)), x.dtype)
        count = sum(chosen, self.axes, self.keepdims)
        return [chosen * self.spread(grad / count, x.shape)]


@dataclass(frozen=True, slots=True)
class Max(Extremum):
    """The largest x over the axes."""

    def numpy(self, x: Array) -> Array:
        """Take the largest; NaN wins."""
        return np.asarray(np.max(x, axis=self.axes, keepdims=self.keepdims))


@dataclass(frozen=True, slots=True)
class Min(Extremum):
    """The smallest x over the axes."""

    def numpy(self, x: Array) -> Array:
        """Take the smallest; NaN wins."""
        return np.asarray(np.min(x, axis=self.axes, keepdims=self.keepdims))


def axes_of(name: str, x: Variable, axis: Axis) -> tuple[int, ...]:
    """Return the axes that an argument means, or an error that says where."""
    try:
        return normalize_axes(axis, x.ndim)
    except GraphError as error:
        raise located(error, f"{name}(axis={axis})", (x,)) from None


def sum(x: Operand, axis: Axis = None, keepdims: bool = False) -> Variable:
    """Return Σ x over the axes given, or over all.

    Bools and integers are summed in 64 bits; float16 and bfloat16 in float32,
    then rounded.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.sum(gg.constant([[1.0, 2.0], [3.0, 4.0]]), axis=0))
    array([4., 6.], dtype=float32)

    Raises
    ------
    ShapeError
        An axis is out of range or named twice.
    """
    variable = as_variable(x)
    return apply(Sum(axes_of("sum", variable, axis), bool(keepdims)), variable)


def max(x: Operand, axis: Axis = None, keepdims: bool = False) -> Variable:
    """Return the largest x over the axes given, or over all; NaN if one is.

    Elements that are equally large share the gradient equally.
    """
    variable = as_variable(x)
    return apply(Max(axes_of("max", variable, axis), bool(keepdims)), variable)


def min(x: Operand, axis: Axis = None, keepdims: bool = False) -> Variable:
    """Return the smallest x over the axes given, or over all; NaN if one is.

    Elements that are equally small share the gradient equally.
    """
    variable = as_variable(x)
    return apply(Min(axes_of("min", variable, axis), bool(keepdims)), variable)


def mean(x: Operand, axis: Axis = None, keepdims: bool = False) -> Variable:
    """Return the arithmetic mean over the axes given, or over all.

    Of bools and integers it is float32; of nothing it is NaN.
    """
    variable = as_variable(x)
    if kind(variable.dtype) < 2:
        variable = cast(variable, "float32")
    axes = axes_of("mean", variable, axis)
    total = sum(variable, axes, keepdims)
    return total / size_of(variable, axes, total.dtype)


def sum_to(x: Variable, shape: Shape) -> Variable:
    """Sum over the axes along which ``shape`` broadcasts to the shape of x.

    The adjoint of :func:`broadcast_to`.
    """
    extra = x.ndim - len(shape)
    axes = tuple(
        axis
        for axis, size in enumerate(x.shape)
        if axis < extra or (shape[axis - extra] == 1 and size != 1)
    )
    if not axes:
        return x
    leading = tuple(range(extra))
    if axes == leading:
        return sum(x, axes)
    return sum(x, axes, keepdims=True).reshape(shape)
