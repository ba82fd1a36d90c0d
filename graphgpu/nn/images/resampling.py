"""Layers without parameters that resample images or rearrange their elements."""

from __future__ import annotations

from typing import final

from graphgpu.graph import Variable
from graphgpu.nn.layer import Layer
from graphgpu.ops.pixel_shuffling import (
    channel_shuffle,
    pixel_shuffle,
    pixel_unshuffle,
)
from graphgpu.ops.resampling import Factors, Sizes, interpolate

__all__ = ["ChannelShuffle", "PixelShuffle", "PixelUnshuffle", "Upsample"]


@final
class Upsample(Layer):
    """Images resampled to a size, or by a factor; see :func:`graphgpu.interpolate`.

    In the mode ``"nearest"`` with an integer factor, this is unpooling by
    repetition.

    >>> import graphgpu as gg
    >>> layer = gg.nn.Upsample(scale_factor=2, mode="bilinear")
    >>> layer(gg.placeholder("x", ("batch", 3, 8, "w"))).type
    float32[batch,3,16,2*w]
    """

    shown = ("size", "scale_factor", "mode", "align_corners")

    def __init__(
        self,
        size: Sizes | None = None,
        scale_factor: Factors | None = None,
        mode: str = "nearest",
        align_corners: bool = False,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.size = size
        self.scale_factor = scale_factor
        self.mode = mode
        self.align_corners = align_corners

    def forward(self, x: Variable, *, training: bool) -> Variable:
        """Return x resampled."""
        given = (self.size, self.scale_factor, self.mode, self.align_corners)
        return interpolate(x, *given)


@final
class PixelShuffle(Layer):
    """An image of r² channels made r times as large; see ``graphgpu.pixel_shuffle``.

    >>> import graphgpu as gg
    >>> gg.nn.PixelShuffle(2)(gg.placeholder("x", ("batch", 12, 8, 8))).type
    float32[batch,3,16,16]
    """

    shown = ("upscale_factor",)

    def __init__(self, upscale_factor: int, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.upscale_factor = self.positive("upscale_factor", upscale_factor)

    def forward(self, x: Variable, *, training: bool) -> Variable:
        """Return the channels as pixels."""
        return pixel_shuffle(x, self.upscale_factor)


@final
class PixelUnshuffle(Layer):
    """The inverse of :class:`PixelShuffle`; see :func:`graphgpu.pixel_unshuffle`.

    >>> import graphgpu as gg
    >>> gg.nn.PixelUnshuffle(2)(gg.placeholder("x", ("batch", 3, 16, 16))).type
    float32[batch,12,8,8]
    """

    shown = ("downscale_factor",)

    def __init__(self, downscale_factor: int, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.downscale_factor = self.positive("downscale_factor", downscale_factor)

    def forward(self, x: Variable, *, training: bool) -> Variable:
        """Return the pixels as channels."""
        return pixel_unshuffle(x, self.downscale_factor)


@final
class ChannelShuffle(Layer):
    """The channels of groups in turns; see :func:`graphgpu.channel_shuffle`.

    >>> import graphgpu as gg
    >>> gg.nn.ChannelShuffle(4)(gg.placeholder("x", ("batch", 8, 16, 16))).type
    float32[batch,8,16,16]
    """

    shown = ("groups",)

    def __init__(self, groups: int, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.groups = self.positive("groups", groups)

    def forward(self, x: Variable, *, training: bool) -> Variable:
        """Return the channels in another order."""
        return channel_shuffle(x, self.groups)
