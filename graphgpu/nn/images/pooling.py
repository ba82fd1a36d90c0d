"""Pooling layers, and the one that flattens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, final

from graphgpu.graph import Variable
from graphgpu.nn.layer import Layer
from graphgpu.ops.adaptive_pooling import (
    OutputSize,
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
)
from graphgpu.ops.pooling import (
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    global_avg_pool,
    global_max_pool,
    max_pool1d,
    max_pool2d,
    max_pool3d,
)
from graphgpu.ops.shape import flatten
from graphgpu.ops.unpooling import Sizes, max_unpool1d, max_unpool2d, max_unpool3d
from graphgpu.ops.windows import Padding

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "Flatten",
    "GlobalAvgPool",
    "GlobalMaxPool",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "MaxUnpool1d",
    "MaxUnpool2d",
    "MaxUnpool3d",
]

Ints = int | Sequence[int]


class MaxPool(Layer):
    """The largest element of each window; parameters as of ``max_pool``. Abstract."""

    function: ClassVar[Callable[..., Any]]

    shown = ("kernel_size", "stride", "padding")

    def __init__(
        self,
        kernel_size: Ints,
        stride: Ints | None = None,
        padding: Padding = 0,
        dilation: Ints = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.return_indices = return_indices
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.ceil_mode = ceil_mode

    def forward(self, x: Variable, *, training: bool) -> Any:
        """Return x pooled, and the indices if they are to be returned."""
        return type(self).function(
            x,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.ceil_mode,
            return_indices=self.return_indices,
        )


class AvgPool(Layer):
    """The mean of each window; parameters as of ``avg_pool``. Abstract."""

    function: ClassVar[Callable[..., Variable]]

    shown = ("kernel_size", "stride", "padding")

    def __init__(
        self,
        kernel_size: Ints,
        stride: Ints | None = None,
        padding: Padding = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad

    def forward(self, x: Variable, *, training: bool) -> Variable:
        """Return x pooled."""
        return type(self).function(
            x,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
        )


class MaxUnpool(Layer):
    """Maxima put back; parameters as of ``max_unpool``. Abstract."""

    function: ClassVar[Callable[..., Variable]]

    shown = ("kernel_size", "stride", "padding", "output_size")

    def __init__(
        self,
        kernel_size: Ints,
        stride: Ints | None = None,
        padding: Padding = 0,
        output_size: Sizes | None = None,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.output_size = output_size

    def forward(self, x: Variable, indices: Variable, *, training: bool) -> Variable:
        """Return x at the indices, amid zeros."""
        geometry = (self.kernel_size, self.stride, self.padding, self.output_size)
        return type(self).function(x, indices, *geometry)


class AdaptivePool(Layer):
    """Pooling to a size that is given. Abstract."""

    function: ClassVar[Callable[..., Variable]]

    shown = ("output_size",)

    def __init__(self, output_size: OutputSize, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.output_size = output_size

    def forward(self, x: Variable, *, training: bool) -> Variable:
        """Return x pooled."""
        return type(self).function(x, self.output_size)


@final
class MaxPool1d(MaxPool):
    """The largest of each window of signals; see :func:`graphgpu.max_pool1d`."""

    function = staticmethod(max_pool1d)


@final
class MaxPool2d(MaxPool):
    """The largest of each window of images; see :func:`graphgpu.max_pool2d`.

    >>> import graphgpu as gg
    >>> gg.nn.MaxPool2d(2)(gg.placeholder("x", ("batch", 3, 8, 8))).type
    float32[batch,3,4,4]
    """

    function = staticmethod(max_pool2d)


@final
class MaxPool3d(MaxPool):
    """The largest of each window of volumes; see :func:`graphgpu.max_pool3d`."""

    function = staticmethod(max_pool3d)


@final
class MaxUnpool1d(MaxUnpool):
    """Maxima of signals where they were; see :func:`graphgpu.max_unpool1d`.

    >>> import graphgpu as gg
    >>> pool = gg.nn.MaxPool1d(2, return_indices=True)
    >>> gg.evaluate(gg.nn.MaxUnpool1d(2)(*pool(gg.constant([[[1.0, 5.0]]]))))
    array([[[0., 5.]]], dtype=float32)
    """

    function = staticmethod(max_unpool1d)


@final
class MaxUnpool2d(MaxUnpool):
    """Maxima of images where they were; see :func:`graphgpu.max_unpool2d`.

    >>> import graphgpu as gg
    >>> pool, unpool = gg.nn.MaxPool2d(2, return_indices=True), gg.nn.MaxUnpool2d(2)
    >>> unpool(*pool(gg.placeholder("x", ("batch", 3, 8, 8)))).type
    float32[batch,3,8,8]
    """

    function = staticmethod(max_unpool2d)


@final
class MaxUnpool3d(MaxUnpool):
    """Maxima of volumes where they were; see :func:`graphgpu.max_unpool3d`."""

    function = staticmethod(max_unpool3d)


@final
class AvgPool1d(AvgPool):
    """The mean of each window of signals; see :func:`graphgpu.avg_pool1d`."""

    function = staticmethod(avg_pool1d)


@final
class AvgPool2d(AvgPool):
    """The mean of each window of images; see :func:`graphgpu.avg_pool2d`."""

    function = staticmethod(avg_pool2d)


@final
class AvgPool3d(AvgPool):
    """The mean of each window of volumes; see :func:`graphgpu.avg_pool3d`."""

    function = staticmethod(avg_pool3d)


@final
class GlobalAvgPool(Layer):
    """The mean of each channel; see :func:`graphgpu.global_avg_pool`."""

    def forward(self, x: Variable, *, training: bool) -> Variable:
        """Return the mean of each channel."""
        return global_avg_pool(x)


@final
class AdaptiveAvgPool1d(AdaptivePool):
    """Averages of signals; see :func:`graphgpu.adaptive_avg_pool1d`."""

    function = staticmethod(adaptive_avg_pool1d)


@final
class AdaptiveAvgPool2d(AdaptivePool):
    """Averages of images, as many as asked for: ``graphgpu.adaptive_avg_pool2d``.

    >>> import graphgpu as gg
    >>> layer = gg.nn.AdaptiveAvgPool2d((2, None))
    >>> layer(gg.placeholder("x", ("batch", 3, 7, 8))).type
    float32[batch,3,2,8]
    """

    function = staticmethod(adaptive_avg_pool2d)


@final
class AdaptiveAvgPool3d(AdaptivePool):
    """Averages of volumes; see :func:`graphgpu.adaptive_avg_pool3d`."""

    function = staticmethod(adaptive_avg_pool3d)


@final
class AdaptiveMaxPool1d(AdaptivePool):
    """Maxima of signals; see :func:`graphgpu.adaptive_max_pool1d`."""

    function = staticmethod(adaptive_max_pool1d)


@final
class AdaptiveMaxPool2d(AdaptivePool):
    """Maxima of images; see :func:`graphgpu.adaptive_max_pool2d`."""

    function = staticmethod(adaptive_max_pool2d)


@final
class AdaptiveMaxPool3d(AdaptivePool):
    """Maxima of volumes; see :func:`graphgpu.adaptive_max_pool3d`."""

    function = staticmethod(adaptive_max_pool3d)


@final
class GlobalMaxPool(Layer):
    """The largest of each channel; see :func:`graphgpu.global_max_pool`."""

    def forward(self, x: Variable, *, training: bool) -> Variable:
        """Return the largest of each channel."""
        return global_max_pool(x)


@final
class Flatten(Layer):
    """Axes ``start_axis`` to ``end_axis`` made one: by default all but the batch.

    >>> import graphgpu as gg
    >>> gg.nn.Flatten()(gg.placeholder("x", ("batch", 3, 8, 8))).type
    float32[batch,192]
    """

    shown = ("start_axis", "end_axis")

    def __init__(
        self, start_axis: int = 1, end_axis: int = -1, *, name: str | None = None
    ) -> None:
        super().__init__(name=name)
        self.start_axis = start_axis
        self.end_axis = end_axis

    def forward(self, x: Variable, *, training: bool) -> Variable:
        """Return x with axes joined."""
        return flatten(x, self.start_axis, self.end_axis)
