"""A step bound to addresses: done launch by launch, or as it was recorded."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy as np

from graphgpu.backends.cuda.drivers.driver import (
    Driver,
    Function,
    Prepared,
    Recording,
    Stream,
)
from graphgpu.backends.cuda.kernels.kernel import Call
from graphgpu.backends.cuda.runtime.commit import Moves
from graphgpu.backends.cuda.runtime.order import BoundLoop, Order, walk
from graphgpu.backends.cuda.runtime.status import Watch
from graphgpu.backends.cuda.translate import Launch
from graphgpu.errors import DeviceError

__all__ = ["Bound", "Step"]


@dataclass(frozen=True, eq=False, slots=True)
class Bound:
    """A launch with what it needs: a function or what a library has prepared."""

    launch: Launch
    function: Function | None
    arguments: Sequence[Any]
    prepared: Prepared | None


@dataclass(frozen=True, eq=False, slots=True)
class _Repeated:
    """A loop whose parts are recorded."""

    condition: Sequence[_Recorded]
    loop: BoundLoop
    body: Sequence[_Recorded]


_Recorded: TypeAlias = "Recording | Bound | _Repeated"


@final
class Step:
    """Launches, then copies of old values that are needed on, and of new over old ones.

    The launches are done in an ``order``, in which there may be loops of the host; the
    ``last`` ones write new values in place.  ``outputs`` are the addresses of
    the outputs when it is done, until the next step.  Memory that is ``stained``, an
    address and bytes, is NaN when a step begins.
    """

    def __init__(
        self,
        driver: Driver,
        stream: Stream,
        launches: Sequence[Bound],
        order: Order,
        watch: Watch | None,
        saves: Moves,
        last: Sequence[Bound],
        updates: Moves,
        outputs: Sequence[int],
        stained: Sequence[tuple[int, int]] = (),
    ) -> None:
        self.launches = launches
        self.outputs = outputs
        self._order = order
        self._driver = driver
        self._stream = stream
        self._watch = watch
        self._saves = saves
        self._last = last
        self._stained = stained
        self._updates = updates
        self._recorded: list[_Recorded] | None = None
        self.kept: Sequence[object] = ()
        """What must live as long."""

    def run(self, before_writing: Callable[[], object] = lambda: None) -> None:
        """Launch every kernel, then copy.

        ``before_writing`` is called when no more loops are to be waited for.
        """
        self.begin()
        for number in self.walk():
            self.launch(self.launches[number])
        before_writing()
        self.save()
        self._end()

    def walk(self) -> Iterator[int]:
        """Yield the numbers of the launches as they are to be done."""
        yield from walk(self._order, self._goes_on)

    def _goes_on(self, loop: BoundLoop) -> bool:
        """Read whether a loop goes on; it does not if something is wrong."""
        flag = np.zeros((), np.uint8)
        self._driver.download(loop.flag, flag, self._stream)
        return bool(flag) and not (self._watch is not None and self._watch.found())

    def replay(self, before_writing: Callable[[], object] = lambda: None) -> None:
        """Do it as it was recorded, the first time."""
        if self._recorded is None:
            self._recorded = self._record(self._order, outermost=True)
        *first, last = self._recorded
        for part in first:
            self._play(part)
        before_writing()
        self._play(last)

    def _play(self, part: _Recorded) -> None:
        """Do a part of what was recorded."""
        if isinstance(part, Bound):
            self.launch(part)
        elif not isinstance(part, _Repeated):
            part.launch(self._stream)
        else:
            for _ in part.loop.rounds():
                for inner in part.condition:
                    self._play(inner)
                if not self._goes_on(part.loop):
                    break
                for inner in part.body:
                    self._play(inner)

    def _record(self, order: Order, *, outermost: bool = False) -> list[_Recorded]:
        """Record launches, in parts if there is what cannot be recorded."""
        parts: list[list[Bound] | Bound | BoundLoop] = [[]]
        for part in order:
            bound = part if isinstance(part, BoundLoop) else self.launches[part]
            if isinstance(bound, BoundLoop) or bound.launch.obstacle:
                parts += [bound, []]
            else:
                last = parts[-1]
                assert isinstance(last, list)
                last.append(bound)
        recorded: list[_Recorded] = []
        for found in parts:
            if isinstance(found, BoundLoop):
                inner = self._record(found.condition), self._record(found.body)
                recorded.append(_Repeated(inner[0], found, inner[1]))
            elif isinstance(found, Bound):
                recorded.append(found)
            else:
                first = outermost and found is parts[0]
                last_one = outermost and found is parts[-1]
                if found or first or last_one:
                    recorded.append(self._recording(found, first, last_one))
        return recorded

    def _recording(
        self, launches: Sequence[Bound], first: bool, last: bool
    ) -> Recording:
        """Record launches, and how a step begins and ends if they are the outermost."""
        self._driver.begin_recording(self._stream)
        try:
            if first:
                self.begin()
            for bound in launches:
                self.launch(bound)
            if last:
                self.save()
                self._end()
        except BaseException:
            with suppress(DeviceError):  # nothing more is recorded
                self._driver.end_recording(self._stream)
            raise
        return self._driver.end_recording(self._stream)

    def begin(self) -> None:
        """Clear the words of what checks something; make NaN of what is not written."""
        for address, nbytes in self._stained:
            self._driver.fill(address, 0xFF, nbytes, self._stream)
        if self._watch is not None:
            self._watch.clear()

    def save(self) -> None:
        """Copy old values that are outputs, or new values of others."""
        self._saves.launch()

    def _end(self) -> None:
        if self._watch is not None:
            self._watch.note()
        self.commit()

    def commit(self) -> None:
        """Write new values over old ones, unless something is wrong."""
        for bound in self._last:
            self.launch(bound)
        self._updates.launch()

    def launch(self, bound: Bound) -> None:
        """Launch one kernel, or call a library."""
        kernel = bound.launch.kernel
        if isinstance(kernel, Call):
            assert bound.prepared is not None
            bound.prepared(bound.arguments, self._stream)
        elif 0 not in kernel.grid:
            assert bound.function is not None
            shape = kernel.grid, kernel.block
            arguments, shared = bound.arguments, kernel.shared_bytes
            self._driver.launch(bound.function, *shape, arguments, self._stream, shared)

    def timed(self) -> list[int]:
        """Launch one by one, without copies; return the clock before and after each.

        What is launched several times counts as once, as long as all of them.
        """
        self.begin()
        self._stream.synchronize()
        every = [*self.launches, *self._last]
        durations = [0] * len(every)
        start = time.perf_counter_ns()
        numbers = itertools.chain(self.walk(), range(len(self.launches), len(every)))
        for number in numbers:
            before = time.perf_counter_ns()
            self.launch(every[number])
            self._stream.synchronize()
            durations[number] += time.perf_counter_ns() - before
        return list(itertools.accumulate(durations, initial=start))
