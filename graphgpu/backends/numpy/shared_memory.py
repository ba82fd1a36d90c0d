"""Memory that the processes of lanes see too.

A block is an anonymous file in memory (memfd): it has no name, so nothing stays
behind in /dev/shm, and it is freed with the last array that lies in it.  Other
processes get it by its file descriptor.

A child that is forked would write to its parent's blocks.  It gets copies at the
same addresses instead, which are its own, as it does of other memory; the parent
waits while they are made.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import threading
import weakref
from bisect import bisect_right
from dataclasses import dataclass
from typing import final

import numpy as np

from graphgpu.dtypes import Array

__all__ = ["Directory", "SharedBlock", "allocate", "memory"]

_HUGE = 2**22
"""The size from which a block asks for large pages, as NumPy does."""

_CHUNK = 2**24
"""How much is copied at once in a forked child."""


@final
@dataclass(frozen=True, eq=False)
class SharedBlock:
    """Zeroed bytes, and the descriptor of the file that they are.

    The descriptor is closed when the last array in the memory is gone.
    """

    array: Array
    handle: int


def allocate(nbytes: int) -> SharedBlock:
    """Return a new block of zeros, at the start of a page.

    Raises
    ------
    OSError
        There is no memory left, or the system has no such files.
    """
    handle = os.memfd_create("graphgpu", os.MFD_CLOEXEC)
    try:
        size = max(nbytes, 1)
        os.ftruncate(handle, size)
        mapping = mmap.mmap(handle, size)
    except BaseException:
        os.close(handle)
        raise
    if nbytes >= _HUGE:
        with contextlib.suppress(OSError, AttributeError):
            mapping.madvise(mmap.MADV_HUGEPAGE)
    array = np.frombuffer(mapping, np.uint8)
    address = array.ctypes.data
    _blocks[address] = size, handle
    weakref.finalize(mapping, _forget, address, handle).atexit = False
    return SharedBlock(array[:nbytes], handle)


def memory(nbytes: int, shared: bool) -> Array:
    """Return bytes that begin on a cache line; in a block, where one can be had."""
    if shared:
        with contextlib.suppress(OSError):
            return allocate(nbytes).array
    whole = np.empty(nbytes + 64, np.uint8)
    start = -whole.ctypes.data % 64
    return whole[start : start + nbytes]


_blocks: dict[int, tuple[int, int]] = {}
"""For each address: size, descriptor."""


def _forget(address: int, handle: int) -> None:
    """Close the file of a block that is gone."""
    if _blocks.pop(address, None):
        os.close(handle)


@final
class Directory:
    """Where the blocks are that exist now."""

    def __init__(self) -> None:
        self._blocks = dict(_blocks)
        self._starts = sorted(self._blocks)

    def find(self, array: Array) -> tuple[int, int] | None:
        """Return the descriptor and offset of an array that lies in a block."""
        address = array.__array_interface__["data"][0]
        place = bisect_right(self._starts, address) - 1
        if place < 0:
            return None
        start = self._starts[place]
        size, handle = self._blocks[start]
        if address >= start + size:
            return None
        return handle, address - start


# --- forking


_pipes = threading.local()


def _before_fork() -> None:
    _pipes.ends = os.pipe() if _blocks else None


def _after_in_parent() -> None:
    """Wait until the child has copied, or is gone."""
    if _pipes.ends:
        read, write = _pipes.ends
        os.close(write)
        os.read(read, 1)
        os.close(read)


def _after_in_child() -> None:
    """Replace all blocks by copies."""
    if _pipes.ends:
        read, write = _pipes.ends
        os.close(read)
        for address, (size, handle) in _blocks.items():
            for offset in range(0, size, _CHUNK):
                _make_private(address + offset, min(_CHUNK, size - offset))
            os.close(handle)
        _blocks.clear()
        os.write(write, b"x")
        os.close(write)


def _make_private(address: int, size: int) -> None:
    """Put a private copy of whole pages in their place."""
    content = ctypes.string_at(address, size)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_FIXED
    access = mmap.PROT_READ | mmap.PROT_WRITE
    place = ctypes.c_void_p(address)
    end = ctypes.c_long(0)
    found = libc.mmap(place, ctypes.c_size_t(size), access, flags, -1, end)
    if found != address:
        os._exit(70)  # it must not go on with its parent's memory
    ctypes.memmove(address, content, size)


_MAP_FIXED = 0x10

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_in_parent,
        after_in_child=_after_in_child,
    )
