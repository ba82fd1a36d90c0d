"""Residual networks, as in table 1 and section 4.2 of He, Zhang, Ren and Sun, 2016."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from graphgpu.errors import GraphError
from graphgpu.graph import located
from graphgpu.nn.activations.scalar import ReLU
from graphgpu.nn.containers import Sequential
from graphgpu.nn.convolutions.convolution import Conv2d
from graphgpu.nn.dense import Dense
from graphgpu.nn.images.pooling import Flatten, GlobalAvgPool, MaxPool2d
from graphgpu.nn.layer import Layer
from graphgpu.nn.models.blocks import BasicBlock, Bottleneck, ShortcutType
from graphgpu.nn.normalization.channels import BatchNorm

__all__ = ["cifar_resnet", "resnet18", "resnet20", "resnet34", "resnet50"]


def cifar_resnet(
    depth: int,
    classes: int = 10,
    *,
    shortcut: ShortcutType = "A",
    dtype: object = "float32",
    name: str | None = None,
) -> Sequential:
    """Return the residual net for images of 32 x 32 with 6n + 2 layers.

    A 3 x 3 convolution to 16 channels; three stages of n basic blocks with 16, 32
    and 64 channels on maps of 32, 16 and 8; the mean; a dense layer.

    Raises
    ------
    GraphError
        The depth is not 6n + 2 with n > 0.
    """
    blocks, rest = divmod(depth - 2, 6)
    if rest or blocks < 1:
        raise located(GraphError("expected 8, 14, 20, ..."), f"cifar_resnet({depth=})")
    layers: list[tuple[str, Layer]] = [
        ("conv", Conv2d(3, 16, 3, padding=1, bias=False, dtype=dtype)),
        ("norm", BatchNorm(16, dtype=dtype)),
        ("relu", ReLU()),
    ]
    channels = 16
    for stage, width in enumerate((16, 32, 64)):
        parts = []
        for place in range(blocks):
            stride = 2 if stage > 0 and place == 0 else 1
            parts.append(BasicBlock(channels, width, stride, shortcut, dtype=dtype))
            channels = width
        layers.append((f"stage{stage + 1}", Sequential(*parts)))
    return Sequential(*layers, *_head(channels, classes, dtype), name=name)


def resnet20(
    classes: int = 10,
    *,
    shortcut: ShortcutType = "A",
    dtype: object = "float32",
    name: str | None = None,
) -> Sequential:
    """Return ResNet-20 for CIFAR-10: 0.27 million parameters.

    With the paper's shortcuts of type A it has 269,722, those of batch
    normalisation included; with type B 272,474.

    >>> import graphgpu as gg
    >>> resnet20()(gg.placeholder("x", ("batch", 3, 32, 32))).type
    float32[batch,10]
    """
    return cifar_resnet(20, classes, shortcut=shortcut, dtype=dtype, name=name)


def resnet18(classes: int = 1000, *, name: str | None = None) -> Sequential:
    """Return ResNet-18: 11,689,512 parameters for 1000 classes."""
    return _imagenet((2, 2, 2, 2), None, classes, name)


def resnet34(classes: int = 1000, *, name: str | None = None) -> Sequential:
    """Return ResNet-34: 21,797,672 parameters for 1000 classes."""
    return _imagenet((3, 4, 6, 3), None, classes, name)


def resnet50(
    classes: int = 1000,
    *,
    stride_on: Literal["1x1", "3x3"] = "1x1",
    name: str | None = None,
) -> Sequential:
    """Return ResNet-50: 25,557,032 parameters for 1000 classes.

    ``stride_on`` is that of :class:`Bottleneck`.
    """
    return _imagenet((3, 4, 6, 3), stride_on, classes, name)


def _imagenet(
    depths: Sequence[int],
    stride_on: Literal["1x1", "3x3"] | None,
    classes: int,
    name: str | None,
) -> Sequential:
    """Return the net for large images: basic blocks, or, with a stride, bottlenecks."""
    layers: list[tuple[str, Layer]] = [
        ("conv", Conv2d(3, 64, 7, stride=2, padding=3, bias=False)),
        ("norm", BatchNorm(64)),
        ("relu", ReLU()),
        ("pool", MaxPool2d(3, stride=2, padding=1)),
    ]
    channels = 64
    for stage, (depth, width) in enumerate(
        zip(depths, (64, 128, 256, 512), strict=True)
    ):
        parts: list[Layer] = []
        for place in range(depth):
            stride = 2 if stage > 0 and place == 0 else 1
            block = (
                BasicBlock(channels, width, stride)
                if stride_on is None
                else Bottleneck(channels, width, stride, stride_on=stride_on)
            )
            channels = block.out_channels
            parts.append(block)
        layers.append((f"stage{stage + 1}", Sequential(*parts)))
    return Sequential(*layers, *_head(channels, classes), name=name)


def _head(
    channels: int, classes: int, dtype: object = "float32"
) -> list[tuple[str, Layer]]:
    """Return the mean over the map and the dense layer that end a net."""
    return [
        ("mean", GlobalAvgPool()),
        ("flatten", Flatten()),
        ("classes", Dense(channels, classes, dtype=dtype)),
    ]
