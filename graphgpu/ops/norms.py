"""Norms of vectors, and vectors brought to norm 1.

Squares of numbers beyond 1e19 overflow in float32, and those of numbers below 1e-19
vanish, where the norm itself does neither.  So vectors are multiplied by the power of
two that brings them near 1, and the norm by its inverse, which rounds nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import numpy as np

from graphgpu.errors import GraphError
from graphgpu.graph import Operand, Variable, apply, located
from graphgpu.ops.arithmetic import abs as absolute
from graphgpu.ops.arithmetic import clip, maximum, power, sqrt, square
from graphgpu.ops.comparison import equal, where
from graphgpu.ops.creation import zeros_like
from graphgpu.ops.elementwise import Unary, cast
from graphgpu.ops.markers import stop_gradient
from graphgpu.ops.random import number_of
from graphgpu.ops.reduction import Axis, axes_of, max, mean, min, sum
from graphgpu.ops.requirements import Naming, floating, widened

__all__ = ["normalize", "vector_norm"]


@dataclass(frozen=True, slots=True)
class Balance(Unary):
    """2^-⌊log₂ x⌋ of x brought between two limits; no gradient flows."""

    least: float
    most: float
    expression = "exp2(-floor(log2(minimum(maximum(x, least), most))))"
    lowest_kind = 2

    def connects(self, index: int) -> bool:
        """No gradient flows: what it scales is unscaled again."""
        return False


def vector_norm(
    x: Operand, ord: float = 2, axis: Axis = None, keepdims: bool = False
) -> Variable:
    """Return (Σ |x|^p)^(1/p) over the axes given, or over all, for p = ``ord``.

    ``inf`` is the largest |x| and ``-inf`` the smallest; 0 is the number of x that
    are not 0, whose gradient is 0 (*Deep Learning*, section 2.5; named as in the
    Python array API standard).  It neither overflows nor vanishes where the norm
    itself does not.  Halves are computed in float32, then rounded.

    Where the norm is 0 its gradient is taken to be 0, as it is at each x of 0.
    Elements that are equally extreme share the gradient of the infinite norms.

    >>> import graphgpu as gg
    >>> x = gg.constant([[3e30, 4e30], [0.0, 0.0]])
    >>> gg.evaluate(gg.vector_norm(x, axis=1))
    array([5.e+30, 0.e+00], dtype=float32)

    Raises
    ------
    ShapeError
        An axis is out of range or named twice.
    DTypeError
        x is not floating-point, or ``ord`` no number.
    """
    name = f"vector_norm(ord={ord!r})"
    variable = floating(name, x)
    p = order_of(name, ord)
    axes = axes_of("vector_norm", variable, axis)
    wide = widened(variable)
    with Naming(name, (variable,)):
        return cast(norm(wide, p, axes, keepdims), variable.dtype)


def normalize(x: Operand, p: float = 2, axis: Axis = 1, eps: float = 1e-12) -> Variable:
    """Return x / max(‖x‖ₚ, ε), the norm being over the axes given, or over all.

    p is 1, 2, ∞ or another number above 0; see :func:`vector_norm`.  Vectors whose
    norm is below ε are divided by ε; 0 stays 0.  The result of finite vectors is
    finite, however long they are.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.normalize(gg.constant([[3.0, 4.0], [0.0, 0.0]])))
    array([[0.6, 0.8],
           [0. , 0. ]], dtype=float32)

    Raises
    ------
    ShapeError
        An axis is out of range or named twice.
    GraphError
        p or ε is not above 0.
    """
    name = f"normalize(p={p!r}, axis={axis!r}, eps={eps!r})"
    variable = floating(name, x)
    order = order_of(name, p)
    if order <= 0 or number_of(name, eps) <= 0:
        raise located(GraphError("expected p and eps above 0"), name, (variable,))
    axes = axes_of("normalize", variable, axis)
    if any_empty(variable, axes):
        return variable
    return cast(unit(widened(variable), order, axes, float(eps)), variable.dtype)


def unit(x: Variable, p: float, axes: tuple[int, ...], eps: float) -> Variable:
    """Return x / max(‖x‖ₚ, ε) of float32 or float64 numbers."""
    scale = balancing(mean(absolute(x), axes, keepdims=True))
    scaled = x * scale
    if p == 2:
        length = _root(sum(square(scaled), axes, keepdims=True))
    else:  # of magnitudes, as a number that vanishes when it is scaled has its sign
        length = _of_magnitudes(absolute(x) * scale, p, axes, keepdims=True)
    return scaled / maximum(length, eps * scale)


def balancing(size: Variable, least: float | None = None) -> Variable:
    """Return 2^-⌊log₂ s⌋ for a size s: a constant that brings numbers near 1.

    Products with it are exact.  Sizes below ``least``, by default a very small
    number, are taken to be it, and very large ones, too, to be the same.
    """
    exponent = int(np.finfo(size.dtype).maxexp) * 25 // 32  # 100 in float32
    low = 2.0**-exponent if least is None else least
    return apply(Balance(low, 2.0**exponent), size)


def any_empty(x: Variable, axes: tuple[int, ...]) -> bool:
    """Whether one of the axes is known to be empty."""
    return 0 in [x.shape[axis] for axis in axes]


def order_of(name: str, ord: float) -> float:
    """Return the order of a norm: a number that may be infinite."""
    if ord in (inf, -inf):
        return float(ord)
    return number_of(name, ord)


def norm(x: Variable, p: float, axes: tuple[int, ...], keepdims: bool) -> Variable:
    """Return the norm of order p of float32 or float64 numbers."""
    if any_empty(x, axes) and p > 0:
        return sum(absolute(x), axes, keepdims)
    if p == 0:
        return sum(where(equal(x, 0), zeros_like(x), 1), axes, keepdims)
    if p == 2:
        return _euclidean(x, axes, keepdims)
    return _of_magnitudes(absolute(x), p, axes, keepdims)


def _of_magnitudes(
    x: Variable, p: float, axes: tuple[int, ...], keepdims: bool
) -> Variable:
    """Return the norm of order p of numbers x ≥ 0."""
    if p == 1:
        return sum(x, axes, keepdims)
    if p == inf:
        return max(x, axes, keepdims)
    if p == -inf:
        return min(x, axes, keepdims)
    return _of_powers(x, p, axes, keepdims)


def _euclidean(x: Variable, axes: tuple[int, ...], keepdims: bool) -> Variable:
    """Return s √Σ (x / s)², with a constant s: a power of two."""
    scale = balancing(sum(absolute(x), axes, keepdims=True))
    root = _root(sum(square(x * scale), axes, keepdims))
    return root / scale.reshape(root.shape)


def _root(total: Variable) -> Variable:
    """Return √x, whose gradient at 0 is taken to be 0."""
    flat = equal(total, 0)
    return where(flat, 0, sqrt(where(flat, 1, total)))


def _of_powers(
    x: Variable, p: float, axes: tuple[int, ...], keepdims: bool
) -> Variable:
    """Return s (Σ (x / s)^p)^(1/p) of x ≥ 0, with s the x that counts most.

    Zeros are left out of the powers, whose derivatives there may be infinite.
    """
    limits = np.finfo(x.dtype)
    size = (max if p > 0 else min)(x, axes, keepdims=True)
    size = stop_gradient(clip(size, 64 * float(limits.tiny), float(limits.max) / 64))
    ratio, missing = x / size, equal(x, 0)
    terms = power(where(missing, 1, ratio), p)
    total = sum(where(missing, 0 if p > 0 else inf, terms), axes, keepdims)
    flat = equal(total, 0 if p > 0 else inf)
    root = where(flat, 0, power(where(flat, 1, total), 1 / p))
    return root * size.reshape(root.shape)
