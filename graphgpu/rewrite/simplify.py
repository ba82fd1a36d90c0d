"""Algebra that changes no bit: neutral numbers, double signs, needless operations.

Each rule holds for every value, NaN, ±inf and -0 included: x · 0, x - x, x / x
and x + 0 (which is 0 for x = -0) stay as they are.  Only products with a power
of x may be rounded otherwise.
"""

from __future__ import annotations

from math import frexp, isfinite

import numpy as np

from graphgpu.dtypes import accumulator, is_floating
from graphgpu.graph import Variable, apply
from graphgpu.ops.activations.normalized import Softmax
from graphgpu.ops.activations.sigmoidal import Sigmoid, Softplus
from graphgpu.ops.arithmetic import (
    Abs,
    Add,
    Divide,
    Multiply,
    Negative,
    Power,
    Reciprocal,
    Rsqrt,
    Sqrt,
    Square,
    Subtract,
)
from graphgpu.ops.elementwise import Cast
from graphgpu.ops.exponential import Exp
from graphgpu.ops.markers import StopGradient, WithStateUpdate
from graphgpu.rewrite.patterns import (
    either_way,
    fit,
    holds_exactly,
    is_number,
    made_by,
    number,
    scalar,
)
from graphgpu.rewrite.rules import Rules

__all__ = ["simplify"]

simplify = Rules("simplify")

_NEVER_NEGATIVE = (Abs, Exp, Sigmoid, Softmax, Softplus, Square)


@simplify.on(StopGradient, WithStateUpdate)
def passed_on(v: Variable) -> Variable | None:
    """An operation that passes its input on, read through."""
    assert v.operation is not None
    place = v.operation.identity_of
    return None if place is None else v.inputs[place]


# --- sums and differences


@simplify.on(Add)
def plus_nothing(v: Variable) -> Variable | None:
    """x + (-0) = x; of integers, x + 0 = x."""
    nothing = -0.0 if is_floating(v.dtype) else 0
    for x, y in either_way(v):
        if is_number(y, nothing):
            return fit(x, v)
    return None


@simplify.on(Subtract)
def minus_nothing(v: Variable) -> Variable | None:
    """x - 0 = x."""
    x, y = v.inputs
    return fit(x, v) if is_number(y, 0) else None


@simplify.on(Add)
def plus_negative(v: Variable) -> Variable | None:
    """x + (-y) = x - y."""
    for x, y in either_way(v):
        if made_by(y, Negative):
            return fit(x - y.inputs[0], v)
    return None


@simplify.on(Subtract)
def minus_negative(v: Variable) -> Variable | None:
    """x - (-y) = x + y."""
    x, y = v.inputs
    return fit(x + y.inputs[0], v) if made_by(y, Negative) else None


# --- signs


@simplify.on(Negative)
def double_negative(v: Variable) -> Variable | None:
    """-(-x) = x."""
    (x,) = v.inputs
    return x.inputs[0] if made_by(x, Negative) else None


@simplify.on(Negative)
def negative_of_scaled(v: Variable) -> Variable | None:
    """-(x c) = x (-c), -(x / c) = x / (-c), for a number c."""
    (y,) = v.inputs
    if not is_floating(v.dtype) or not made_by(y, Multiply, Divide):
        return None
    x, c = y.inputs
    if made_by(y, Multiply) and number(c) is None:
        x, c = c, x
    found = number(c)
    if found is None:
        return None
    assert y.operation is not None
    return fit(apply(y.operation, x, scalar(-found, v.dtype)), v)


@simplify.on(Multiply, Divide)
def product_of_negatives(v: Variable) -> Variable | None:
    """(-x) (-y) = x y, (-x) c = x (-c) for a number c; quotients too."""
    x, y = v.inputs
    assert v.operation is not None
    if not is_floating(v.dtype):
        return None
    if made_by(x, Negative) and made_by(y, Negative):
        return fit(apply(v.operation, x.inputs[0], y.inputs[0]), v)
    if not made_by(x, Negative) and not made_by(y, Negative):
        return None
    for place, (a, c) in enumerate(either_way(v)):
        found = number(c) if made_by(a, Negative) else None
        if found is not None:
            pair = [a.inputs[0], scalar(-found, v.dtype)]
            return fit(apply(v.operation, *(pair[::-1] if place else pair)), v)
    return None


@simplify.on(Abs)
def absolute(v: Variable) -> Variable | None:
    """|-x| = |x|, |x| = x where x cannot be negative."""
    (x,) = v.inputs
    if made_by(x, Negative) and v.dtype.kind != "u":
        return apply(Abs(), x.inputs[0])
    if made_by(x, *_NEVER_NEGATIVE) and is_floating(v.dtype):
        return x
    return None


@simplify.on(Square)
def square_of_sign(v: Variable) -> Variable | None:
    """(-x)² = x², |x|² = x²."""
    (x,) = v.inputs
    return apply(Square(), x.inputs[0]) if made_by(x, Negative, Abs) else None


# --- products and quotients


@simplify.on(Multiply)
def times_one(v: Variable) -> Variable | None:
    """x · 1 = x, x · (-1) = -x."""
    for x, y in either_way(v):
        found = number(y)
        if found == 1:
            return fit(x, v)
        if found == -1:
            return fit(-x, v)
    return None


@simplify.on(Multiply)
def times_itself(v: Variable) -> Variable | None:
    """x · x = x²."""
    x, y = v.inputs
    return apply(Square(), x) if x is y and v.dtype.kind != "b" else None


@simplify.on(Divide)
def divided_by_one(v: Variable) -> Variable | None:
    """x / 1 = x, x / (-1) = -x."""
    x, y = v.inputs
    if is_number(y, 1):
        return fit(x, v)
    return fit(-x, v) if is_number(y, -1) else None


@simplify.on(Divide)
def divided_by_power_of_two(v: Variable) -> Variable | None:
    """x / 2ⁿ = x · 2⁻ⁿ."""
    x, y = v.inputs
    found = number(y)
    if found is None or not found or not isfinite(found):
        return None
    if abs(frexp(found)[0]) != 0.5:
        return None
    inverse = scalar(1 / found, v.dtype)
    # Neither may be too small or too large for the dtype.
    exact = number(inverse) == 1 / found and abs(1 / found) >= _smallest_normal(v)
    return fit(x * inverse, v) if exact else None


@simplify.on(Divide)
def one_divided(v: Variable) -> Variable | None:
    """1 / x = x⁻¹, 1 / √x = x^(-1/2)."""
    x, y = v.inputs
    return fit(apply(Reciprocal(), y), v) if is_number(x, 1) else None


@simplify.on(Reciprocal)
def reciprocal_root(v: Variable) -> Variable | None:
    """(√x)⁻¹ = x^(-1/2)."""
    (x,) = v.inputs
    return apply(Rsqrt(), x.inputs[0]) if made_by(x, Sqrt) else None


def _smallest_normal(v: Variable) -> float:
    if v.dtype.name == "bfloat16":
        return 2.0**-126
    return float(np.finfo(v.dtype).smallest_normal)


# --- powers


@simplify.on(Power)
def whole_power(v: Variable) -> Variable | None:
    """x¹ = x, x² = x · x, x³ = x · x², x⁴ = (x²)², x⁰ = 1, x⁻¹ = 1 / x."""
    x, y = v.inputs
    exponent = number(y)
    if exponent is None:
        return None
    if exponent == 0:  # NaN too
        return fit(scalar(1, v.dtype), v)
    if exponent == 1:
        return fit(x, v)
    if exponent == 2:
        return fit(apply(Square(), x), v)
    if accumulator(v.dtype) != v.dtype:  # each product of halves is rounded
        return None
    if exponent == 3:
        return fit(x * apply(Square(), x), v)
    if exponent == 4:
        return fit(apply(Square(), apply(Square(), x)), v)
    if exponent == -1 and is_floating(v.dtype):
        return fit(apply(Reciprocal(), x), v)
    return None


# --- dtypes


@simplify.on(Cast)
def needless_cast(v: Variable) -> Variable | None:
    """A cast to the dtype that it is; a cast of a cast that lost nothing."""
    (x,) = v.inputs
    if x.dtype == v.dtype:
        return x
    if not made_by(x, Cast):
        return None
    (source,) = x.inputs
    if not holds_exactly(source.dtype, x.dtype):
        return None
    # A float outside an integer's range is converted as the device likes.
    if is_floating(x.dtype) and not (is_floating(v.dtype) or v.dtype.kind == "b"):
        return None
    return source.cast(v.dtype)
