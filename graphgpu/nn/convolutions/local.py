"""Locally connected layers: a kernel for each position."""

from __future__ import annotations

from math import prod
from typing import final

from graphgpu.errors import GraphError
from graphgpu.graph import Variable
from graphgpu.nn.convolutions.kernels import Ints, Kernels
from graphgpu.nn.init import Fans, Initializer, he_normal
from graphgpu.ops.local import local_conv1d, local_conv2d
from graphgpu.ops.windows import (
    Padding,
    known,
    output_sizes,
    padding_pairs,
    require_fit,
)
from graphgpu.types import Guards, Window

__all__ = ["LocallyConnected1d", "LocallyConnected2d"]


class LocallyConnected(Kernels):
    """A kernel for each position; parameters as of ``LocallyConnected2d``. Abstract."""

    shown = ("in_channels", "out_channels", "input_size", "kernel_size", "stride")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        input_size: Ints,
        kernel_size: Ints,
        stride: Ints = 1,
        padding: Padding = 0,
        dilation: Ints = 1,
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
        self.input_size = self.of_each_axis("input_size", input_size)
        try:
            geometry = (self.kernel_size, self.stride, self.dilation)
            pairs = padding_pairs(padding, self.input_size, *geometry)
            window = Window(*geometry, pairs)
            require_fit(Guards(), window, self.input_size)
        except GraphError as error:
            self.reject(str(error))
        self.output_size = known(output_sizes(window, self.input_size))
        taps = prod(self.kernel_size)
        shape = (*self.output_size, out_channels, in_channels, *self.kernel_size)
        fans = Fans(in_channels * taps, out_channels * taps)
        self.weight = self.new_parameter(
            "weight", shape, weight_init or he_normal(), fans, dtype
        )
        across = (out_channels, *self.output_size)
        self.make_bias(across, bias, bias_init, dtype)

    def forward(self, x: Variable, *, training: bool) -> Variable:
        """Return the units over x."""
        self.require_size(x, 1, self.in_channels, "channels")
        for axis, size in enumerate(self.input_size, start=2):
            self.require_size(x, axis, size, "elements")
        geometry = (self.stride, self.padding, self.dilation)
        return type(self).function(x, self.weight, self.bias, *geometry)


@final
class LocallyConnected1d(LocallyConnected):
    """A kernel for each position on (N, C, W); see :class:`LocallyConnected2d`.

    >>> import graphgpu as gg
    >>> layer = gg.nn.LocallyConnected1d(3, 16, 10, 3)
    >>> layer(gg.placeholder("x", ("batch", 3, 10))).type
    float32[batch,16,8]
    """

    spatial_axes = 1
    function = staticmethod(local_conv1d)


@final
class LocallyConnected2d(LocallyConnected):
    """Units connected as a convolution's, on images; none share their weights.

    As :func:`graphgpu.local_conv2d`, with a bias for each unit.  The weight is of
    shape (P, Q, out, in, R, S), initially He's Gaussian, the bias of shape
    (out, P, Q), 0.  So there are P Q times as many parameters as in a convolution
    (*Deep Learning*, section 9.5).

    Parameters
    ----------
    in_channels, out_channels
        The sizes of axis 1 of input and output.
    input_size
        H and W, an int or both: they decide how many kernels there are.
    kernel_size, stride, padding, dilation, bias
        As of :class:`Conv2d`.
    weight_init, bias_init, dtype, name
        As of :class:`Conv2d`.

    Examples
    --------
    >>> import graphgpu as gg
    >>> layer = gg.nn.LocallyConnected2d(1, 4, 8, 3)
    >>> layer.weight
    <locally_connected2d/weight: float32[6,6,4,1,3,3]>
    >>> layer(gg.placeholder("x", ("batch", 1, 8, 8))).type
    float32[batch,4,6,6]
    """

    spatial_axes = 2
    function = staticmethod(local_conv2d)
