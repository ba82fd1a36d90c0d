"""Repetition that nobody needs to see: part of ``simplify``.

Gradients of sums are numbers broadcast to whole arrays; what reads them element
by element can read the number.
"""

from __future__ import annotations

from graphgpu.graph import Variable, apply
from graphgpu.ops.creation import Full
from graphgpu.ops.elementwise import Cast, Elementwise
from graphgpu.ops.shape import BroadcastTo, Reshape, Transpose
from graphgpu.rewrite.patterns import fit, made_by, number, scalar
from graphgpu.rewrite.simplify import simplify

__all__: list[str] = []


def _unrepeated(x: Variable) -> Variable:
    """Return what is repeated to make x; x itself if it is no repetition."""
    if made_by(x, BroadcastTo):
        return x.inputs[0]
    if made_by(x, Full) and x.ndim:
        return scalar(number(x), x.dtype)
    return x


@simplify.on(Elementwise)
def of_repeated(v: Variable) -> Variable | None:
    """f(broadcast(x), y) = f(x, y), broadcast again if y is no larger."""
    for x in v.inputs:
        if x.operation.__class__ in _REPEATING and x.ndim:
            break
    else:
        return None
    assert v.operation is not None
    return fit(apply(v.operation, *map(_unrepeated, v.inputs)), v)


_REPEATING = (BroadcastTo, Full)


@simplify.on(Cast)
def cast_of_repeated(v: Variable) -> Variable | None:
    """cast(broadcast(x)) = broadcast(cast(x))."""
    (x,) = v.inputs
    if not made_by(x, *_REPEATING) or not x.ndim:
        return None
    return fit(_unrepeated(x).cast(v.dtype), v)


@simplify.on(BroadcastTo)
def repeated_again(v: Variable) -> Variable | None:
    """broadcast(broadcast(x)) = broadcast(x); to its own shape it is x."""
    (x,) = v.inputs
    if x.shape == v.shape:
        return x
    if made_by(x, BroadcastTo):
        return fit(x.inputs[0], v)
    operation = x.operation
    if isinstance(operation, Full):
        return apply(Full(v.shape, operation.value, operation.dtype))
    return None


@simplify.on(Reshape, Transpose)
def rearranged_repetition(v: Variable) -> Variable | None:
    """A number, repeated and rearranged, is that number repeated."""
    (x,) = v.inputs
    if made_by(x, BroadcastTo) and all(s == 1 for s in x.inputs[0].shape):
        return fit(x.inputs[0].reshape(()), v)
    operation = x.operation
    if isinstance(operation, Full):
        return apply(Full(v.shape, operation.value, operation.dtype))
    return None
