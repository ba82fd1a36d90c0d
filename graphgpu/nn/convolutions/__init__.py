"""Weights that slide over signals and images, and layers with weights by map."""

from graphgpu.nn.convolutions.convolution import (
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
    TrueConv1d,
    TrueConv2d,
    TrueConv3d,
)
from graphgpu.nn.convolutions.feature_maps import (
    FilterBank2d,
    MapGain,
    Subsampling1d,
    Subsampling2d,
)
from graphgpu.nn.convolutions.local import LocallyConnected1d, LocallyConnected2d
from graphgpu.nn.convolutions.motifs import MotifDetector1d, MotifDetector2d
from graphgpu.nn.convolutions.separable import (
    DepthwiseConv1d,
    DepthwiseConv2d,
    SeparableConv1d,
    SeparableConv2d,
)

__all__ = [
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "DepthwiseConv1d",
    "DepthwiseConv2d",
    "FilterBank2d",
    "LocallyConnected1d",
    "LocallyConnected2d",
    "MapGain",
    "MotifDetector1d",
    "MotifDetector2d",
    "SeparableConv1d",
    "SeparableConv2d",
    "Subsampling1d",
    "Subsampling2d",
    "TrueConv1d",
    "TrueConv2d",
    "TrueConv3d",
]
