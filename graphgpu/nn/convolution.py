"""Convolutions and transposed convolutions as layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, final

from graphgpu.errors import GraphError
from graphgpu.graph import Variable
from graphgpu.nn.init import (
    Fans,
    Initializer,
    convolution_fans,
    convolution_transpose_fans,
    he_normal,
    zeros,
)
from graphgpu.nn.layer import Layer
from graphgpu.ops.convolution import (
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
)
from graphgpu.ops.windows import Padding, per_axis

__all__ = [
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
]

Ints = int | Sequence[int]


class Kernels(Layer):
    """A layer whose weight slides over spatial axes. Abstract."""

    spatial_axes: ClassVar[int]
    function: ClassVar[Callable[..., Variable]]

    shown = ("in_channels", "out_channels", "kernel_size", "stride", "padding")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Ints,
        stride: Ints,
        padding: Padding,
        dilation: Ints,
        groups: int,
        name: str | None,
    ) -> None:
        super().__init__(name=name)
        self.in_channels = self.positive("in_channels", in_channels)
        self.out_channels = self.positive("out_channels", out_channels)
        self.groups = self.positive("groups", groups)
        if in_channels % groups or out_channels % groups:
            self.reject(
                f"expected in_channels and out_channels that {groups} groups divide"
            )
        try:
            axes = self.spatial_axes
            self.kernel_size = per_axis("kernel_size", kernel_size, axes, 1)
            self.stride = per_axis("stride", stride, axes, 1)
            self.dilation = per_axis("dilation", dilation, axes, 1)
        except GraphError as error:
            self.reject(str(error))
        self.padding = padding

    def make_parameters(
        self,
        shape: tuple[int, ...],
        fans: Fans,
        bias: bool,
        weight_init: Initializer | None,
        bias_init: Initializer | None,
        dtype: object,
    ) -> None:
        """Make the weight, and the bias if there is one."""
        self.weight = self.new_parameter(
            "weight", shape, weight_init or he_normal(), fans, dtype
        )
        self.bias = (
            self.new_parameter(
                "bias", (self.out_channels,), bias_init or zeros(), dtype=dtype
            )
            if bias
            else None
        )


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
