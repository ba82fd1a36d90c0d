"""Normalisation layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np

from graphgpu.dtypes import accumulator
from graphgpu.dtypes import dtype as dtype_of
from graphgpu.graph import Parameter, Variable
from graphgpu.nn.init import ones, zeros
from graphgpu.nn.layer import Layer
from graphgpu.ops.normalization import batch_norm, layer_norm

__all__ = ["BatchNorm", "LayerNorm"]


@final
class BatchNorm(Layer):
    """Batch normalisation by channel, axis 1, of inputs (N, C) or (N, C, d1, ...).

    Its state, ``running_mean`` and ``running_var``, is what inference normalises
    with.  Training normalises with the batch's statistics, and the output carries
    the updates of the state: give :func:`graphgpu.state_updates` of it to the
    training program.  See :func:`graphgpu.batch_norm`.

    Parameters
    ----------
    num_features
        The number of channels.
    eps
        What is added to the variance.
    momentum
        The part that a batch has in the new running statistics.
    affine
        Whether there are a weight (initially 1) and a bias (0) to learn.
    dtype
        Of the parameters; halves have their running statistics in float32.
    name
        The layer's name, ``"batch_norm"`` by default.

    Examples
    --------
    >>> import graphgpu as gg
    >>> layer = gg.nn.BatchNorm(16)
    >>> [s.path for s in layer.states()]
    ['batch_norm/running_mean', 'batch_norm/running_var']
    """

    shown = ("num_features",)

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        *,
        dtype: object = "float32",
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.num_features = self.positive("num_features", num_features)
        self.eps = eps
        self.momentum = momentum
        shape = (num_features,)
        self.weight: Parameter | None = None
        self.bias: Parameter | None = None
        if affine:
            self.weight = self.new_parameter("weight", shape, ones(), dtype=dtype)
            self.bias = self.new_parameter("bias", shape, zeros(), dtype=dtype)
        wide = accumulator(dtype_of(dtype))
        self.running_mean = self.new_state("running_mean", np.zeros(shape, wide))
        self.running_var = self.new_state("running_var", np.ones(shape, wide))

    def forward(self, x: Variable, *, training: bool) -> Variable:
        """Return x normalised."""
        self.require_size(x, 1, self.num_features, "channels")
        return batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            training,
            self.momentum,
            self.eps,
        )


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
        listed = (
            (normalized_shape,)
            if isinstance(normalized_shape, int)
            else tuple(normalized_shape)
        )
        self.normalized_shape = tuple(
            self.positive("normalized_shape", s) for s in listed
        )
        self.eps = eps
        self.weight: Parameter | None = None
        self.bias: Parameter | None = None
        shape = self.normalized_shape
        if affine:
            self.weight = self.new_parameter("weight", shape, ones(), dtype=dtype)
            self.bias = self.new_parameter("bias", shape, zeros(), dtype=dtype)

    def forward(self, x: Variable, *, training: bool) -> Variable:
        """Return x normalised."""
        return layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
