"""Variables made from sizes and numbers alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphgpu.dims import Dim, Size, product
from graphgpu.dtypes import Array, DType, dtype
from graphgpu.graph import Operand, Operation, Variable, apply, as_variable, constant
from graphgpu.types import Guards, Shape, TensorType, make_shape, normalize_axis

__all__ = ["arange", "eye", "full", "ones", "ones_like", "size", "zeros", "zeros_like"]


@dataclass(frozen=True, slots=True)
class Extent(Operation):
    """A size as a number."""

    size: Size
    dtype: DType

    def infer(self, guards: Guards) -> TensorType:
        """Return a scalar's type."""
        return TensorType(self.dtype, ())

    def numpy(self) -> Array:
        """Return the number."""
        return np.asarray(self.size, self.dtype)


@dataclass(frozen=True, slots=True)
class Full(Operation):
    """An array filled with one number."""

    shape: Shape
    value: float | int | bool
    dtype: DType

    def infer(self, guards: Guards) -> TensorType:
        """Return the type asked for."""
        return TensorType(self.dtype, self.shape)

    def numpy(self) -> Array:
        """Fill an array."""
        return np.full(self.shape, self.value, self.dtype)


@dataclass(frozen=True, slots=True)
class Arange(Operation):
    """start, start + step, ..., ``length`` of them."""

    start: int | float
    step: int | float
    length: Size
    dtype: DType

    def infer(self, guards: Guards) -> TensorType:
        """Return a vector's type."""
        return TensorType(self.dtype, (self.length,))

    def numpy(self) -> Array:
        """Count."""
        counts = np.arange(int(self.length))  # type: ignore[arg-type]
        return np.asarray(self.start + self.step * counts, self.dtype)


def full(
    shape: Sequence[Size | str] | Size | str,
    value: float,
    dtype: object = "float32",
) -> Variable:
    """Return an array filled with one number; sizes may be names.

    >>> full(("batch", 3), 0.5).type
    float32[batch,3]
    """
    return apply(Full(make_shape(shape), value, _dtype(dtype)))


def zeros(
    shape: Sequence[Size | str] | Size | str, dtype: object = "float32"
) -> Variable:
    """Return an array of zeros."""
    return full(shape, 0, dtype)


def ones(
    shape: Sequence[Size | str] | Size | str, dtype: object = "float32"
) -> Variable:
    """Return an array of ones."""
    return full(shape, 1, dtype)


def zeros_like(x: Operand) -> Variable:
    """Return zeros of the shape and dtype of x."""
    variable = as_variable(x)
    return full(variable.shape, 0, variable.dtype)


def ones_like(x: Operand) -> Variable:
    """Return ones of the shape and dtype of x."""
    variable = as_variable(x)
    return full(variable.shape, 1, variable.dtype)


def size(x: Operand, axis: int) -> Variable:
    """Return the size of an axis as an int64 value.

    >>> import graphgpu as gg
    >>> x = gg.placeholder("x", ("batch", 3))
    >>> int(gg.evaluate(gg.size(x, 0), {x: [[1, 2, 3], [4, 5, 6]]}))
    2
    """
    variable = as_variable(x)
    axis = normalize_axis(axis, variable.ndim)
    return size_of(variable, (axis,), np.dtype("int64"))


def size_of(x: Variable, axes: tuple[int, ...], dtype: DType) -> Variable:
    """Return the number of elements along some axes as a value."""
    count = product(tuple(x.shape[a] for a in axes))
    if isinstance(count, Dim):
        return apply(Extent(count, dtype))
    return constant(np.asarray(count, dtype))


def arange(
    start: int | float | Size | str,
    stop: int | float | Size | str | None = None,
    step: int | float = 1,
    dtype: object | None = None,
) -> Variable:
    """Return start, start + step, ... below stop (0, 1, ... below one argument).

    A size may be a name; then start and step are 0 and 1.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.arange(2, 8, 3))
    array([2, 5])
    """
    if stop is None:
        start, stop = 0, start
    if isinstance(stop, str | Dim):
        (length,) = make_shape((stop,))
        assert start == 0
        assert step == 1
        return apply(Arange(0, 1, length, _dtype(dtype or "int64")))
    assert not isinstance(start, str | Dim)
    values = np.arange(start, stop, step)
    kind = "float32" if values.dtype.kind == "f" else "int64"
    count = int(values.shape[0])
    return apply(Arange(start, step, count, _dtype(dtype or kind)))


def eye(
    rows: int, columns: int | None = None, offset: int = 0, dtype: object = "float32"
) -> Variable:
    """Return the identity matrix, or ones on the diagonal ``offset`` to the right."""
    return constant(np.eye(rows, columns, offset, dtype=_dtype(dtype)))


def _dtype(name: object) -> DType:
    return dtype(name)
