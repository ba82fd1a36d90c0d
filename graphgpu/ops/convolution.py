"""Convolution over one, two or three spatial axes, and the transposed one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphgpu.errors import GraphError, ShapeError
from graphgpu.graph import Operand, Variable, apply, located
from graphgpu.ops.convolution_operations import (
    Convolution,
    ConvolutionInputGradient,
)
from graphgpu.ops.elementwise import operands_of
from graphgpu.ops.repeating import flip
from graphgpu.ops.requirements import Naming
from graphgpu.ops.windows import (
    Padding,
    Pairs,
    extents,
    padding_pairs,
    per_axis,
    require_axes,
)
from graphgpu.types import Shape

__all__ = [
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
]

Ints = int | Sequence[int]


def conv1d(
    x: Operand,
    weight: Operand,
    bias: Operand | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Variable:
    """Return the convolution over the last axis of x: N, C, W.

    The weight has the axes O, C / groups, S.  As :func:`conv2d`.
    """
    return convolved(1, x, weight, bias, stride, padding, dilation, groups)


def conv2d(
    x: Operand,
    weight: Operand,
    bias: Operand | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Variable:
    """Return the convolution of images with kernels.

    x has the axes N, C, H, W, the weight O, C / groups, R, S, the result
    N, O, P, Q:

        y[n, o, p, q] = b[o] + Σ_c Σ_r Σ_s w[o, c, r, s]
                        x[n, c, p stride - before + r dilation, q ... + s dilation]

    and P = ⌊(H + before + after - dilation (R - 1) - 1) / stride⌋ + 1.  As
    everywhere in deep learning, this is the cross-correlation (*Deep Learning*,
    equation 9.6); :func:`true_conv2d` flips the kernels.

    Parameters
    ----------
    x, weight, bias
        Floating-point; the bias has an element for each of the O kernels.
    stride, dilation
        An int, or one for each spatial axis.
    padding
        Zeros around the image: an int, an int or a pair (before, after) for
        each spatial axis, ``"valid"`` for none, ``"same"`` for as many as make
        P = ⌈H / stride⌉, an odd one after, or ``"full"`` for dilation (R - 1) on
        both sides: with stride 1, P = H + dilation (R - 1), every overlap.
    groups
        The channels are split into so many parts that do not mix; the kernels
        likewise.

    Raises
    ------
    ShapeError
        The channels differ; they do not split into the groups; the kernel is
        longer than an axis with its padding; an argument is none of the above.
    DTypeError
        The operands are integers.

    Examples
    --------
    >>> import graphgpu as gg
    >>> x = gg.placeholder("x", ("batch", 3, "h", 32))
    >>> w = gg.placeholder("w", (16, 3, 3, 3))
    >>> gg.conv2d(x, w, stride=2, padding="same").type
    float32[batch,16,(h + 1)//2,16]
    """
    return convolved(2, x, weight, bias, stride, padding, dilation, groups)


def conv3d(
    x: Operand,
    weight: Operand,
    bias: Operand | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Variable:
    """Return the convolution over the last three axes of x: N, C, D, H, W.

    The weight has the axes O, C / groups and three more.  As :func:`conv2d`.
    """
    return convolved(3, x, weight, bias, stride, padding, dilation, groups)


def conv_transpose1d(
    x: Operand,
    weight: Operand,
    bias: Operand | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
) -> Variable:
    """Return the transposed convolution over the last axis of x: N, C, W.

    The weight has the axes C, O / groups, S.  As :func:`conv_transpose2d`.
    """
    return _convolve_transposed(
        1, x, weight, bias, stride, padding, output_padding, groups, dilation
    )


def conv_transpose2d(
    x: Operand,
    weight: Operand,
    bias: Operand | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
) -> Variable:
    """Return the transposed convolution of images with kernels.

    The adjoint of :func:`conv2d`, which with the same arguments maps the
    result's shape to that of x.  x has the axes N, C, H, W, the weight C,
    O / groups, R, S, the result N, O, P, Q, where

        P = (H - 1) stride - before - after + dilation (R - 1) + output_padding + 1.

    A stride s > 1 maps s sizes to one; ``output_padding`` says which is meant.

    Raises
    ------
    ShapeError
        The channels differ; they do not split into the groups; nothing would
        be left of the result; ``output_padding`` is not less than the stride
        or the dilation.
    DTypeError
        The operands are integers.

    Examples
    --------
    >>> import graphgpu as gg
    >>> x = gg.placeholder("x", ("batch", 16, "h", 7))
    >>> w = gg.placeholder("w", (16, 3, 4, 4))
    >>> gg.conv_transpose2d(x, w, stride=2, padding=1).type
    float32[batch,3,2*h,14]
    """
    return _convolve_transposed(
        2, x, weight, bias, stride, padding, output_padding, groups, dilation
    )


def conv_transpose3d(
    x: Operand,
    weight: Operand,
    bias: Operand | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
) -> Variable:
    """Return the transposed convolution over the last three axes: N, C, D, H, W.

    The weight has the axes C, O / groups and three more.  As
    :func:`conv_transpose2d`.
    """
    return _convolve_transposed(
        3, x, weight, bias, stride, padding, output_padding, groups, dilation
    )


def convolved(
    axes: int,
    x: Operand,
    weight: Operand,
    bias: Operand | None,
    stride: Ints,
    padding: Padding,
    dilation: Ints,
    groups: int,
    flipped: bool = False,
) -> Variable:
    """Return the convolution over some spatial axes, with its bias.

    The kernels may be flipped: with padding "same", an odd zero then comes before.
    """
    name = f"{'true_' if flipped else ''}conv{axes}d"
    call = _call(name, stride, padding, dilation, groups)
    given = operands_of(call, x, weight, *([] if bias is None else [bias]))
    with Naming(call, given):
        sizes, kernel = _spatial_sizes(axes, given)
        strides = per_axis("stride", stride, axes, 1)
        dilations = per_axis("dilation", dilation, axes, 1)
        pairs = padding_pairs(padding, sizes, kernel, strides, dilations)
        (parts,) = per_axis("groups", groups, 1, 1)
        kernels = given[1]
        if flipped:
            kernels = flip(kernels, tuple(range(2, axes + 2)))
            pairs = tuple(p[::-1] for p in pairs) if padding == "same" else pairs
        operation = Convolution(strides, pairs, dilations, parts)
        return _with_bias(apply(operation, given[0], kernels), given[2:])


def _convolve_transposed(
    axes: int,
    x: Operand,
    weight: Operand,
    bias: Operand | None,
    stride: Ints,
    padding: Padding,
    output_padding: Ints,
    groups: int,
    dilation: Ints,
) -> Variable:
    """Return the transposed convolution over some spatial axes, with its bias."""
    name = f"conv_transpose{axes}d"
    call = _call(name, stride, padding, dilation, groups, output_padding)
    given = operands_of(call, x, weight, *([] if bias is None else [bias]))
    try:
        sizes, kernel = _spatial_sizes(axes, given)
        strides = per_axis("stride", stride, axes, 1)
        dilations = per_axis("dilation", dilation, axes, 1)
        if isinstance(padding, str):
            raise ShapeError("expected padding as numbers")
        pairs = padding_pairs(padding, sizes, kernel, strides, dilations)
        extra = per_axis("output_padding", output_padding, axes, 0)
        spans = extents(kernel, dilations)
        results = tuple(
            (size - 1) * s - before - after + span + e
            for size, s, (before, after), span, e in zip(
                sizes, strides, pairs, spans, extra, strict=True
            )
        )
        pairs = _pairs_with_extra(pairs, extra, strides, dilations)
        (parts,) = per_axis("groups", groups, 1, 1)
        shape = (given[0].shape[0], given[1].shape[1] * parts, *results)
        operation = ConvolutionInputGradient(strides, pairs, dilations, parts, shape)
        return _with_bias(apply(operation, *given[:2]), given[2:])
    except GraphError as error:
        raise located(error, call, given) from None


def _pairs_with_extra(
    pairs: Pairs,
    extra: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
) -> Pairs:
    """Return the padding of the convolution that maps the larger result back.

    Of the output padding, what a stride's rounding down does not swallow is
    cut off by that convolution: its padding is so much less, and may be below 0.

    Raises
    ------
    ShapeError
        The output padding is as large as both stride and dilation.
    """
    corrected = []
    for (before, after), e, s, d in zip(pairs, extra, strides, dilations, strict=True):
        if e >= max(s, d):
            raise ShapeError("expected output_padding less than stride or dilation")
        corrected.append((before, after - e // s * s))
    return tuple(corrected)


def _spatial_sizes(axes: int, given: Sequence[Variable]) -> tuple[Shape, Shape]:
    """Return the spatial sizes of input and weight, when both have the axes."""
    x, weight = given[0].tensor, given[1].tensor
    require_axes(x, axes, "an input")
    if weight.ndim != axes + 2:
        raise ShapeError(f"expected a weight with {axes + 2} axes")
    return x.shape[2:], weight.shape[2:]


def _with_bias(result: Variable, bias: Sequence[Variable]) -> Variable:
    """Add the bias, if there is one, to each channel."""
    if not bias:
        return result
    channels = result.shape[1]
    surely = bias[0].ndim != 1 or isinstance(bias[0].shape[0] - channels, int)
    if surely and bias[0].shape != (channels,):
        raise ShapeError(f"expected a bias of shape ({channels},)")
    return result + bias[0].reshape((1, channels, *[1] * (result.ndim - 2)))


def _call(
    name: str,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
    output_padding: Any = 0,
) -> str:
    """Return the call as a user wrote it; what is as usual is left out."""
    usual = {"output_padding": (output_padding, 0), "dilation": (dilation, 1)}
    usual["groups"] = (groups, 1)
    rest = "".join(f", {n}={v!r}" for n, (v, u) in usual.items() if v is not u)
    return f"{name}(stride={stride!r}, padding={padding!r}{rest})"
