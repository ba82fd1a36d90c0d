"""Programs of which another process computes a lane: what it sees, what it is sent.

A process is worth its start, a quarter of a second on another core, for programs
that are large and run often.  It reads and writes the arena alone: what lanes read
of parameters, states and constants lies in shared memory, but threads write the
new values, so that a step whose process is lost has changed none of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphgpu.backends.numpy.calls import Calls
from graphgpu.backends.numpy.lanes import Part
from graphgpu.backends.numpy.processes import (
    LaneCode,
    ProcessLanes,
    UnshareableError,
    unavailable,
)
from graphgpu.backends.numpy.team import Team, current_team
from graphgpu.backends.numpy.translate import Code

__all__ = ["is_worthwhile", "shared_lanes", "start_team"]

_LEAST = 1.5e-2
"""Seconds of work from which a process is worth its start."""


def is_worthwhile(code: Code, threads: int) -> bool:
    """Whether a process is to compute a lane of the program, if it can."""
    lanes = min(code.whole.lanes, threads)
    return lanes > 1 and code.seconds >= _LEAST and unavailable() is None


def start_team(lanes: int) -> Team | None:
    """Return the processes, which start meanwhile; None if there can be none."""
    try:
        return current_team(lanes)
    except OSError:
        return None


def shared_lanes(parts: Sequence[Part], lanes: int, team: Team) -> ProcessLanes | None:
    """Return the lanes of linked parts as processes share them.

    None if they cannot be sent: code of users' own, or memory that is not shared.
    """
    calls = [p.parallel for p in parts if p.parallel]
    codes = []
    for lane in range(lanes):
        names = {c.__name__: c.of([lane]) for c in calls if isinstance(c, Calls)}
        codes.append(LaneCode("", "<lanes>", names))
    try:
        return ProcessLanes(parts, codes, team, repeatable=True)
    except (UnshareableError, OSError):
        return None
