"""Initial values of parameters, as published.

An initialiser is a function of a random generator, a shape and the
:class:`Fans` of the unit that the weights belong to; those here are made by
functions with the settings as parameters: ``he_normal()``, ``constant(0.1)``.
A function of your own serves as well.

A layer draws each parameter from a generator of its own, made of the root
scope's seed and the parameter's key (its path when it was created, and an
ordinal), so that initial values do not depend on what else was drawn before.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal, TypeAlias

import numpy as np

from graphgpu.dtypes import Array

__all__ = [
    "Fans",
    "Initializer",
    "constant",
    "convolution_fans",
    "convolution_transpose_fans",
    "dense_fans",
    "fans_of",
    "generator",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "lecun_normal",
    "lecun_uniform",
    "normal",
    "ones",
    "orthogonal",
    "uniform",
    "zeros",
]


@dataclass(frozen=True, slots=True)
class Fans:
    """How many units a unit is fed by, and how many it feeds, through weights."""

    fan_in: int
    fan_out: int


Initializer: TypeAlias = Callable[[np.random.Generator, tuple[int, ...], Fans], Array]


def dense_fans(shape: tuple[int, ...]) -> Fans:
    """Return the fans of a dense weight (in, out): just these.

    >>> dense_fans((784, 10))
    Fans(fan_in=784, fan_out=10)
    """
    fan_in, fan_out = shape
    return Fans(fan_in, fan_out)


def convolution_fans(shape: tuple[int, ...], groups: int = 1) -> Fans:
    """Return the fans of a convolution's weight (out, in / groups, window...).

    An output is fed by in / groups channels over the window; an input feeds
    out / groups channels over the window (at stride 1, away from the border).

    >>> convolution_fans((64, 3, 7, 7))
    Fans(fan_in=147, fan_out=3136)
    """
    window = math.prod(shape[2:])
    return Fans(shape[1] * window, shape[0] // groups * window)


def convolution_transpose_fans(shape: tuple[int, ...], groups: int = 1) -> Fans:
    """Return the fans of a transposed convolution's weight (in, out / groups, ...).

    They are those of the convolution whose adjoint it is, exchanged.
    """
    fans = convolution_fans(shape, groups)
    return Fans(fans.fan_out, fans.fan_in)


def fans_of(shape: tuple[int, ...]) -> Fans:
    """Return the fans of a weight of two axes, dense, or more, a convolution's.

    A unit with a scalar or a vector for a weight has one of each.
    """
    if len(shape) < 2:
        return Fans(1, 1)
    return dense_fans(shape) if len(shape) == 2 else convolution_fans(shape)


def generator(seed: int, key: str) -> np.random.Generator:
    """Return the generator for a key: Philox, keyed by a hash of seed and key.

    >>> generator(0, "a").random() == generator(0, "a").random()
    True
    >>> generator(0, "a").random() == generator(0, "b").random()
    False
    """
    digest = blake2b(f"{seed}:{key}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))


@dataclass(frozen=True, slots=True)
class Scaled:
    """Weights of mean 0 and of the variance ``scale`` / fan."""

    scale: float
    fan: Literal["in", "average"]
    distribution: Literal["normal", "uniform"]

    def __call__(
        self, random: np.random.Generator, shape: tuple[int, ...], fans: Fans
    ) -> Array:
        """Draw; a uniform distribution on [-a, a] has the variance a² / 3."""
        average = (fans.fan_in + fans.fan_out) / 2
        fan = fans.fan_in if self.fan == "in" else average
        deviation = math.sqrt(self.scale / max(fan, 1))
        if self.distribution == "normal":
            return deviation * random.standard_normal(shape)
        limit = math.sqrt(3) * deviation
        return random.uniform(-limit, limit, shape)


@dataclass(frozen=True, slots=True)
class Orthogonal:
    """A matrix Q with QᵀQ = gain² 1, or QQᵀ, whichever is the smaller."""

    gain: float

    def __call__(
        self, random: np.random.Generator, shape: tuple[int, ...], fans: Fans
    ) -> Array:
        """Take Q of a Gaussian matrix, with R's signs: then Q is uniform.

        F. Mezzadri, "How to generate random matrices from the classical compact
        groups", Notices of the AMS 54 (2007).
        """
        rows, columns = shape[0], math.prod(shape[1:])
        gaussian = random.standard_normal((max(rows, columns), min(rows, columns)))
        q, r = np.linalg.qr(gaussian)
        q = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)
        result: Array = self.gain * (q if rows >= columns else q.T).reshape(shape)
        return result


@dataclass(frozen=True, slots=True)
class Constant:
    """The same number everywhere, or a given array."""

    value: Any

    def __call__(
        self, random: np.random.Generator, shape: tuple[int, ...], fans: Fans
    ) -> Array:
        """Fill."""
        return np.array(np.broadcast_to(np.asarray(self.value, np.float64), shape))


@dataclass(frozen=True, slots=True)
class Normal:
    """A Gaussian distribution that does not depend on the fans."""

    std: float
    mean: float

    def __call__(
        self, random: np.random.Generator, shape: tuple[int, ...], fans: Fans
    ) -> Array:
        """Draw."""
        return random.normal(self.mean, self.std, shape)


@dataclass(frozen=True, slots=True)
class Uniform:
    """A uniform distribution that does not depend on the fans."""

    low: float
    high: float

    def __call__(
        self, random: np.random.Generator, shape: tuple[int, ...], fans: Fans
    ) -> Array:
        """Draw."""
        return random.uniform(self.low, self.high, shape)


def glorot_uniform(gain: float = 1.0) -> Initializer:
    """Return U(-a, a) with a = gain √(6 / (fan_in + fan_out)).

    Glorot and Bengio, "Understanding the difficulty of training deep feedforward
    neural networks", 2010, equation 16.
    """
    return Scaled(gain**2, "average", "uniform")


def glorot_normal(gain: float = 1.0) -> Initializer:
    """Return N(0, s²) with s = gain √(2 / (fan_in + fan_out)).

    Glorot and Bengio, 2010, equation 12, as a Gaussian.
    """
    return Scaled(gain**2, "average", "normal")


def he_uniform(negative_slope: float = 0.0) -> Initializer:
    """Return U(-a, a) with a = √(6 / ((1 + s²) fan_in)), s the slope below 0."""
    return Scaled(2 / (1 + negative_slope**2), "in", "uniform")


def he_normal(negative_slope: float = 0.0) -> Initializer:
    """Return N(0, 2 / ((1 + s²) fan_in)), s being the rectifier's slope below 0.

    He, Zhang, Ren and Sun, "Delving deep into rectifiers", 2015, equations 10
    and 15.
    """
    return Scaled(2 / (1 + negative_slope**2), "in", "normal")


def lecun_uniform() -> Initializer:
    """Return U(-a, a) with a = √(3 / fan_in)."""
    return Scaled(1.0, "in", "uniform")


def lecun_normal() -> Initializer:
    """Return N(0, 1 / fan_in).

    LeCun, Bottou, Orr and Müller, "Efficient backprop", 1998, equation 16.
    """
    return Scaled(1.0, "in", "normal")


def orthogonal(gain: float = 1.0) -> Initializer:
    """Return a random orthogonal matrix times the gain, uniformly distributed.

    The weight is taken as a matrix of its first axis and the others together;
    if that is not square, its shorter side is orthonormal.  Saxe, McClelland and
    Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear
    neural networks", 2013.
    """
    return Orthogonal(gain)


def zeros() -> Initializer:
    """Return zeros."""
    return Constant(0.0)


def ones() -> Initializer:
    """Return ones."""
    return Constant(1.0)


def constant(value: Any) -> Initializer:
    """Return a number everywhere, or an array that broadcasts to the shape."""
    return Constant(value)


def normal(std: float = 1.0, mean: float = 0.0) -> Initializer:
    """Return N(mean, std²)."""
    return Normal(std, mean)


def uniform(low: float = 0.0, high: float = 1.0) -> Initializer:
    """Return U(low, high)."""
    return Uniform(low, high)
