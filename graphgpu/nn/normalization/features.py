"""Normalisation of each sample over its last axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np

from graphgpu.graph import Parameter, Variable
from graphgpu.nn.init import ones, zeros
from graphgpu.nn.layer import Layer
from graphgpu.ops.normalization import layer_norm, rms_norm

__all__ = ["LayerNorm", "RMSNorm"]


@final
class LayerNorm(Layer):
    """Layer normalisation over the last axes, those of ``normalized_shape``.

    Weight (initially 1) and bias (0) are of that shape.  See
    :func:`graphgpu.layer_norm`.

    >>> import graphgpu as gg
    >>> gg.nn.LayerNorm(64)(gg.placeholder("x", ("batch", 10, 64))).type
    float32[batch,10,64]
    """

    shown = ("normalized_shape",)

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        affine: bool = True,
        *,
        dtype: object = "float32",
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.normalized_shape = _sizes(self, normalized_shape)
        self.eps = self.at_least_zero("eps", eps)
        self.weight: Parameter | None = None
        self.bias: Parameter | None = None
        shape = self.normalized_shape
        if affine:
            self.weight = self.new_parameter("weight", shape, ones(), dtype=dtype)
            self.bias = self.new_parameter("bias", shape, zeros(), dtype=dtype)

    def forward(self, x: Variable, *, training: bool) -> Variable:
        """Return x normalised."""
        return layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)


@final
class RMSNorm(Layer):
    """Normalisation by the root mean square over the last axes.

    The weight (initially 1) is of ``normalized_shape``; there is no bias.  See
    :func:`graphgpu.rms_norm`.

    >>> import graphgpu as gg
    >>> gg.nn.RMSNorm(64)(gg.placeholder("x", ("batch", 10, 64))).type
    float32[batch,10,64]
    """

    shown = ("normalized_shape",)

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        affine: bool = True,
        *,
        dtype: object = "float32",
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.normalized_shape = _sizes(self, normalized_shape)
        self.eps = None if eps is None else self.at_least_zero("eps", eps)
        self.weight: Parameter | None = None
        if affine:
            shape = self.normalized_shape
            self.weight = self.new_parameter("weight", shape, ones(), dtype=dtype)

    def forward(self, x: Variable, *, training: bool) -> Variable:
        """Return x normalised."""
        return rms_norm(x, self.normalized_shape, self.weight, self.eps)


def _sizes(layer: Layer, given: int | Sequence[int]) -> tuple[int, ...]:
    """Return a shape that a layer is made with."""
    listed = (given,) if isinstance(given, int | np.integer) else tuple(given)
    return tuple(layer.positive("normalized_shape", s) for s in listed)
