"""Slices of arrays: the pair of operations, and Python's rules over named sizes.

Reading a slice is linear; its adjoint puts what was read into zeros, and the
adjoint of that reads the slice again.  An axis of n elements is read from
``start`` on, ``length`` elements, ``step`` apart; each may depend on n.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from graphgpu.dims import Dim, Size, maximum_size, minimum_size
from graphgpu.dtypes import Array
from graphgpu.errors import ShapeError
from graphgpu.graph import Operation, Variable, apply, describe
from graphgpu.types import Guards, Shape, TensorType, Type

__all__: list[str] = []

Requirement = tuple[Size, Size, str]
"""Two sizes that must be equal when the program is called, and what they are of."""


@dataclass(frozen=True, slots=True)
class Slice(Operation):
    """y[j₁, ..., jₙ] = x[start₁ + j₁ step₁, ..., startₙ + jₙ stepₙ], 0 ≤ j < length.

    ``requires`` is what must hold of the sizes for the elements to exist.
    """

    starts: Shape
    lengths: Shape
    steps: tuple[int, ...]
    requires: tuple[Requirement, ...] = ()

    outputs_alias = True

    def infer(self, guards: Guards, x: TensorType) -> TensorType:
        """Require that the elements exist, where all sizes are known."""
        _require_room(self, x.shape)
        for left, right, what in self.requires:
            guards.equal(left, right, what)
        return TensorType(x.dtype, self.lengths)

    def numpy(self, x: Array) -> Array:
        """Slice: a view."""
        return x[python_slices(self)]

    def bprop(
        self,
        inputs: tuple[Variable, ...],
        output: Variable,
        grad: Variable,
        wanted: tuple[bool, ...],
    ) -> list[Variable | None]:
        """Put the gradient into zeros."""
        shape = inputs[0].shape
        return [apply(Unslice(shape, self.starts, self.lengths, self.steps), grad)]

    def flops(self, inputs: Sequence[TensorType], output: Type) -> Size:
        """None."""
        return 0


@dataclass(frozen=True, slots=True)
class Unslice(Operation):
    """x[start₁ + j₁ step₁, ...] = y[j₁, ...], and ``value`` elsewhere.

    With the value 0, it is the adjoint of :class:`Slice` for x of ``shape``.
    """

    shape: Shape
    starts: Shape
    lengths: Shape
    steps: tuple[int, ...]
    value: float | int | bool = 0

    def infer(self, guards: Guards, y: TensorType) -> TensorType:
        """Require y to have the size of the slice."""
        if y.ndim != len(self.lengths):
            raise ShapeError(f"expected {len(self.lengths)} axes")
        for axis, (left, right) in enumerate(zip(y.shape, self.lengths, strict=True)):
            guards.equal(left, right, f"size of axis {axis}")
        _require_room(self, self.shape)
        return TensorType(y.dtype, self.shape)

    def numpy(self, y: Array) -> Array:
        """Fill an array and assign the slice."""
        x: Array = np.full(self.shape, self.value, y.dtype)
        x[python_slices(self)] = y
        return x

    def bprop(
        self,
        inputs: tuple[Variable, ...],
        output: Variable,
        grad: Variable,
        wanted: tuple[bool, ...],
    ) -> list[Variable | None]:
        """Read the slice of the gradient."""
        return [apply(Slice(self.starts, self.lengths, self.steps), grad)]

    def flops(self, inputs: Sequence[TensorType], output: Type) -> Size:
        """None."""
        return 0


@dataclass(slots=True)
class Cut:
    """A slice in the making: one entry for each axis that was decided on."""

    starts: list[Size] = field(default_factory=list)
    lengths: list[Size] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    requires: list[Requirement] = field(default_factory=list)

    @classmethod
    def within(
        cls, x: Variable, axis: int, start: Size, length: Size, step: int = 1
    ) -> Cut:
        """Return the slice that reads one axis in part and the others whole."""
        cut = cls([0] * x.ndim, list(x.shape), [1] * x.ndim)
        cut.starts[axis], cut.lengths[axis], cut.steps[axis] = start, length, step
        return cut

    def all_of(self, size: Size) -> None:
        """Read the next axis whole."""
        self._add(0, size, 1)

    def one_of(self, size: Size, index: Size, axis: int) -> None:
        """Read one element of the next axis."""
        self._add(self.place_of(size, index, axis), 1, 1)

    def some_of(self, size: Size, wanted: slice, axis: int) -> None:
        """Read a slice of the next axis, with Python's meaning.

        A bound may be an expression of sizes; it must not turn out negative
        (or, where it counts from the end, 0).

        Raises
        ------
        ShapeError
            The step is 0, or something is no int or size.
        """
        step = 1 if wanted.step is None else _integer(wanted.step, "step")
        if step == 0:
            raise ShapeError(f"axis {axis}: a slice's step cannot be 0")
        bounds = []
        for bound, default in ((wanted.start, _FIRST), (wanted.stop, _END)):
            bounds.append(default if bound is None else self._bound(bound, size, axis))
            if step < 0 and bound is not None:
                bounds[-1] = bounds[-1].reflected()
        first, span = _span(bounds[0], bounds[1], size)
        length = span if abs(step) == 1 else (span + abs(step) - 1) // abs(step)
        if length == 0:
            first = 0
        elif step < 0:
            first = size - 1 - first
        self._add(first, length, step)

    def place_of(self, size: Size, index: Size, axis: int) -> Size:
        """Return the place of an element; a negative index counts from the end.

        Raises
        ------
        ShapeError
            There is surely no such element.
        """
        if isinstance(index, Dim):
            from_end = minimum_size(index, 0) == index
        else:
            from_end = index < 0
        place = size + index if from_end else index
        room = size - place
        if (isinstance(room, int) and room < 1) or (
            isinstance(place, int) and place < 0
        ):
            raise ShapeError(
                f"index {index} is out of range for axis {axis} of size {size}"
            )
        if not (isinstance(size, int) and isinstance(place, int)):
            what = f"axis {axis}, which index {index} reads,"
            self.require(minimum_size(place, size - 1), place, what)
            self.require(minimum_size(place, 0), 0, what)
        return place

    def require(self, left: Size, right: Size, what: str) -> None:
        """Require two sizes to agree when the program is called.

        Raises
        ------
        ShapeError
            They surely differ.
        """
        guards = Guards()
        guards.equal(left, right, what)
        self.requires += [(g.left, g.right, g.what) for g in guards]

    def of(self, x: Variable) -> Variable:
        """Return the slice of an array; the same variable if it is all of it."""
        whole = not any(s != 0 for s in self.starts) and set(self.steps) <= {1}
        if whole and tuple(self.lengths) == x.shape and not self.requires:
            return x
        operation = Slice(
            tuple(self.starts),
            tuple(self.lengths),
            tuple(self.steps),
            tuple(self.requires),
        )
        return apply(operation, x)

    def _add(self, start: Size, length: Size, step: int) -> None:
        self.starts.append(start)
        self.lengths.append(length)
        self.steps.append(step)

    def _bound(self, value: object, size: Size, axis: int) -> Bound:
        """Return a bound of a slice that was given."""
        bound = value if isinstance(value, Dim) else _integer(value, "bound")
        if isinstance(bound, int):
            return Bound(bound < 0, abs(bound))
        if size - bound == 1:
            return Bound(True, 1)
        what = f"bound {bound} of axis {axis}"
        if minimum_size(bound, 0) == bound:
            self.require(maximum_size(-bound, 1), -bound, what)
            return Bound(True, -bound)
        self.require(maximum_size(bound, 0), bound, what)
        return Bound(False, bound)


@dataclass(frozen=True, slots=True)
class Bound:
    """The place ``offset`` from the front of an axis, or from its end."""

    from_end: bool
    offset: Size

    def reflected(self) -> Bound:
        """Return the bound for the axis read backwards.

        Element i is then element n - 1 - i; a bound after which a slice with a
        negative step stops becomes one before which a positive step stops.
        """
        if self.from_end:
            return Bound(False, self.offset - 1)
        return Bound(True, self.offset + 1)


_FIRST, _END = Bound(False, 0), Bound(True, 0)


def part(x: Variable, axis: int, start: Size, length: Size, step: int = 1) -> Variable:
    """Return ``length`` elements of x along one axis, all of the others."""
    return Cut.within(x, axis, start, length, step).of(x)


def _span(start: Bound, stop: Bound, size: Size) -> tuple[Size, Size]:
    """Return where a slice of step 1 starts, and how many elements it has.

    Each case is the clipped difference max(stop, 0) - max(start, 0), written so
    that equal slices of one size have equal lengths.
    """
    a, b = start.offset, stop.offset
    if start.from_end == stop.from_end:
        ahead = a - b if start.from_end else b - a
        if isinstance(ahead, int) and ahead <= 0:
            return 0, 0
    if not start.from_end:
        end = size - b if stop.from_end else minimum_size(b, size)
        return a, maximum_size(end - a, 0)
    first = maximum_size(size - a, 0)
    if stop.from_end:
        return first, maximum_size(minimum_size(a, size) - b, 0)
    return first, maximum_size(minimum_size(b, size) - first, 0)


def _integer(value: object, what: str) -> int:
    if isinstance(value, Variable):
        raise ShapeError(
            f"the {what} of a slice must be known when the graph is built; got "
            f"{describe(value)} read with gg.take and gg.arange instead"
        )
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise ShapeError(
            f"the {what} of a slice must be an int or a size; got {value!r}"
        )
    index: int = value.__index__()
    return index


def _require_room(cut: Slice | Unslice, shape: Shape) -> None:
    """Check that the elements exist; sizes that are named fit by construction."""
    if len(shape) != len(cut.lengths):
        raise ShapeError(f"expected {len(cut.lengths)} axes")
    parts = zip(shape, cut.starts, cut.lengths, cut.steps, strict=True)
    for axis, (size, start, length, step) in enumerate(parts):
        last = start + (length - 1) * step
        ends = [p for p in (start, last) if isinstance(p, int)]
        if isinstance(size, int) and isinstance(length, int) and length > 0:
            for place in ends:
                if not 0 <= place < size:
                    raise ShapeError(
                        f"place {place} is out of range for axis {axis} of size {size}"
                    )


def python_slices(cut: Slice | Unslice) -> tuple[slice, ...]:
    """Return Python's slices for sizes that are known."""
    slices = []
    for start, length, step in zip(cut.starts, cut.lengths, cut.steps, strict=True):
        assert isinstance(start, int)
        assert isinstance(length, int)
        stop = start + length * step
        if length == 0:
            slices.append(slice(0, 0))
        else:
            slices.append(slice(start, None if stop < 0 else stop, step))
    return tuple(slices)
