"""Gathering elements by integer arrays, and adding elements where they came from.

Each gathering operation is linear in the array that it reads; its adjoint adds
every element of the incoming gradient at the place that it was read from, and
the adjoint of that gathers again.  So gradients of any order are built from
the two operations of a pair.  A negative index counts from the end; any other
index that is out of range is an error when the program runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from graphgpu.dims import Size
from graphgpu.dtypes import Array, accumulator, is_integer, kind
from graphgpu.errors import DTypeError, ShapeError
from graphgpu.graph import Constant, Operation, Variable, apply
from graphgpu.ops.comparison import equal, where
from graphgpu.ops.creation import arange, zeros, zeros_like
from graphgpu.types import Guards, Shape, TensorType, Type, broadcast

__all__: list[str] = []


class Gathering(Operation):
    """An operation that reads elements at places given by integers. Abstract."""

    def flops(self, inputs: Sequence[TensorType], output: Type) -> Size:
        """None."""
        return 0


@dataclass(frozen=True, slots=True)
class Gather(Gathering):
    """y[..., b, ...] = x[..., i₁[b], ..., iₖ[b], ...]: NumPy's advanced indexing.

    The index arrays, one for each of ``axes`` (sorted), broadcast together.
    Their common axes stand where the indexed axes stood, or first if the
    indexed axes are not adjacent.
    """

    axes: tuple[int, ...]

    def infer(self, guards: Guards, x: TensorType, *indices: TensorType) -> TensorType:
        """Require integer indices, one for each axis."""
        if len(indices) != len(self.axes) or not all(a < x.ndim for a in self.axes):
            raise ShapeError(f"expected one index array for each of axes {self.axes}")
        common = _index_shape(guards, indices)
        return TensorType(x.dtype, gathered_shape(x.shape, common, self.axes))

    def numpy(self, x: Array, *indices: Array) -> Array:
        """Index with the arrays."""
        places = [
            in_range(i, x.shape[axis], axis)
            for i, axis in zip(indices, self.axes, strict=True)
        ]
        if len(places) == 1:
            return np.asarray(np.take(x, places[0], self.axes[0]))
        whole: list[slice | Array] = [slice(None)] * x.ndim
        for axis, place in zip(self.axes, places, strict=True):
            whole[axis] = place
        return np.asarray(x[tuple(whole)])

    def bprop(
        self,
        inputs: tuple[Variable, ...],
        output: Variable,
        grad: Variable,
        wanted: tuple[bool, ...],
    ) -> list[Variable | None]:
        """Add the gradient where the elements were read."""
        x, *indices = inputs
        scatter = ScatterAdd(x.shape, self.axes)
        return [apply(scatter, grad, *indices), *[None] * len(indices)]

    def connects(self, index: int) -> bool:
        """Through the array alone."""
        return index == 0


@dataclass(frozen=True, slots=True)
class ScatterAdd(Gathering):
    """x[..., i₁, ..., iₖ, ...] = Σ y[..., b, ...] over all b with i₁[b] = i₁, ....

    Zero where nothing is added.  The adjoint of :class:`Gather` along the same
    axes of an array of ``shape``.
    """

    shape: Shape
    axes: tuple[int, ...]

    def infer(self, guards: Guards, y: TensorType, *indices: TensorType) -> TensorType:
        """Require y to be as if gathered by the indices from such an array."""
        if kind(y.dtype) == 0:
            raise DTypeError("expected numbers, which can be added")
        if len(indices) != len(self.axes):
            raise ShapeError(f"expected one index array for each of axes {self.axes}")
        common = _index_shape(guards, indices)
        expected = gathered_shape(self.shape, common, self.axes)
        if len(expected) != y.ndim:
            raise ShapeError(f"expected updates of {len(expected)} axes, got {y.ndim}")
        for axis, (left, right) in enumerate(zip(y.shape, expected, strict=True)):
            guards.equal(left, right, f"size of axis {axis} of the updates")
        return TensorType(y.dtype, self.shape)

    def numpy(self, y: Array, *indices: Array) -> Array:
        """Add one by one, in C order; halves in float32."""
        sizes = [s for s in self.shape if isinstance(s, int)]
        rest = [a for a in range(len(sizes)) if a not in self.axes]
        order = [*self.axes, *rest]
        row = np.zeros((), np.intp)
        for axis, index in zip(self.axes, indices, strict=True):
            row = row * sizes[axis] + in_range(index, sizes[axis], axis)
        first = _place(self.axes)
        updates = np.moveaxis(
            y, range(first, first + row.ndim), range(row.ndim)
        ).reshape(row.size, prod(sizes[a] for a in rest))
        width = updates.shape[1]
        total = add_at(
            prod(sizes), row.reshape(-1, 1) * width + np.arange(width), updates
        )
        return np.transpose(total.reshape([sizes[a] for a in order]), np.argsort(order))

    def bprop(
        self,
        inputs: tuple[Variable, ...],
        output: Variable,
        grad: Variable,
        wanted: tuple[bool, ...],
    ) -> list[Variable | None]:
        """Read the gradient where each element was added."""
        _, *indices = inputs
        return [apply(Gather(self.axes), grad, *indices), *[None] * len(indices)]

    def connects(self, index: int) -> bool:
        """Through the array alone."""
        return index == 0

    def flops(self, inputs: Sequence[TensorType], output: Type) -> Size:
        """One addition an element that is added."""
        return inputs[0].size


@dataclass(frozen=True, slots=True)
class TakeAlongAxis(Gathering):
    """y[..., j, ...] = x[..., i[..., j, ...], ...], j along ``axis``."""

    axis: int

    def infer(self, guards: Guards, x: TensorType, index: TensorType) -> TensorType:
        """Require equal sizes along all axes but the one."""
        _require_integers(index)
        _agree_but(guards, self.axis, x, index)
        return TensorType(x.dtype, index.shape)

    def numpy(self, x: Array, index: Array) -> Array:
        """Take along the axis."""
        places = in_range(index, x.shape[self.axis], self.axis)
        return np.asarray(np.take_along_axis(x, places, self.axis))

    def bprop(
        self,
        inputs: tuple[Variable, ...],
        output: Variable,
        grad: Variable,
        wanted: tuple[bool, ...],
    ) -> list[Variable | None]:
        """Add the gradient where the elements were read."""
        x, index = inputs
        return [apply(AddAlongAxis(self.axis, x.shape[self.axis]), grad, index), None]

    def connects(self, index: int) -> bool:
        """Through the array alone."""
        return index == 0


@dataclass(frozen=True, slots=True)
class AddAlongAxis(Gathering):
    """x[..., i, ...] = Σ_j y[..., j, ...] over j with i[..., j, ...] = i.

    Zeros elsewhere; x has ``size`` elements along ``axis``.  The adjoint of
    :class:`TakeAlongAxis`.
    """

    axis: int
    size: Size

    def infer(self, guards: Guards, y: TensorType, index: TensorType) -> TensorType:
        """Require an index for every element."""
        _require_integers(index)
        if kind(y.dtype) == 0:
            raise DTypeError("expected numbers, which can be added")
        _agree_but(guards, self.axis, y, index)
        guards.equal(
            y.shape[self.axis],
            index.shape[self.axis],
            f"axis {self.axis} of the values, axis {self.axis} of the indices",
        )
        shape = list(y.shape)
        shape[self.axis] = self.size
        return TensorType(y.dtype, tuple(shape))

    def numpy(self, y: Array, index: Array) -> Array:
        """Add one by one, in C order along the axis; halves in float32."""
        assert isinstance(self.size, int)
        places = _flat_places(index, self.size, self.axis)
        updates = np.moveaxis(y, self.axis, -1)
        rows = updates.shape[:-1]
        total = add_at(prod(rows) * self.size, places, updates)
        return np.moveaxis(total.reshape(*rows, self.size), -1, self.axis)

    def bprop(
        self,
        inputs: tuple[Variable, ...],
        output: Variable,
        grad: Variable,
        wanted: tuple[bool, ...],
    ) -> list[Variable | None]:
        """Read the gradient where each element was added."""
        return [apply(TakeAlongAxis(self.axis), grad, inputs[1]), None]

    def connects(self, index: int) -> bool:
        """Through the values alone."""
        return index == 0

    def flops(self, inputs: Sequence[TensorType], output: Type) -> Size:
        """One addition an element that is added."""
        return inputs[0].size


@dataclass(frozen=True, slots=True)
class PutAlongAxis(Gathering):
    """x, but y[..., j, ...] at i[..., j, ...] along ``axis``; the last j counts."""

    axis: int

    def infer(
        self, guards: Guards, x: TensorType, index: TensorType, y: TensorType
    ) -> TensorType:
        """Require an index for every value."""
        _require_integers(index)
        if x.dtype != y.dtype:
            raise DTypeError("expected values of the array's dtype")
        _agree_but(guards, self.axis, x, index)
        _agree_but(guards, x.ndim, y, index)
        return x

    def numpy(self, x: Array, index: Array, y: Array) -> Array:
        """Assign one by one, in C order along the axis."""
        moved = np.moveaxis(x, self.axis, -1)
        flat = moved.flatten()
        places = _flat_places(index, x.shape[self.axis], self.axis)
        flat[places.ravel()] = np.moveaxis(y, self.axis, -1).ravel()
        return np.moveaxis(flat.reshape(moved.shape), -1, self.axis)

    def bprop(
        self,
        inputs: tuple[Variable, ...],
        output: Variable,
        grad: Variable,
        wanted: tuple[bool, ...],
    ) -> list[Variable | None]:
        """What was overwritten has no gradient, neither in x nor in y."""
        x, index, y = inputs
        kept = values = None
        if wanted[0]:
            kept = apply(self, grad, index, zeros_like(y))
        if wanted[2]:
            place = tuple(-1 if a == self.axis else 1 for a in range(y.ndim))
            order = arange(y.shape[self.axis]).reshape(place).broadcast_to(y.shape)
            last = apply(self, zeros(x.shape, order.dtype), index, order)
            take = TakeAlongAxis(self.axis)
            stays = equal(apply(take, last, index), order)
            values = where(stays, apply(take, grad, index), 0)
        return [kept, None, values]


def adjacent(axes: tuple[int, ...]) -> bool:
    """Whether sorted axes follow one another."""
    return axes[-1] - axes[0] == len(axes) - 1


def gathered_shape(shape: Shape, common: Shape, axes: tuple[int, ...]) -> Shape:
    """Return the shape after ``axes`` were replaced by the index arrays' axes."""
    rest = [size for axis, size in enumerate(shape) if axis not in axes]
    place = _place(axes)
    return (*rest[:place], *common, *rest[place:])


def in_range(index: Array, size: int, axis: int) -> Array:
    """Return indices counted from the front.

    Raises
    ------
    IndexError
        One is out of range; the executor says of which node.
    """
    if index.size == 0:
        return index.astype(np.intp)
    low, high = int(index.min()), int(index.max())
    for extreme in (low, high):
        if not -size <= extreme < size:
            raise IndexError(
                f"index {extreme} is out of range for axis {axis} of size {size}"
            )
    places = index.astype(np.intp, copy=False)
    return (
        places if low >= 0 else np.asarray(np.where(places < 0, places + size, places))
    )


def require_in_range(index: Variable, size: Size, axis: int) -> None:
    """Check indices that are constants, where the size is known.

    Raises
    ------
    ShapeError
        One is out of range.
    """
    if isinstance(index, Constant) and isinstance(size, int):
        try:
            in_range(index.value, size, axis)
        except IndexError as error:
            raise ShapeError(str(error)) from None


def add_at(length: int, places: Array, updates: Array) -> Array:
    """Return a vector of zeros to which each update was added at its place.

    The sum is taken in C order of the updates; halves are summed in float32.
    """
    total = np.zeros(length, accumulator(updates.dtype))
    np.add.at(total, places.ravel(), updates.ravel().astype(total.dtype, copy=False))
    return total.astype(updates.dtype, copy=False)


def _flat_places(index: Array, size: int, axis: int) -> Array:
    """Return places in the array's C order with ``axis`` moved to the end."""
    places = np.moveaxis(in_range(index, size, axis), axis, -1)
    rows = places.shape[:-1]
    return np.asarray(np.arange(prod(rows)).reshape(*rows, 1) * size + places)


def _place(axes: tuple[int, ...]) -> int:
    """Return where the index arrays' axes stand among those that are left."""
    return axes[0] if adjacent(axes) else 0


def _index_shape(guards: Guards, indices: Sequence[TensorType]) -> Shape:
    for index in indices:
        _require_integers(index)
    return broadcast(guards, *(i.shape for i in indices))


def _require_integers(index: TensorType) -> None:
    if not is_integer(index.dtype):
        raise DTypeError(f"expected integer indices, got {index.dtype.name}")


def _agree_but(guards: Guards, axis: int, x: TensorType, index: TensorType) -> None:
    """Require equal sizes along every other axis than ``axis``."""
    if x.ndim != index.ndim:
        raise ShapeError(f"expected indices of {x.ndim} axes, got {index.ndim}")
    for other, (left, right) in enumerate(zip(x.shape, index.shape, strict=True)):
        if other != axis:
            guards.equal(
                left, right, f"axis {other} of the array, axis {other} of the indices"
            )
