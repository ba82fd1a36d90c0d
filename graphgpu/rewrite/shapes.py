"""Transposes, reshapes, slices and joints that cancel or come to one.

A transpose or reshape of what goes into elementwise operations is moved behind
them, towards the one that undoes it.  A product reads its operands transposed at
no cost, so nothing is moved through it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from graphgpu.graph import Variable, apply
from graphgpu.ops.elementwise import Cast, Elementwise
from graphgpu.ops.joining import Concat
from graphgpu.ops.reduction import Reduction
from graphgpu.ops.shape import Reshape, Transpose
from graphgpu.ops.slicing import Slice, Unslice
from graphgpu.rewrite.patterns import fit, made_by
from graphgpu.rewrite.rules import Rules
from graphgpu.types import Shape

__all__ = ["shapes"]

shapes = Rules("shapes", about=(Transpose, Reshape, Slice, Concat, Unslice))


def axes_of(v: Variable) -> tuple[int, ...]:
    """Return the axes that a transpose puts in order."""
    assert isinstance(v.operation, Transpose)
    return v.operation.axes


# --- two that come to one


@shapes.on(Transpose)
def transpose_again(v: Variable) -> Variable | None:
    """A transpose of a transpose is one transpose."""
    (x,) = v.inputs
    if not made_by(x, Transpose):
        return None
    inner = axes_of(x)
    return x.inputs[0].transpose([inner[a] for a in axes_of(v)])


@shapes.on(Transpose)
def transpose_of_ones(v: Variable) -> Variable | None:
    """A transpose that moves nothing but axes of size 1 is a reshape."""
    (x,) = v.inputs
    moved = [a for a in axes_of(v) if x.shape[a] != 1]
    return x.reshape(v.shape) if moved == sorted(moved) else None


@shapes.on(Reshape)
def reshape_again(v: Variable) -> Variable | None:
    """A reshape of a reshape is one reshape; to its own shape it is x."""
    (x,) = v.inputs
    if x.shape == v.shape:
        return x
    return x.inputs[0].reshape(v.shape) if made_by(x, Reshape) else None


@shapes.on(Concat)
def concat_of_one(v: Variable) -> Variable | None:
    """The concatenation of one array is that array."""
    return v.inputs[0] if len(v.inputs) == 1 else None


@shapes.on(Slice)
def whole_slice(v: Variable) -> Variable | None:
    """A slice that reads all of x is x."""
    (x,) = v.inputs
    operation = v.operation
    assert isinstance(operation, Slice)
    whole = all(s == 0 for s in operation.starts) and set(operation.steps) <= {1}
    return x if whole and x.shape == v.shape else None


@shapes.on(Slice)
def slice_again(v: Variable) -> Variable | None:
    """A slice of a slice is one slice."""
    (x,) = v.inputs
    outer, inner = v.operation, x.operation
    if not isinstance(outer, Slice) or not isinstance(inner, Slice):
        return None
    places = zip(inner.starts, inner.steps, outer.starts, strict=True)
    starts = tuple(start + step * place for start, step, place in places)
    steps = tuple(a * b for a, b in zip(inner.steps, outer.steps, strict=True))
    requires = (*inner.requires, *outer.requires)
    return apply(Slice(starts, outer.lengths, steps, requires), x.inputs[0])


@shapes.on(Slice)
def slice_of_concat(v: Variable) -> Variable | None:
    """A slice of a concatenation that reads just one of the arrays is that array."""
    (x,) = v.inputs
    cut, joint = v.operation, x.operation
    if not isinstance(cut, Slice) or not isinstance(joint, Concat):
        return None
    start: Any = 0
    for part in x.inputs:
        size = part.shape[joint.axis]
        if cut.starts[joint.axis] == start and v.shape == part.shape:
            others = [s for a, s in enumerate(cut.starts) if a != joint.axis]
            if all(s == 0 for s in others) and set(cut.steps) <= {1}:
                return part
        start = start + size
    return None


# --- reductions read through


@shapes.on(Reduction)
def reduced_transpose(v: Variable) -> Variable | None:
    """A reduction of a transpose is one of x, if what is left is in order."""
    (x,) = v.inputs
    if not made_by(x, Transpose) or not hasattr(v.operation, "axes"):
        return None
    operation: Any = v.operation
    order = axes_of(x)
    reduced = tuple(sorted(order[a] for a in operation.axes))
    kept = [a for i, a in enumerate(order) if i not in operation.axes]
    if kept != sorted(kept):
        return None
    result = apply(replace(operation, axes=reduced), x.inputs[0])
    return result.reshape(v.shape)


@shapes.on(Reduction)
def reduced_reshape(v: Variable) -> Variable | None:
    """A reduction of all of a reshape is one of all of x."""
    (x,) = v.inputs
    operation: Any = v.operation
    if not made_by(x, Reshape) or len(operation.axes) != x.ndim or not x.ndim:
        return None
    source = x.inputs[0]
    if not source.ndim:
        return None
    whole = replace(operation, axes=tuple(range(source.ndim)), keepdims=False)
    return apply(whole, source).reshape(v.shape)


# --- moved behind what works element by element


@shapes.on(Elementwise, Cast)
def of_transposed(v: Variable) -> Variable | None:
    """f(xᵀ, yᵀ) = f(x, y)ᵀ."""
    for first in v.inputs:
        if first.operation.__class__ is Transpose:
            break
    else:
        return None
    axes = axes_of(first)
    if first.ndim != v.ndim:
        return None
    back = sorted(range(len(axes)), key=axes.__getitem__)
    sources = [_transposed_back(x, axes, back) for x in v.inputs]
    found = [x for x in sources if x is not None]
    if len(found) < len(sources):
        return None
    assert v.operation is not None
    return fit(apply(v.operation, *found).transpose(axes), v)


def _transposed_back(
    x: Variable, axes: tuple[int, ...], back: list[int]
) -> Variable | None:
    """Return x with its axes in the old order, if that costs nothing."""
    if made_by(x, Transpose):
        return x.inputs[0] if axes_of(x) == axes else None
    if sum(s != 1 for s in x.shape) > 1:
        return None
    shape = (*[1] * (len(axes) - x.ndim), *x.shape)
    if all(s == 1 for s in shape):
        return x
    return x.reshape(tuple(shape[a] for a in back))


@shapes.on(Elementwise, Cast)
def of_reshaped(v: Variable) -> Variable | None:
    """f(reshape(x), c) = reshape(f(x, c)), c being numbers or reshaped alike."""
    source: Shape | None = None
    for x in v.inputs:
        if x.operation.__class__ is Reshape and x.shape == v.shape:
            source = x.inputs[0].shape
            break
    if not source:
        return None
    sources = []
    for x in v.inputs:
        if made_by(x, Reshape) and x.shape == v.shape and x.inputs[0].shape == source:
            sources.append(x.inputs[0])
        elif not x.ndim:
            sources.append(x)
        else:
            return None
    assert v.operation is not None
    return apply(v.operation, *sources).reshape(v.shape)
