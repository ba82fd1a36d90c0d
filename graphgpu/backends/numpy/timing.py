"""The same code with a reading of the clock after every statement.

What it writes to stored values is kept apart, in copies, so that nothing that a
program owns is changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from threading import get_ident
from typing import Any, final

import numpy as np

from graphgpu.backends.numpy.body import Body
from graphgpu.backends.numpy.pairs import partner_of
from graphgpu.backends.numpy.translate import Code
from graphgpu.backends.numpy.translation import Statement
from graphgpu.backends.report import Step, Timings
from graphgpu.nodes import Node
from graphgpu.ops.convolution_operations import ConvolutionInputGradient

__all__ = ["MARK", "Recorder", "Track", "computed_by"]

MARK = "mark(clock())"
"""The statement that reads the clock."""


@final
class Track:
    """What one lane does in one part (or what is done once), and when."""

    def __init__(self, lane: int | None, part: int) -> None:
        self.lane = lane
        self.part = part
        self.steps: list[Step] = []
        self.marks: list[int] = []
        self.thread = 0
        self.names: dict[str, Any] = {
            "mark": self.marks.append,
            "clock": time.perf_counter_ns,
        }

    def expect(
        self, function: str, statements: Sequence[Statement], times: int = 1
    ) -> None:
        """Say that a function is called next, which runs statements so many times."""
        steps = [
            Step(s.node, function, s.text, self.lane, self.part) for s in statements
        ]
        self.steps += steps * times

    def begins(self, function: Callable[[], object]) -> Callable[[], None]:
        """Return the function with a first reading of the clock before it."""

        def run() -> None:
            self.thread = get_ident()
            self.marks.append(time.perf_counter_ns())
            function()

        return run


@final
class Recorder:
    """The tracks of a program, and what they recorded, run by run."""

    def __init__(self) -> None:
        self.tracks: list[Track] = []
        self._parts = 0
        self._rows: list[tuple[list[int], list[int], int, int]] = []

    def part(self, lanes: int) -> tuple[list[Track], Track]:
        """Return the tracks of the next part: of each lane, and of what is done once.

        >>> lanes, serial = Recorder().part(2)
        >>> [t.lane for t in lanes], serial.lane
        ([0, 1], None)
        """
        tracks = [Track(lane, self._parts) for lane in range(lanes)]
        serial = Track(None, self._parts)
        self._parts += 1
        self.tracks += [*tracks, serial]
        return tracks, serial

    def run(
        self,
        stage: Callable[[], object],
        compute: Callable[[], object],
        copy: Callable[[], object],
        commit: Callable[[], object],
    ) -> None:
        """Record one run: inputs, the parts, outputs, the last parts."""
        for track in self.tracks:
            track.marks.clear()
        clock = time.perf_counter_ns
        start = clock()
        stage()
        staged = clock()
        compute()
        computed = clock()
        copy()
        copied = clock()
        commit()
        end = clock()
        starts, ends = [start, computed], [staged, copied]
        for track in self.tracks:
            assert len(track.marks) == len(track.steps) + bool(track.steps)
            starts += track.marks[:-1]
            ends += track.marks[1:]
        threads = len({t.thread for t in self.tracks if t.lane is not None and t.steps})
        self._rows.append((starts, ends, end - start, max(1, threads)))

    def timings(self, code: Code) -> Timings:
        """Return all but the first run, which warms up."""
        rows = self._rows[1:]
        starts, ends = (np.array([row[k] for row in rows], np.int64) for k in range(2))
        first = starts[:, :1]
        lines = [("inputs", "copy inputs"), ("outputs", "copy outputs")]
        steps = [Step(None, name, text, None, -1) for name, text in lines]
        steps += [s for track in self.tracks for s in track.steps]
        return Timings(
            steps,
            (starts - first) * 1e-9,
            (ends - first) * 1e-9,
            np.array([row[2] for row in rows]) * 1e-9,
            [row[3] for row in rows],
            computed_by(code),
            _evaluations(code),
            _reading(),
        )


def computed_by(code: Code) -> dict[Node, tuple[Node, ...]]:
    """Return what the statements of a node compute, where it is not the node alone."""
    found = dict(code.whole.together)
    for body in code.bodies():
        for node in body.nodes if body.kind == "tile" else ():
            if isinstance(node.operation, ConvolutionInputGradient):
                partner = partner_of(node, body.nodes)
                if partner is not None:
                    found[node] = (node, partner)
                    found[partner] = ()
    return found


def _evaluations(code: Code) -> dict[Node, int]:
    """Return how many loops compute each node."""
    counts: dict[Node, int] = {}
    for body in code.bodies():
        for node in _computed(body):
            counts[node] = counts.get(node, 0) + 1
    return counts


def _computed(body: Body) -> set[Node]:
    written = {s.node for s in body.statements}
    return written & body.nodes if body.in_blocks else set()


def _reading() -> float:
    """Return the seconds that a reading of the clock takes."""
    track = Track(None, 0)
    mark, clock = track.names["mark"], track.names["clock"]
    start = clock()
    for _ in range(1000):
        mark(clock())
    return float(clock() - start) * 1e-12
