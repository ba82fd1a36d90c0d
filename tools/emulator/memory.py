"""Memory that notices who reads or writes beside it.

Each allocation lies in pages of its own, between two that cannot be touched, and
ends as near to the second as its alignment of 256 bytes allows.  What is left over
holds NaNs that are its own, fresh memory NaN bytes; the pages of freed memory cannot be
touched any more.
"""

from __future__ import annotations

import ctypes
import mmap
from bisect import bisect_right, insort
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from weakref import finalize

__all__ = ["Block", "EmulatedMemory", "Heap"]

PAGE = mmap.PAGESIZE
ALIGNMENT = 256
READ_WRITE = mmap.PROT_READ | mmap.PROT_WRITE
UNTOUCHABLE = 0
PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
FIXED = 0x10
KEPT = 512  # freed allocations whose addresses are not used again for now

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.mmap.restype = ctypes.c_void_p
_LIBC.mmap.argtypes = [
    ctypes.c_void_p,
    ctypes.c_size_t,
    *[ctypes.c_int] * 3,
    ctypes.c_long,
]
_LIBC.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_LIBC.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


@dataclass(eq=False, slots=True)
class Block:
    """An allocation: its bytes, and its pages from the first guard to the last."""

    address: int
    nbytes: int
    first: int
    total: int
    number: int
    freed: bool = False

    @property
    def end(self) -> int:
        """Where its bytes end."""
        return self.address + self.nbytes

    def holds(self, address: int, nbytes: int) -> bool:
        """Return whether so many bytes from an address on are its own."""
        return self.address <= address and address + nbytes <= self.end

    def stain(self, start: int, size: int) -> bytes:
        """Return what its margins hold: NaNs of every float dtype, unlike others'."""
        pair = (0x7FF1 + self.number % 15).to_bytes(2, "little")
        return (pair * (size // 2 + 2))[start % 2 :][:size]

    def margins(self) -> list[tuple[int, int]]:
        """Return where the bytes around it lie that are nobody's, and how many."""
        head, tail = self.first + PAGE, self.first + self.total - PAGE
        return [(head, self.address - head), (self.end, tail - self.end)]

    def __str__(self) -> str:
        state = "freed " if self.freed else ""
        name = f"{state}allocation {self.number} of {self.nbytes} bytes"
        return f"{name} at {self.address:#x}"


class EmulatedMemory:
    """Memory of the emulated device, given back when nothing refers to it."""

    def __init__(self, block: Block, give_back: Callable[[Block], None]) -> None:
        self.address = block.address
        self.nbytes = block.nbytes
        finalize(self, give_back, block).atexit = False


class Heap:
    """All allocations, at most ``capacity`` bytes at a time."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.used = 0
        self._blocks: list[tuple[int, int, Block]] = []
        self._freed: deque[Block] = deque()
        self._count = 0

    def allocate(self, nbytes: int) -> Block:
        """Return an allocation, full of NaN bytes."""
        rounded = -(-nbytes // ALIGNMENT) * ALIGNMENT
        pages = -(-rounded // PAGE) * PAGE
        total = pages + 2 * PAGE
        first = _LIBC.mmap(None, total, UNTOUCHABLE, PRIVATE, -1, 0)
        if first in (None, ctypes.c_void_p(-1).value):
            raise MemoryError(
                f"the host has not {nbytes} bytes for the emulated device"
            )
        if pages:
            _LIBC.mprotect(first + PAGE, pages, READ_WRITE)
            ctypes.memset(first + PAGE, 0xFF, pages)
        self._count += 1
        address = first + PAGE + pages - rounded
        block = Block(address, nbytes, first, total, self._count)
        insort(self._blocks, (first, self._count, block))
        for start, size in block.margins():
            ctypes.memmove(start, block.stain(start, size), size)
        self.used += nbytes
        return block

    def free(self, block: Block) -> None:
        """Make a block's pages untouchable, and give back those freed long ago."""
        block.freed = True
        self.used -= block.nbytes
        flags = PRIVATE | FIXED
        _LIBC.mmap(block.first, block.total, UNTOUCHABLE, flags, -1, 0)
        self._freed.append(block)
        while len(self._freed) > KEPT:
            self._forget(self._freed.popleft())

    def _forget(self, block: Block) -> None:
        self._blocks.remove((block.first, block.number, block))
        _LIBC.munmap(block.first, block.total)

    def close(self) -> None:
        """Give all pages back to the host."""
        for first, _, block in self._blocks:
            _LIBC.munmap(first, block.total)
        self._blocks.clear()

    def find(self, address: int) -> Block | None:
        """Return the allocation in whose pages, guards included, an address lies."""
        k = bisect_right(self._blocks, (address, self._count + 1))
        if k == 0:
            return None
        block = self._blocks[k - 1][2]
        return block if address < block.first + block.total else None

    def fault(self, address: int, nbytes: int) -> str | None:
        """Return what is wrong with using so many bytes, or None."""
        block = self.find(address)
        if block is not None and not block.freed and block.holds(address, nbytes):
            return None
        return f"{nbytes} bytes at {address:#x}: {self.describe(address)}"

    def describe(self, address: int) -> str:
        """Return where an address lies, in words."""
        block = self.find(address)
        if block is None:
            return "no memory of this device"
        if address < block.address:
            return f"{block.address - address} bytes before {block}"
        if address >= block.end:
            return f"{address - block.end} bytes past the end of {block}"
        return f"byte {address - block.address} of {block}"

    def stained(self, address: int) -> str | None:
        """Return what was written beside the allocation of an address, or None."""
        block = self.find(address)
        if block is None or block.freed:
            return None
        for start, size in block.margins():
            there = ctypes.string_at(start, size)
            if there != (clean := block.stain(start, size)):
                ctypes.memmove(start, clean, size)
                pairs = zip(there, clean, strict=True)
                written = next(i for i, (a, b) in enumerate(pairs) if a != b)
                return f"wrote {self.describe(start + written)}"
        return None
