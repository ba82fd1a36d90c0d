"""Convolution as in mathematics: the kernels are flipped, then slid."""

from __future__ import annotations

from collections.abc import Sequence

from graphgpu.graph import Operand, Variable
from graphgpu.ops.convolution import convolved
from graphgpu.ops.windows import Padding

__all__ = ["true_conv1d", "true_conv2d", "true_conv3d"]

Ints = int | Sequence[int]


def true_conv1d(
    x: Operand,
    weight: Operand,
    bias: Operand | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Variable:
    """Return the convolution with flipped kernels over the last axis of x: N, C, W.

    With one channel and stride 1, that of ``np.convolve`` for the paddings
    ``"full"``, ``"same"`` and ``"valid"``.  As :func:`true_conv2d`.

    >>> import graphgpu as gg
    >>> x, w = gg.constant([[[1.0, 2.0, 3.0]]]), gg.constant([[[0.0, 1.0, 10.0]]])
    >>> gg.evaluate(gg.true_conv1d(x, w, padding="full"))
    array([[[ 0.,  1., 12., 23., 30.]]], dtype=float32)
    """
    return convolved(1, x, weight, bias, stride, padding, dilation, groups, True)


def true_conv2d(
    x: Operand,
    weight: Operand,
    bias: Operand | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Variable:
    """Return the convolution of images with flipped kernels.

    With padding ``"full"`` and stride 1, it is *Deep Learning*'s equation 9.5,

        y[n, o, p, q] = b[o] + Σ_c Σ_r Σ_s w[o, c, r, s]
                        x[n, c, p - r dilation, q - s dilation],

    which commutes (an image is convolved with a kernel as the kernel with the
    image) and is associative; with less padding, the middle of that.  It is
    :func:`conv2d` with the weight read backwards along both spatial axes, so
    where kernels are learned, the two are as good.  The transposed convolution
    with the weight w is this one with padding ``"full"`` and the weight's first
    two axes exchanged.

    Parameters
    ----------
    x, weight, bias, stride, dilation, groups
        As those of :func:`conv2d`.
    padding
        As that of :func:`conv2d`, but for ``"same"``, an odd zero comes before:
        so the same element of a kernel stands over the output.

    Raises
    ------
    ShapeError, DTypeError
        As :func:`conv2d`.

    Examples
    --------
    >>> import graphgpu as gg
    >>> x, w = gg.constant([[[[1.0, 2.0]]]]), gg.constant([[[[3.0, 4.0]]]])
    >>> gg.evaluate(gg.true_conv2d(x, w)), gg.evaluate(gg.conv2d(x, w))
    (array([[[[10.]]]], dtype=float32), array([[[[11.]]]], dtype=float32))
    """
    return convolved(2, x, weight, bias, stride, padding, dilation, groups, True)


def true_conv3d(
    x: Operand,
    weight: Operand,
    bias: Operand | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Variable:
    """Return the convolution with flipped kernels of x: N, C, D, H, W.

    As :func:`true_conv2d`.

    >>> import graphgpu as gg
    >>> x, w = gg.constant([[[[[1.0, 2.0]]]]]), gg.constant([[[[[3.0, 4.0]]]]])
    >>> gg.evaluate(gg.true_conv3d(x, w))
    array([[[[[10.]]]]], dtype=float32)
    """
    return convolved(3, x, weight, bias, stride, padding, dilation, groups, True)
