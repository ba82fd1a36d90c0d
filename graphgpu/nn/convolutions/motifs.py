"""Motif detectors: shared weights slid over the input, and the best fit."""

from __future__ import annotations

from typing import final

import numpy as np

from graphgpu.graph import Operand, Variable
from graphgpu.nn.convolutions.convolution import Convolution
from graphgpu.nn.convolutions.kernels import Ints
from graphgpu.nn.init import Initializer
from graphgpu.ops.motifs import detect_motifs
from graphgpu.ops.windows import Padding

__all__ = ["MotifDetector1d", "MotifDetector2d"]


class MotifDetector(Convolution):
    """How well motifs fit; parameters as of :class:`MotifDetector2d`. Abstract."""

    shown = ("in_channels", "motifs", "kernel_size", "stride", "padding")

    def __init__(
        self,
        in_channels: int,
        motifs: int,
        kernel_size: Ints,
        stride: Ints = 1,
        padding: Padding = 0,
        bias: bool = True,
        *,
        weight_init: Initializer | None = None,
        bias_init: Initializer | None = None,
        dtype: object = "float32",
        name: str | None = None,
    ) -> None:
        is_size = isinstance(motifs, int | np.integer) and motifs > 0
        super().__init__(
            in_channels,
            motifs if is_size else 1,
            kernel_size,
            stride,
            padding,
            bias=bias,
            weight_init=weight_init,
            bias_init=bias_init,
            dtype=dtype,
            name=name,
        )
        self.motifs = self.positive("motifs", motifs)

    def forward(self, x: Variable, *, training: bool) -> Variable:
        """Return the score of each motif where it fits best."""
        self.require_size(x, 1, self.in_channels, "channels")
        given = (self.weight, self.bias, self.stride, self.padding)
        return detect_motifs(x, *given)[0]

    def locate(self, x: Operand, *, training: bool = False) -> Variable:
        """Return the place at which each motif begins where it fits best.

        An int64 for each spatial axis: the second result of
        :func:`graphgpu.detect_motifs`.
        """
        weight = self.value("weight", training=training)
        bias = None if self.bias is None else self.value("bias", training=training)
        return detect_motifs(x, weight, bias, self.stride, self.padding)[1]


@final
class MotifDetector1d(MotifDetector):
    """Whether motifs are anywhere in signals (N, C, W); see ``MotifDetector2d``.

    >>> import graphgpu as gg
    >>> layer = gg.nn.MotifDetector1d(4, 10, 8)
    >>> layer(gg.placeholder("x", ("batch", 4, "length"))).type
    float32[batch,10]
    """

    spatial_axes = 1


@final
class MotifDetector2d(MotifDetector):
    """Whether motifs are anywhere in images (N, C, H, W): a score for each.

    z[n, m] = b[m] + max_p (w[m] · the patch at p), with the same weights at all
    places; source and mathematics are with :func:`graphgpu.detect_motifs`.  The
    weight is of shape (motifs, in, R, S), initially He's Gaussian; the bias is 0.

    Parameters
    ----------
    in_channels, motifs
        The sizes of axis 1 of input and output.
    kernel_size, stride, padding, bias
        As of :class:`Conv2d`.
    weight_init, bias_init, dtype, name
        As of :class:`Conv2d`.

    Examples
    --------
    >>> import graphgpu as gg
    >>> layer = gg.nn.MotifDetector2d(3, 10, 5)
    >>> x = gg.placeholder("x", ("batch", 3, 32, 32))
    >>> layer(x).type, layer.locate(x).type
    (float32[batch,10], int64[batch,10,2])
    """

    spatial_axes = 2
