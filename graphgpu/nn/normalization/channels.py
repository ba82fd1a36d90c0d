"""Normalisation by channel: over the batch, instances, groups, nearby channels."""

from __future__ import annotations

from typing import final

import numpy as np

from graphgpu.dtypes import accumulator
from graphgpu.dtypes import dtype as dtype_of
from graphgpu.graph import Parameter, Variable
from graphgpu.nn.init import ones, zeros
from graphgpu.nn.layer import Layer
from graphgpu.ops.channel_normalization import (
    group_norm,
    instance_norm,
    local_response_norm,
)
from graphgpu.ops.normalization import Norm, batch_norm

__all__ = ["BatchNorm", "GroupNorm", "InstanceNorm", "LocalResponseNorm"]


class _Affine(Layer):
    """A normalisation with a weight and a bias for each channel, or none. Abstract."""

    weight: Parameter | None = None
    bias: Parameter | None = None

    def _make_parameters(self, channels: int, affine: bool, dtype: object) -> None:
        if affine:
            shape = (channels,)
            self.weight = self.new_parameter("weight", shape, ones(), dtype=dtype)
            self.bias = self.new_parameter("bias", shape, zeros(), dtype=dtype)


@final
class BatchNorm(_Affine):
    """Batch normalisation by channel, axis 1, of inputs (N, C) or (N, C, d1, ...).

    Its state, ``running_mean`` and ``running_var``, is what inference normalises
    with.  Training normalises with the batch's statistics, and the output carries
    the updates of the state: give :func:`graphgpu.state_updates` of it to the
    training program.  A layer that is called twice has both, one after another, if
    one call is given both outputs.  See :func:`graphgpu.batch_norm`.

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
    norm
        ``"l2"``, or ``"l1"`` for deviations by their mean magnitude.
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
        norm: Norm = "l2",
        dtype: object = "float32",
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.num_features = self.positive("num_features", num_features)
        self.eps = self.at_least_zero("eps", eps)
        self.momentum = self.at_least_zero("momentum", momentum)
        if momentum > 1:
            self.reject(f"expected momentum to be at most 1, got {momentum!r}")
        self.norm: Norm = norm
        if norm not in ("l1", "l2"):
            self.reject(f"expected norm 'l2' or 'l1', got {norm!r}")
        self._make_parameters(num_features, affine, dtype)
        shape = (num_features,)
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
            norm=self.norm,
        )


@final
class GroupNorm(_Affine):
    """Normalisation of groups of channels of inputs (N, C, d1, ...).

    It does not depend on the batch.  Weight (initially 1) and bias (0) are of shape
    (C,).  See :func:`graphgpu.group_norm`.

    >>> import graphgpu as gg
    >>> gg.nn.GroupNorm(4, 16)(gg.placeholder("x", ("batch", 16, 8, 8))).type
    float32[batch,16,8,8]
    """

    shown = ("num_groups", "num_channels")

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        dtype: object = "float32",
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.num_groups = self.positive("num_groups", num_groups)
        self.num_channels = self.positive("num_channels", num_channels)
        self.eps = self.at_least_zero("eps", eps)
        if num_channels % num_groups:
            self.reject(
                f"expected a number of channels that {num_groups} groups divide, got "
                f"{num_channels}"
            )
        self._make_parameters(num_channels, affine, dtype)

    def forward(self, x: Variable, *, training: bool) -> Variable:
        """Return x normalised."""
        self.require_size(x, 1, self.num_channels, "channels")
        return group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


@final
class InstanceNorm(_Affine):
    """Normalisation of each map of each sample of inputs (N, C, d1, ...).

    With ``affine``, there are a weight (initially 1) and a bias (0) of shape (C,).
    See :func:`graphgpu.instance_norm`.

    >>> import graphgpu as gg
    >>> gg.nn.InstanceNorm(16)(gg.placeholder("x", ("batch", 16, 8, 8))).type
    float32[batch,16,8,8]
    """

    shown = ("num_features",)

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        affine: bool = False,
        *,
        dtype: object = "float32",
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.num_features = self.positive("num_features", num_features)
        self.eps = self.at_least_zero("eps", eps)
        self._make_parameters(num_features, affine, dtype)

    def forward(self, x: Variable, *, training: bool) -> Variable:
        """Return x normalised."""
        self.require_size(x, 1, self.num_features, "channels")
        return instance_norm(x, self.weight, self.bias, self.eps)


@final
class LocalResponseNorm(Layer):
    """Division by a power of what nearby channels sum to.

    See :func:`graphgpu.local_response_norm`.

    >>> import graphgpu as gg
    >>> gg.nn.LocalResponseNorm(5)(gg.placeholder("x", ("batch", 16, 8, 8))).type
    float32[batch,16,8,8]
    """

    shown = ("size", "alpha", "beta", "k")

    def __init__(
        self,
        size: int,
        alpha: float = 1e-4,
        beta: float = 0.75,
        k: float = 1.0,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.size = self.positive("size", size)
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def forward(self, x: Variable, *, training: bool) -> Variable:
        """Return x normalised."""
        return local_response_norm(x, self.size, self.alpha, self.beta, self.k)
