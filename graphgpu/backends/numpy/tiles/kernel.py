"""What the kernels on tiles have in common.

A tile is a block of B images in the layout [H, B, W, C], so that neighbouring
rows of all images are one contiguous matrix.  A kernel is planned from sizes
alone, then bound to arrays of its own, then called many times on tiles.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import prod
from typing import Any

from graphgpu.dtypes import Array, DType

__all__ = ["BoundKernel", "Need", "TileKernel"]


@dataclass(frozen=True)
class Need:
    """An array that a kernel works in.

    One with ``zero`` is zeroed before the first of a row of calls, and its zeros are
    relied on at every call; kernels that are equal may share it.  The others
    are scratch: whatever is in them at the start of a call does not matter.
    """

    shape: tuple[int, ...]
    dtype: DType
    zero: bool = False

    @property
    def nbytes(self) -> int:
        """Return the size in bytes."""
        return prod(self.shape) * self.dtype.itemsize


class BoundKernel(ABC):
    """A kernel with its arrays: call it with tiles. Abstract."""

    interior: Array | None = None
    """The part of a padded tile that the first argument is copied to, if any.

    A caller that writes the tile there itself, and passes ``interior``, spares
    the copy.
    """

    @abstractmethod
    def __call__(self, *tiles: Any) -> None:
        """Compute; nothing is allocated."""


class TileKernel(ABC):
    """A computation on tiles of known sizes. Abstract."""

    @abstractmethod
    def needs(self) -> tuple[Need, ...]:
        """Return the arrays to bind it to, in their order."""

    @abstractmethod
    def bind(self, *arrays: Array) -> BoundKernel:
        """Return the kernel that works in these arrays."""
