"""Order: the place of the largest element, sorting, the k largest.

NaN counts as larger than every number, as in NumPy: it is last in ascending
and first in descending order.  Equal elements keep their order.  Places are
int64 and have no gradient; values are read at them, so that their gradient
goes back to where they came from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphgpu.dims import Size, minimum_size
from graphgpu.dtypes import Array, accumulator
from graphgpu.errors import GraphError, ShapeError
from graphgpu.graph import Operand, Operation, Variable, apply, as_variable, located
from graphgpu.ops.indexing import take_along_axis
from graphgpu.ops.shape import axis_of
from graphgpu.types import Guards, TensorType, Type, make_shape

__all__ = ["argmax", "argmin", "argsort", "sort", "top_k"]

_INT64 = np.dtype("int64")


class Search(Operation):
    """The place along ``axis`` of the first extreme element. Abstract."""

    axis: int
    keepdims: bool

    def infer(self, guards: Guards, x: TensorType) -> TensorType:
        """Drop the axis, or make it 1; refuse an empty one."""
        if not 0 <= self.axis < x.ndim:
            raise ShapeError(f"axis {self.axis} is out of range")
        if x.shape[self.axis] == 0:
            raise ShapeError(f"axis {self.axis} is empty and has no {self.kind()}")
        kept = (1,) if self.keepdims else ()
        shape = (*x.shape[: self.axis], *kept, *x.shape[self.axis + 1 :])
        return TensorType(_INT64, shape)

    def flops(self, inputs: Sequence[TensorType], output: Type) -> Size:
        """One comparison an element."""
        return inputs[0].size


@dataclass(frozen=True, slots=True)
class Argmax(Search):
    """The first place along the axis where x is largest; of the first NaN, if any."""

    axis: int
    keepdims: bool = False

    def numpy(self, x: Array) -> Array:
        """Search."""
        place = np.argmax(x, axis=self.axis, keepdims=self.keepdims)
        return np.asarray(place, _INT64)


@dataclass(frozen=True, slots=True)
class Argmin(Search):
    """The first place along the axis where x is smallest; of the first NaN, if any."""

    axis: int
    keepdims: bool = False

    def numpy(self, x: Array) -> Array:
        """Search."""
        place = np.argmin(x, axis=self.axis, keepdims=self.keepdims)
        return np.asarray(place, _INT64)


@dataclass(frozen=True, slots=True)
class Argsort(Operation):
    """The places along the axis of the first ``length`` elements in order."""

    axis: int
    length: Size
    descending: bool = False

    def infer(self, guards: Guards, x: TensorType) -> TensorType:
        """Give as many places as are asked for, which there must be."""
        if not 0 <= self.axis < x.ndim:
            raise ShapeError(f"axis {self.axis} is out of range")
        size = x.shape[self.axis]
        fewer = minimum_size(self.length, size)
        guards.equal(self.length, fewer, f"elements of axis {self.axis} asked for")
        shape = (*x.shape[: self.axis], self.length, *x.shape[self.axis + 1 :])
        return TensorType(_INT64, shape)

    def numpy(self, x: Array) -> Array:
        """Sort stably; halves in float32, as bfloat16 knows no order of NaN.

        Turned round twice, an ascending order is a descending one in which
        equal elements keep theirs.
        """
        wide = np.moveaxis(x.astype(accumulator(x.dtype), copy=False), self.axis, -1)
        if self.descending:
            turned = np.argsort(wide[..., ::-1], axis=-1, kind="stable")
            order = wide.shape[-1] - 1 - turned[..., ::-1]
        else:
            order = np.argsort(wide, axis=-1, kind="stable")
        first: Array = order[..., : self.length]
        return np.ascontiguousarray(np.moveaxis(first, -1, self.axis), _INT64)

    def flops(self, inputs: Sequence[TensorType], output: Type) -> Size:
        """At least one comparison an element."""
        return inputs[0].size


def argmax(x: Operand, axis: int | None = None, keepdims: bool = False) -> Variable:
    """Return the place of the largest x along an axis, or in x flattened, as int64.

    Of equally large elements the first; of NaNs, which count as largest, too.

    >>> import graphgpu as gg
    >>> int(gg.evaluate(gg.argmax(gg.constant([1.0, 3.0, 3.0]))))
    1

    Raises
    ------
    ShapeError
        The axis is out of range or empty.
    """
    return _search(Argmax, x, axis, keepdims)


def argmin(x: Operand, axis: int | None = None, keepdims: bool = False) -> Variable:
    """Return the place of the smallest x along an axis, or in x flattened, as int64.

    Of equally small elements the first; of the first NaN, if there is one.

    Raises
    ------
    ShapeError
        The axis is out of range or empty.
    """
    return _search(Argmin, x, axis, keepdims)


def argsort(
    x: Operand, axis: int = -1, descending: bool = False, stable: bool = True
) -> Variable:
    """Return the places of the elements in order, along an axis, as int64.

    Equal elements keep their order, ``stable`` or not; NaN counts as larger
    than every number.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.argsort(gg.constant([2.0, 3.0, 1.0])))
    array([2, 0, 1])

    Raises
    ------
    ShapeError
        The axis is out of range.
    """
    variable = as_variable(x)
    place = axis_of("argsort", variable, axis)
    operation = Argsort(place, variable.shape[place], bool(descending))
    return apply(operation, variable)


def sort(x: Operand, axis: int = -1, descending: bool = False) -> Variable:
    """Return the elements in order, along an axis; NaN counts as largest.

    The gradient of an element goes back to where it came from.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.sort(gg.constant([2.0, 3.0, 1.0]), descending=True))
    array([3., 2., 1.], dtype=float32)

    Raises
    ------
    ShapeError
        The axis is out of range.
    """
    variable = as_variable(x)
    place = axis_of("sort", variable, axis)
    return take_along_axis(variable, argsort(variable, place, descending), place)


def top_k(x: Operand, k: Size, axis: int = -1) -> tuple[Variable, Variable]:
    """Return the k largest elements along an axis, largest first, and their places.

    Of equal elements the first come first; NaN counts as largest.

    >>> import graphgpu as gg
    >>> values, places = gg.top_k(gg.constant([2.0, 3.0, 1.0]), 2)
    >>> gg.evaluate(values), gg.evaluate(places)
    (array([3., 2.], dtype=float32), array([1, 0]))

    Raises
    ------
    ShapeError
        The axis is out of range, or has fewer than k elements.
    """
    variable = as_variable(x)
    place = axis_of("top_k", variable, axis)
    try:
        (length,) = make_shape(k)
        size = variable.shape[place]
        if isinstance(size, int) and isinstance(length, int) and length > size:
            raise ShapeError(f"axis {place} has {size} elements, not {length}")
    except GraphError as error:
        raise located(error, f"top_k(k={k}, axis={axis})", (variable,)) from None
    places = apply(Argsort(place, length, descending=True), variable)
    return take_along_axis(variable, places, place), places


def _search(
    operation: type[Argmax | Argmin], x: Operand, axis: int | None, keepdims: bool
) -> Variable:
    """Search along an axis, or in all elements in C order."""
    variable = as_variable(x)
    name = operation.kind()
    if axis is not None:
        place = axis_of(name, variable, axis)
        return apply(operation(place, bool(keepdims)), variable)
    found = apply(operation(0), variable.reshape((-1,)))
    return found.reshape((1,) * variable.ndim) if keepdims else found
