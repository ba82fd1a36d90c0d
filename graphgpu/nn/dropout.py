"""Noise as layers: in training they disturb their input, otherwise they pass it on."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, final

from graphgpu.graph import Variable
from graphgpu.nn.layer import Layer
from graphgpu.ops.noise import (
    alpha_dropout,
    dropout,
    dropout1d,
    dropout2d,
    dropout3d,
    feature_alpha_dropout,
    gaussian_dropout,
    gaussian_noise,
)

__all__ = [
    "AlphaDropout",
    "DropConnect",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "FeatureAlphaDropout",
    "GaussianDropout",
    "GaussianNoise",
]


class _Dropping(Layer):
    """A layer that drops with probability p, in training. Abstract."""

    function: ClassVar[Callable[..., Variable]]

    shown = ("p",)

    def __init__(self, p: float = 0.5, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.p = p
        if not isinstance(p, int | float) or not 0 <= p <= 1:
            self.reject(f"expected a probability p from 0 to 1, got {p!r}")

    def forward(self, x: Variable, *, training: bool) -> Variable:
        """Return x, disturbed if it is for training."""
        return type(self).function(x, self.p, training=training)


@final
class Dropout(_Dropping):
    """In training, zeroes elements with probability p; the others are / (1 - p).

    Otherwise it passes its input on.  See :func:`graphgpu.dropout`.

    >>> import graphgpu as gg
    >>> layer = gg.nn.Dropout(0.2)
    >>> x = gg.placeholder("x", ("batch", 3))
    >>> layer(x) is x, layer(x, training=True) is x
    (True, False)
    """

    function = staticmethod(dropout)


@final
class Dropout1d(_Dropping):
    """In training, zeroes whole channels of (N, C, L); see :class:`Dropout2d`."""

    function = staticmethod(dropout1d)


@final
class Dropout2d(_Dropping):
    """In training, zeroes whole maps of (N, C, H, W) with probability p.

    The others are / (1 - p).  See :func:`graphgpu.dropout2d`.

    >>> import graphgpu as gg
    >>> layer = gg.nn.Dropout2d(0.2)
    >>> layer(gg.placeholder("x", ("batch", 3, 8, 8)), training=True).type
    float32[batch,3,8,8]
    """

    function = staticmethod(dropout2d)


@final
class Dropout3d(_Dropping):
    """In training, zeroes whole maps of (N, C, D, H, W); see :class:`Dropout2d`."""

    function = staticmethod(dropout3d)


@final
class AlphaDropout(_Dropping):
    """In training, dropout that keeps the mean and the variance that SELU makes.

    See :func:`graphgpu.alpha_dropout`.

    >>> import graphgpu as gg
    >>> gg.nn.AlphaDropout(0.1)(gg.placeholder("x", ("batch", 3)), training=True).type
    float32[batch,3]
    """

    function = staticmethod(alpha_dropout)


@final
class FeatureAlphaDropout(_Dropping):
    """In training, alpha dropout of whole maps of (N, C, d1, ...).

    See :func:`graphgpu.feature_alpha_dropout`.
    """

    function = staticmethod(feature_alpha_dropout)


@final
class GaussianDropout(_Dropping):
    """In training, multiplies by numbers of N(1, p / (1 - p)), with p below 1.

    See :func:`graphgpu.gaussian_dropout`.

    >>> import graphgpu as gg
    >>> gg.nn.GaussianDropout(0.1)
    GaussianDropout(p=0.1)
    """

    function = staticmethod(gaussian_dropout)


@final
class GaussianNoise(Layer):
    """In training, adds numbers of N(0, std²).

    See :func:`graphgpu.gaussian_noise`.

    >>> import graphgpu as gg
    >>> layer = gg.nn.GaussianNoise(0.2)
    >>> x = gg.placeholder("x", ("batch", 3))
    >>> layer(x) is x, layer(x, training=True) is x
    (True, False)
    """

    shown = ("std",)

    def __init__(self, std: float = 0.1, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.std = self.at_least_zero("std", std)

    def forward(self, x: Variable, *, training: bool) -> Variable:
        """Return x, with noise if it is for training."""
        return gaussian_noise(x, self.std, training=training)


@final
class DropConnect(_Dropping):
    """A transform of weights: in training, zeroes each with probability p.

    The others are / (1 - p), so that inference uses the weights as they are (Wan et
    al., "Regularization of neural networks using DropConnect", 2013, with the scaling
    done while training).  A mask is drawn for each step and shared by its samples.

    >>> import graphgpu as gg
    >>> layer = gg.nn.Dense(4, 3).transform("weight", gg.nn.DropConnect(0.2))
    >>> layer(gg.placeholder("x", ("batch", 4)), training=True).type
    float32[batch,3]
    """

    function = staticmethod(dropout)
