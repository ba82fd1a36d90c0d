"""Choices that go through max pooling: part of ``simplify``.

The gradient of relu before pooling chooses among as many elements as went into
the pooling; behind it there are fewer, and the pooling's input is not needed.
"""

from __future__ import annotations

from graphgpu.graph import Variable, apply
from graphgpu.ops.comparison import (
    Equal,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
    NotEqual,
    Where,
)
from graphgpu.ops.pooling_operations import MaxPool, MaxPoolIndices
from graphgpu.ops.window_picks import WindowScatter
from graphgpu.rewrite.draft import Draft
from graphgpu.rewrite.patterns import is_number, made_by, number, scalar
from graphgpu.rewrite.simplify import simplify

__all__: list[str] = []

_COMPARISONS = (Equal, NotEqual, Less, LessEqual, Greater, GreaterEqual)


@simplify.on(Where)
def choice_of_scattered(v: Variable, draft: Draft) -> Variable | None:
    """where(x ≤ c, 0, scatter(g)) = scatter(where(max_pool(x) ≤ c, 0, g)).

    The scatter is to the places of the maxima of x, where both compare alike, NaN
    too; elsewhere both sides are 0.  The same for any other comparison, and with
    0 as the last operand.
    """
    condition, x, y = v.inputs
    scattered = x if made_by(x, WindowScatter) else y
    nothing = y if scattered is x else x
    if not made_by(scattered, WindowScatter) or not is_number(nothing, 0.0):
        return None
    if scattered.type != v.type or draft.readers(scattered) != 1:
        return None
    grad, picks = scattered.inputs
    if not made_by(picks, MaxPoolIndices):
        return None
    compared = _of_maxima(condition, picks)
    if compared is None:
        return None
    zero = scalar(0, v.dtype)
    chosen = (compared, grad, zero) if scattered is x else (compared, zero, grad)
    assert scattered.operation is not None
    return apply(scattered.operation, apply(Where(), *chosen), picks)


def _of_maxima(condition: Variable, picks: Variable) -> Variable | None:
    """Return the comparison of maxima with a number, where x is compared with it."""
    (x,) = picks.inputs
    if not made_by(condition, *_COMPARISONS):
        return None
    others = [c for c in condition.inputs if c is not x]
    if len(others) != 1 or others[0].ndim or number(others[0]) is None:
        return None
    where = picks.operation
    assert isinstance(where, MaxPoolIndices)
    pool = MaxPool(
        where.kernel, where.stride, where.padding, where.dilation, where.ceil_mode
    )
    maxima = apply(pool, x)  # merged with those of the forward pass
    operands = [maxima if c is x else c for c in condition.inputs]
    assert condition.operation is not None
    return apply(condition.operation, *operands)
