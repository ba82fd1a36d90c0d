"""Kernels on tiles of images, [H, B, W, C], for the loops over blocks of a batch."""

from graphgpu.backends.numpy.tiles.average_pool import (
    AveragePoolBackward,
    AveragePoolForward,
    GlobalAverageBackward,
    GlobalAverageForward,
)
from graphgpu.backends.numpy.tiles.blocks import block_size
from graphgpu.backends.numpy.tiles.convolution import (
    ConvolutionForward,
    forward_order,
    from_forward_order,
)
from graphgpu.backends.numpy.tiles.input_gradient import ConvolutionInput
from graphgpu.backends.numpy.tiles.kernel import BoundKernel, Need, TileKernel
from graphgpu.backends.numpy.tiles.max_pool import (
    MaxPoolBackward,
    MaxPoolForward,
    MaxPoolSearch,
)
from graphgpu.backends.numpy.tiles.weight_gradient import (
    ConvolutionBackward,
    ConvolutionWeight,
)

__all__ = [
    "AveragePoolBackward",
    "AveragePoolForward",
    "BoundKernel",
    "ConvolutionBackward",
    "ConvolutionForward",
    "ConvolutionInput",
    "ConvolutionWeight",
    "GlobalAverageBackward",
    "GlobalAverageForward",
    "MaxPoolBackward",
    "MaxPoolForward",
    "MaxPoolSearch",
    "Need",
    "TileKernel",
    "block_size",
    "forward_order",
    "from_forward_order",
]
