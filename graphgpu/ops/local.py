"""Locally connected units: a convolution's connections without shared weights."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from graphgpu.dims import product
from graphgpu.dtypes import is_floating
from graphgpu.errors import DTypeError, ShapeError
from graphgpu.graph import Operand, Variable, apply
from graphgpu.ops.creation import arange
from graphgpu.ops.elementwise import operands_of
from graphgpu.ops.gather import Gather
from graphgpu.ops.matrix_product import matmul
from graphgpu.ops.padding import pad
from graphgpu.ops.requirements import Naming, of_shape
from graphgpu.ops.windows import (
    AXES,
    Padding,
    known,
    output_sizes,
    padding_pairs,
    per_axis,
    require_axes,
    require_fit,
)
from graphgpu.types import Guards, Shape, Window

__all__ = ["local_conv1d", "local_conv2d"]

Ints = int | Sequence[int]


def local_conv1d(
    x: Operand,
    weight: Operand,
    bias: Operand | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
) -> Variable:
    """Return locally connected units over the last axis of x: N, C, W.

    The weight has the axes P, O, C, S, the bias O, P.  As :func:`local_conv2d`.

    >>> import graphgpu as gg
    >>> x = gg.constant([[[1.0, 2.0, 3.0]]])
    >>> w = gg.constant([[[[1.0, 1.0]]], [[[0.0, 5.0]]]])
    >>> gg.evaluate(gg.local_conv1d(x, w))
    array([[[ 3., 15.]]], dtype=float32)
    """
    return _local(1, x, weight, bias, stride, padding, dilation)


def local_conv2d(
    x: Operand,
    weight: Operand,
    bias: Operand | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
) -> Variable:
    """Return locally connected units of images: a kernel for each position.

    x has the axes N, C, H, W, the weight P, Q, O, C, R, S, the result N, O, P, Q:

        y[n, o, p, q] = b[o, p, q] + Σ_c Σ_r Σ_s w[p, q, o, c, r, s]
                        x[n, c, p stride - before + r dilation, q ... + s dilation]

    (*Deep Learning*, equation 9.9; there it is also called unshared convolution).
    ``weight[p, q]`` is a weight of :func:`conv2d`; where all are the same, and
    so are the biases, this is that convolution.

    Parameters
    ----------
    x, weight
        Floating-point.
    bias
        Of the axes O, P, Q.
    stride, padding, dilation
        As those of :func:`conv2d`.

    Raises
    ------
    ShapeError
        The weight has not a kernel for each position, or not the channels; the
        bias is of another shape; or as :func:`conv2d`.
    DTypeError
        The operands are integers.

    Examples
    --------
    >>> import graphgpu as gg
    >>> x = gg.placeholder("x", ("batch", 3, 8, 8))
    >>> w = gg.placeholder("w", (6, 6, 16, 3, 3, 3))
    >>> gg.local_conv2d(x, w).type
    float32[batch,16,6,6]
    """
    return _local(2, x, weight, bias, stride, padding, dilation)


def _local(
    axes: int,
    x: Operand,
    weight: Operand,
    bias: Operand | None,
    stride: Ints,
    padding: Padding,
    dilation: Ints,
) -> Variable:
    """Multiply the patch under each position by the weights of the position."""
    name = f"local_conv{axes}d"
    call = f"{name}(stride={stride!r}, padding={padding!r}, dilation={dilation!r})"
    given = operands_of(call, x, weight, *([] if bias is None else [bias]))
    image, weights, *biases = given
    with Naming(call, given):
        _check_operands(axes, image, weights)
        kernel = known(weights.shape[axes + 2 :])
        strides = per_axis("stride", stride, axes, 1)
        dilations = per_axis("dilation", dilation, axes, 1)
        pairs = padding_pairs(padding, image.shape[2:], kernel, strides, dilations)
        window = Window(kernel, strides, dilations, pairs)
        require_fit(Guards(), window, image.shape[2:])
        counts = output_sizes(window, image.shape[2:])
        outputs = weights.shape[axes]
        expected = (*counts, outputs, image.shape[1], *kernel)
        weights = of_shape(call, "a weight", weights, expected)
        biases = [of_shape(call, "a bias", b, (outputs, *counts)) for b in biases]
    columns = _patches(image, window, counts)
    rows = weights.reshape((*counts, outputs, product(expected[axes + 1 :])))
    values = matmul(rows, columns)  # P..., O, N
    y = values.transpose((axes + 1, axes, *range(axes)))
    return y + biases[0] if biases else y


def _patches(x: Variable, window: Window, counts: Shape) -> Variable:
    """Return X[p..., (c, k...), n], the input under tap k of output p."""
    axes = len(counts)
    columns = pad(x, ((0, 0), (0, 0), *window.padding))
    for axis in reversed(range(axes)):  # an axis becomes outputs and taps
        starts = arange(counts[axis]) * window.stride[axis]
        offsets = arange(window.kernel[axis]) * window.dilation[axis]
        places = starts.reshape((-1, 1)) + offsets
        columns = apply(Gather((axis + 2,)), columns, places)
    order = (*range(2, 2 + 2 * axes, 2), 1, *range(3, 3 + 2 * axes, 2), 0)
    rows = product((x.shape[1], prod(known(window.kernel))))
    return columns.transpose(order).reshape((*counts, rows, x.shape[0]))


def _check_operands(axes: int, x: Variable, weight: Variable) -> None:
    """Require floating-point operands, and a weight with all its axes."""
    require_axes(x.tensor, axes, "an input")
    letters = AXES[axes]
    positions, taps = ("P", "Q")[:axes], ("R", "S")[-axes:]
    if weight.ndim != 2 * axes + 2:
        named = ", ".join((*positions, "O", "C", *taps))
        raise ShapeError(f"expected a weight with axes {named}")
    for letter, size in zip(letters, weight.shape[axes + 2 :], strict=True):
        if not isinstance(size, int) or size < 1:
            raise ShapeError(
                f"expected a weight with a known number of taps along axis {letter}, "
                f"got {size}"
            )
    if x.dtype != weight.dtype or not is_floating(x.dtype):
        raise DTypeError("expected operands of one floating-point dtype; use gg.cast")
