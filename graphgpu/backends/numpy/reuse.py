"""Values kept for the whole batch in the place of others, block by block.

A lane that has read its block of one value for the last time may write that block
of another there: lanes do not see each other's blocks.  So a gradient that moves
back through a net takes the memory of the one that it is computed from.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphgpu.backends.numpy.body import Body
from graphgpu.backends.numpy.storage import Buffer
from graphgpu.backends.numpy.translation import Translation

__all__ = ["reuse_blocks"]


def reuse_blocks(whole: Translation, phases: Sequence[Sequence[Body]]) -> None:
    """Let buffers lie in others that are read, block by block, for the last time."""
    gone: set[Buffer] = set()
    for bodies in phases:
        for place, body in enumerate(bodies):
            if not body.in_blocks:
                continue
            others = [*bodies[:place], *bodies[place + 1 :]]
            seen = [b for b in body.touches if _is_seen_by_block(b, body)]
            old = [b for b in seen if _ends_here(b, body, others)]
            new = [b for b in seen if _begins_here(b, body, bodies[:place])]
            for buffer in sorted(new, key=lambda b: body.touches[b][0]):
                found = next((b for b in old if _fits(b, buffer, body)), None)
                if found is not None:
                    old.remove(found)
                    buffer.lie_in(found)
                    gone.add(buffer)
    whole.buffers = [b for b in whole.buffers if b not in gone]


def _ends_here(buffer: Buffer, body: Body, others: Sequence[Body]) -> bool:
    """Whether this loop alone reads a value that was kept, and nothing does later."""
    lives = buffer.first < body.begins and buffer.last <= body.ends
    return lives and not _is_touched(buffer, others)


def _begins_here(buffer: Buffer, body: Body, before: Sequence[Body]) -> bool:
    """Whether this loop is the first to touch a value that is kept."""
    return buffer.first >= body.begins and not _is_touched(buffer, before)


def _is_seen_by_block(buffer: Buffer, body: Body) -> bool:
    """Whether it is a value of the whole batch of which no other block is looked at."""
    if buffer.scope != "batch" or buffer.array is not None:
        return False
    return not any(v.buffer is buffer and v.whole for v in body.views.values())


def _is_touched(buffer: Buffer, bodies: Sequence[Body]) -> bool:
    return any(buffer in body.touches for body in bodies)


def _fits(old: Buffer, new: Buffer, body: Body) -> bool:
    """Whether blocks are of one size, and the old one's is read before it is lost."""
    sizes = {b.items(1) * b.dtype.itemsize for b in (old, new)}
    alike = len(sizes) == 1 and old.cut is new.cut
    return alike and body.touches[old][1] < body.touches[new][0]
