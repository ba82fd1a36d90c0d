"""Operations that move elements without computing: shapes and axes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from graphgpu.dims import Dim, Size, product
from graphgpu.dtypes import Array
from graphgpu.errors import GraphError, ShapeError
from graphgpu.graph import Operand, Operation, Variable, apply, as_variable, located
from graphgpu.types import (
    Guards,
    Shape,
    TensorType,
    Type,
    make_shape,
    normalize_axis,
)

__all__ = [
    "broadcast_to",
    "expand_dims",
    "flatten",
    "matrix_transpose",
    "moveaxis",
    "permute_dims",
    "reshape",
    "squeeze",
    "swapaxes",
    "transpose",
]


class Rearrangement(Operation):
    """An operation whose output holds elements of its input. Abstract."""

    outputs_alias = True

    def flops(self, inputs: Sequence[TensorType], output: Type) -> Size:
        """None."""
        return 0


@dataclass(frozen=True, slots=True)
class Reshape(Rearrangement):
    """The elements of x in C order, in another shape."""

    shape: Shape

    def infer(self, guards: Guards, x: TensorType) -> TensorType:
        """Require as many elements as before."""
        guards.equal(x.size, product(self.shape), "number of elements")
        return TensorType(x.dtype, self.shape)

    def numpy(self, x: Array) -> Array:
        """Reshape: a view where the memory allows it."""
        return np.reshape(x, self.shape)

    def bprop(
        self,
        inputs: tuple[Variable, ...],
        output: Variable,
        grad: Variable,
        wanted: tuple[bool, ...],
    ) -> list[Variable | None]:
        """Reshape back."""
        return [grad.reshape(inputs[0].shape)]


@dataclass(frozen=True, slots=True)
class Transpose(Rearrangement):
    """The axes of x in another order."""

    axes: tuple[int, ...]

    def infer(self, guards: Guards, x: TensorType) -> TensorType:
        """Require a permutation of the axes."""
        if sorted(self.axes) != list(range(x.ndim)):
            raise ShapeError(f"axes {self.axes} are no permutation of {x.ndim} axes")
        return TensorType(x.dtype, tuple(x.shape[a] for a in self.axes))

    def numpy(self, x: Array) -> Array:
        """Permute the strides: a view."""
        return np.transpose(x, self.axes)

    def bprop(
        self,
        inputs: tuple[Variable, ...],
        output: Variable,
        grad: Variable,
        wanted: tuple[bool, ...],
    ) -> list[Variable | None]:
        """Permute back."""
        back = sorted(range(len(self.axes)), key=self.axes.__getitem__)
        return [grad.transpose(back)]


@dataclass(frozen=True, slots=True)
class BroadcastTo(Rearrangement):
    """x repeated along new axes and axes of size 1."""

    shape: Shape

    def infer(self, guards: Guards, x: TensorType) -> TensorType:
        """Require that x broadcasts to just this shape."""
        if len(self.shape) < x.ndim:
            raise ShapeError(f"expected at least {x.ndim} axes in {self.shape}")
        extra = len(self.shape) - x.ndim
        for axis, size in enumerate(x.shape):
            if size != 1:
                guards.equal(size, self.shape[axis + extra], f"size of axis {axis}")
        return TensorType(x.dtype, self.shape)

    def numpy(self, x: Array) -> Array:
        """Set strides to zero: a read-only view."""
        return np.broadcast_to(x, self.shape)  # type: ignore[arg-type]

    def bprop(
        self,
        inputs: tuple[Variable, ...],
        output: Variable,
        grad: Variable,
        wanted: tuple[bool, ...],
    ) -> list[Variable | None]:
        """Sum over the repetitions."""
        return [grad.sum_to(inputs[0].shape)]


def reshape(x: Operand, shape: Sequence[Size | str] | Size | str) -> Variable:
    """Return the elements of x, in C order, in another shape.

    One size may be -1: it is what remains.  Sizes may be names or expressions.

    >>> import graphgpu as gg
    >>> x = gg.placeholder("x", ("batch", 2, 3))
    >>> gg.reshape(x, (-1, 6)).type
    float32[batch,6]

    Raises
    ------
    ShapeError
        The number of elements differs, or more than one size is -1.
    """
    variable = as_variable(x)
    try:
        wanted = _fill_in(variable, shape)
        if wanted == variable.shape:
            return variable
        return apply(Reshape(wanted), variable)
    except GraphError as error:
        raise located(error, f"reshape(shape={shape})", (variable,)) from None


def flatten(x: Operand, start_axis: int = 0, end_axis: int = -1) -> Variable:
    """Return x with the axes from ``start_axis`` to ``end_axis`` made one.

    A scalar becomes a vector of one element.

    >>> import graphgpu as gg
    >>> gg.flatten(gg.placeholder("x", ("batch", 3, 4, 4)), start_axis=1).type
    float32[batch,48]

    Raises
    ------
    ShapeError
        An axis is out of range, or the first one comes after the last one.
    """
    variable = as_variable(x)
    if variable.ndim == 0:
        return variable.reshape((1,))
    start = axis_of("flatten", variable, start_axis)
    stop = axis_of("flatten", variable, end_axis) + 1
    if start >= stop:
        error = ShapeError(f"axis {start} comes after axis {stop - 1}")
        name = f"flatten(start_axis={start_axis}, end_axis={end_axis})"
        raise located(error, name, (variable,))
    shape = variable.shape
    return variable.reshape((*shape[:start], product(shape[start:stop]), *shape[stop:]))


def transpose(x: Operand, axes: Sequence[int] | None = None) -> Variable:
    """Return x with its axes in the order given, or reversed.

    >>> import graphgpu as gg
    >>> gg.transpose(gg.placeholder("x", (2, 3, 4)), (0, 2, 1)).type
    float32[2,4,3]
    """
    variable = as_variable(x)
    if axes is None:
        order = tuple(reversed(range(variable.ndim)))
    else:
        order = tuple(axis_of("transpose", variable, a) for a in axes)
    if order == tuple(range(variable.ndim)):
        return variable
    return apply(Transpose(order), variable)


permute_dims = transpose


def matrix_transpose(x: Operand) -> Variable:
    """Return x with its last two axes exchanged."""
    return swapaxes(x, -1, -2)


def swapaxes(x: Operand, axis1: int, axis2: int) -> Variable:
    """Return x with two axes exchanged."""
    variable = as_variable(x)
    first = axis_of("swapaxes", variable, axis1)
    second = axis_of("swapaxes", variable, axis2)
    order = list(range(variable.ndim))
    order[first], order[second] = second, first
    return transpose(variable, order)


def moveaxis(
    x: Operand, source: int | Sequence[int], destination: int | Sequence[int]
) -> Variable:
    """Return x with axes moved to other places; the rest keep their order.

    >>> import graphgpu as gg
    >>> gg.moveaxis(gg.placeholder("x", (2, 3, 4)), 0, -1).type
    float32[3,4,2]

    Raises
    ------
    ShapeError
        An axis or a place is out of range or named twice, or they are not as many.
    """
    variable = as_variable(x)
    name = f"moveaxis(source={source}, destination={destination})"
    try:
        axes = _distinct(source, variable.ndim)
        places = _distinct(destination, variable.ndim)
        if len(axes) != len(places):
            raise ShapeError("expected as many places as axes")
    except GraphError as error:
        raise located(error, name, (variable,)) from None
    order = [a for a in range(variable.ndim) if a not in axes]
    for place, axis in sorted(zip(places, axes, strict=True)):
        order.insert(place, axis)
    return transpose(variable, order)


def broadcast_to(x: Operand, shape: Sequence[Size | str]) -> Variable:
    """Return x repeated along new leading axes and axes of size 1.

    >>> import graphgpu as gg
    >>> gg.broadcast_to(gg.constant([1.0, 2.0]), ("batch", 2)).type
    float32[batch,2]
    """
    variable = as_variable(x)
    try:
        wanted = make_shape(shape)
    except GraphError as error:
        raise located(error, f"broadcast_to(shape={shape})", (variable,)) from None
    if wanted == variable.shape:
        return variable
    return apply(BroadcastTo(wanted), variable)


def expand_dims(x: Operand, axis: int | Sequence[int]) -> Variable:
    """Return x with new axes of size 1 at the places given (in the result).

    >>> import graphgpu as gg
    >>> gg.expand_dims(gg.placeholder("x", (2, 3)), (0, -1)).type
    float32[1,2,3,1]
    """
    variable = as_variable(x)
    ndim = variable.ndim + (1 if isinstance(axis, int | np.integer) else len(axis))
    try:
        places = _distinct(axis, ndim)
    except GraphError as error:
        raise located(error, f"expand_dims(axis={axis})", (variable,)) from None
    sizes = iter(variable.shape)
    return variable.reshape(
        tuple(1 if a in places else next(sizes) for a in range(ndim))
    )


def squeeze(x: Operand, axis: int | Sequence[int] | None = None) -> Variable:
    """Return x without the axes given, or without all axes of size 1.

    Raises
    ------
    ShapeError
        An axis to be dropped is surely not of size 1.
    """
    variable = as_variable(x)
    shape = variable.shape
    try:
        if axis is None:
            dropped = tuple(a for a, size in enumerate(shape) if size == 1)
        else:
            dropped = _distinct(axis, variable.ndim)
        for a in dropped:
            if isinstance(shape[a], int) and shape[a] != 1:
                raise ShapeError(f"axis {a} has size {shape[a]}, not 1")
    except GraphError as error:
        raise located(error, f"squeeze(axis={axis})", (variable,)) from None
    return variable.reshape(
        tuple(s for a, s in enumerate(variable.shape) if a not in dropped)
    )


def axis_of(name: str, x: Variable, axis: int) -> int:
    """Return an axis counted from the front, or an error that says where."""
    try:
        return normalize_axis(axis, x.ndim)
    except GraphError as error:
        raise located(error, f"{name}(axis={axis})", (x,)) from None


def _distinct(axes: int | Sequence[int], ndim: int) -> tuple[int, ...]:
    """Return axes counted from the front, in the order given, none twice."""
    listed = (axes,) if isinstance(axes, int | np.integer) else tuple(axes)
    result = tuple(normalize_axis(a, ndim) for a in listed)
    if len(set(result)) != len(result):
        raise ShapeError(f"axes {listed} name an axis twice")
    return result


def _fill_in(x: Variable, shape: Sequence[Size | str] | Size | str) -> Shape:
    """Return the shape with -1 replaced by what remains."""
    if isinstance(shape, str) or not isinstance(shape, Iterable):
        shape = (shape,)
    sizes = list(shape)
    unknown = [
        i for i, s in enumerate(sizes) if not isinstance(s, str | Dim) and s == -1
    ]
    if not unknown:
        return make_shape(sizes)
    if len(unknown) > 1:
        raise ShapeError("at most one size can be -1")
    sizes[unknown[0]] = 1
    rest = product(make_shape(sizes))
    if rest == 0:
        raise ShapeError("-1 beside a size of 0 could be any size")
    guards = Guards()
    sizes[unknown[0]] = guards.divisible(x.tensor.size, rest, "number of elements")
    return make_shape(sizes)
