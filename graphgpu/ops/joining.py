"""Joining arrays along an axis and cutting them apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from graphgpu.dims import Size
from graphgpu.dtypes import Array
from graphgpu.errors import DTypeError, GraphError, ShapeError
from graphgpu.graph import Operand, Operation, Variable, apply, as_variable, located
from graphgpu.ops.elementwise import operands_of
from graphgpu.ops.shape import axis_of, expand_dims, squeeze
from graphgpu.ops.slicing import Cut, part
from graphgpu.types import Guards, TensorType, Type, normalize_axis

__all__ = ["concat", "split", "stack", "unstack"]


@dataclass(frozen=True, slots=True)
class Concat(Operation):
    """The arrays one after the other along ``axis``."""

    axis: int

    def infer(self, guards: Guards, *inputs: TensorType) -> TensorType:
        """Add the sizes along the axis; the others must agree."""
        first = inputs[0]
        shape = list(first.shape)
        for place, other in enumerate(inputs[1:], start=1):
            if other.dtype != first.dtype:
                raise DTypeError("expected arrays of one dtype")
            if other.ndim != first.ndim:
                raise ShapeError(
                    f"expected arrays of {first.ndim} axes, got {other.ndim} in "
                    f"array {place}"
                )
            for axis, size in enumerate(other.shape):
                if axis == self.axis:
                    shape[axis] = shape[axis] + size
                else:
                    what = f"axis {axis} of array 0, axis {axis} of array {place}"
                    shape[axis] = guards.equal(shape[axis], size, what)
        return TensorType(first.dtype, tuple(shape))

    def numpy(self, *inputs: Array) -> Array:
        """Copy each to its place."""
        return np.concatenate(inputs, self.axis)

    def bprop(
        self,
        inputs: tuple[Variable, ...],
        output: Variable,
        grad: Variable,
        wanted: tuple[bool, ...],
    ) -> list[Variable | None]:
        """Give each its part of the gradient."""
        gradients: list[Variable | None] = []
        start: Size = 0
        for variable, want in zip(inputs, wanted, strict=True):
            size = variable.shape[self.axis]
            own = part(grad, self.axis, start, size) if want else None
            gradients.append(None if own is None else own.broadcast_to(variable.shape))
            start = start + size
        return gradients

    def flops(self, inputs: Sequence[TensorType], output: Type) -> Size:
        """None."""
        return 0


def concat(arrays: Sequence[Operand], axis: int | None = 0) -> Variable:
    """Return the arrays joined along an existing axis; flattened first if None.

    Sizes along the axis add up; all others must agree.  dtypes are promoted to
    their common one.

    >>> import graphgpu as gg
    >>> x = gg.placeholder("x", ("batch", 3))
    >>> gg.concat([x, x, gg.zeros((2, 3))]).type
    float32[2*batch + 2,3]

    Raises
    ------
    ShapeError
        There is no array, or their shapes do not fit.
    """
    name = f"concat(axis={axis})"
    variables = _several(name, arrays)
    if axis is None:
        axis, variables = 0, tuple(v.reshape(-1) for v in variables)
    try:
        axis = normalize_axis(axis, variables[0].ndim)
    except GraphError as error:
        raise located(error, name, variables) from None
    return variables[0] if len(variables) == 1 else apply(Concat(axis), *variables)


def stack(arrays: Sequence[Operand], axis: int = 0) -> Variable:
    """Return the arrays, all of one shape, joined along a new axis.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.stack([gg.constant([1, 2]), gg.constant([3, 4])], axis=1))
    array([[1, 3],
           [2, 4]])

    Raises
    ------
    ShapeError
        There is no array, or their shapes differ.
    """
    name = f"stack(axis={axis})"
    variables = _several(name, arrays)
    try:
        axis = normalize_axis(axis, variables[0].ndim + 1)
        for place, other in enumerate(variables[1:], start=1):
            if other.ndim != variables[0].ndim:
                raise ShapeError(f"expected arrays of one shape, array {place} differs")
            for a, sizes in enumerate(
                zip(variables[0].shape, other.shape, strict=True)
            ):
                what = f"axis {a} of array 0, axis {a} of array {place}"
                Guards().equal(*sizes, what)
    except GraphError as error:
        raise located(error, name, variables) from None
    return concat([expand_dims(v, axis) for v in variables], axis)


def split(
    x: Operand, sections_or_indices: int | Sequence[Size], axis: int = 0
) -> list[Variable]:
    """Return x cut along an axis into equal parts, or before the indices given.

    An int is the number of equal parts.  Indices mean what they mean in a slice:
    ``[2, 5]`` gives ``x[:2]``, ``x[2:5]`` and ``x[5:]``.

    >>> import graphgpu as gg
    >>> x = gg.placeholder("x", ("batch", 6))
    >>> [part.type for part in gg.split(x, 2, axis=1)]
    [float32[batch,3], float32[batch,3]]
    >>> [part.type for part in gg.split(x, [1, -2], axis=1)]
    [float32[batch,1], float32[batch,3], float32[batch,2]]

    Raises
    ------
    ShapeError
        The size of the axis is no multiple of the number of parts; if it is a
        name, this is checked when a program is called.
    """
    variable = as_variable(x)
    name = f"split({sections_or_indices}, axis={axis})"
    try:
        axis = normalize_axis(axis, variable.ndim)
        if isinstance(sections_or_indices, Sequence | np.ndarray):
            cuts = _cuts_before(variable, list(sections_or_indices), axis)
        else:
            cuts = _equal_cuts(variable, sections_or_indices, axis)
    except GraphError as error:
        raise located(error, name, (variable,)) from None
    return [cut.of(variable) for cut in cuts]


def unstack(x: Operand, axis: int = 0) -> list[Variable]:
    """Return the elements of x along an axis, whose size must be known.

    >>> import graphgpu as gg
    >>> [v.type for v in gg.unstack(gg.placeholder("x", ("batch", 2)), axis=1)]
    [float32[batch], float32[batch]]

    Raises
    ------
    ShapeError
        The axis is out of range, or its size is a name.
    """
    variable = as_variable(x)
    axis = axis_of("unstack", variable, axis)
    size = variable.shape[axis]
    if not isinstance(size, int):
        error = ShapeError(f"the size of axis {axis} must be known; it is {size}")
        raise located(error, f"unstack(axis={axis})", (variable,))
    return [squeeze(part(variable, axis, i, 1), axis) for i in range(size)]


def _equal_cuts(x: Variable, sections: int, axis: int) -> list[Cut]:
    """Return the slices that give so many equal parts."""
    if isinstance(sections, bool) or not hasattr(sections, "__index__"):
        raise ShapeError(f"expected a number of parts or indices, got {sections!r}")
    count = sections.__index__()
    if count < 1:
        raise ShapeError(f"expected at least one part, got {count}")
    size = x.shape[axis]
    length = size // count
    if isinstance(size, int) and size % count:
        raise ShapeError(f"axis {axis} of size {size} has no {count} equal parts")
    cuts = []
    for place in range(count):
        cut = Cut.within(x, axis, length * place, length)
        cut.require(size, length * count, f"axis {axis}, cut into {count} equal parts,")
        cuts.append(cut)
    return cuts


def _cuts_before(x: Variable, indices: Sequence[Size], axis: int) -> list[Cut]:
    """Return the slices between one index and the next."""
    cuts = []
    for start, stop in pairwise([None, *indices, None]):
        cut = Cut()
        for place, size in enumerate(x.shape):
            if place == axis:
                cut.some_of(size, slice(start, stop), axis)
            else:
                cut.all_of(size)
        cuts.append(cut)
    return cuts


def _several(name: str, arrays: Sequence[Operand]) -> tuple[Variable, ...]:
    """Return variables of one dtype, at least one."""
    if not isinstance(arrays, Sequence):
        raise located(DTypeError("expected a sequence of arrays"), name)
    if len(arrays) == 0:
        raise located(ShapeError("expected at least one array, got none"), name)
    return operands_of(name, *arrays)
