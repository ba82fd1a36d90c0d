"""A kernel to be launched: its source, its grid, and what it is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphgpu.nodes import Node

__all__ = ["Kernel", "Operand", "Workspace"]


@dataclass(frozen=True, eq=False, slots=True)
class Operand:
    """A node's value as a kernel sees it: C-ordered.

    ``component`` says which array of a tuple it is.
    """

    node: Node
    component: int = 0


@dataclass(frozen=True, eq=False, slots=True)
class Workspace:
    """Bytes that several kernels of one node share, the same ones for each."""

    nbytes: int


@dataclass(frozen=True, eq=False, slots=True)
class Kernel:
    """One launch.  Equal ``source`` and ``name`` are compiled once.

    The function's parameters are, in order, a pointer for each of ``operands``
    (what it reads, then what it writes), one for each of ``scratch`` (workspaces of
    so many bytes, or ones shared with other kernels), one to a word of 64 bits if it
    has a ``status``, which is all ones unless something is wrong, and ``numbers``.
    """

    source: str
    name: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    reads: Sequence[Operand]
    writes: Sequence[Operand]
    scratch: Sequence[int | Workspace] = ()
    numbers: Sequence[np.generic] = ()
    shared_bytes: int = 0
    status: bool = False
