"""Gathering along an axis, and adding up where elements were gathered.

Indices that are constants, as those of interpolation, are a few arithmetic
progressions, so elements move as slices.  Others are followed in rounds: the n-th
round adds the n-th element that goes to each place, so that sums are in C order.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphgpu.backends.numpy.body import Body
from graphgpu.backends.numpy.rules.registry import FLOATS, Rules, sliced_inputs
from graphgpu.backends.numpy.storage import View
from graphgpu.backends.numpy.translation import Value
from graphgpu.dtypes import Array
from graphgpu.graph import Constant
from graphgpu.nodes import Node
from graphgpu.ops.gather import Gather, ScatterAdd, in_range

__all__ = ["RULES", "add_rows", "progressions"]

RULES = Rules()
_MOST = 32
"""Slices beyond which they cost more than an index."""
_PERIOD = 8
"""Steps that are tried."""
_ROUNDS = 16
"""Rounds after which what is left is added one by one."""


@RULES.of(Gather)
def gather(body: Body, node: Node) -> bool:
    """Copy slices, or take."""
    operation: Any = node.operation
    if len(operation.axes) != 1 or 0 in node.shape:
        return False
    (axis,) = operation.axes
    x, index, out = _arrays(body, node)
    slices = _slices(node, axis, node.inputs[0].shape[axis], repeats=True)
    if slices is not None:
        for number, (here, there) in enumerate(slices):
            body.copy(_part(out, axis, here, number), _part(x, axis, there, number))
        return True
    if not out.view.contiguous or node in body.whole.work.tiles:
        return False
    check = body.given("in_range", lambda _: in_range)
    size = node.inputs[0].shape[axis]
    places = f"{check}({body.text(index)}, {size}, {axis})"
    source, target = body.text(x), body.text(out)
    body.say(f"{source}.take({places}, {axis}, out={target}, mode='clip')")
    return True


@RULES.of(ScatterAdd)
def scatter_add(body: Body, node: Node) -> bool:
    """Add slices, or rows in rounds."""
    operation: Any = node.operation
    y = node.inputs[0]
    if len(operation.axes) != 1 or node.tensor.dtype.name not in FLOATS:
        return False
    (axis,) = operation.axes
    if 0 in (*node.shape, *y.shape):
        return False
    updates, index, out = _arrays(body, node)
    slices = _slices(node, axis, node.shape[axis], repeats=False)
    if slices is not None:
        zero = body.constant(0, node.tensor.dtype)
        body.say(f"{body.text(out)}.fill({zero})")
        for number, (here, there) in enumerate(slices):
            target = _part(out, axis, there, number)
            body.call("add", target, _part(updates, axis, here, number), out=target)
        return True
    if axis or body.in_blocks or node in body.whole.work.tiles:
        return False
    name = body.given("add_rows", lambda _: add_rows)
    texts = (body.text(v) for v in (updates, index, out))
    body.say(f"{name}({', '.join(texts)})")
    return True


def add_rows(updates: Array, index: Array, out: Array) -> None:
    """Add each update to its row of zeros, in C order."""
    rows = in_range(index, len(out), 0).reshape(-1)
    y = updates.reshape(len(rows), -1)
    total = out.reshape(len(out), -1)
    total.fill(0)
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    counts = np.diff(np.r_[starts, len(rows)])
    most = int(counts.max())
    for turn in range(min(most, _ROUNDS)):
        firsts = starts[counts > turn]
        total[ordered[firsts]] += y[order[firsts + turn]]
    if most > _ROUNDS:
        turns = np.arange(len(rows)) - np.repeat(starts, counts)
        late = turns >= _ROUNDS
        np.add.at(total, ordered[late], y[order[late]])


def progressions(index: Array, repeats: bool) -> list[tuple[slice, slice]] | None:
    """Return slices of places, and of what the index has there; None if too many.

    Indices are not negative.  With ``repeats`` a slice may read one element again
    and again, which is then a slice of one.

    >>> progressions(np.array([0, 0, 1, 1, 2, 2]), repeats=False)
    [(slice(0, 6, 2), slice(0, 3, 1)), (slice(1, 7, 2), slice(0, 3, 1))]
    """
    best: list[tuple[slice, slice]] | None = None
    for step in range(1, min(_PERIOD, len(index)) + 1):
        found: list[tuple[slice, slice]] = []
        for first in range(step):
            if len(found) <= _MOST:
                found += _runs(index[first::step].tolist(), first, step, repeats)
        if best is None or len(found) < len(best):
            best = found
    return best if best is not None and len(best) <= _MOST else None


def _runs(
    numbers: list[int], first: int, step: int, repeats: bool
) -> list[tuple[slice, slice]]:
    """Cut numbers into arithmetic progressions, until there are too many."""
    found: list[tuple[slice, slice]] = []
    start = 0
    while start < len(numbers) and len(found) <= _MOST:
        stop, gap = start + 1, 1
        if stop < len(numbers):
            gap = numbers[stop] - numbers[start]
            if gap > 0 or (gap == 0 and repeats):
                while stop < len(numbers) and numbers[stop] - numbers[stop - 1] == gap:
                    stop += 1
            else:
                gap = 1
        count, low = stop - start, numbers[start]
        here = slice(first + start * step, first + stop * step, step)
        there = slice(low, low + max(1, count * gap), max(1, gap))
        found.append((here, there))
        start = stop
    return found


def _arrays(body: Body, node: Node) -> tuple[Value, Value, Value]:
    """Return what is read, the index, and the output."""
    cuts = sliced_inputs(body, node)
    x, index = (
        body.value(n, c).plain() for n, c in zip(node.inputs, cuts, strict=True)
    )
    return x, index, body.output(node).plain()


def _slices(
    node: Node, axis: int, size: int, repeats: bool
) -> list[tuple[slice, slice]] | None:
    """Return the slices of an index that is a constant vector."""
    leaf = node.inputs[1].variable
    if not isinstance(leaf, Constant) or leaf.value.ndim != 1:
        return None
    try:
        return progressions(in_range(leaf.value, size, axis), repeats)
    except IndexError:
        return None  # the slot raises when it runs


def _part(value: Value, axis: int, part: slice, number: int) -> View:
    """Return a part of an array along an axis."""
    index = (slice(None),) * axis + (part,)
    key = f"along{axis}_{part.start}_{part.stop}_{part.step}_{number}"
    return value.view.then(key, lambda a, _: a[index])
