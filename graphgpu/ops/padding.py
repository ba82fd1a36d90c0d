"""Padding: more elements before and after those along each axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from graphgpu.dims import Size
from graphgpu.dtypes import Array, DType, dtype, is_floating
from graphgpu.errors import DTypeError, GraphError, ShapeError
from graphgpu.graph import Operand, Operation, Variable, apply, as_variable, located
from graphgpu.ops.gather import Gather
from graphgpu.ops.slicing import Unslice
from graphgpu.types import Guards, TensorType, Type, make_shape

__all__ = ["pad"]

Widths: TypeAlias = Size | Sequence[Size] | Sequence[Sequence[Size]]
MODES = ("constant", "edge", "reflect", "symmetric", "wrap")


@dataclass(frozen=True, slots=True)
class PaddingIndex(Operation):
    """The index of the element that stands at each place of a padded axis.

    Place p is i = p - before from the first of n elements.  Beyond them,
    ``edge`` repeats the last; ``reflect`` counts back, the last not repeated;
    ``symmetric`` counts back from the last; ``wrap`` starts again.
    """

    size: Size
    before: Size
    after: Size
    mode: str

    def infer(self, guards: Guards) -> TensorType:
        """Return a vector's type."""
        if self.size == 0 and not (self.before == 0 and self.after == 0):
            raise ShapeError("an empty axis has no element to pad it with")
        return TensorType(np.dtype("int64"), (self.size + self.before + self.after,))

    def numpy(self) -> Array:
        """Count, and fold back."""
        n, before, after = self.size, self.before, self.after
        assert isinstance(n, int)
        assert isinstance(before, int)
        assert isinstance(after, int)
        i = np.arange(-before, n + after)
        if n == 0 and i.size:
            raise IndexError("an empty axis has no element to pad it with")
        if self.mode == "edge":
            return i.clip(0, n - 1)
        if self.mode == "wrap":
            return i % n
        if self.mode == "symmetric":
            i = i % (2 * n)
            return np.minimum(i, 2 * n - 1 - i)
        i = i % max(2 * (n - 1), 1)
        return np.minimum(i, 2 * (n - 1) - i)

    def flops(self, inputs: Sequence[TensorType], output: Type) -> Size:
        """None."""
        return 0


def pad(
    x: Operand, pad_width: Widths, mode: str = "constant", value: float = 0
) -> Variable:
    """Return x with elements added before and after those along each axis.

    Parameters
    ----------
    x
        The array.
    pad_width
        ``((before, after), ...)`` for each axis; one pair, or one number,
        serves all axes.
    mode
        ``"constant"`` adds ``value``; ``"edge"`` the nearest element;
        ``"reflect"`` the elements in reverse order, without the one at the
        edge, ``"symmetric"`` with it; ``"wrap"`` those at the other end.
    value
        What ``"constant"`` adds.

    Raises
    ------
    ShapeError
        A width is negative, or there are not as many pairs as axes, or an
        empty axis has nothing to be padded with.
    DTypeError
        The value is not of the array's dtype.

    Examples
    --------
    >>> import graphgpu as gg
    >>> x = gg.constant([1, 2, 3])
    >>> gg.evaluate(gg.pad(x, (1, 2), value=9))
    array([9, 1, 2, 3, 9, 9])
    >>> gg.evaluate(gg.pad(x, (1, 2), mode="reflect"))
    array([2, 1, 2, 3, 2, 1])
    """
    variable = as_variable(x)
    try:
        widths = _widths(pad_width, variable.ndim)
        if mode not in MODES:
            raise GraphError(f"expected a mode of {', '.join(MODES)}; got {mode!r}")
        if mode == "constant":
            return _constant(variable, widths, _filler(value, variable.dtype))
        for axis, (before, after) in enumerate(widths):
            if not (before == 0 and after == 0):
                index = PaddingIndex(variable.shape[axis], before, after, mode)
                variable = apply(Gather((axis,)), variable, apply(index))
    except GraphError as error:
        name = f"pad({pad_width}, mode={mode!r})"
        raise located(error, name, (variable,)) from None
    return variable


def _constant(
    x: Variable, widths: Sequence[tuple[Size, Size]], value: float
) -> Variable:
    """Return x amid one value."""
    if all(before == 0 and after == 0 for before, after in widths):
        return x
    shape = tuple(
        before + size + after
        for size, (before, after) in zip(x.shape, widths, strict=True)
    )
    starts = tuple(before for before, _ in widths)
    return apply(Unslice(shape, starts, x.shape, (1,) * x.ndim, value), x)


def _filler(value: Any, wanted: DType) -> Any:
    """Return a number that an array of the dtype can hold, as Python has it."""
    try:
        number = np.asarray(value)
        if number.ndim == 0 and dtype(number.dtype):
            item = number.item()
            if is_floating(wanted) or np.array(item, wanted) == item:
                return item
    except (DTypeError, OverflowError, ValueError):
        pass
    raise DTypeError(f"expected a value of dtype {wanted.name}; got {value!r}")


def _widths(pad_width: Any, ndim: int) -> list[tuple[Size, Size]]:
    """Return a pair of widths for each axis."""
    listed = list(pad_width) if _is_listed(pad_width) else [pad_width]
    if not any(map(_is_listed, listed)):
        listed = [listed]
    pairs = []
    for entry in listed:
        pair = make_shape(entry)
        pairs.append(pair * 2 if len(pair) == 1 else pair)
    if len(pairs) == 1:
        pairs *= ndim
    if len(pairs) != ndim or any(len(p) != 2 for p in pairs):
        raise ShapeError(f"expected a pair of widths for each of {ndim} axes")
    return [(before, after) for before, after in pairs]


def _is_listed(value: object) -> bool:
    return isinstance(value, list | tuple | np.ndarray)
