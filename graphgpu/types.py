"""The types of variables, and how shapes meet.

A type prints as ``float32[batch,3,32,32]``.  Where two sizes must agree and it
cannot be decided while the graph is built, the agreement becomes a
:class:`Guard`, which is checked when a program is called with real sizes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from graphgpu.dims import Dim, Size, dim, evaluate_size, product, symbols_of
from graphgpu.dtypes import DType
from graphgpu.errors import ShapeError

__all__ = [
    "Guard",
    "Guards",
    "Shape",
    "TensorType",
    "TupleType",
    "Type",
    "Window",
    "broadcast",
    "make_shape",
    "normalize_axes",
    "normalize_axis",
]

Shape: TypeAlias = tuple[Size, ...]


@dataclass(frozen=True, slots=True)
class TensorType:
    """The dtype and the shape of an array.

    >>> import numpy as np
    >>> TensorType(np.dtype("float32"), (dim("batch"), 3, 32, 32))
    float32[batch,3,32,32]
    """

    dtype: DType
    shape: Shape

    def __repr__(self) -> str:
        """Print as ``float32[batch,3]``."""
        return f"{self.dtype.name}[{','.join(map(str, self.shape))}]"

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> Size:
        """The number of elements."""
        return product(self.shape)

    @property
    def is_static(self) -> bool:
        """Whether every size is known."""
        return all(isinstance(s, int) for s in self.shape)

    def symbols(self) -> frozenset[str]:
        """Return the names of the sizes that are not known."""
        return frozenset().union(*(symbols_of(s) for s in self.shape))

    def at(self, sizes: Mapping[str, int]) -> TensorType:
        """Return the type when each named size has the value given."""
        if self.is_static:
            return self
        return TensorType(
            self.dtype, tuple(evaluate_size(s, sizes) for s in self.shape)
        )


@dataclass(frozen=True, slots=True)
class TupleType:
    """The type of an operation's value that has several components."""

    components: tuple[TensorType, ...]

    def __repr__(self) -> str:
        """Print as ``(float32[3], int64[3])``."""
        return f"({', '.join(map(str, self.components))})"

    def symbols(self) -> frozenset[str]:
        """Return the names of the sizes that are not known."""
        return frozenset().union(*(c.symbols() for c in self.components))

    def at(self, sizes: Mapping[str, int]) -> TupleType:
        """Return the type when each named size has the value given."""
        return TupleType(tuple(c.at(sizes) for c in self.components))


Type: TypeAlias = TensorType | TupleType


@dataclass(frozen=True, slots=True)
class Window:
    """How an operation's window slides over the spatial axes, axis by axis.

    Output p reads the padded input at p stride + k dilation for k below
    ``kernel``; ``padding`` has a pair (before, after) for each axis.
    """

    kernel: Shape
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[tuple[Size, Size], ...]


@dataclass(frozen=True, slots=True)
class Guard:
    """``left == right``, to be checked when the sizes are known."""

    left: Size
    right: Size
    what: str

    def holds(self, sizes: Mapping[str, int]) -> bool:
        """Whether both sides have the same value."""
        return evaluate_size(self.left, sizes) == evaluate_size(self.right, sizes)


class Guards(list[Guard]):
    """What an operation requires of the sizes of its inputs."""

    def equal(self, left: Size, right: Size, what: str) -> Size:
        """Require two sizes to agree; return the better known of the two.

        Raises
        ------
        ShapeError
            They surely differ; ``what`` names both sides.
        """
        if left == right:
            return left
        difference = left - right
        if isinstance(difference, int):
            raise ShapeError(f"{what}: expected equal sizes, got {left} and {right}")
        self.append(Guard(left, right, what))
        return right if isinstance(right, int) else left

    def divisible(self, size: Size, divisor: Size, what: str) -> Size:
        """Require ``size`` to be a multiple; return ``size // divisor``."""
        if isinstance(size, int) and isinstance(divisor, int):
            if divisor == 0 or size % divisor:
                raise ShapeError(f"{what}: {size} is not a multiple of {divisor}")
            return size // divisor
        quotient = size // divisor
        self.equal(quotient * divisor, size, f"{what} is a multiple of {divisor}")
        return quotient


def make_shape(shape: Sequence[Size | str] | Size | str) -> Shape:
    """Return a shape from ints, names and expressions.

    >>> make_shape(("batch", 3))
    (batch, 3)

    Raises
    ------
    ShapeError
        A size is negative, or not an int, a name or a ``Dim``.
    """
    if isinstance(shape, str) or not isinstance(shape, Iterable):
        shape = (shape,)
    sizes: list[Size] = []
    for size in shape:
        if isinstance(size, str):
            sizes.append(dim(size))
        elif isinstance(size, Dim):
            sizes.append(size)
        elif isinstance(size, bool) or not hasattr(size, "__index__"):
            raise ShapeError(f"a size must be an int or a name; got {size!r}")
        elif size.__index__() < 0:
            raise ShapeError(f"a size cannot be negative; got {size!r}")
        else:
            sizes.append(size.__index__())
    return tuple(sizes)


def broadcast(guards: Guards, *shapes: Shape) -> Shape:
    """Return the shape to which all shapes broadcast, as NumPy aligns them.

    A named size never stands for a broadcast 1: it must equal its partner.

    >>> broadcast(Guards(), (dim("n"), 1), (3,))
    (n, 3)
    """
    first = shapes[0]
    if all(s == first for s in shapes):
        return first
    ndim = max(len(s) for s in shapes)
    result: list[Size] = []
    for axis in range(-ndim, 0):
        size: Size = 1
        for shape in shapes:
            if -axis > len(shape) or shape[axis] == 1:
                continue
            here = shape[axis]
            size = (
                here
                if size == 1
                else guards.equal(size, here, f"broadcast along axis {axis}")
            )
        result.append(size)
    return tuple(result)


def normalize_axis(axis: int, ndim: int) -> int:
    """Return an axis counted from the front.

    Raises
    ------
    ShapeError
        It is out of range.
    """
    if isinstance(axis, bool) or not hasattr(axis, "__index__"):
        raise ShapeError(f"an axis must be an int; got {axis!r}")
    index = axis.__index__()
    if not -ndim <= index < ndim:
        ranks = f"{ndim} axis" if ndim == 1 else f"{ndim} axes"
        raise ShapeError(f"axis {index} is out of range for an array of {ranks}")
    return index % ndim


def normalize_axes(axes: int | Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """Return sorted axes counted from the front; ``None`` means all.

    Raises
    ------
    ShapeError
        One is out of range or named twice.
    """
    if axes is None:
        return tuple(range(ndim))
    listed = tuple(axes) if isinstance(axes, Iterable) else (axes,)
    result = tuple(sorted(normalize_axis(a, ndim) for a in listed))
    if len(set(result)) != len(result):
        raise ShapeError(f"axes {tuple(listed)} name an axis twice")
    return result
