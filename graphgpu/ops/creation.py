"""Variables made from sizes and numbers alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphgpu.dims import Dim, Size, ceil_div, maximum_size, product
from graphgpu.dtypes import Array, DType, dtype, kind
from graphgpu.errors import DTypeError, GraphError, ShapeError
from graphgpu.graph import (
    Operand,
    Operation,
    Variable,
    apply,
    as_variable,
    constant,
    located,
)
from graphgpu.types import Guards, Shape, TensorType, make_shape, normalize_axis

__all__ = [
    "arange",
    "eye",
    "full",
    "full_like",
    "ones",
    "ones_like",
    "size",
    "zeros",
    "zeros_like",
]


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

    start: float | Size
    step: float
    length: Size
    dtype: DType

    def infer(self, guards: Guards) -> TensorType:
        """Return a vector's type."""
        return TensorType(self.dtype, (self.length,))

    def numpy(self) -> Array:
        """Count, multiply and add, so that no rounding accumulates."""
        assert not isinstance(self.length, Dim)
        assert not isinstance(self.start, Dim)
        counts = np.arange(self.length)
        return np.asarray(self.start + self.step * counts, self.dtype)


@dataclass(frozen=True, slots=True)
class Eye(Operation):
    """1 where the column is the row + offset, 0 elsewhere."""

    rows: Size
    columns: Size
    offset: int
    dtype: DType

    def infer(self, guards: Guards) -> TensorType:
        """Return a matrix's type."""
        return TensorType(self.dtype, (self.rows, self.columns))

    def numpy(self) -> Array:
        """Set the diagonal."""
        assert not isinstance(self.rows, Dim)
        assert not isinstance(self.columns, Dim)
        return np.eye(self.rows, self.columns, self.offset, self.dtype)


def full(
    shape: Sequence[Size | str] | Size | str,
    value: float,
    dtype: object | None = None,
) -> Variable:
    """Return an array filled with one number; sizes may be names.

    Without a dtype it is float32, int64 or bool, as the number is.

    >>> full(("batch", 3), 0.5).type
    float32[batch,3]

    Raises
    ------
    DTypeError
        The value is no number, or none of the dtype.
    """
    number: Any = value
    if isinstance(value, np.generic | np.ndarray) and value.ndim == 0:
        number = value.item()
    try:
        if not isinstance(number, bool | int | float):
            raise DTypeError("expected a number; use gg.broadcast_to for a variable")
        target = constant(number).dtype if dtype is None else _dtype(dtype)
        fraction = isinstance(number, float) and not number.is_integer()
        if kind(target) < 2 and (fraction or constant(number, target).value != number):
            raise DTypeError(f"{number!r} is no {target.name}")
        wanted = make_shape(shape)
    except GraphError as error:
        raise located(error, f"full(shape={shape}, value={value!r})") from None
    return apply(Full(wanted, number, target))


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


def full_like(x: Operand, value: float, dtype: object | None = None) -> Variable:
    """Return an array filled with one number, of the shape and dtype of x."""
    variable = as_variable(x)
    return full(variable.shape, value, variable.dtype if dtype is None else dtype)


def zeros_like(x: Operand, dtype: object | None = None) -> Variable:
    """Return zeros of the shape and, unless another is given, the dtype of x."""
    return full_like(x, 0, dtype)


def ones_like(x: Operand, dtype: object | None = None) -> Variable:
    """Return ones of the shape and, unless another is given, the dtype of x."""
    return full_like(x, 1, dtype)


def size(x: Operand, axis: int) -> Variable:
    """Return the size of an axis as an int64 value.

    >>> import graphgpu as gg
    >>> x = gg.placeholder("x", ("batch", 3))
    >>> int(gg.evaluate(gg.size(x, 0), {x: [[1, 2, 3], [4, 5, 6]]}))
    2
    """
    variable = as_variable(x)
    try:
        axis = normalize_axis(axis, variable.ndim)
    except GraphError as error:
        raise located(error, f"size(axis={axis})", (variable,)) from None
    return size_of(variable, (axis,), np.dtype("int64"))


def size_of(x: Variable, axes: tuple[int, ...], dtype: DType) -> Variable:
    """Return the number of elements along some axes as a value."""
    count = product(tuple(x.shape[a] for a in axes))
    if isinstance(count, Dim):
        return apply(Extent(count, dtype))
    return constant(np.asarray(count, dtype))


def arange(
    start: float | Size | str,
    stop: float | Size | str | None = None,
    step: float = 1,
    dtype: object | None = None,
) -> Variable:
    """Return start, start + step, ... before stop (0, 1, ... below one argument).

    Of ints it is int64, else float32, unless a dtype is given.  The first two
    may be sizes that have names, with an int as the step.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.arange(2, 8, 3))
    array([2, 5])
    >>> gg.arange(gg.dim("n") - 1, -1, -1).type
    int64[n]

    Raises
    ------
    ShapeError
        An argument is no number, not finite, or the step is 0; a named size
        meets what is no int.
    """
    if stop is None:
        start, stop = 0, start
    try:
        first, last = _bound(start), _bound(stop)
        length = _count(first, last, _number(step))
    except GraphError as error:
        name = f"arange(start={start}, stop={stop}, step={step})"
        raise located(error, name) from None
    floating = isinstance(first, float) or isinstance(last, float)
    common = "float32" if floating or isinstance(step, float) else "int64"
    return apply(Arange(first, _number(step), length, _dtype(dtype or common)))


def eye(
    rows: Size | str,
    columns: Size | str | None = None,
    offset: int = 0,
    dtype: object = "float32",
) -> Variable:
    """Return the identity matrix, or ones on the diagonal ``offset`` to the right.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.eye(2, 3, offset=1))
    array([[0., 1., 0.],
           [0., 0., 1.]], dtype=float32)
    >>> gg.eye("n").type
    float32[n,n]

    Raises
    ------
    ShapeError
        A size is negative, or the offset is no int.
    """
    try:
        if not isinstance(offset, int | np.integer):
            raise ShapeError(f"expected an int as the offset; got {offset!r}")
        height, width = make_shape((rows, rows if columns is None else columns))
    except GraphError as error:
        raise located(error, f"eye(rows={rows}, columns={columns})") from None
    return apply(Eye(height, width, int(offset), _dtype(dtype)))


def _bound(value: Any) -> float | Size:
    """Return a number or a size, of what may be a name."""
    if isinstance(value, str | Dim):
        return make_shape((value,))[0]
    return _number(value)


def _number(value: Any) -> float:
    """Return a finite Python number."""
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, float | np.floating) and math.isfinite(value):
        return float(value)
    raise ShapeError(f"expected a finite number; got {value!r}")


def _count(start: float | Size, stop: float | Size, step: float) -> Size:
    """Return how many of start, start + step, ... there are before stop."""
    if step == 0:
        raise ShapeError("the step cannot be 0")
    if not (isinstance(start, float) or isinstance(stop, float)) and step == int(step):
        low, high = (start, stop) if step > 0 else (stop, start)
        return maximum_size(ceil_div(high - low, abs(int(step))), 0)
    if isinstance(start, Dim) or isinstance(stop, Dim):
        raise ShapeError("a named size goes with integers only")
    return max(math.ceil((stop - start) / step), 0)


def _dtype(name: object) -> DType:
    return dtype(name)
