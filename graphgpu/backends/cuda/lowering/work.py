"""What is to be launched, in order, before it is known where values lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from graphgpu.backends.cuda.kernels.kernel import Call, Kernel
from graphgpu.backends.cuda.rules.checks import Range
from graphgpu.nodes import Node

__all__ = ["Mark", "Work"]


@dataclass(frozen=True, eq=False, slots=True)
class Work:
    """A kernel of nodes, or a library's call, to be launched."""

    nodes: tuple[Node, ...]
    kernel: Kernel | Call
    checks: Range | None = None
    last: bool = False
    """Whether it writes new values over old ones, and so comes after all else."""


@dataclass(frozen=True, eq=False, slots=True)
class Mark:
    """Where a loop begins that the host drives, where its body does, and its end.

    At the body the host reads ``flag``, a bool scalar, and leaves the loop if it is
    false; in any case after ``most`` iterations.  What comes before a mark stays
    before it.
    """

    what: Literal["loop", "body", "end"]
    flag: Node | None = None
    most: int | None = None
