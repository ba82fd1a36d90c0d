"""Pooling layers, and the one that flattens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, final

from graphgpu.graph import Variable
from graphgpu.nn.layer import Layer
from graphgpu.ops.pooling import (
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    global_avg_pool,
    max_pool1d,
    max_pool2d,
    max_pool3d,
)
from graphgpu.ops.shape import flatten
from graphgpu.ops.windows import Padding

__all__ = [
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "Flatten",
    "GlobalAvgPool",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
]

Ints = int | Sequence[int]


class MaxPool(Layer):
    """The largest element of each window; parameters as of ``max_pool``. Abstract."""

    function: ClassVar[Callable[..., Variable]]

    shown = ("kernel_size", "stride", "padding")

    def __init__(
        self,
        kernel_size: Ints,
        stride: Ints | None = None,
        padding: Padding = 0,
        dilation: Ints = 1,
        ceil_mode: bool = False,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.ceil_mode = ceil_mode

    def forward(self, x: Variable, *, training: bool) -> Variable:
        """Return x pooled."""
        return type(self).function(
            x,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.ceil_mode,
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
