"""Layers with a weight for each feature map: subsampling, filter banks."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, final

from graphgpu.graph import Variable
from graphgpu.nn.convolutions.convolution import Conv2d
from graphgpu.nn.convolutions.kernels import Ints
from graphgpu.nn.init import Initializer, ones, zeros
from graphgpu.nn.layer import Layer
from graphgpu.ops.feature_maps import map_gain, subsample1d, subsample2d
from graphgpu.ops.trigonometric import tanh
from graphgpu.ops.windows import Padding

__all__ = ["FilterBank2d", "MapGain", "Subsampling1d", "Subsampling2d"]


@final
class MapGain(Layer):
    """g[j] x[n, j] for each of C feature maps j, with learned gains, initially 1.

    As :func:`graphgpu.map_gain`.

    >>> import graphgpu as gg
    >>> layer = gg.nn.MapGain(16)
    >>> layer(gg.placeholder("x", ("batch", 16, 8, 8))).type
    float32[batch,16,8,8]
    """

    shown = ("channels",)

    def __init__(
        self,
        channels: int,
        *,
        gain_init: Initializer | None = None,
        dtype: object = "float32",
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.channels = self.positive("channels", channels)
        self.gain = self.new_parameter(
            "gain", (channels,), gain_init or ones(), dtype=dtype
        )

    def forward(self, x: Variable, *, training: bool) -> Variable:
        """Return each map times its gain."""
        self.require_size(x, 1, self.channels, "channels")
        return map_gain(x, self.gain)


@final
class FilterBank2d(Layer):
    """g_j a(b_j + Σ_k W_jk ∗ x_k): a convolution, an activation, and map gains.

    Jarrett, Kavukcuoglu, Ranzato and LeCun, "What is the best multi-stage
    architecture for object recognition?", 2009, section 2: with a = tanh, as here
    by default, every map has a range of its own, [-g_j, g_j].

    Parameters
    ----------
    in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias
        As of :class:`Conv2d`.
    activation
        a, a function of a variable.
    weight_init, bias_init, gain_init
        Initialisers; those of :class:`Conv2d`, and gains 1.
    dtype, name
        As of :class:`Conv2d`.

    Examples
    --------
    >>> import graphgpu as gg
    >>> layer = gg.nn.FilterBank2d(3, 16, 5)
    >>> [p.shape for p in layer.parameters()]
    [(16, 3, 5, 5), (16,), (16,)]
    >>> layer(gg.placeholder("x", ("batch", 3, 32, 32))).type
    float32[batch,16,28,28]
    """

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
        activation: Callable[[Variable], Variable] = tanh,
        *,
        weight_init: Initializer | None = None,
        bias_init: Initializer | None = None,
        gain_init: Initializer | None = None,
        dtype: object = "float32",
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.filters = Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            weight_init=weight_init,
            bias_init=bias_init,
            dtype=dtype,
        )
        self.activation = self.checked_function("activation", activation)
        self.gain = MapGain(out_channels, gain_init=gain_init, dtype=dtype)

    def forward(self, x: Variable, *, training: bool) -> Variable:
        """Return the activated convolution times the gains."""
        maps = self.activation(self.filters(x, training=training))
        gained: Variable = self.gain(maps, training=training)
        return gained


class Subsampling(Layer):
    """Learned subsampling; parameters as of :class:`Subsampling2d`. Abstract."""

    function: ClassVar[Callable[..., Variable]]

    shown = ("channels", "kernel_size", "stride", "padding")

    def __init__(
        self,
        channels: int,
        kernel_size: Ints = 2,
        stride: Ints | None = None,
        padding: Padding = 0,
        activation: Callable[[Variable], Variable] | None = None,
        *,
        weight_init: Initializer | None = None,
        bias_init: Initializer | None = None,
        dtype: object = "float32",
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.channels = self.positive("channels", channels)
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.activation = activation
        if activation is not None:
            self.checked_function("activation", activation)
        self.weight = self.new_parameter(
            "weight", (channels,), weight_init or ones(), dtype=dtype
        )
        self.bias = self.new_parameter(
            "bias", (channels,), bias_init or zeros(), dtype=dtype
        )

    def forward(self, x: Variable, *, training: bool) -> Variable:
        """Return each map's averages, times its weight, plus its bias."""
        self.require_size(x, 1, self.channels, "channels")
        geometry = (self.kernel_size, self.stride, self.padding)
        maps = type(self).function(x, self.weight, self.bias, *geometry)
        return maps if self.activation is None else self.activation(maps)


@final
class Subsampling1d(Subsampling):
    """Learned subsampling of (N, C, W); see :class:`Subsampling2d`.

    >>> import graphgpu as gg
    >>> gg.nn.Subsampling1d(6)(gg.placeholder("x", ("batch", 6, 28))).type
    float32[batch,6,14]
    """

    function = staticmethod(subsample1d)


@final
class Subsampling2d(Subsampling):
    """activation(w_j avg_pool(x_j) + b_j): averages with a weight and a bias a map.

    Initially the weights are 1, the biases 0.  Source and mathematics are with
    :func:`graphgpu.subsample2d`; LeNet-5's has the activation
    :func:`graphgpu.sigmoid`, and its layer S2, of 6 maps, 12 parameters.

    Parameters
    ----------
    channels
        The number of feature maps.
    kernel_size, stride, padding
        As of :func:`graphgpu.avg_pool2d`.
    activation
        A function of a variable, or None.
    weight_init, bias_init, dtype, name
        As of :class:`Conv2d`.

    Examples
    --------
    >>> import graphgpu as gg
    >>> layer = gg.nn.Subsampling2d(6, activation=gg.sigmoid)
    >>> layer(gg.placeholder("x", ("batch", 6, 28, 28))).type
    float32[batch,6,14,14]
    """

    function = staticmethod(subsample2d)
