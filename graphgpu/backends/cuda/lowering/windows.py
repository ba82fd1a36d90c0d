"""Slices and joints that no kernel makes: elementwise kernels read and write parts.

What only elementwise nodes read of a slice is read where it lies in the array; what
they compute for a joint of arrays is written to where it belongs in it.  So the gates
of a recurrent cell are computed of one product, and their gradients are one factor
of another, without a copy.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from math import prod

from graphgpu.backends.cuda.lowering.views import Window, is_leaf, root
from graphgpu.backends.cuda.rules.coordinates import strides_of
from graphgpu.backends.cuda.rules.places import Assembled, is_placed, made
from graphgpu.backends.cuda.rules.rows.reductions import reduces
from graphgpu.backends.cuda.rules.rows.stages import is_pointwise
from graphgpu.nodes import Node
from graphgpu.ops.elementwise import Cast
from graphgpu.ops.joining import Concat
from graphgpu.ops.slicing import Slice

__all__ = ["in_parts", "shared", "windowed"]

_SMALL = 1 << 16
"""Bytes that may live longer for a slice, however little it is of them."""
_SEARCHED = 64
_MOST = 8
"""Arrays that are joined so."""


def windowed(
    nodes: Sequence[Node], needed: Collection[Node], late: Collection[Node]
) -> list[Node]:
    """Return nodes with slices and joints as parts of arrays, where they can be.

    The nodes, which are one program's own, are changed; a second time nothing is.
    """
    found: list[Node] = []
    known = set(nodes)
    for node in nodes:
        if node not in late and node not in needed and _is_window(node):
            _see_through(node)
        elif isinstance(node.operation, Concat) and _is_assembled(node, known, late):
            found += _assembled(node)
        found.append(node)
    return found


def _is_window(node: Node) -> bool:
    """Whether a slice is read by elementwise nodes alone, that need no memory of it.

    What it is a part of lives longer then, so it must be most of that, with others.
    """
    operation = node.operation
    if not isinstance(operation, Slice) or prod(node.shape) < 2:
        return False
    inner = [k for k, size in enumerate(node.shape) if size > 1][-1]
    source = node.inputs[0]
    side_by_side = strides_of(source.shape)[inner] * operation.steps[inner] == 1
    if not side_by_side or min(operation.steps) < 1:
        return False
    slices = [r for r in source.readers if isinstance(r.operation, Slice | Window)]
    lasting = is_leaf(root(source, 0)[0]) or source.nbytes <= _SMALL
    much = 2 * sum(r.nbytes for r in slices) >= source.nbytes
    return (lasting or much) and bool(node.readers) and not _is_folded(node)


def _is_folded(node: Node) -> bool:
    """Whether anything but elementwise nodes reads one, or folds of it."""
    seen, waiting = {node}, [node]
    while waiting:
        current = waiting.pop()
        for reader in current.readers:
            if reduces(reader) or (current is node and not is_pointwise(reader)):
                return True
            if is_pointwise(reader) and reader not in seen:
                seen.add(reader)
                waiting.append(reader)
        if len(seen) > _SEARCHED:
            return True
    return False


def _see_through(node: Node) -> None:
    operation, (source,) = node.operation, node.inputs
    assert isinstance(operation, Slice)
    strides = strides_of(source.shape)
    start = sum(a * b for a, b in zip(strides, operation.starts, strict=True))
    steps = tuple(a * b for a, b in zip(strides, operation.steps, strict=True))
    assert isinstance(start, int)
    node.operation = Window(start, steps, node.tensor)


def _is_assembled(node: Node, known: set[Node], late: Collection[Node]) -> bool:
    """Whether all parts of a joint are computed element by element, not of folds."""
    if node in late or not 2 <= len(node.inputs) <= _MOST:
        return False
    return all(
        part in known and part not in late and is_pointwise(part) and _is_plain(part)
        for part in node.inputs
    )


def _is_plain(node: Node) -> bool:
    """Whether no fold is among what elementwise nodes are computed of."""
    seen, waiting = {node}, [node]
    while waiting:
        for parent in waiting.pop().inputs:
            if reduces(parent):
                return False
            if is_pointwise(parent) and parent not in seen:
                seen.add(parent)
                waiting.append(parent)
        if len(seen) > _SEARCHED:
            return False
    return True


def _assembled(node: Node) -> Iterator[Node]:
    """Yield what writes the parts of a joint."""
    operation = node.operation
    assert isinstance(operation, Concat)
    parts = []
    for source in node.inputs:
        part = made(node, Cast(source.tensor.dtype), (source,), source.type)
        part.readers.append(node)
        parts.append(part)
        source.readers[:] = [r for r in source.readers if r is not node]
    for part in parts:
        part.inputs[0].readers.append(part)
    node.operation, node.inputs = Assembled(operation.axis, node.tensor), tuple(parts)
    yield from parts


def shared(array: Node) -> Node:
    """Return what the parts of one array have in common; an array itself."""
    return root(array, 0)[0] if isinstance(array.operation, Window) else array


def in_parts(nodes: Iterable[Node]) -> bool:
    """Whether nodes read or write parts of arrays, which rows know nothing of."""
    return any(
        is_placed(n) or any(isinstance(p.operation, Window) for p in n.inputs)
        for n in nodes
    )
