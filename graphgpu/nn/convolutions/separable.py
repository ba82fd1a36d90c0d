"""Depthwise and separable convolutions as layers."""

from __future__ import annotations

from typing import final

import numpy as np

from graphgpu.graph import Variable
from graphgpu.nn.convolutions.convolution import Convolution
from graphgpu.nn.convolutions.kernels import Ints, Kernels
from graphgpu.nn.init import Initializer, convolution_fans, he_normal
from graphgpu.ops.convolution import conv1d, conv2d
from graphgpu.ops.separable import separable_conv1d, separable_conv2d
from graphgpu.ops.windows import Padding

__all__ = ["DepthwiseConv1d", "DepthwiseConv2d", "SeparableConv1d", "SeparableConv2d"]


class DepthwiseConvolution(Convolution):
    """A convolution of each channel; parameters as of ``DepthwiseConv2d``. Abstract."""

    shown = ("in_channels", "kernel_size", "stride", "padding", "multiplier")

    def __init__(
        self,
        in_channels: int,
        kernel_size: Ints,
        stride: Ints = 1,
        padding: Padding = 0,
        dilation: Ints = 1,
        multiplier: int = 1,
        bias: bool = True,
        *,
        weight_init: Initializer | None = None,
        bias_init: Initializer | None = None,
        dtype: object = "float32",
        name: str | None = None,
    ) -> None:
        is_size = isinstance(multiplier, int | np.integer) and multiplier > 0
        super().__init__(
            in_channels,
            in_channels * multiplier if is_size else in_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            in_channels,
            bias,
            weight_init=weight_init,
            bias_init=bias_init,
            dtype=dtype,
            name=name,
        )
        self.multiplier = self.positive("multiplier", multiplier)


@final
class DepthwiseConv1d(DepthwiseConvolution):
    """Each channel of (N, C, W) with kernels of its own; see ``DepthwiseConv2d``.

    >>> import graphgpu as gg
    >>> layer = gg.nn.DepthwiseConv1d(8, 3, padding="same")
    >>> layer(gg.placeholder("x", ("batch", 8, 100))).type
    float32[batch,8,100]
    """

    spatial_axes = 1
    function = staticmethod(conv1d)


@final
class DepthwiseConv2d(DepthwiseConvolution):
    """Each channel of images (N, C, H, W) convolved with kernels of its own.

    As :func:`graphgpu.depthwise_conv2d`, with a bias.  The weight is of shape
    (C m, 1, R, S), initially He's Gaussian; the bias is 0.

    Parameters
    ----------
    in_channels
        C, the size of axis 1 of the input.
    kernel_size, stride, padding, dilation, bias
        As of :class:`Conv2d`.
    multiplier
        m, the number of kernels for each channel.
    weight_init, bias_init, dtype, name
        As of :class:`Conv2d`.

    Examples
    --------
    >>> import graphgpu as gg
    >>> layer = gg.nn.DepthwiseConv2d(8, 3, padding="same")
    >>> layer.weight
    <depthwise_conv2d/weight: float32[8,1,3,3]>
    >>> layer(gg.placeholder("x", ("batch", 8, 32, 32))).type
    float32[batch,8,32,32]
    """

    spatial_axes = 2
    function = staticmethod(conv2d)


class SeparableConvolution(Kernels):
    """A depthwise convolution, then one of 1 x 1. Abstract."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Ints,
        stride: Ints = 1,
        padding: Padding = 0,
        dilation: Ints = 1,
        multiplier: int = 1,
        bias: bool = True,
        *,
        weight_init: Initializer | None = None,
        bias_init: Initializer | None = None,
        dtype: object = "float32",
        name: str | None = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            1,
            name,
        )
        channels = in_channels * self.positive("multiplier", multiplier)
        init = weight_init or he_normal()
        shape = (channels, 1, *self.kernel_size)
        fans = convolution_fans(shape, in_channels)
        self.depthwise = self.new_parameter("depthwise", shape, init, fans, dtype)
        shape = (out_channels, channels, *[1] * self.spatial_axes)
        fans = convolution_fans(shape)
        self.pointwise = self.new_parameter("pointwise", shape, init, fans, dtype)
        self.make_bias(shape[:1], bias, bias_init, dtype)

    def forward(self, x: Variable, *, training: bool) -> Variable:
        """Return the separable convolution of x."""
        self.require_size(x, 1, self.in_channels, "channels")
        return type(self).function(
            x,
            self.depthwise,
            self.pointwise,
            self.bias,
            self.stride,
            self.padding,
            self.dilation,
        )


@final
class SeparableConv1d(SeparableConvolution):
    """A separable convolution of (N, C, W); see :class:`SeparableConv2d`.

    >>> import graphgpu as gg
    >>> layer = gg.nn.SeparableConv1d(8, 16, 3)
    >>> layer(gg.placeholder("x", ("batch", 8, 100))).type
    float32[batch,16,98]
    """

    spatial_axes = 1
    function = staticmethod(separable_conv1d)


@final
class SeparableConv2d(SeparableConvolution):
    """A convolution of images made of one of each channel and one of 1 x 1.

    As :func:`graphgpu.separable_conv2d`, with a bias.  The weights are of the
    shapes (C m, 1, R, S) and (O, C m, 1, 1), initially He's Gaussian; the bias is
    0.

    Parameters
    ----------
    in_channels, out_channels
        C and O, the sizes of axis 1 of input and output.
    kernel_size, stride, padding, dilation
        Those of the depthwise convolution, as of :class:`Conv2d`.
    multiplier
        m, the number of kernels for each channel.
    bias
        Whether there is a bias, after the channels are mixed.
    weight_init, bias_init, dtype, name
        As of :class:`Conv2d`.

    Examples
    --------
    >>> import graphgpu as gg
    >>> layer = gg.nn.SeparableConv2d(8, 16, 3, padding="same")
    >>> layer(gg.placeholder("x", ("batch", 8, 32, 32))).type
    float32[batch,16,32,32]
    >>> [p.shape for p in layer.parameters()]
    [(8, 1, 3, 3), (16, 8, 1, 1), (16,)]
    """

    spatial_axes = 2
    function = staticmethod(separable_conv2d)
