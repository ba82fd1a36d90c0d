"""``x[...]`` as NumPy has it: a slice, then new axes, then gathering by arrays."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphgpu.dims import Dim, Size
from graphgpu.dtypes import Array, is_integer, kind
from graphgpu.errors import DTypeError, GraphError, ShapeError
from graphgpu.graph import Constant, Variable, apply, constant, describe, located
from graphgpu.ops.creation import Extent
from graphgpu.ops.gather import Gather, adjacent, require_in_range
from graphgpu.ops.slicing import Cut
from graphgpu.types import Shape

__all__: list[str] = []

_INT64 = np.dtype("int64")


@dataclass(slots=True)
class Subscript:
    """An index in the making, read from left to right.

    ``cut`` has an entry for each axis of the array that was read so far,
    ``shape`` is that of the slice with its new axes, and ``arrays`` are the index
    arrays with their axes in it.  Where there are arrays, ``gathers`` is true,
    and integers count as arrays too.
    """

    gathers: bool
    cut: Cut = field(default_factory=Cut)
    shape: list[Size] = field(default_factory=list)
    arrays: dict[int, Variable] = field(default_factory=dict)
    parted: int = 0
    """How many arrays came before a ``...`` that stands for no axis."""

    def read(self, item: Any, sizes: Shape) -> None:
        """Read one part of the index, which stands for the axes of these sizes."""
        axis = len(self.cut.lengths)
        if item is None:
            self.shape.append(1)
        elif item is ...:
            self.parted = len(self.arrays)
        elif isinstance(item, slice):
            self.cut.some_of(sizes[0], item, axis)
            self.shape.append(self.cut.lengths[-1])
        elif isinstance(item, int | Dim):
            if self.gathers:
                place = self.cut.place_of(sizes[0], item, axis)
                self._gather(_value(place), sizes[0])
            else:
                self.cut.one_of(sizes[0], item, axis)
        elif isinstance(item, Variable):
            require_in_range(item, sizes[0], axis)
            self._gather(item, sizes[0])
        else:
            self._mask(item, sizes, axis)

    def of(self, x: Variable) -> Variable:
        """Return what the index reads of an array."""
        sliced = self.cut.of(x).reshape(tuple(self.shape))
        if not self.arrays:
            return sliced
        axes = tuple(self.arrays)
        gathered = apply(Gather(axes), sliced, *self.arrays.values())
        if 0 < self.parted < len(axes) and adjacent(axes):
            # Even an empty ... parts the arrays, and then their axes come first.
            stop = axes[0] + gathered.ndim - (sliced.ndim - len(axes))
            order = list(range(gathered.ndim))
            common = order[axes[0] : stop]
            return gathered.transpose([*common, *order[: axes[0]], *order[stop:]])
        return gathered

    def _mask(self, mask: Array, sizes: Shape, axis: int) -> None:
        """Read where a mask is true; one without axes makes an axis of 1 or 0."""
        if mask.ndim == 0:
            self.arrays[len(self.shape)] = constant(np.zeros(int(mask), np.int64))
            self.shape.append(1)
            return
        for place, (size, found) in enumerate(zip(sizes, mask.nonzero(), strict=True)):
            extent = mask.shape[place]
            what = f"axis {axis + place} and axis {place} of the mask"
            self.cut.require(size, extent, what)
            self._gather(constant(found), size)

    def _gather(self, index: Variable, size: Size) -> None:
        self.arrays[len(self.shape)] = index
        self.cut.all_of(size)
        self.shape.append(size)


def getitem(x: Variable, index: Any) -> Variable:
    """Return x[index] with NumPy's meaning.

    An index holds ints, slices, ``...``, None (a new axis), arrays of integers
    (NumPy's or variables) and NumPy's boolean masks.  Ints and the bounds of
    slices may be expressions of sizes.  Arrays of integers broadcast together;
    their axes stand where the indexed axes stood, or first if these are not
    adjacent.

    >>> import graphgpu as gg
    >>> x = gg.placeholder("x", ("batch", 8, 5))
    >>> x[:, 1:-1, ::2].type
    float32[batch,6,3]
    >>> x[..., [0, 4]].type, x[-1].type
    (float32[batch,8,2], float32[8,5])

    Raises
    ------
    ShapeError
        There are more parts than axes, an index is out of range, or index
        arrays do not broadcast.
    DTypeError
        A part is none of the above, or a mask that is not known yet.
    InputError
        When called: an int is out of range along an axis whose size is a name.
    ComputeError
        While running: an array's element is out of range.
    """
    items = index if isinstance(index, tuple) else (index,)
    try:
        parts = _filled([_part(item) for item in items], x.ndim)
        subscript = Subscript(any(isinstance(p, Variable | np.ndarray) for p in parts))
        start = 0
        for item in parts:
            stop = start + _consumed(item)
            subscript.read(item, x.shape[start:stop])
            start = stop
        return subscript.of(x)
    except GraphError as error:
        text = ", ".join(map(_text, items))
        raise located(error, f"x[{text}]", (x,)) from None


def _part(item: Any) -> Any:
    """Return an int, a Dim, a slice, None, ``...``, an integer Variable or a mask."""
    if item is None or item is ... or isinstance(item, slice | Dim):
        return item
    if isinstance(item, Constant) and kind(item.dtype) == 0:
        return item.value
    if isinstance(item, Variable):
        if kind(item.dtype) == 0:
            raise DTypeError(
                f"{describe(item)} is a mask whose value is not known when the graph "
                "is built, and so would be the size of the result; choose between "
                "values with gg.where"
            )
        if not is_integer(item.dtype):
            raise DTypeError(f"expected an integer index, got {item.dtype.name}")
        return item
    if isinstance(item, bool):
        return np.asarray(item)
    if isinstance(item, list | np.ndarray | np.generic):
        return _array(item)
    if hasattr(item, "__index__"):
        return item.__index__()
    raise DTypeError(
        f"expected ints, slices, ..., None, integer arrays and masks; got {item!r}"
    )


def _array(item: Any) -> Any:
    """Return an int, a constant of integers or a mask for an array or a list."""
    array = np.asarray(item)
    if array.size == 0 and isinstance(item, list):
        array = array.astype(np.int64)
    if array.dtype == np.bool_:
        return array
    index = constant(array)
    if not is_integer(index.dtype):
        raise DTypeError(f"expected integer indices, got {index.dtype.name}")
    return index if index.ndim else int(array)


def _filled(parts: list[Any], ndim: int) -> list[Any]:
    """Return the parts with whole axes for ``...``, which may be left out.

    A ``...`` that was written and stands for no axis is kept.
    """
    places = [i for i, part in enumerate(parts) if part is ...]
    if len(places) > 1:
        raise ShapeError("expected at most one '...'")
    missing = ndim - sum(map(_consumed, parts))
    if missing < 0:
        raise ShapeError(f"{ndim - missing} axes are indexed, but there are {ndim}")
    if places and not missing:
        return parts
    place = places[0] if places else len(parts)
    return [*parts[:place], *[slice(None)] * missing, *parts[place + 1 :]]


def _consumed(part: Any) -> int:
    """Return how many axes of the array a part of the index reads."""
    if part is None or part is ...:
        return 0
    return part.ndim if isinstance(part, np.ndarray) else 1


def _value(size: Size) -> Variable:
    """Return a size as a variable."""
    return apply(Extent(size, _INT64)) if isinstance(size, Dim) else constant(size)


def _text(item: Any) -> str:
    """Return a part of an index for a message."""
    if isinstance(item, slice):
        bounds = [item.start, item.stop] + ([] if item.step is None else [item.step])
        return ":".join("" if b is None else str(b) for b in bounds)
    if isinstance(item, Variable):
        return str(item.type)
    if isinstance(item, np.ndarray):
        return f"{item.dtype.name}{list(item.shape)}"
    return "..." if item is ... else str(item)
