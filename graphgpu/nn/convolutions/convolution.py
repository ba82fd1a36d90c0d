"""Convolutions and transposed convolutions as layers."""

from __future__ import annotations

from typing import final

from graphgpu.graph import Variable
from graphgpu.nn.convolutions.kernels import Ints, Kernels
from graphgpu.nn.init import (
    Initializer,
    convolution_fans,
    convolution_transpose_fans,
)
from graphgpu.ops.convolution import (
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
)
from graphgpu.ops.true_convolution import true_conv1d, true_conv2d, true_conv3d
from graphgpu.ops.windows import Padding

__all__ = [
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "TrueConv1d",
    "TrueConv2d",
    "TrueConv3d",
]


class Convolution(Kernels):
    """A convolution with a bias; parameters as of :class:`Conv2d`. Abstract."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Ints,
        stride: Ints = 1,
        padding: Padding = 0,
        dilation: Ints = 1,
        groups: int = 1,
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
            groups,
            name,
        )
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        fans = convolution_fans(shape, groups)
        self.make_parameters(shape, fans, bias, weight_init, bias_init, dtype)

    def forward(self, x: Variable, *, training: bool) -> Variable:
        """Return the convolution of x with the weight, plus the bias."""
        self.require_size(x, 1, self.in_channels, "channels")
        return type(self).function(
            x,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
        )


class TransposedConvolution(Kernels):
    """A transposed convolution; parameters as of :class:`ConvTranspose2d`. Abstract."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Ints,
        stride: Ints = 1,
        padding: Padding = 0,
        output_padding: Ints = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Ints = 1,
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
            groups,
            name,
        )
        self.output_padding = output_padding
        shape = (in_channels, out_channels // groups, *self.kernel_size)
        fans = convolution_transpose_fans(shape, groups)
        self.make_parameters(shape, fans, bias, weight_init, bias_init, dtype)

    def forward(self, x: Variable, *, training: bool) -> Variable:
        """Return the transposed convolution of x with the weight, plus the bias."""
        self.require_size(x, 1, self.in_channels, "channels")
        return type(self).function(
            x,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.output_padding,
            self.groups,
            self.dilation,
        )


@final
class Conv1d(Convolution):
    """A convolution over the last axis of (N, C, W); see :class:`Conv2d`."""

    spatial_axes = 1
    function = staticmethod(conv1d)


@final
class Conv2d(Convolution):
    """A convolution of images (N, C, H, W) with learned kernels, and a bias.

    The weight is of shape (out, in / groups, R, S), initially He's Gaussian; the
    bias is 0.

    Parameters
    ----------
    in_channels, out_channels
        The sizes of axis 1 of input and output.
    kernel_size
        An int, or one for each spatial axis; so are ``stride`` and ``dilation``.
    stride, padding, dilation, groups
        As of :func:`graphgpu.conv2d`.
    bias
        Whether there is a bias.
    weight_init, bias_init
        Initialisers, of :mod:`graphgpu.nn.init` or your own.
    dtype
        The dtype of the parameters.
    name
        The layer's name, ``"conv2d"`` by default.

    Examples
    --------
    >>> import graphgpu as gg
    >>> layer = gg.nn.Conv2d(3, 16, 3, stride=2, padding=1)
    >>> layer(gg.placeholder("x", ("batch", 3, 32, 32))).type
    float32[batch,16,16,16]
    """

    spatial_axes = 2
    function = staticmethod(conv2d)


@final
class Conv3d(Convolution):
    """A convolution over the last axes of (N, C, D, H, W); see :class:`Conv2d`."""

    spatial_axes = 3
    function = staticmethod(conv3d)


@final
class TrueConv1d(Convolution):
    """A convolution of (N, C, W) whose kernels are flipped; see :class:`TrueConv2d`."""

    spatial_axes = 1
    function = staticmethod(true_conv1d)


@final
class TrueConv2d(Convolution):
    """A convolution of images in the mathematical sense: its kernels are flipped.

    As :func:`graphgpu.true_conv2d`, with a bias; parameters as of :class:`Conv2d`,
    which learns the same kernels the other way round.

    >>> import graphgpu as gg
    >>> layer = gg.nn.TrueConv2d(3, 16, 3, padding="full")
    >>> layer(gg.placeholder("x", ("batch", 3, 32, 32))).type
    float32[batch,16,34,34]
    """

    spatial_axes = 2
    function = staticmethod(true_conv2d)


@final
class TrueConv3d(Convolution):
    """A convolution of (N, C, D, H, W) with flipped kernels; as ``TrueConv2d``."""

    spatial_axes = 3
    function = staticmethod(true_conv3d)


@final
class ConvTranspose1d(TransposedConvolution):
    """A transposed convolution of (N, C, W); see :class:`ConvTranspose2d`."""

    spatial_axes = 1
    function = staticmethod(conv_transpose1d)


@final
class ConvTranspose2d(TransposedConvolution):
    """A transposed convolution of images with learned kernels, and a bias.

    The weight is of shape (in, out / groups, R, S), that of the convolution whose
    adjoint it is.  Parameters as of :class:`Conv2d`, with ``output_padding`` as of
    :func:`graphgpu.conv_transpose2d`.

    >>> import graphgpu as gg
    >>> layer = gg.nn.ConvTranspose2d(16, 3, 4, stride=2, padding=1)
    >>> layer(gg.placeholder("x", ("batch", 16, 16, 16))).type
    float32[batch,3,32,32]
    """

    spatial_axes = 2
    function = staticmethod(conv_transpose2d)


@final
class ConvTranspose3d(TransposedConvolution):
    """A transposed convolution of (N, C, D, H, W); see :class:`ConvTranspose2d`."""

    spatial_axes = 3
    function = staticmethod(conv_transpose3d)
