"""The residual blocks of He, Zhang, Ren and Sun.

"Deep residual learning for image recognition", CVPR 2016.  A block adds what it
learns to its input.  Where the shape changes, the input is brought to it by a
shortcut, of which the paper has three types (section 4.1): A, the identity with
zeros for the channels that are new, no parameters; B, a projection, a 1 x 1
convolution with batch normalisation, where the shape changes, the identity
elsewhere; C, projections everywhere.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, final, get_args

from graphgpu.graph import Variable
from graphgpu.nn.containers import Sequential
from graphgpu.nn.convolutions.convolution import Conv2d
from graphgpu.nn.layer import Layer
from graphgpu.nn.normalization.channels import BatchNorm
from graphgpu.ops.activations.rectifiers import relu
from graphgpu.ops.creation import zeros
from graphgpu.ops.joining import concat

__all__ = ["BasicBlock", "Bottleneck", "ShortcutType", "ZeroPadded"]

ShortcutType: TypeAlias = Literal["A", "B", "C"]


@final
class ZeroPadded(Layer):
    """Every ``stride``-th position of x, and zeros as further channels: type A."""

    shown = ("in_channels", "out_channels", "stride")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.in_channels = self.positive("in_channels", in_channels)
        self.out_channels = self.positive("out_channels", out_channels)
        self.stride = self.positive("stride", stride)
        if out_channels < in_channels:
            self.reject("expected at least as many channels out as in")

    def forward(self, x: Variable, *, training: bool) -> Variable:
        """Return x subsampled and padded."""
        self.require_size(x, 1, self.in_channels, "channels")
        kept = x[:, :, :: self.stride, :: self.stride]
        batch, _, height, width = kept.shape
        extra = self.out_channels - self.in_channels
        return concat([kept, zeros((batch, extra, height, width), x.dtype)], axis=1)


class Block(Layer):
    """What both kinds of block share. Abstract."""

    shown = ("in_channels", "out_channels", "stride")

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, name: str | None
    ) -> None:
        super().__init__(name=name)
        self.in_channels = self.positive("in_channels", in_channels)
        self.out_channels = self.positive("out_channels", out_channels)
        self.stride = self.positive("stride", stride)

    def make_shortcut(self, kind: ShortcutType, dtype: object) -> Layer | None:
        """Return the shortcut of the type asked for; None is the identity."""
        if kind not in get_args(ShortcutType):
            self.reject(f"expected a shortcut 'A', 'B' or 'C', got {kind!r}")
        same = self.stride == 1 and self.in_channels == self.out_channels
        if same and kind != "C":
            return None
        if kind == "A":
            return ZeroPadded(self.in_channels, self.out_channels, self.stride)
        return Sequential(
            ("conv", _conv(self.in_channels, self.out_channels, 1, self.stride, dtype)),
            ("norm", BatchNorm(self.out_channels, dtype=dtype)),
        )


@final
class BasicBlock(Block):
    """Two 3 x 3 convolutions: relu(shortcut(x) + norm(conv(relu(norm(conv(x)))))).

    >>> import graphgpu as gg
    >>> block = gg.nn.BasicBlock(16, 32, stride=2)
    >>> block(gg.placeholder("x", ("batch", 16, 32, 32))).type
    float32[batch,32,16,16]
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        shortcut: ShortcutType = "B",
        *,
        dtype: object = "float32",
        name: str | None = None,
    ) -> None:
        super().__init__(in_channels, channels, stride, name)
        self.conv1 = _conv(in_channels, channels, 3, stride, dtype)
        self.norm1 = BatchNorm(channels, dtype=dtype)
        self.conv2 = _conv(channels, channels, 3, 1, dtype)
        self.norm2 = BatchNorm(channels, dtype=dtype)
        self.shortcut = self.make_shortcut(shortcut, dtype)

    def forward(self, x: Variable, *, training: bool) -> Variable:
        """Return the block's output."""
        y = relu(self.norm1(self.conv1(x), training=training))
        y = self.norm2(self.conv2(y), training=training)
        skip = x if self.shortcut is None else self.shortcut(x, training=training)
        return relu(skip + y)


@final
class Bottleneck(Block):
    """Convolutions 1 x 1, 3 x 3 and 1 x 1, the last to 4 times the channels.

    As published, the first has the stride; ``stride_on="3x3"`` puts it on the
    second, which loses less and is what torchvision's models do (also called
    version 1.5).
    """

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        shortcut: ShortcutType = "B",
        *,
        stride_on: Literal["1x1", "3x3"] = "1x1",
        dtype: object = "float32",
        name: str | None = None,
    ) -> None:
        out_channels = self.expansion * channels
        super().__init__(in_channels, out_channels, stride, name)
        if stride_on not in ("1x1", "3x3"):
            self.reject(f"expected stride_on '1x1' or '3x3', got {stride_on!r}")
        first, second = (stride, 1) if stride_on == "1x1" else (1, stride)
        self.conv1 = _conv(in_channels, channels, 1, first, dtype)
        self.norm1 = BatchNorm(channels, dtype=dtype)
        self.conv2 = _conv(channels, channels, 3, second, dtype)
        self.norm2 = BatchNorm(channels, dtype=dtype)
        self.conv3 = _conv(channels, out_channels, 1, 1, dtype)
        self.norm3 = BatchNorm(out_channels, dtype=dtype)
        self.shortcut = self.make_shortcut(shortcut, dtype)

    def forward(self, x: Variable, *, training: bool) -> Variable:
        """Return the block's output."""
        y = relu(self.norm1(self.conv1(x), training=training))
        y = relu(self.norm2(self.conv2(y), training=training))
        y = self.norm3(self.conv3(y), training=training)
        skip = x if self.shortcut is None else self.shortcut(x, training=training)
        return relu(skip + y)


def _conv(
    in_channels: int, out_channels: int, kernel: int, stride: int, dtype: object
) -> Conv2d:
    """Return a convolution that keeps the size at stride 1; the norm has the bias."""
    padding = kernel // 2
    return Conv2d(
        in_channels, out_channels, kernel, stride, padding, bias=False, dtype=dtype
    )
