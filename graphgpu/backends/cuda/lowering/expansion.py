"""Operations on lines of an array, written as elementwise nodes and folds.

What reads or writes a softmax's rows can then be computed with them.

    softmax(x)              e / Σ e,            e = exp(t),  t = x - max x
    log_softmax(x)          t - log Σ exp(t)
    take_along_axis(x, i)   Σ x where the place is i, else 0    of one index a line
    add_along_axis(v, i)    v where the place is i, else 0

Of a log-softmax of long lines that is only picked from, as in a cross-entropy, no
array is written: max x and Σ exp(t) are formed together, and picks are made of x.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np

from graphgpu.backends.cuda.lowering.views import is_view, root
from graphgpu.backends.cuda.rules.places import (
    Among,
    Chosen,
    Normalizer,
    is_made,
    made,
    places,
)
from graphgpu.backends.cuda.rules.rows.reductions import reduces
from graphgpu.backends.cuda.rules.rows.softmax import normalized
from graphgpu.backends.cuda.rules.rows.stages import Rows, is_pointwise
from graphgpu.graph import Operation
from graphgpu.nodes import Node
from graphgpu.ops.activations.normalized import LogSoftmax, Softmax
from graphgpu.ops.arithmetic import Subtract
from graphgpu.ops.elementwise import Cast
from graphgpu.ops.exponential import Log
from graphgpu.ops.gather import AddAlongAxis, TakeAlongAxis
from graphgpu.ops.losses.classes import ClassIndex
from graphgpu.ops.reduction import Sum
from graphgpu.ops.shape import Reshape
from graphgpu.ops.tuples import Item
from graphgpu.types import Guards, TensorType

__all__ = ["expanded"]

_INDICES = (np.dtype("int32"), np.dtype("int64"))


def expanded(
    nodes: Sequence[Node], needed: Collection[Node], late: Collection[Node]
) -> tuple[list[Node], set[Node]]:
    """Return nodes, and those that are late, with operations on lines written out.

    The nodes, which are one program's own, are changed; a second time nothing is.
    """
    found: dict[Node, None] = {}
    still = set(late)
    for node in nodes:
        _write_out(node, needed)
        new = [part for part in _parts(node) if part not in found]
        found |= dict.fromkeys([*new, node])
        if node in still:
            still.update(new)
    return list(found), still


def _write_out(node: Node, needed: Collection[Node]) -> None:
    """Change a node."""
    operation = node.operation
    if isinstance(operation, Softmax | LogSoftmax):
        if Rows(node.shape, (operation.axis,)).fit():
            _replace(node, normalized(node))
        elif node not in needed and _is_picked(node):
            _replace(node, _long(node))
    elif isinstance(operation, TakeAlongAxis):
        if _one_a_line(node, operation.axis):
            _take(node, operation.axis)
    elif isinstance(operation, AddAlongAxis):
        if _one_a_line(node, operation.axis):
            _put(node, operation.axis)
    elif isinstance(operation, Sum) and operation.keepdims:
        _sum(node, operation.axes)


def _parts(node: Node) -> Iterator[Node]:
    """Yield the nodes that were made to compute a node."""
    for parent in dict.fromkeys(node.inputs):
        if is_made(parent):
            yield from _parts(parent)
            yield parent


def _replace(node: Node, parts: Sequence[Node]) -> None:
    """Let a node be the last of its parts."""
    *new, last = parts
    for part in new:
        _read_by(part)
    _become(node, last.operation, last.inputs)


def _is_picked(node: Node) -> bool:
    """Whether of a log-softmax elements are taken, and nothing else needs memory."""
    operation = node.operation
    if not isinstance(operation, LogSoftmax) or 0 in node.shape:
        return False
    readers = dict.fromkeys(node.readers)
    taking = [
        r
        for r in readers
        if isinstance(r.operation, TakeAlongAxis)
        and r.operation.axis == operation.axis
        and _one_a_line(r, operation.axis)
    ]
    rest = [r for r in readers if r not in taking]
    return bool(taking) and all(is_pointwise(r) or reduces(r) for r in rest)


def _long(node: Node) -> list[Node]:
    """Return the nodes of a log-softmax of long lines, read once for m and Σ."""
    operation: Any = node.operation
    (x,) = node.inputs
    fold = Normalizer((operation.axis,))
    types = fold.infer(Guards(), x.tensor)
    pair = made(node, fold, (x,), types)
    largest, total = (
        made(node, Item(k), (pair,), t) for k, t in enumerate(types.components)
    )
    wide = total.tensor.dtype
    rest = made(node, Subtract(), (x, largest), TensorType(wide, x.shape))
    logarithm = made(node, Log(), (total,), total.tensor)
    last = made(node, Subtract(), (rest, logarithm), node.tensor)
    return [pair, largest, total, rest, logarithm, last]


def _one_a_line(node: Node, axis: int) -> bool:
    """Whether along an axis there is one index."""
    index = node.inputs[1]
    some = 0 not in node.shape and 0 not in node.inputs[0].shape
    return some and index.shape[axis] == 1 and index.tensor.dtype in _INDICES


def _take(node: Node, axis: int) -> None:
    """Take from a log-softmax's rows, or from what it is of."""
    x, index = node.inputs
    if not any(is_made(p) for p in x.inputs):  # in memory it is quickly found
        return
    first = x.inputs[0]
    if isinstance(x.operation, Subtract) and is_view(first.inputs[1]):
        _replace(node, _taken(node, first.inputs, x.inputs[1], index))
        return
    given = index, places(x, index, axis), x
    chosen = made(node, Chosen(_wrap(index, x.shape[axis])), given, x.tensor)
    _replace(node, [chosen, made(node, Sum((axis,), True), (chosen,), node.tensor)])


def _taken(
    node: Node, inputs: tuple[Node, ...], logarithm: Node, index: Node
) -> list[Node]:
    """Return the nodes of x_i - m - log Σ."""
    source, largest = inputs
    parts = []
    stored = source.inputs[0] if isinstance(source.operation, Cast) else source
    type_ = TensorType(stored.tensor.dtype, index.shape)
    operation = node.operation
    assert isinstance(operation, TakeAlongAxis)
    parts.append(made(node, operation, (stored, index), type_))
    if stored is not source:
        type_ = TensorType(source.tensor.dtype, index.shape)
        parts.append(made(node, Cast(type_.dtype), (parts[-1],), type_))
    type_ = TensorType(logarithm.tensor.dtype, index.shape)
    parts.append(made(node, Subtract(), (parts[-1], largest), type_))
    return [*parts, made(node, Subtract(), (parts[-1], logarithm), node.tensor)]


def _put(node: Node, axis: int) -> None:
    value, index = node.inputs
    wrap = _wrap(index, node.shape[axis])
    _become(node, Among(wrap), (index, places(node, index, axis), value))


def _sum(node: Node, axes: tuple[int, ...]) -> None:
    """Make a sum of one value among zeros that value."""
    (x,) = node.inputs
    if not isinstance(x.operation, Among):
        return
    _, line, value = x.inputs
    if axes == (len(x.shape) - len(line.shape),) and value.shape == node.shape:
        _become(node, Reshape(node.shape), (value,))


def _wrap(index: Node, size: int) -> int:
    return 0 if isinstance(root(index, 0)[0].operation, ClassIndex) else size


def _become(node: Node, operation: Operation | None, inputs: tuple[Node, ...]) -> None:
    """Give a node another operation."""
    for parent in dict.fromkeys(node.inputs):
        parent.readers[:] = [r for r in parent.readers if r is not node]
    node.operation = operation
    node.inputs = inputs
    _read_by(node)


def _read_by(node: Node) -> None:
    """Tell what a node reads that it does."""
    for parent in dict.fromkeys(node.inputs):
        parent.readers.append(node)
