"""Special functions that NumPy does not have."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphgpu.dtypes import Array, accumulator

__all__ = ["erf", "erfc", "normcdf"]

# W. J. Cody, "Rational Chebyshev approximations for the error function",
# Mathematics of Computation 23 (1969), 631-637: numerators and denominators,
# highest power first, for erf on [0, 0.46875] (in x^2), erfc on [0.46875, 4]
# (in x) and on [4, inf) (in 1/x^2).
_SMALL_P = (
    1.85777706184603153e-1,
    3.16112374387056560e00,
    1.13864154151050156e02,
    3.77485237685302021e02,
    3.20937758913846947e03,
)
_SMALL_Q = (
    1.0,
    2.36012909523441209e01,
    2.44024637934444173e02,
    1.28261652607737228e03,
    2.84423683343917062e03,
)
_MIDDLE_P = (
    2.15311535474403846e-8,
    5.64188496988670089e-1,
    8.88314979438837594e00,
    6.61191906371416295e01,
    2.98635138197400131e02,
    8.81952221241769090e02,
    1.71204761263407058e03,
    2.05107837782607147e03,
    1.23033935479799725e03,
)
_MIDDLE_Q = (
    1.0,
    1.57449261107098347e01,
    1.17693950891312499e02,
    5.37181101862009858e02,
    1.62138957456669019e03,
    3.29079923573345963e03,
    4.36261909014324716e03,
    3.43936767414372164e03,
    1.23033935480374942e03,
)
_LARGE_P = (
    -1.63153871373020978e-2,
    -3.05326634961232344e-1,
    -3.60344899949804439e-1,
    -1.25781726111229246e-1,
    -1.60837851487422766e-2,
    -6.58749161529837803e-4,
)
_LARGE_Q = (
    1.0,
    2.56852019228982242e00,
    1.87295284992346725e00,
    5.27905102951428412e-1,
    6.05183413124413191e-2,
    2.33520497626869185e-3,
)


def erf(x: Any) -> Any:
    """Return the error function 2/sqrt(pi) * integral of exp(-t^2) from 0 to x.

    >>> float(erf(np.float64(1.0)))
    0.8427007929497148
    """
    array = np.asarray(x)
    wide = array.astype(accumulator(array.dtype), copy=False)
    magnitude = np.minimum(np.abs(wide), 6.0)
    result = np.where(
        magnitude <= 0.46875, _small(magnitude), 1.0 - _complement(magnitude)
    )
    return np.copysign(result, wide).astype(array.dtype, copy=False)


def erfc(x: Any) -> Any:
    """Return 1 - erf(x), with all its digits where it is small; rounded once.

    >>> float(erfc(np.float64(10.0)))
    2.0884875837625446e-45
    """
    array = np.asarray(x)
    wide = array.astype(np.float64)
    magnitude = np.minimum(np.abs(wide), 28.0)
    tail = _gaussian(magnitude) * _scaled_complement(magnitude)
    upper = np.where(magnitude <= 0.46875, 1.0 - _small(magnitude), tail)
    result = np.where(wide < 0.0, 2.0 - upper, upper)
    return result.astype(array.dtype)


def normcdf(x: Any) -> Any:
    """Return erfc(-x / sqrt(2)) / 2, the distribution function of the standard normal.

    It has all its digits where it is small, and is rounded once.

    >>> float(normcdf(np.float64(-10.0)))
    7.619853024160525e-24
    """
    array = np.asarray(x)
    wide = array.astype(np.float64)
    magnitude = np.minimum(np.abs(wide), 40.0)
    scaled = magnitude * np.sqrt(0.5)
    tail = _gaussian(magnitude, 0.5) * _scaled_complement(scaled)
    lower = 0.5 * np.where(scaled <= 0.46875, 1.0 - _small(scaled), tail)
    result = np.where(wide > 0.0, 1.0 - lower, lower)
    return result.astype(array.dtype)


def _small(x: Array) -> Array:
    square = x * x
    result: Array = x * _ratio(square, _SMALL_P, _SMALL_Q)
    return result


def _complement(x: Array) -> Array:
    """Return erfc for x > 0.46875."""
    safe = np.maximum(x, 0.46875)
    result: Array = np.exp(-safe * safe) * _scaled_complement(safe)
    return result


def _scaled_complement(x: Array) -> Array:
    """Return exp(x^2) erfc(x) for x > 0.46875."""
    safe = np.maximum(x, 0.46875)
    inverse = 1.0 / (safe * safe)
    tail = (1 / np.sqrt(np.pi) + inverse * _ratio(inverse, _LARGE_P, _LARGE_Q)) / safe
    middle = _ratio(safe, _MIDDLE_P, _MIDDLE_Q)
    result: Array = np.where(safe <= 4.0, middle, tail)
    return result


def _gaussian(x: Array, factor: float = 1.0) -> Array:
    """Return exp(-factor x^2), without the error of a rounded square (Cody)."""
    sixteenths = np.trunc(x * 16.0) / 16.0
    rest = (x - sixteenths) * (x + sixteenths)
    result: Array = np.exp(-factor * sixteenths * sixteenths) * np.exp(-factor * rest)
    return result


def _ratio(x: Array, p: tuple[float, ...], q: tuple[float, ...]) -> Array:
    numerator: Array = np.full_like(x, p[0])
    denominator: Array = np.full_like(x, q[0])
    for a in p[1:]:
        numerator = numerator * x + a
    for b in q[1:]:
        denominator = denominator * x + b
    return numerator / denominator
