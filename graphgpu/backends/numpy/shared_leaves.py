"""What lanes read of parameters, states and constants, in memory that processes see."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np

from graphgpu.backends.numpy.shared_memory import Directory, memory
from graphgpu.backends.numpy.storage import Buffer
from graphgpu.backends.numpy.translate import Code
from graphgpu.dtypes import Array
from graphgpu.graph import Constant, Stored

__all__ = ["share_leaves"]

_LINE = 64


def share_leaves(code: Code) -> dict[Buffer, Array]:
    """Move what lanes read to shared memory; return the bytes of constants there.

    Families of parameters are moved as such; other stored values lie by themselves,
    so that a later program can still lay them end to end.
    """
    for buffer in code.packs:
        assert buffer.array is not None
        buffer.array()
    find = Directory().find
    moved = [b for b in _read_by_lanes(code) if find(_array(b)) is None]
    if not moved:
        return {}
    room = memory(sum(map(_rounded, moved)), shared=True)
    found: dict[Buffer, Array] = {}
    offset = 0
    for buffer in moved:
        place = room[offset : offset + buffer.nbytes(1)]
        offset += _rounded(buffer)
        if isinstance(buffer.variable, Stored):
            buffer.variable.storage.move(place.view(buffer.dtype))
        else:
            np.copyto(place.view(buffer.dtype).reshape(buffer.shape), _array(buffer))
            place.flags.writeable = False
            found[buffer] = place
    return found


def _read_by_lanes(code: Code) -> Iterator[Buffer]:
    """Yield the buffers of stored values and constants that lanes read."""
    seen = set()
    for bodies, _ in code.phases:
        for body in bodies:
            for view in body.views.values():
                buffer = view.buffer
                leaf = isinstance(buffer.variable, Stored | Constant)
                if leaf and buffer.array and buffer not in seen and prod(buffer.shape):
                    seen.add(buffer)
                    yield buffer


def _array(buffer: Buffer) -> Array:
    assert buffer.array is not None
    return buffer.array()


def _rounded(buffer: Buffer) -> int:
    return -(-buffer.nbytes(1) // _LINE) * _LINE
