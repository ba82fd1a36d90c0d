"""Normalisation of activations; that of weights is in ``weights``."""

from graphgpu.nn.normalization.channels import (
    BatchNorm,
    GroupNorm,
    InstanceNorm,
    LocalResponseNorm,
)
from graphgpu.nn.normalization.features import LayerNorm, RMSNorm

__all__ = [
    "BatchNorm",
    "GroupNorm",
    "InstanceNorm",
    "LayerNorm",
    "LocalResponseNorm",
    "RMSNorm",
]
