"""Reductions over axes of each image: in slices, by products, and in two steps.

NumPy's ``add.reduce`` takes 10 ns for each output of a short last axis, and 0.3 an
element of a long one.  A sum of slices takes 0.2 an element; a product with ones 0.1.
"""

from __future__ import annotations

from itertools import product
from math import prod
from typing import Any

import numpy as np

from graphgpu.backends.numpy.body import Body
from graphgpu.backends.numpy.rules.registry import FLOATS
from graphgpu.backends.numpy.storage import BLOCK, Block, View
from graphgpu.backends.numpy.translation import Value, sized
from graphgpu.dtypes import Array, DType
from graphgpu.nodes import Node

__all__ = ["ones_of", "reduce_axes", "row_moments"]

_SHORT = 16
"""Elements of a reduction up to which slices are added."""
_LONG = 2**14
"""Elements beyond which a product with ones would round more than pairwise sums."""


def reduce_axes(
    body: Body, function: str, value: Value, axes: tuple[int, ...], out: View
) -> bool:
    """Write a reduction to ``out``, contiguous memory; False if NumPy's will do.

    ``function`` is add, maximum or minimum; the value is no tile.
    """
    shape = value.shape
    counts = [shape[a] for a in axes]
    rest = tuple(s for a, s in enumerate(shape) if a not in axes)
    if BLOCK in counts or prod(counts) < 2 or 0 in shape or not out.contiguous:
        return False
    target = out.then("reduced", lambda a, b: a.reshape(sized(rest, b)), True)
    last = max(axes)
    if prod(counts) <= _SHORT and prod(shape[last + 1 :]) < _SHORT:
        _add_slices(body, function, value, axes, target)
        return True
    trailing = axes == tuple(range(len(shape) - len(axes), len(shape)))
    if function == "add" and trailing and value.view.contiguous:
        return _add_rows(body, value, prod(counts), target)
    return False


def _add_slices(
    body: Body, function: str, value: Value, axes: tuple[int, ...], out: View
) -> None:
    """Go through the places of the axes in C order."""
    parts = []
    for place in product(*(range(value.shape[a]) for a in axes)):
        at = dict(zip(axes, place, strict=True))
        index = *(at.get(a, slice(None)) for a in range(len(value.shape))), ...
        key = "at" + "_".join(f"{a}_{k}" for a, k in at.items())
        parts.append(value.view.then(key, lambda a, _, i=index: a[i]))  # type: ignore[misc]
    body.call(function, parts[0], parts[1], out=out)
    for part in parts[2:]:
        body.call(function, out, part, out=out)


def _add_rows(body: Body, value: Value, length: int, out: View) -> bool:
    """Multiply by ones, if there are as many rows that it pays."""
    if length > _LONG:
        return False
    rows = value.view.then(f"rows{length}", lambda a, _: a.reshape(-1, length), True)
    flat = out.then("flat", lambda a, _: a.reshape(-1), True)
    body.call("matmul", rows, ones_of(body, length, value.dtype), out=flat)
    return True


def ones_of(body: Body, count: int, dtype: DType) -> str:
    """Return a vector of ones, or of as many as the block has images."""

    def make() -> str:
        def ones(block: Block | None) -> Array:
            length = block.size if block is not None and count == BLOCK else count
            return np.ones(length, dtype)

        label = "images" if count == BLOCK else str(count)
        return body.given(f"ones_{label}", ones)

    return str(body.once(("ones", count, dtype), make))


def row_moments(body: Body, node: Node, value: Value) -> bool:
    """Write mean and variance over axes of each image, in two passes as the slot's."""
    operation: Any = node.operation
    axes, shape = operation.axes, value.shape
    counts = [shape[a] for a in axes]
    if value.dtype.name not in FLOATS or BLOCK in counts or prod(counts) < 1:
        return False
    if 0 in shape:
        return False
    mean, variance = (v.plain() for v in body.outputs(node))
    rest = View(body.scratch(shape, value.dtype, "rest"))
    drift = View(body.scratch(mean.shape, value.dtype, "drift"))
    count = body.constant(prod(counts), value.dtype)
    zero = body.constant(0, value.dtype)

    def add_up(given: Value, out: View) -> None:
        if not reduce_axes(body, "add", given, axes, out):
            source, target = body.text(given), body.text(out)
            body.say(f"add.reduce({source}, axis={axes}, keepdims=True, out={target})")

    add_up(value, mean.view)
    body.call("divide", mean, count, out=mean)
    body.call("subtract", value, mean, out=rest)
    add_up(Value(rest, shape), drift)
    flat = rest.then("flat", lambda a, _: a.reshape(-1), True)
    body.call("multiply", flat, flat, out=flat)
    add_up(Value(rest, shape), variance.view)
    body.call("multiply", drift, drift, out=drift)
    body.call("divide", drift, count, out=drift)
    body.call("subtract", variance, drift, out=variance)
    body.call("maximum", variance, zero, out=variance)
    body.call("divide", variance, count, out=variance)
    return True
