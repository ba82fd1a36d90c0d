"""What must hold of translated code before it runs: checked with ``debug=True``."""

from __future__ import annotations

from bisect import bisect, insort
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from graphgpu.backends.numpy.body import Body
from graphgpu.backends.numpy.layout import Layout
from graphgpu.backends.numpy.residence import is_view
from graphgpu.backends.numpy.storage import Buffer
from graphgpu.backends.numpy.timing import computed_by
from graphgpu.backends.numpy.translate import Code
from graphgpu.errors import CompileError
from graphgpu.graph import describe
from graphgpu.nodes import Node

__all__ = ["validate"]


def validate(code: Code, layout: Layout) -> None:
    """Require that live buffers are disjoint, and that reads follow writes.

    Raises
    ------
    CompileError
        Something does not hold.
    """
    lanes = layout.lanes
    everywhere = [_placed(b, offset, lanes) for b, offset in layout.shared.items()]
    for region in layout.regions:
        within = [_placed(b, offset, lanes) for b, offset in region.buffers.items()]
        _check_places(within, region.nbytes)
        life = region.first, region.last
        everywhere += [(*life, at, region.nbytes, "scratch") for at in region.offsets]
    _check_places(everywhere, layout.arena_bytes)
    _check_order(code)


_Placed: TypeAlias = tuple[int, int, int, int, str]
"""First and last step, offset and bytes, label."""


def _placed(buffer: Buffer, offset: int, lanes: int) -> _Placed:
    first, last = max(buffer.first, 0), max(buffer.last, 0)
    return first, last, offset, buffer.nbytes(lanes), buffer.label


def _check_places(placed: Sequence[_Placed], most: int) -> None:
    """Sweep over time, the live buffers sorted by address: neighbours are disjoint."""
    events: list[tuple[int, int, int]] = []
    for number, (first, last, offset, size, label) in enumerate(placed):
        if size and (offset < 0 or offset + size > most):
            _fail(f"{label} lies outside the arena")
        if size:
            events += [(first, 1, number), (last + 1, 0, number)]
    live: list[tuple[int, int, str]] = []
    for _, begins, number in sorted(events):
        _, _, start, size, label = placed[number]
        entry = (start, start + size, label)
        place = bisect(live, entry)
        if not begins:
            del live[place - 1]
            continue
        for other in live[max(0, place - 1) : place + 1]:
            if other[0] < entry[1] and entry[0] < other[1]:
                _fail(f"{entry[2]} and {other[2]} share memory while both are needed")
        insort(live, entry)


def _check_order(code: Code) -> None:
    """Require that what a statement reads was computed, and is still there."""
    whole = code.whole
    with_others = {
        n: node
        for node, done in computed_by(code).items()
        for n in done
        if n is not node and node not in whole.together
    }
    known: set[Node] = set()
    for body in code.bodies():
        here: set[Node] = set()
        for node in dict.fromkeys(s.node for s in body.statements):
            for source in _sources(code, node) if _is_own(code, body, node) else ():
                is_kept = not body.in_blocks or not whole.work.is_batched(source)
                is_kept = is_kept or source in whole.residence.kept
                maker = with_others.get(source, source)
                if maker not in here and not (maker in known and is_kept):
                    _fail(
                        f"{body.name} computes {describe(node.variable)} before "
                        f"{describe(source.variable)}"
                    )
            here.add(node)
        known |= here


def _is_own(code: Code, body: Body, node: Node) -> bool:
    """Whether a body computes a node from its inputs.

    Serial parts also prepare and finish what loops compute, and updates read whole
    vectors in place of their members.
    """
    if body.kind == "flat" or body.name == "commit":
        return False
    return body.in_blocks or node not in code.whole.work.loop_of


def _sources(code: Code, node: Node) -> Iterator[Node]:
    """Yield what a node reads that statements compute."""
    for parent in node.inputs:
        source = parent
        while source.operation is not None and is_view(source, code.whole.work.tiles):
            source = source.inputs[0]
        if source.operation is not None:
            yield source


def _fail(what: str) -> None:
    raise CompileError(
        f"the code made of the graph is at fault: {what.rstrip(',')}; compile without "
        "'fuse' (passes=graphgpu.rewrite.PASSES), and report it"
    )
