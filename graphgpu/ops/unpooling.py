"""Unpooling: maxima put back to where they were found."""

from __future__ import annotations

from collections.abc import Sequence

from graphgpu.dims import Size, product
from graphgpu.dtypes import is_integer
from graphgpu.errors import DTypeError, GraphError, ShapeError
from graphgpu.graph import Constant, Operand, Variable, apply, as_variable, located
from graphgpu.ops.creation import ones_like
from graphgpu.ops.elementwise import cast
from graphgpu.ops.gather import AddAlongAxis, TakeAlongAxis
from graphgpu.ops.pooling_operations import MaxPoolIndices
from graphgpu.ops.requirements import floating, shape_text, widened
from graphgpu.ops.window_picks import Geometry, WindowScatter
from graphgpu.ops.windows import (
    Padding,
    extents,
    known,
    padding_pairs,
    per_axis,
    require_axes,
)
from graphgpu.types import Shape, make_shape

__all__ = ["max_unpool1d", "max_unpool2d", "max_unpool3d"]

Ints = int | Sequence[int]
Sizes = Size | str | Sequence[Size | str]


def max_unpool1d(
    x: Operand,
    indices: Operand,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    output_size: Sizes | None = None,
) -> Variable:
    """Return the maxima of :func:`max_pool1d` amid zeros: x of axes N, C, W.

    As :func:`max_unpool2d`.

    >>> import graphgpu as gg
    >>> x = gg.constant([[[1.0, 5.0, 3.0, 2.0]]])
    >>> gg.evaluate(gg.max_unpool1d(*gg.max_pool1d(x, 2, return_indices=True), 2))
    array([[[0., 5., 3., 0.]]], dtype=float32)
    """
    return _unpool(1, x, indices, kernel_size, stride, padding, output_size)


def max_unpool2d(
    x: Operand,
    indices: Operand,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    output_size: Sizes | None = None,
) -> Variable:
    """Return the maxima of :func:`max_pool2d` where they were, and zeros elsewhere.

        y[n, c, h, w] = x[n, c, p, q] where indices[n, c, p, q] = h W + w,

    and where several windows, overlapping, found one element, their mean
    (Zeiler and Fergus, "Visualizing and understanding convolutional networks",
    2014, section 2.1).  Pooled again, y gives x, if no x is negative.

    Parameters
    ----------
    x
        Of the axes N, C, P, Q.
    indices
        Of that shape: what ``max_pool2d(..., return_indices=True)`` returned.
    kernel_size, stride, padding
        As those of the pooling; the padding in numbers.
    output_size
        H and W of the image that was pooled; (P - 1) stride - before - after +
        kernel_size where they are not given, which is short where the pooling left
        a rest.

    Raises
    ------
    ShapeError
        The indices are of another shape than x, or surely of another image than
        one of the output's sizes; an argument is none of the above.
    DTypeError
        The indices are no integers, or x is of integers.
    ComputeError
        While running: an index is out of range.

    Examples
    --------
    >>> import graphgpu as gg
    >>> x = gg.constant([[[[1.0, 2.0], [7.0, 3.0]]]])
    >>> y, indices = gg.max_pool2d(x, 2, return_indices=True)
    >>> gg.evaluate(gg.max_unpool2d(y, indices, 2))
    array([[[[0., 0.],
             [7., 0.]]]], dtype=float32)
    """
    return _unpool(2, x, indices, kernel_size, stride, padding, output_size)


def max_unpool3d(
    x: Operand,
    indices: Operand,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    output_size: Sizes | None = None,
) -> Variable:
    """Return the maxima of :func:`max_pool3d` amid zeros: x of axes N, C, D, H, W.

    As :func:`max_unpool2d`.

    >>> import graphgpu as gg
    >>> x = gg.placeholder("x", ("batch", 3, 4, 4, 4))
    >>> gg.max_unpool3d(*gg.max_pool3d(x, 2, return_indices=True), 2).type
    float32[batch,3,4,4,4]
    """
    return _unpool(3, x, indices, kernel_size, stride, padding, output_size)


def _unpool(
    axes: int,
    x: Operand,
    indices: Operand,
    kernel_size: Ints,
    stride: Ints | None,
    padding: Padding,
    output_size: Sizes | None,
) -> Variable:
    """Return x at the indices, amid zeros."""
    name = f"max_unpool{axes}d"
    rest = "" if output_size is None else f", output_size={output_size!r}"
    strides = kernel_size if stride is None else stride
    call = f"{name}(kernel_size={kernel_size!r}, stride={strides!r}{rest})"
    values, places = floating(call, x), as_variable(indices)
    try:
        _check(axes, values, places)
        geometry = _geometry(axes, values, kernel_size, strides, padding)
        sizes = _sizes(values.shape[2:], geometry, output_size)
        _require_image(places, sizes)
    except GraphError as error:
        raise located(error, call, (values, places)) from None
    shape = (*values.shape[:2], *sizes)
    if _are_found_once(places, geometry, shape):
        return apply(WindowScatter(shape, geometry), values, places)
    return _scattered(values, places, shape)


def _require_image(indices: Variable, sizes: Shape) -> None:
    """Require the image to be of the sizes of that which the indices are places of."""
    if isinstance(indices.operation, MaxPoolIndices):
        pooled = indices.inputs[0].shape[2:]
        if any(_surely_differ(*pair) for pair in zip(pooled, sizes, strict=True)):
            raise ShapeError(
                f"expected output_size to be {shape_text(pooled)}, of which max_pool "
                f"found the indices, not {shape_text(sizes)}"
            )
    size = product(sizes)
    if isinstance(indices, Constant) and indices.value.size and isinstance(size, int):
        largest = int(indices.value.max())
        if largest >= size:
            raise ShapeError(
                f"expected output_size, {shape_text(sizes)}, to have a place for each "
                f"index, but {largest} is beyond its {size} elements"
            )


def _surely_differ(left: Size, right: Size) -> bool:
    return isinstance(left - right, int) and left != right


def _scattered(x: Variable, indices: Variable, shape: Shape) -> Variable:
    """Return x at any indices; where one comes several times, the mean."""
    flat = (*x.shape[:2], product(x.shape[2:]))
    values, places = widened(x).reshape(flat), indices.reshape(flat)
    add = AddAlongAxis(2, product(shape[2:]))
    times = apply(TakeAlongAxis(2), apply(add, ones_like(values), places), places)
    return cast(apply(add, values / times, places), x.dtype).reshape(shape)


def _are_found_once(indices: Variable, geometry: Geometry, shape: Shape) -> bool:
    """Whether indices surely are those of such windows, which do not overlap."""
    operation = indices.operation
    if not isinstance(operation, MaxPoolIndices):
        return False
    kernel, stride, padding, dilation = geometry
    found = (operation.kernel, operation.stride, operation.padding, operation.dilation)
    apart = all(s >= k for s, k in zip(stride, kernel, strict=True))
    same = found == (kernel, stride, padding, dilation)
    return apart and same and indices.inputs[0].shape == shape


def _check(axes: int, x: Variable, indices: Variable) -> None:
    """Require an integer for each element."""
    require_axes(x.tensor, axes, "an input")
    if not is_integer(indices.dtype):
        raise DTypeError(
            "expected integers as indices: what max_pool returns with "
            "return_indices=True"
        )
    differ = indices.ndim != x.ndim or any(
        _surely_differ(*pair) for pair in zip(x.shape, indices.shape, strict=True)
    )
    if differ:
        raise ShapeError(f"expected indices of shape {shape_text(x.shape)}")


def _geometry(
    axes: int, x: Variable, kernel_size: Ints, stride: Ints, padding: Padding
) -> Geometry:
    kernel = per_axis("kernel_size", kernel_size, axes, 1)
    strides = per_axis("stride", stride, axes, 1)
    if isinstance(padding, str):
        raise ShapeError("expected padding as numbers, those of the pooling")
    ones = (1,) * axes
    return (
        kernel,
        strides,
        padding_pairs(padding, x.shape[2:], kernel, ones, ones),
        ones,
    )


def _sizes(counts: Shape, geometry: Geometry, output_size: Sizes | None) -> Shape:
    """Return the sizes of the image; as many as windows cover, if not given."""
    kernel, strides, pairs, dilation = geometry
    if output_size is not None:
        given = make_shape(output_size)
        if len(given) != len(counts):
            raise ShapeError(f"expected output_size to have {len(counts)} sizes")
        return given
    spans = known(extents(kernel, dilation))
    zipped = zip(counts, strides, pairs, spans, strict=True)
    return tuple((n - 1) * s - b - a + span for n, s, (b, a), span in zipped)
