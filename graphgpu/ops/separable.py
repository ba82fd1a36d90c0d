"""Convolution that does not mix channels, and that followed by one that only does."""

from __future__ import annotations

from collections.abc import Sequence

from graphgpu.errors import ShapeError
from graphgpu.graph import Operand, Variable, located
from graphgpu.ops.convolution import convolved
from graphgpu.ops.elementwise import operands_of
from graphgpu.ops.requirements import Naming
from graphgpu.ops.windows import AXES, Padding

__all__ = [
    "depthwise_conv1d",
    "depthwise_conv2d",
    "separable_conv1d",
    "separable_conv2d",
]

Ints = int | Sequence[int]


def depthwise_conv1d(
    x: Operand,
    weight: Operand,
    bias: Operand | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
) -> Variable:
    """Return each channel of x, N, C, W, convolved with kernels of its own.

    The weight has the axes C m, 1, S.  As :func:`depthwise_conv2d`.

    >>> import graphgpu as gg
    >>> x, w = gg.constant([[[1.0, 2.0], [3.0, 4.0]]]), gg.constant([[[5.0]], [[0.5]]])
    >>> gg.evaluate(gg.depthwise_conv1d(x, w))
    array([[[ 5. , 10. ],
            [ 1.5,  2. ]]], dtype=float32)
    """
    return _depthwise(1, x, weight, bias, stride, padding, dilation)


def depthwise_conv2d(
    x: Operand,
    weight: Operand,
    bias: Operand | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
) -> Variable:
    """Return each channel of images convolved with kernels of its own.

    x has the axes N, C, H, W, the weight C m, 1, R, S, and

        y[n, c m + j, p, q] = b[c m + j] + Σ_r Σ_s w[c m + j, 0, r, s]
                              x[n, c, p stride - before + r dilation, q ...]:

    :func:`conv2d` with as many groups as there are channels (Howard et al.,
    "MobileNets", 2017, section 3.1).  Of m = 1 kernel each, C R S weights, where
    a convolution between C channels has C² R S.

    Parameters
    ----------
    x, weight, bias, stride, padding, dilation
        As those of :func:`conv2d`.

    Raises
    ------
    ShapeError
        The weight's first axis is no multiple of the channels, its second is not
        1, the number of channels is not known, or as :func:`conv2d`.
    DTypeError
        The operands are integers.

    Examples
    --------
    >>> import graphgpu as gg
    >>> x = gg.placeholder("x", ("batch", 8, 32, 32))
    >>> w = gg.placeholder("w", (16, 1, 3, 3))
    >>> gg.depthwise_conv2d(x, w, padding="same").type
    float32[batch,16,32,32]
    """
    return _depthwise(2, x, weight, bias, stride, padding, dilation)


def separable_conv1d(
    x: Operand,
    depthwise: Operand,
    pointwise: Operand,
    bias: Operand | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
) -> Variable:
    """Return the separable convolution over the last axis of x: N, C, W.

    The weights have the axes C m, 1, S and O, C m, 1.  As :func:`separable_conv2d`.

    >>> import graphgpu as gg
    >>> x = gg.placeholder("x", ("batch", 8, 32))
    >>> d, p = gg.placeholder("d", (8, 1, 3)), gg.placeholder("p", (16, 8, 1))
    >>> gg.separable_conv1d(x, d, p, stride=2).type
    float32[batch,16,15]
    """
    return _separable(1, x, depthwise, pointwise, bias, stride, padding, dilation)


def separable_conv2d(
    x: Operand,
    depthwise: Operand,
    pointwise: Operand,
    bias: Operand | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
) -> Variable:
    """Return a depthwise convolution of images, its channels then mixed.

        y[n, o, p, q] = b[o] + Σ_k v[o, k, 0, 0] (w ∗ x)[n, k, p, q]

    with w ∗ x the :func:`depthwise_conv2d`: a convolution whose kernels are
    sums of products v[o, k] w[k, r, s] (Sifre, *Rigid-Motion Scattering for Image
    Classification*, 2014; Chollet, "Xception", 2017).  With m = 1, it has C R S +
    O C weights in place of O C R S.

    Parameters
    ----------
    x
        Of the axes N, C, H, W.
    depthwise, pointwise
        The weights w, of the axes C m, 1, R, S, and v, of O, C m, 1, 1.
    bias
        An element for each of the O channels.
    stride, padding, dilation
        Those of the depthwise convolution, as of :func:`conv2d`.

    Raises
    ------
    ShapeError, DTypeError
        As :func:`depthwise_conv2d` and :func:`conv2d`.

    Examples
    --------
    >>> import graphgpu as gg
    >>> x = gg.placeholder("x", ("batch", 8, 32, 32))
    >>> d, p = gg.placeholder("d", (8, 1, 3, 3)), gg.placeholder("p", (16, 8, 1, 1))
    >>> gg.separable_conv2d(x, d, p, padding="same").type
    float32[batch,16,32,32]
    """
    return _separable(2, x, depthwise, pointwise, bias, stride, padding, dilation)


def _depthwise(
    axes: int,
    x: Operand,
    weight: Operand,
    bias: Operand | None,
    stride: Ints,
    padding: Padding,
    dilation: Ints,
) -> Variable:
    """Return the convolution with as many groups as there are channels."""
    call = f"depthwise_conv{axes}d({stride=}, {padding=})"
    given = operands_of(call, x, weight, *([] if bias is None else [bias]))
    if given[0].ndim != axes + 2:
        error = ShapeError(f"expected an input with axes N, C, {', '.join(AXES[axes])}")
        raise located(error, call, given)
    channels = given[0].shape[1]
    if not isinstance(channels, int):
        expected = f"expected a known number of channels, got {channels} along axis 1"
        raise located(ShapeError(expected), call, given)
    if given[1].ndim != axes + 2 or given[1].shape[1] != 1:
        letters = ", ".join(("C m", "1", *("R", "S")[-axes:]))
        error = ShapeError(f"expected a depthwise weight with axes {letters}")
        raise located(error, call, given)
    kernels = given[1].shape[0]
    if isinstance(kernels, int) and channels and kernels % channels:
        expected = (
            f"expected a multiple of {channels} kernels, one or more for each "
            f"channel, got {kernels}"
        )
        raise located(ShapeError(expected), call, given)
    image, kernel, *rest = given
    shift = rest[0] if rest else None
    geometry = (stride, padding, dilation)
    with Naming(call, given):
        return convolved(axes, image, kernel, shift, *geometry, max(channels, 1))


def _separable(
    axes: int,
    x: Operand,
    depthwise: Operand,
    pointwise: Operand,
    bias: Operand | None,
    stride: Ints,
    padding: Padding,
    dilation: Ints,
) -> Variable:
    """Return the depthwise convolution, its channels then mixed."""
    call = f"separable_conv{axes}d({stride=}, {padding=})"
    given = operands_of(call, x, depthwise, pointwise)
    image, kernel, mixing = given
    with Naming(call, given):
        y = _depthwise(axes, image, kernel, None, stride, padding, dilation)
        return convolved(axes, y, mixing, bias, 1, 0, 1, 1)
