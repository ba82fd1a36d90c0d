"""Where values live, and the views through which generated code sees them.

The batch is cut into blocks of images, and the blocks are dealt out to lanes.
A buffer says how its memory follows that cut:

- ``whole``: one array;
- ``batch``: a piece for each block, one after the other; the shape of a piece
  has :data:`BLOCK` where the number of images of the block stands;
- ``block``: an array of fixed shape for each block: partial sums;
- ``lanes``: an array of fixed shape for each lane: sums that grow block by block;
- ``lane``: scratch of one lane, sized for its largest block, in memory that no
  other lane sees.  Lanes do not wait for each other between loops, so only here
  may a value take the place of another in the middle of a phase.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any, Literal, TypeAlias

from graphgpu.dtypes import Array, DType
from graphgpu.graph import Variable

__all__ = ["BLOCK", "Block", "Buffer", "Partition", "Scope", "View", "partition"]

BLOCK = -1
"""Stands in a shape for the number of images of a block."""

Scope: TypeAlias = Literal["whole", "batch", "block", "lanes", "lane"]


@dataclass(frozen=True, slots=True)
class Block:
    """Images ``start`` to ``start + size`` of the batch, computed by a lane."""

    index: int
    lane: int
    start: int
    size: int


@dataclass(frozen=True, slots=True)
class Partition:
    """A cut of ``count`` images into blocks, in order, each of them a lane's."""

    count: int
    blocks: tuple[Block, ...]

    @property
    def largest(self) -> int:
        """The images of the largest block."""
        return max((b.size for b in self.blocks), default=0)


def partition(count: int, lanes: int, size: int) -> Partition:
    """Deal ``count`` images out evenly to lanes, in blocks of at most ``size``.

    >>> [(b.lane, b.start, b.size) for b in partition(7, 2, 3).blocks]
    [(0, 0, 3), (0, 3, 1), (1, 4, 3)]
    """
    blocks: list[Block] = []
    start = 0
    for lane in range(lanes):
        stop = start + count // lanes + (lane < count % lanes)
        while start < stop:
            here = min(size, stop - start)
            blocks.append(Block(len(blocks), lane, start, here))
            start += here
    return Partition(count, tuple(blocks))


@dataclass(eq=False, slots=True)
class Buffer:
    """Memory for a value: in the arena, unless ``array`` says where."""

    label: str
    shape: tuple[int, ...]
    dtype: DType
    scope: Scope = "whole"
    cut: Partition | None = None
    variable: Variable | None = None
    array: Callable[[], Array] | None = None
    first: int = -1
    last: int = -1
    parent: tuple[Buffer, int] | None = None
    """The buffer that this one lies in, and at which byte."""

    def items(self, block: int) -> int:
        """Return the number of elements for a block of so many images."""
        return prod(block if s == BLOCK else s for s in self.shape)

    def nbytes(self, lanes: int) -> int:
        """Return the bytes of all its arrays; of scratch, of one lane's."""
        if self.scope == "whole":
            count = prod(self.shape)
        elif self.scope == "batch":
            assert self.cut is not None
            count = self.items(1) * self.cut.count
        elif self.scope == "block":
            assert self.cut is not None
            count = self.items(1) * len(self.cut.blocks)
        elif self.scope == "lanes":
            count = aligned(prod(self.shape), self.dtype) * lanes
        else:
            count = self.items(self.cut.largest if self.cut else 1)
        return count * self.dtype.itemsize

    def at(self, memory: Array, block: Block | None) -> Array:
        """Return the array in ``memory`` (its bytes) that a block sees."""
        flat = memory.view(self.dtype)
        if block is None:
            return flat.reshape(self._all(len(flat)))
        sized = tuple(block.size if s == BLOCK else s for s in self.shape)
        count = prod(sized)
        first = 0
        if self.scope == "batch":
            first = block.start * self.items(1)
        elif self.scope == "block":
            first = block.index * count
        elif self.scope == "lanes":
            first = block.lane * aligned(count, self.dtype)
        return flat[first : first + count].reshape(sized)

    def _all(self, count: int) -> tuple[int, ...]:
        """Return the shape of everything: images, blocks or lanes come first."""
        if self.scope == "whole":
            return self.shape
        if self.scope == "batch":
            assert self.cut is not None
            assert self.shape[0] == BLOCK, self.label
            return (self.cut.count, *self.shape[1:])
        if self.scope == "block":
            assert self.cut is not None
            return (len(self.cut.blocks), *self.shape)
        assert self.scope == "lanes"
        return (-1, aligned(prod(self.shape), self.dtype))

    def touch(self, time: int) -> None:
        """Extend the lifetime to a step."""
        if self.parent is not None:
            self.parent[0].touch(time)
        self.first = time if self.first < 0 else min(self.first, time)
        self.last = max(self.last, time)

    def lie_in(self, other: Buffer) -> None:
        """Take the place of another, which is not read any more."""
        self.parent = (other, 0)
        other.touch(self.first)
        other.touch(self.last)


def aligned(count: int, dtype: DType) -> int:
    """Round a number of elements up to whole cache lines."""
    line = max(1, 64 // dtype.itemsize)
    return -(-count // line) * line


Maker: TypeAlias = Callable[[Array, Any], Array]


@dataclass(frozen=True, eq=False, slots=True)
class View:
    """A way to see a buffer: its array, then ``makers`` one after the other.

    ``key`` tells views of one buffer apart; ``contiguous`` says that elements
    lie one after the other in memory, in the order of ``layout``.
    """

    buffer: Buffer
    key: str = ""
    makers: tuple[Maker, ...] = ()
    contiguous: bool = True
    sliced: bool = False
    whole: bool = False
    """Whether it is of all images, seen from wherever."""

    def then(self, key: str, maker: Maker, contiguous: bool = False) -> View:
        """Return the view of this view; a maker is given the array and the block."""
        return View(
            self.buffer,
            f"{self.key}.{key}",
            (*self.makers, maker),
            contiguous and self.contiguous,
            self.sliced,
            self.whole,
        )

    def all_images(self) -> View:
        """Return the view of all images from within a block."""
        return View(self.buffer, f"{self.key}.all", (), self.contiguous, whole=True)

    def images(self) -> View:
        """Return the images of the block, where the whole has the batch's axis."""

        def cut(array: Array, block: Block) -> Array:
            return array[block.start : block.start + block.size]

        return View(
            self.buffer,
            f"{self.key}.images",
            (*self.makers, cut),
            self.contiguous,
            True,
            self.whole,
        )

    @property
    def by_block(self) -> bool:
        """Whether every block sees another array."""
        if self.sliced:
            return True
        return not self.whole and self.buffer.scope in ("batch", "block")

    def bind(self, memory: Array, block: Block | None) -> Array:
        """Return the array seen through the view in the buffer's memory."""
        array = self.buffer.at(memory, None if self.whole else block)
        for maker in self.makers:
            array = maker(array, block)
        return array
