"""What a device tells of a program: how long it takes, and what is computed where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from graphgpu.dtypes import Array
from graphgpu.nodes import Node

__all__ = ["Account", "Excerpt", "Step", "Timings"]


@final
@dataclass(frozen=True, eq=False, slots=True)
class Step:
    """A statement as it is run: by a lane, or once for all lanes (None).

    ``node`` is None where inputs and outputs are copied.  Between two ``part``
    numbers all lanes meet.
    """

    node: Node | None
    function: str
    text: str
    lane: int | None
    part: int


@final
@dataclass(frozen=True, eq=False)
class Timings:
    """When each step began and ended, in seconds, run by run.

    ``starts`` and ``ends`` have a row for each run and a column for each step;
    ``totals`` are the lengths of the runs, and ``threads`` how many threads the
    lanes were shared by.  ``does`` maps a node to those that its steps compute, where
    these are others, or several; ``evaluations`` how often each is computed.
    ``reading`` is what reading the clock takes, once a step.
    """

    steps: Sequence[Step]
    starts: Array
    ends: Array
    totals: Array
    threads: Sequence[int]
    does: Mapping[Node, tuple[Node, ...]]
    evaluations: Mapping[Node, int]
    reading: float


@final
@dataclass(frozen=True, slots=True)
class Excerpt:
    """The lines of a function of the generated code that compute a node."""

    function: str
    what: str
    """What the function is: a loop over blocks, a serial part."""
    lines: tuple[str, ...]


@final
@dataclass(frozen=True, slots=True)
class Account:
    """How a device computes a node: where, where its value lies, and why."""

    excerpts: tuple[Excerpt, ...]
    memory: str
    layout: str
    reasons: tuple[str, ...]
