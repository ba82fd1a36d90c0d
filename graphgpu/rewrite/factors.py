"""Factors that are the same along some axes, taken out of sums and collected.

These rules hold to rounding in exact arithmetic and for finite numbers; a sum
may overflow where the sum of the products did not, or the other way round, and
a sum that is 0 may be -0.  Halves, which overflow soon, are left alone, and so
are integers.  After them and after merging, the gradient of a batch
normalisation reads its batch for two sums: Σ g and Σ g (x - μ).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from graphgpu.graph import Variable, apply
from graphgpu.ops.arithmetic import Divide, Multiply, Negative
from graphgpu.ops.reduction import Logsumexp, Max, Mean, Min, Reduction, Sum
from graphgpu.ops.shape import BroadcastTo
from graphgpu.rewrite.draft import Draft
from graphgpu.rewrite.patterns import (
    either_way,
    elements,
    fit,
    is_constant_along,
    made_by,
    scalar,
    without_axes,
)
from graphgpu.rewrite.rules import Rules

__all__ = ["factors"]

factors = Rules("factors", about=(Reduction, Multiply))


def _is_wide(v: Variable) -> bool:
    """Whether numbers of the operand's dtype, not soon too large, are summed."""
    return v.dtype.name in ("float32", "float64") and v.inputs[0].dtype == v.dtype


@factors.on(Sum, Mean)
def of_scaled(v: Variable) -> Variable | None:
    """Σ x c = c Σ x, Σ x / c = (Σ x) / c, where c is the same along the axes."""
    (product,) = v.inputs
    if not made_by(product, Multiply, Divide) or not _is_wide(v):
        return None
    pairs = list(either_way(product))
    for x, c in pairs[:1] if made_by(product, Divide) else pairs:
        total = _factored(v, product, x, c)
        if total is not None:
            return total
    return None


def _factored(
    v: Variable, product: Variable, x: Variable, c: Variable
) -> Variable | None:
    """Return c Σ x, or (Σ x) / c, if c is the same along the axes and x has them."""
    operation: Any = v.operation
    axes, ndim = operation.axes, product.ndim
    extra = ndim - x.ndim
    if not axes or not is_constant_along(c, axes, ndim):
        return None
    if any(a < extra or x.shape[a - extra] != product.shape[a] for a in axes):
        return None
    if all(product.shape[a] == 1 for a in axes):
        return None
    own = tuple(a - extra for a in axes)
    total = apply(replace(operation, axes=own), x)
    factor = c if operation.keepdims else without_axes(c, axes, ndim)
    scaled = total * factor if made_by(product, Multiply) else total / factor
    return fit(scaled, v)


@factors.on(Multiply)
def scaled_again(v: Variable, graph: Draft) -> Variable | None:
    """a (b x) = (a b) x, where a and b are both the same along an axis of x."""
    if v.dtype.name not in ("float32", "float64"):
        return None
    for a, product in either_way(v):
        if not made_by(product, Multiply) or a.shape == v.shape:
            continue
        for b, x in either_way(product):
            if b.shape == v.shape or x.shape != v.shape or not _is_smaller(a, b, v):
                continue
            if graph.readers(product) == 1:
                return fit((a * b) * x, v)
    return None


def _is_smaller(a: Variable, b: Variable, v: Variable) -> bool:
    """Whether a b has size 1 along an axis where the result has not."""
    return any(
        size != 1
        and is_constant_along(a, (axis,), v.ndim)
        and is_constant_along(b, (axis,), v.ndim)
        for axis, size in enumerate(v.shape)
    )


@factors.on(Sum, Mean)
def of_negative(v: Variable) -> Variable | None:
    """Σ -x = -Σ x."""
    (x,) = v.inputs
    if not made_by(x, Negative) or not _is_wide(v):
        return None
    assert v.operation is not None
    return -apply(v.operation, x.inputs[0])


@factors.on(Sum)
def of_sum(v: Variable) -> Variable | None:
    """Σ Σ x is one sum over the axes of both."""
    (inner,) = v.inputs
    if not made_by(inner, Sum) or not _is_wide(v):
        return None
    outer_sum, inner_sum = v.operation, inner.operation
    assert isinstance(outer_sum, Sum)
    assert isinstance(inner_sum, Sum)
    if outer_sum.keepdims != inner_sum.keepdims:
        return None
    (x,) = inner.inputs
    kept = range(x.ndim)
    if not inner_sum.keepdims:
        kept_axes = [a for a in kept if a not in inner_sum.axes]
        outer = {kept_axes[a] for a in outer_sum.axes}
    else:
        outer = set(outer_sum.axes)
    axes = tuple(sorted(outer | set(inner_sum.axes)))
    return apply(Sum(axes, outer_sum.keepdims), x)


@factors.on(Sum)
def of_repeated(v: Variable) -> Variable | None:
    """Σ of n equal numbers x is n x."""
    (x,) = v.inputs
    operation = v.operation
    assert isinstance(operation, Sum)
    if not made_by(x, BroadcastTo) or not _is_wide(v):
        return None
    (source,) = x.inputs
    extra = x.ndim - source.ndim
    repeated = tuple(
        a
        for a in operation.axes
        if a < extra or (source.shape[a - extra] == 1 and x.shape[a] != 1)
    )
    count = elements(tuple(x.shape[a] for a in repeated))
    if not repeated or not count:  # nothing of infinity is 0, not NaN
        return None
    shape = tuple(1 if a in repeated else s for a, s in enumerate(x.shape))
    source = source.reshape((*[1] * extra, *source.shape)).broadcast_to(shape)
    return apply(operation, source) * scalar(count, v.dtype)


@factors.on(Sum, Mean, Max, Min, Logsumexp)
def of_one(v: Variable) -> Variable | None:
    """A reduction over axes of size 1 is x."""
    (x,) = v.inputs
    operation = v.operation
    assert isinstance(operation, Reduction)
    if x.dtype != v.dtype or any(x.shape[a] != 1 for a in operation.axes):
        return None
    return x.reshape(v.shape)
