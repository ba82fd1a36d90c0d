"""Sliding windows: what convolution and pooling have in common.

Output p of a window with K taps, stride s and dilation d reads, along each
spatial axis, the input at p s - before + k d for k = 0, ..., K - 1, where
``before`` is the padding in front; what lies outside of the input is padding.
Its extent is d (K - 1) + 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from numbers import Integral
from typing import Any, TypeAlias

import numpy as np

from graphgpu.dims import Dim, Size, ceil_div, maximum_size, minimum_size
from graphgpu.errors import ShapeError
from graphgpu.types import Guards, Shape, TensorType, Window

__all__: list[str] = []

Padding: TypeAlias = str | int | Sequence[int | Sequence[int]]
Pairs: TypeAlias = tuple[tuple[Size, Size], ...]
Slices: TypeAlias = tuple[slice, ...]

AXES = {1: ("W",), 2: ("H", "W"), 3: ("D", "H", "W")}
"""The letters of the spatial axes."""


def per_axis(name: str, value: Any, axes: int, least: int) -> tuple[int, ...]:
    """Return an int for each spatial axis, from one int or one for each.

    Raises
    ------
    ShapeError
        There are too many or too few, or one is no int or too small.
    """
    listed = value if isinstance(value, tuple | list) else (value,) * axes
    if len(listed) != axes or not all(_is_int(v) and v >= least for v in listed):
        many = f" or {axes} ints" if axes > 1 else ""
        expected = f"expected {name} to be an int{many} >= {least}, not {value!r}"
        raise ShapeError(expected)
    return tuple(int(v) for v in listed)


def padding_pairs(
    padding: Padding,
    sizes: Shape,
    kernel: Shape,
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Pairs:
    """Return the padding (before, after) of each spatial axis.

    Raises
    ------
    ShapeError
        It is none of: an int, an int or a pair for each axis, "valid", "same",
        "full".
    """
    spans = extents(kernel, dilation)
    if padding == "valid":
        padding = 0
    if padding == "full":  # every window that overlaps the input
        return tuple((span - 1, span - 1) for span in spans)
    if padding == "same":
        zipped = zip(sizes, spans, stride, strict=True)
        return tuple(same_padding(*axis) for axis in zipped)
    axes = len(sizes)
    listed = padding if isinstance(padding, tuple | list) else (padding,) * axes
    pairs = [tuple(p) if isinstance(p, tuple | list) else (p, p) for p in listed]
    if len(pairs) != axes or not all(
        len(pair) == 2 and all(_is_int(p) and p >= 0 for p in pair) for pair in pairs
    ):
        raise ShapeError(
            "expected padding to be an int >= 0, an int or a pair (before, after) "
            f"for each of {axes} axes, 'valid', 'same' or 'full'"
        )
    return tuple((int(before), int(after)) for before, after in pairs)


def same_padding(size: Size, extent: Size, stride: int) -> tuple[Size, Size]:
    """Return the padding that makes an axis ⌈size / stride⌉ long.

    What the last window lacks is split in two; an odd one comes after.

    >>> same_padding(7, 3, 2), same_padding(8, 3, 2)
    ((1, 1), (0, 1))
    """
    # With c = ceil(size / stride) windows it is (c - 1) stride + extent - size,
    # which can be negative only where the extent is less than the stride.
    total = ceil_div(size, stride) * stride - size + (extent - stride)
    if minimum_size(extent, stride) != stride:
        total = maximum_size(total, 0)
    before = total // 2
    return before, total - before


def extents(kernel: Shape, dilation: tuple[int, ...]) -> Shape:
    """Return how far a window reaches along each axis: d (K - 1) + 1."""
    return tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))


def output_sizes(window: Window, sizes: Shape, ceil_mode: bool = False) -> Shape:
    """Return how many windows there are along each axis.

    ⌊(size + before + after - extent) / stride⌋ + 1.  With ``ceil_mode`` it is
    rounded up, but the last window must start in the input or the padding
    before it.
    """
    spans = extents(window.kernel, window.dilation)
    zipped = zip(sizes, spans, window.stride, window.padding, strict=True)
    return tuple(_output_size(*axis, ceil_mode) for axis in zipped)


def _output_size(
    size: Size, extent: Size, stride: int, pair: tuple[Size, Size], ceil_mode: bool
) -> Size:
    if pair == same_padding(size, extent, stride):
        return ceil_div(size, stride)
    before, after = pair
    room = size + before + after - extent
    if not ceil_mode:
        return room // stride + 1
    return minimum_size(ceil_div(room, stride) + 1, ceil_div(size + before, stride))


def require_fit(
    guards: Guards, window: Window, sizes: Shape, ceil_mode: bool = False
) -> None:
    """Require that there is a window along each axis.

    Raises
    ------
    ShapeError
        The window is longer than an axis with its padding.
    """
    spans = extents(window.kernel, window.dilation)
    for axis, letter in enumerate(AXES[len(sizes)]):
        size, span = sizes[axis], spans[axis]
        stride, pair = window.stride[axis], window.padding[axis]
        if pair == same_padding(size, span, stride):
            require_at_least(guards, size, 1, f"axis {letter} of input")
            continue
        padded = size + pair[0] + pair[1]
        least = span - (stride - 1 if ceil_mode else 0)
        if isinstance(padded, int) and isinstance(least, int) and padded < least:
            with_padding = "" if pair == (0, 0) else f" ({padded} with its padding)"
            raise ShapeError(
                f"axis {letter} is {size} in input{with_padding} but the kernel "
                f"spans {span}"
            )
        what = f"padded axis {letter}, into which the kernel must fit,"
        require_at_least(guards, padded, least, what)


def require_at_least(guards: Guards, size: Size, least: Size, what: str) -> None:
    """Require a size not to be below another.

    Raises
    ------
    ShapeError
        It surely is.
    """
    if isinstance(size, int) and isinstance(least, int) and size < least:
        raise ShapeError(f"{what} is {size}, expected at least {least}")
    guards.equal(minimum_size(size, least), least, what)


def require_axes(x: TensorType, axes: int, what: str) -> None:
    """Require a batch axis, a channel axis and the spatial axes.

    Raises
    ------
    ShapeError
        There are more or fewer axes.
    """
    if x.ndim != axes + 2:
        letters = ", ".join(("N", "C", *AXES[axes]))
        raise ShapeError(f"expected {what} with axes {letters}")


def known(sizes: Sequence[Size]) -> tuple[int, ...]:
    """Return sizes that are ints by now, for a program is running."""
    ints = tuple(s for s in sizes if isinstance(s, int))
    assert len(ints) == len(sizes)
    return ints


def axis_taps(
    window: Window, axis: int, size: int, count: int
) -> list[tuple[int, slice, slice]]:
    """Return what each tap of the window reads along one spatial axis.

    A tap is its index k, the outputs for which it lies inside the input, and
    the input elements that it then reads.  Taps that only read padding are
    left out.

    >>> window = Window((3,), (2,), (1,), ((1, 1),))
    >>> axis_taps(window, 0, 5, 3)[0]
    (0, slice(1, 3, None), slice(1, 4, 2))
    """
    taps: list[tuple[int, slice, slice]] = []
    stride, dilation = window.stride[axis], window.dilation[axis]
    (kernel,) = known(window.kernel[axis : axis + 1])
    before, _ = known(window.padding[axis])
    for k in range(kernel):
        offset = k * dilation - before
        first = max(0, -(offset // stride))
        stop = min(count, (size - 1 - offset) // stride + 1)
        if first < stop:
            start = first * stride + offset
            end = start + (stop - 1 - first) * stride + 1
            taps.append((k, slice(first, stop), slice(start, end, stride)))
    return taps


def taps(
    window: Window, sizes: Sequence[int], counts: Sequence[int]
) -> Iterator[tuple[int, Slices, Slices]]:
    """Yield the taps of a window over all spatial axes.

    Each is its number, in row-major order, the outputs for which it lies
    inside the input, and the input elements that it then reads.
    """
    kernel = known(window.kernel)
    pairs = zip(sizes, counts, strict=True)
    axes = [axis_taps(window, a, *pair) for a, pair in enumerate(pairs)]
    for combination in product(*axes):
        index, outputs, inputs = zip(*combination, strict=True)
        yield int(np.ravel_multi_index(index, kernel)), outputs, inputs


# --- how a call is printed


def settings(
    stride: tuple[int, ...], padding: Pairs, dilation: tuple[int, ...], **others: Any
) -> str:
    """Return arguments as a user would write them; dilation 1 is left out."""
    shown = {"stride": compact(stride), "padding": _compact_pairs(padding)}
    if any(d != 1 for d in dilation):
        shown["dilation"] = compact(dilation)
    return ", ".join(f"{n}={v}" for n, v in {**shown, **others}.items())


def compact(values: tuple[Any, ...]) -> Any:
    """Return one value where all are the same."""
    return values[0] if all(v == values[0] for v in values) else values


def _compact_pairs(pairs: Pairs) -> Any:
    named = any(isinstance(size, Dim) for pair in pairs for size in pair)
    if named and any(before != after for before, after in pairs):
        return "'same'"  # all other padding is the same before and after, or known
    if all(before == after for before, after in pairs):
        return compact(tuple(before for before, _ in pairs))
    return tuple(b if b == a else (b, a) for b, a in pairs)


def _is_int(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)
