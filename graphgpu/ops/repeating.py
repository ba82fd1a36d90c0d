"""Repeating, reversing and rotating arrays along their axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphgpu.dims import Dim, Size
from graphgpu.dtypes import Array
from graphgpu.errors import GraphError, ShapeError
from graphgpu.graph import (
    Operand,
    Operation,
    Variable,
    apply,
    as_variable,
    constant,
    located,
)
from graphgpu.ops.gather import Gather
from graphgpu.ops.slicing import Cut
from graphgpu.types import (
    Guards,
    Shape,
    TensorType,
    Type,
    make_shape,
    normalize_axes,
    normalize_axis,
)

__all__ = ["flip", "repeat", "roll", "tile"]


@dataclass(frozen=True, slots=True)
class Roll(Operation):
    """y[i + shift mod n] = x[i] along each of the axes."""

    shifts: tuple[int, ...]
    axes: tuple[int, ...]

    def infer(self, guards: Guards, x: TensorType) -> TensorType:
        """Require that the axes exist."""
        if not all(0 <= a < x.ndim for a in self.axes):
            raise ShapeError(f"axes {self.axes} are out of range")
        return x

    def numpy(self, x: Array) -> Array:
        """Rotate."""
        return np.roll(x, self.shifts, self.axes)

    def bprop(
        self,
        inputs: tuple[Variable, ...],
        output: Variable,
        grad: Variable,
        wanted: tuple[bool, ...],
    ) -> list[Variable | None]:
        """Rotate back."""
        return [apply(Roll(tuple(-s for s in self.shifts), self.axes), grad)]

    def flops(self, inputs: Sequence[TensorType], output: Type) -> Size:
        """None."""
        return 0


def repeat(
    x: Operand, repeats: Size | Sequence[int], axis: int | None = None
) -> Variable:
    """Return x with every element repeated along an axis; flattened first if None.

    ``repeats`` is one number, or one for each element along the axis.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.repeat(gg.constant([1, 2]), 2))
    array([1, 1, 2, 2])
    >>> gg.evaluate(gg.repeat(gg.constant([[1, 2, 3]]), [0, 1, 2], axis=1))
    array([[2, 3, 3]])

    Raises
    ------
    ShapeError
        The axis is out of range, a number is negative, or there are not as
        many numbers as elements.
    """
    variable = as_variable(x)
    name = f"repeat({repeats}, axis={axis})"
    try:
        if axis is None:
            variable, axis = variable.reshape(-1), 0
        axis = normalize_axis(axis, variable.ndim)
        if isinstance(repeats, Sequence | np.ndarray) and np.ndim(repeats):
            return _repeat_each(variable, make_shape(list(repeats)), axis)
        (count,) = make_shape((repeats,))  # type: ignore[arg-type]
    except GraphError as error:
        raise located(error, name, (variable,)) from None
    before, after = variable.shape[: axis + 1], variable.shape[axis + 1 :]
    repeated = variable.reshape((*before, 1, *after)).broadcast_to(
        (*before, count, *after)
    )
    return repeated.reshape((*before[:-1], before[-1] * count, *after))


def tile(x: Operand, repetitions: Size | Sequence[Size]) -> Variable:
    """Return copies of x laid side by side, so many along each axis.

    Fewer repetitions than axes are those of the last axes; more make new axes
    in front.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.tile(gg.constant([1, 2]), (2, 2)))
    array([[1, 2, 1, 2],
           [1, 2, 1, 2]])

    Raises
    ------
    ShapeError
        A number is negative.
    """
    variable = as_variable(x)
    try:
        counts = make_shape(repetitions)
    except GraphError as error:
        raise located(error, f"tile({repetitions})", (variable,)) from None
    ndim = max(len(counts), variable.ndim)
    counts = (1,) * (ndim - len(counts)) + counts
    sizes = (1,) * (ndim - variable.ndim) + variable.shape
    apart: list[Size] = []
    copies: list[Size] = []
    for count, size in zip(counts, sizes, strict=True):
        apart += [1, size]
        copies += [count, size]
    tiled = variable.reshape(tuple(apart)).broadcast_to(tuple(copies))
    return tiled.reshape(tuple(c * s for c, s in zip(counts, sizes, strict=True)))


def flip(x: Operand, axis: int | Sequence[int] | None = None) -> Variable:
    """Return x with the elements along the axes given, or all, in reverse order.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.flip(gg.constant([1, 2, 3])))
    array([3, 2, 1])

    Raises
    ------
    ShapeError
        An axis is out of range or named twice.
    """
    variable = as_variable(x)
    try:
        axes = normalize_axes(axis, variable.ndim)
    except GraphError as error:
        raise located(error, f"flip(axis={axis})", (variable,)) from None
    cut = Cut()
    for place, size in enumerate(variable.shape):
        step = -1 if place in axes else None
        cut.some_of(size, slice(None, None, step), place)
    return cut.of(variable)


def roll(
    x: Operand, shift: int | Sequence[int], axis: int | Sequence[int] | None = None
) -> Variable:
    """Return x rotated: what leaves an axis at its end comes in at its front.

    Without an axis, x is rotated as if it were flattened.  One shift serves all
    axes.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.roll(gg.constant([1, 2, 3]), 1))
    array([3, 1, 2])

    Raises
    ------
    ShapeError
        An axis is out of range, or there are not as many shifts as axes.
    """
    variable = as_variable(x)
    if axis is None:
        return roll(variable.reshape(-1), shift, 0).reshape(variable.shape)
    try:
        listed = (axis,) if isinstance(axis, int) else tuple(axis)
        axes = tuple(normalize_axis(a, variable.ndim) for a in listed)
        shifts = _shifts(shift, len(axes))
    except GraphError as error:
        raise located(error, f"roll({shift}, axis={axis})", (variable,)) from None
    return apply(Roll(shifts, axes), variable)


def _repeat_each(x: Variable, repeats: Shape, axis: int) -> Variable:
    """Return x with its elements along an axis repeated so many times each."""
    if any(isinstance(r, Dim) for r in repeats):
        raise ShapeError("expected numbers of repetitions that are known")
    cut = Cut.within(x, axis, 0, x.shape[axis])
    what = f"axis {axis}, for whose elements {len(repeats)} numbers are given,"
    cut.require(x.shape[axis], len(repeats), what)
    index = np.repeat(np.arange(len(repeats)), repeats)  # type: ignore[arg-type]
    return apply(Gather((axis,)), cut.of(x), constant(index))


def _shifts(shift: int | Sequence[int], count: int) -> tuple[int, ...]:
    listed = list(shift) if isinstance(shift, Sequence | np.ndarray) else [shift]
    shifts = tuple(listed * count if len(listed) == 1 else listed)
    if len(shifts) != count:
        raise ShapeError(f"expected a shift for each of {count} axes")
    if not all(hasattr(s, "__index__") for s in shifts):
        raise ShapeError(f"a shift must be an int; got {shift!r}")
    return tuple(s.__index__() for s in shifts)
