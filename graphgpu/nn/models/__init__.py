"""Residual networks and their blocks."""

from graphgpu.nn.models.blocks import BasicBlock, Bottleneck, ShortcutType, ZeroPadded
from graphgpu.nn.models.resnets import (
    cifar_resnet,
    resnet18,
    resnet20,
    resnet34,
    resnet50,
)

__all__ = [
    "BasicBlock",
    "Bottleneck",
    "ShortcutType",
    "ZeroPadded",
    "cifar_resnet",
    "resnet18",
    "resnet20",
    "resnet34",
    "resnet50",
]
