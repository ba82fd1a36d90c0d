"""Pooling over one, two or three spatial axes: the largest or the average."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, overload

from graphgpu.dtypes import is_floating
from graphgpu.errors import GraphError, ShapeError
from graphgpu.graph import Operand, Variable, apply, as_variable, located
from graphgpu.ops.adaptive_pooling import AdaptiveMaxPool
from graphgpu.ops.elementwise import cast
from graphgpu.ops.pooling_operations import AveragePool, MaxPool, MaxPoolIndices
from graphgpu.ops.window_picks import Geometry
from graphgpu.ops.windows import (
    AXES,
    Padding,
    extents,
    known,
    padding_pairs,
    per_axis,
    require_axes,
)

__all__ = [
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "global_avg_pool",
    "global_max_pool",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
]

Ints = int | Sequence[int]


@overload
def max_pool1d(
    x: Operand,
    kernel_size: Ints,
    stride: Ints | None = ...,
    padding: Padding = ...,
    dilation: Ints = ...,
    ceil_mode: bool = ...,
    return_indices: Literal[False] = ...,
) -> Variable: ...
@overload
def max_pool1d(
    x: Operand,
    kernel_size: Ints,
    stride: Ints | None = ...,
    padding: Padding = ...,
    dilation: Ints = ...,
    ceil_mode: bool = ...,
    *,
    return_indices: Literal[True],
) -> tuple[Variable, Variable]: ...
def max_pool1d(
    x: Operand,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Variable | tuple[Variable, Variable]:
    """Return the largest element of each window on x: N, C, W.

    As :func:`max_pool2d`.
    """
    geometry = (kernel_size, stride, padding, dilation)
    return _max_pool(1, x, *geometry, ceil_mode, return_indices)


@overload
def max_pool2d(
    x: Operand,
    kernel_size: Ints,
    stride: Ints | None = ...,
    padding: Padding = ...,
    dilation: Ints = ...,
    ceil_mode: bool = ...,
    return_indices: Literal[False] = ...,
) -> Variable: ...
@overload
def max_pool2d(
    x: Operand,
    kernel_size: Ints,
    stride: Ints | None = ...,
    padding: Padding = ...,
    dilation: Ints = ...,
    ceil_mode: bool = ...,
    *,
    return_indices: Literal[True],
) -> tuple[Variable, Variable]: ...
def max_pool2d(
    x: Operand,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Variable | tuple[Variable, Variable]:
    """Return the largest element of each window on images x: N, C, H, W.

    The result has the axes N, C, P, Q, and

        P = ⌊(H + before + after - dilation (R - 1) - 1) / stride⌋ + 1.

    The gradient goes to a window's first maximum, in row-major order.  A
    window that holds a NaN gives NaN.  Padding counts as -∞.

    Parameters
    ----------
    x
        Numbers of any dtype, which the result has too.
    kernel_size, stride, dilation
        An int, or one for each spatial axis; the stride is the kernel's size
        where it is not given.
    padding
        As that of :func:`conv2d`, at most half of the window.
    ceil_mode
        Round P up: a last window may reach beyond the padding, but must start
        inside the image or the padding before it.
    return_indices
        Return also where each maximum lies, the first of equal ones, for
        :func:`max_unpool2d`: its place h W + w in the image, an int32.

    Raises
    ------
    ShapeError
        An argument is none of the above; the window is longer than an axis
        with its padding.

    Examples
    --------
    >>> import graphgpu as gg
    >>> x = gg.constant([[[[1.0, 2.0, 5.0], [4.0, 3.0, 0.0]]]])
    >>> gg.evaluate(gg.max_pool2d(x, 2, stride=1))
    array([[[[4., 5.]]]], dtype=float32)
    """
    geometry = (kernel_size, stride, padding, dilation)
    return _max_pool(2, x, *geometry, ceil_mode, return_indices)


@overload
def max_pool3d(
    x: Operand,
    kernel_size: Ints,
    stride: Ints | None = ...,
    padding: Padding = ...,
    dilation: Ints = ...,
    ceil_mode: bool = ...,
    return_indices: Literal[False] = ...,
) -> Variable: ...
@overload
def max_pool3d(
    x: Operand,
    kernel_size: Ints,
    stride: Ints | None = ...,
    padding: Padding = ...,
    dilation: Ints = ...,
    ceil_mode: bool = ...,
    *,
    return_indices: Literal[True],
) -> tuple[Variable, Variable]: ...
def max_pool3d(
    x: Operand,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Variable | tuple[Variable, Variable]:
    """Return the largest element of each window on x: N, C, D, H, W.

    As :func:`max_pool2d`.
    """
    geometry = (kernel_size, stride, padding, dilation)
    return _max_pool(3, x, *geometry, ceil_mode, return_indices)


def avg_pool1d(
    x: Operand,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Variable:
    """Return the average of each window on x: N, C, W.

    As :func:`avg_pool2d`.
    """
    return _avg_pool(1, x, kernel_size, stride, padding, ceil_mode, count_include_pad)


def avg_pool2d(
    x: Operand,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Variable:
    """Return the average of each window on images x: N, C, H, W.

    The result has the axes N, C, P, Q, as that of :func:`max_pool2d`.

    Parameters
    ----------
    x
        Floating-point numbers; integers become float32.
    kernel_size, stride, padding, ceil_mode
        As those of :func:`max_pool2d`.
    count_include_pad
        Whether the zeros of the padding count in the average.  What a window
        covers beyond the padding, in ``ceil_mode``, never counts.

    Raises
    ------
    ShapeError
        As :func:`max_pool2d`.

    Examples
    --------
    >>> import graphgpu as gg
    >>> x = gg.constant([[[[1.0, 3.0], [5.0, 7.0]]]])
    >>> gg.evaluate(gg.avg_pool2d(x, 2))
    array([[[[4.]]]], dtype=float32)
    """
    return _avg_pool(2, x, kernel_size, stride, padding, ceil_mode, count_include_pad)


def avg_pool3d(
    x: Operand,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Variable:
    """Return the average of each window on x: N, C, D, H, W.

    As :func:`avg_pool2d`.
    """
    return _avg_pool(3, x, kernel_size, stride, padding, ceil_mode, count_include_pad)


def global_avg_pool(x: Operand) -> Variable:
    """Return the average over all spatial axes of x: N, C, ...; they become 1.

    >>> import graphgpu as gg
    >>> gg.global_avg_pool(gg.placeholder("x", ("batch", 16, "h", "w"))).type
    float32[batch,16,1,1]

    Raises
    ------
    ShapeError
        There are not one, two or three spatial axes.
    """
    variable = as_variable(x)
    axes = _spatial_axes("global_avg_pool", variable)
    return variable.mean(tuple(range(2, 2 + axes)), keepdims=True)


def global_max_pool(x: Operand) -> Variable:
    """Return the largest over all spatial axes of x: N, C, ...; they become 1.

    The gradient goes to the first maximum.

    Raises
    ------
    ShapeError
        There are not one, two or three spatial axes.
    """
    variable = as_variable(x)
    axes = _spatial_axes("global_max_pool", variable)
    return apply(AdaptiveMaxPool((1,) * axes), variable)


def _max_pool(
    axes: int,
    x: Operand,
    kernel_size: Ints,
    stride: Ints | None,
    padding: Padding,
    dilation: Ints,
    ceil_mode: bool,
    return_indices: bool,
) -> Variable | tuple[Variable, Variable]:
    """Return the largest of each window over some spatial axes."""
    call = _call(f"max_pool{axes}d", kernel_size, stride, padding)
    variable = as_variable(x)
    try:
        geometry = _geometry(axes, variable, kernel_size, stride, padding, dilation)
    except GraphError as error:
        raise located(error, call, (variable,)) from None
    largest = apply(MaxPool(*geometry, bool(ceil_mode)), variable)
    if not return_indices:
        return largest
    return largest, apply(MaxPoolIndices(*geometry, bool(ceil_mode)), variable)


def _avg_pool(
    axes: int,
    x: Operand,
    kernel_size: Ints,
    stride: Ints | None,
    padding: Padding,
    ceil_mode: bool,
    count_include_pad: bool,
) -> Variable:
    """Return the average of each window over some spatial axes."""
    call = _call(f"avg_pool{axes}d", kernel_size, stride, padding)
    variable = as_variable(x)
    if not is_floating(variable.dtype):
        variable = cast(variable, "float32")
    try:
        geometry = _geometry(axes, variable, kernel_size, stride, padding, 1)
    except GraphError as error:
        raise located(error, call, (variable,)) from None
    operation = AveragePool(*geometry[:3], bool(ceil_mode), bool(count_include_pad))
    return apply(operation, variable)


def _geometry(
    axes: int,
    x: Variable,
    kernel_size: Ints,
    stride: Ints | None,
    padding: Padding,
    dilation: Ints,
) -> Geometry:
    """Return kernel, stride, padding and dilation, or an error that says why not."""
    require_axes(x.tensor, axes, "an input")
    kernel = per_axis("kernel_size", kernel_size, axes, 1)
    strides = kernel if stride is None else per_axis("stride", stride, axes, 1)
    dilations = per_axis("dilation", dilation, axes, 1)
    pairs = padding_pairs(padding, x.shape[2:], kernel, strides, dilations)
    spans = known(extents(kernel, dilations))
    for span, pair in zip(spans, pairs, strict=True):
        if any(isinstance(p, int) and p * 2 > span for p in pair):
            raise ShapeError(
                f"expected padding of at most half of the window, which spans {span}"
            )
    return kernel, strides, pairs, dilations


def _spatial_axes(name: str, x: Variable) -> int:
    axes = x.ndim - 2
    if axes not in AXES:
        error = ShapeError("expected an input with axes N, C and up to three more")
        raise located(error, name, (x,))
    return axes


def _call(name: str, kernel_size: Any, stride: Any, padding: Any) -> str:
    """Return the call as a user wrote it."""
    stride = kernel_size if stride is None else stride
    return (
        f"{name}(kernel_size={kernel_size!r}, stride={stride!r}, padding={padding!r})"
    )
