"""The error functions of float32, in float32, a piece in cache at a time.

All are made of the tail Φ(-a) = e^(-a²/2) R(a), a >= 0.  R falls slowly, from 1/2 as
1/a: (a + 4) R(a) is a polynomial in t = (a - 4) / (a + 4), fitted for the least
largest relative error, 9e-9 up to a = 14.6, where the tail is 0 in float32.  Results
are within a few units of the last place of those of :mod:`graphgpu.ops.special`,
which computes what is not float32.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import numpy as np

from graphgpu.dtypes import Array
from graphgpu.ops import special

__all__ = ["erf", "erfc", "normcdf"]

_PIECE = 16384
"""Elements of a piece: eight arrays of them are 512 KB."""
_TAIL = (
    -0.0001324334509298265,
    0.00017837130752269416,
    0.0015695895704544653,
    -0.003512077877106604,
    -0.007525003537679977,
    0.0604037647269267,
    -0.18652348604466676,
    0.3871369038912251,
    -0.6078965865503572,
    0.7552851353620605,
)
"""(a + 4) R(a) in t, highest power first."""
_CENTRE = (
    0.004717963139802482,
    -0.026757171744945227,
    0.11282822621475092,
    -0.3761260856273042,
    1.1283791655659428,
)
"""erf(x) / x in x² up to |x| = 1/2, highest power first; off by 1.4e-9 at most."""
_END = 16.0
"""From here on the tail is 0."""

Piece = Callable[[Array, Array, Array], None]
"""Writes a function of a vector to another, with rows of the same length at hand."""


def _pieces(function: Piece, x: Array) -> Array:
    """Return a function of an array, computed piece by piece."""
    source = np.ascontiguousarray(x).reshape(-1)
    result = np.empty_like(source)
    work = np.empty((6, min(_PIECE, source.size)), np.float32)
    with np.errstate(under="ignore"):
        for start in range(0, source.size, _PIECE):
            part = source[start : start + _PIECE]
            function(part, result[start : start + _PIECE], work[:, : part.size])
    return result.reshape(x.shape)


def normcdf(x: Array) -> Array:
    """Return Φ(x), the integral of the standard normal density up to x.

    >>> normcdf(np.float32([-100, 0, 100]))
    array([0. , 0.5, 1. ], dtype=float32)
    """
    if x.dtype != np.float32:
        return np.asarray(special.normcdf(x))
    return _pieces(_normcdf, x)


def erfc(x: Array) -> Array:
    """Return 1 - erf x = 2 Φ(-√2 x), with all its digits where it is small.

    >>> erfc(np.float32([-100, 0, 100]))
    array([2., 1., 0.], dtype=float32)
    """
    if x.dtype != np.float32:
        return np.asarray(special.erfc(x))
    return _pieces(_erfc, x)


def erf(x: Array) -> Array:
    """Return the error function: a polynomial near 0, 1 - erfc |x| beyond.

    >>> erf(np.float32([-100, 0, 100]))
    array([-1.,  0.,  1.], dtype=float32)
    """
    if x.dtype != np.float32:
        return np.asarray(special.erf(x))
    return _pieces(_erf, x)


def _normcdf(x: Array, out: Array, work: Array) -> None:
    """Choose between Φ(-|x|) and 1 - Φ(-|x|): |(x > 0) - Φ(-|x|)|."""
    _tail(x, 1.0, out, work)
    np.greater(x, 0, out=work[0], casting="unsafe")
    np.subtract(work[0], out, out=out)
    np.abs(out, out=out)


def _erfc(x: Array, out: Array, work: Array) -> None:
    """Choose between 2 Φ(-√2 |x|) and 2 - that."""
    _tail(x, sqrt(2), out, work)
    np.less(x, 0, out=work[0], casting="unsafe")
    np.subtract(work[0], out, out=out)
    np.abs(out, out=out)
    np.add(out, out, out=out)


def _erf(x: Array, out: Array, work: Array) -> None:
    """Choose by bits between the middle and the tails, with the sign of x."""
    _tail(x, sqrt(2), out, work)
    np.add(out, out, out=out)
    np.subtract(np.float32(1), out, out=out)
    near, square, middle = work[:3]
    np.abs(x, out=near)
    np.minimum(near, np.float32(0.5), out=near)
    np.multiply(near, near, out=square)
    _polynomial(_CENTRE, square, middle)
    np.multiply(middle, near, out=middle)
    inside = np.less_equal(np.abs(x, out=square), np.float32(0.5))
    bits, other = out.view(np.int32), middle.view(np.int32)
    np.subtract(other, bits, out=other)
    np.multiply(other, inside, out=other)
    np.add(bits, other, out=bits)
    np.copysign(out, x, out=out)


def _tail(x: Array, scale: float, out: Array, work: Array) -> None:
    """Write Φ(-scale |x|).

    With h, |x| rounded to sixteenths, and s, the rounded x², the rest x² - s is
    h² - s + (|x| - h) (|x| + h), and h² is exact.  It is so small that its
    exponential is 1 - scale² (x² - s) / 2.
    """
    a, high, rest, t, factor, power = work
    number = np.float32
    np.abs(x, out=a)
    np.minimum(a, number(_END), out=a)
    np.multiply(a, number(16), out=high)
    np.trunc(high, out=high)
    np.multiply(high, number(1 / 16), out=high)
    np.subtract(a, high, out=rest)
    np.add(a, high, out=t)
    np.multiply(rest, t, out=rest)
    np.multiply(high, high, out=high)
    np.multiply(a, a, out=power)
    np.subtract(high, power, out=high)
    np.add(rest, high, out=rest)
    half = number(-0.5 * scale * scale)
    np.multiply(rest, half, out=rest)
    np.multiply(power, half, out=power)
    np.exp(power, out=power)
    np.multiply(rest, power, out=rest)
    np.add(power, rest, out=power)
    if scale != 1:
        np.multiply(a, number(scale), out=a)
    np.add(a, number(4), out=factor)
    np.subtract(a, number(4), out=t)
    np.divide(t, factor, out=t)
    _polynomial(_TAIL, t, out)
    np.divide(out, factor, out=out)
    np.multiply(out, power, out=out)


def _polynomial(numbers: tuple[float, ...], x: Array, out: Array) -> None:
    """Write a polynomial, by Horner's rule."""
    first, second, *others = map(np.float32, numbers)
    np.multiply(x, first, out=out)
    np.add(out, second, out=out)
    for number in others:
        np.multiply(out, x, out=out)
        np.add(out, number, out=out)
