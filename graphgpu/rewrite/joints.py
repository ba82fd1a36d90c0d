"""Sums of parts among zeros that come to one joint: part of ``shapes``.

The gradient of an array that was cut apart is such a sum: as many arrays of its size
as there were parts.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphgpu.dims import Size
from graphgpu.graph import Variable, apply
from graphgpu.ops.arithmetic import Add
from graphgpu.ops.joining import Concat
from graphgpu.ops.slicing import Unslice
from graphgpu.rewrite.patterns import made_by
from graphgpu.rewrite.shapes import shapes

__all__: list[str] = []

_MOST = 32
"""Terms that are looked at."""


@shapes.on(Add)
def joined_parts(v: Variable) -> Variable | None:
    """Σ parts among zeros that fill an array = their concatenation.

    But for the sign of a zero: that of -0 + 0 is lost, a joint keeps it.
    """
    if not any(made_by(x, Unslice) for x in v.inputs):
        return None
    terms = _terms(v, [])
    if len(terms) > _MOST:
        return None
    cuts = [t for t in terms if _is_part(t, v)]
    for axis in {_axis(t) for t in cuts}:
        parts = _in_order([t for t in cuts if _axis(t) == axis], axis)
        if parts is None:
            continue
        joint = apply(Concat(axis), *(t.inputs[0] for t in parts))
        total = joint.broadcast_to(v.shape)
        for term in terms:
            if term not in parts:
                total = total + term
        return total if total.type == v.type else None
    return None


def _terms(v: Variable, found: list[Variable]) -> list[Variable]:
    """Add to a list what a sum of parts and others is a sum of; not too many."""
    for x in v.inputs:
        if made_by(x, Add) and x.type == v.type and len(found) <= _MOST:
            _terms(x, found)
        else:
            found.append(x)
    return found


def _is_part(t: Variable, v: Variable) -> bool:
    """Whether a term is a part along one axis, side by side, among zeros."""
    cut = t.operation
    if not isinstance(cut, Unslice) or t.type != v.type or cut.value != 0:
        return False
    cuts = [k for k, size in enumerate(cut.lengths) if size != cut.shape[k]]
    others = [s for k, s in enumerate(cut.starts) if k not in cuts]
    whole = all(s == 0 for s in others) and set(cut.steps) <= {1}
    return len(cuts) == 1 and whole and t.inputs[0].shape == cut.lengths


def _axis(t: Variable) -> int:
    cut = t.operation
    assert isinstance(cut, Unslice)
    return next(k for k, size in enumerate(cut.lengths) if size != cut.shape[k])


def _in_order(cuts: Sequence[Variable], axis: int) -> list[Variable] | None:
    """Return parts one after the other, if they fill the axis and are no more."""
    begins = {t.operation.starts[axis]: t for t in cuts}  # type: ignore[union-attr]
    if len(begins) < len(cuts):
        return None
    found: list[Variable] = []
    size = cuts[0].shape[axis]
    start: Size = 0
    while start != size:
        if start not in begins:
            return None
        found.append(begins.pop(start))
        start = start + found[-1].inputs[0].shape[axis]
    return None if begins else found
