"""Lanes: the parts of a step, each done for every share of the batch side by side.

A step is a list of parts.  A part is done for lanes 0 to count - 1 in any order
or at once; when all are through, its serial action is run once; then comes the
next part.  What is computed does not depend on how many threads share the lanes.

Python threads of one pool do it, the caller among them.  They sleep between
steps.  Between parts the last to arrive runs the action and opens the way; the
others yield for a short while before they sleep, since a thread that sleeps
takes 20 to 60 us to wake.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from typing import NamedTuple, final

import numpy as np

from graphgpu.backends.numpy.blas import one_thread_from_now_on
from graphgpu.interrupts import stopped_by

__all__ = ["BUFFER", "Lanes", "Part", "quiet"]

_PATIENCE = 50
"""How often to yield before sleeping: 30 to 60 us."""

BUFFER = 1024
"""Elements of NumPy's buffers, on which the bits of some sums depend."""

_yield_core: Callable[[], object] = getattr(os, "sched_yield", lambda: time.sleep(0))


@contextmanager
def quiet() -> Iterator[None]:
    """Compute without floating-point warnings, and with small buffers.

    A NumPy operation with a row for operand copies it into a buffer again and
    again where the row is shorter than the buffer: 0.21 ns an element with rows of
    4,096 and the usual buffer, 0.13 with this one.
    """
    with np.errstate(all="ignore"):  # which restores the buffer's size as well
        np.setbufsize(BUFFER)
        yield


class Part(NamedTuple):
    """What is done for every lane, and then once."""

    parallel: Callable[[int], object] | None
    serial: Callable[[], object] | None = None


@final
class Lanes:
    """A number of lanes, shared by a number of threads.

    The threads of the pool ignore floating-point warnings, and keep to one BLAS
    thread where each has its own number; the caller sees to the rest.

    Examples
    --------
    >>> halves, total = [1.0, 2.0], []
    >>> lanes = Lanes(2, threads=2)
    >>> def double(lane):
    ...     halves[lane] *= 2
    >>> lanes.run([Part(double, lambda: total.append(sum(halves)))])
    >>> total
    [6.0]
    """

    def __init__(self, count: int, threads: int) -> None:
        self.count = count
        self.threads = max(1, min(count, threads))

    def run(
        self,
        parts: Sequence[Part],
        commit: Sequence[Part] = (),
        before_commit: Callable[[], object] = lambda: None,
    ) -> None:
        """Do the parts, and those of a commit; return when every thread is through.

        If the pool is taken, by another Python thread or by a step that this one
        is part of, the caller does all lanes itself.  The caller's thread calls
        ``before_commit`` when it has done its lanes of ``parts``; the commit is begun
        if nothing was raised till then, and no interrupt may reach the caller in it.

        Raises
        ------
        BaseException
            What a lane or an action raised, the first by lane number.  All lanes
            have come to the end of that part then, and later parts are not begun.
            An interrupt that reaches the caller goes before.
        """
        if self.threads > 1:
            plan = _Plan(parts or [Part(None)], commit, self.count, before_commit)
            if _pool.run(plan, self.threads):
                return
        self._alone(parts)
        before_commit()
        self._alone(commit)

    def _alone(self, parts: Sequence[Part]) -> None:
        for parallel, serial in parts:
            if parallel:
                for lane in range(self.count):
                    parallel(lane)
            if serial:
                serial()


class _Plan(NamedTuple):
    """What a step does."""

    parts: Sequence[Part]
    commit: Sequence[Part]
    lanes: int
    before_commit: Callable[[], object]


@final
class _Run:
    """One step: who has arrived where, and what went wrong.

    Threads leave a step only together, after a part, so an error cannot leave one
    waiting.  The caller may be interrupted between any two instructions; all that
    it does here may be done twice, so that it can then go on from where it was.
    """

    def __init__(self, plan: _Plan, workers: Sequence[SimpleQueue[_Run]]) -> None:
        self._parts = [*plan.parts, *plan.commit]
        self._count = plan.lanes
        self._before_commit = plan.before_commit
        self._last = len(plan.parts) - 1
        self._workers = workers
        self._threads = len(workers) + 1
        self._gates = [threading.Lock() for _ in range(self._threads)]
        self._arrived: list[list[int]] = [[] for _ in self._parts]
        self._over = 0
        self._stop = False
        self._place = 0
        self._errors: dict[int, BaseException] = {}
        self._interrupt: BaseException | None = None
        self._joined: list[int] = []

    def lead(self) -> None:
        """Do the caller's share, and wait for the others."""
        done = False
        try:
            while not done:
                try:
                    for worker in self._workers:
                        worker.put(self)
                    while self._place < len(self._parts) and not self._stop:
                        self._take(0, self._place)
                        self._place += 1
                    done = True
                except BaseException as error:
                    self._interrupt = error
        finally:
            if not done:  # interrupted while noting an interrupt
                self._stop = True
                self._over = len(self._parts)
                self._open_gates(0)
        self._raise()

    def follow(self, thread: int) -> None:
        """Do a worker's share, once."""
        if thread in self._joined:
            return
        self._joined.append(thread)
        for place in range(len(self._parts)):
            self._take(thread, place)
            if self._stop:
                return

    def _take(self, thread: int, place: int) -> None:
        """Do a thread's lanes of one part, and wait until the part is over."""
        arrived = self._arrived[place]
        if thread not in arrived:
            self._compute(thread, self._parts[place].parallel)
            if thread == 0 and place == self._last and not self._interrupt:
                self._before_commit()
            arrived.append(thread)
        if arrived[-1] == thread and len(arrived) == self._threads:
            self._finish(thread, place)
            return
        for _ in range(_PATIENCE):
            if self._over > place:
                return
            _yield_core()
        while self._over <= place:
            self._gates[thread].acquire()

    def _compute(self, thread: int, parallel: Callable[[int], object] | None) -> None:
        """Do a thread's lanes of one part."""
        if parallel is None or self._interrupt:
            return
        for lane in range(thread, self._count, self._threads):
            try:
                parallel(lane)
            except Exception as error:
                self._errors[lane] = error
            except BaseException as error:
                self._interrupt = error
                return

    def _finish(self, thread: int, place: int) -> None:
        """End a part: run its action, and let the others go on."""
        if self._over <= place:
            serial = self._parts[place].serial
            if serial and not self._errors and not self._interrupt:
                try:
                    with stopped_by(lambda: self._interrupt is not None):
                        serial()
                except BaseException as error:
                    self._interrupt = error
            self._stop = bool(self._errors or self._interrupt)
            self._over = place + 1
        self._open_gates(thread)

    def _open_gates(self, thread: int) -> None:
        """Wake whoever sleeps at the gate of another thread, or comes to it next."""
        for other, gate in enumerate(self._gates):
            if other != thread and gate.locked():
                gate.release()

    def _raise(self) -> None:
        """Raise what went wrong; keep nothing that would keep its frames."""
        error = self._interrupt
        if error is None and self._errors:
            error = self._errors[min(self._errors)]
        self._errors = {}
        self._interrupt = None
        if error is not None:
            try:
                raise error
            finally:
                del error


def _serve(number: int, runs: SimpleQueue[_Run]) -> None:
    """Take part in one step after another."""
    np.seterr(all="ignore")
    np.setbufsize(BUFFER)
    one_thread_from_now_on()
    while True:
        run = runs.get()
        run.follow(number)
        del run


@final
class _Pool:
    """The threads of the process."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._busy = False
        self._workers: list[SimpleQueue[_Run]] = []

    def run(self, plan: _Plan, threads: int) -> bool:
        """Do a step, unless the pool is taken; return whether it was done."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            workers = [] if self._busy else self._started(threads - 1)
            if not workers:
                return False
            try:
                self._busy = True
                _Run(plan, workers).lead()
            finally:
                self._busy = False
            return True
        finally:
            self._lock.release()

    def _started(self, count: int) -> list[SimpleQueue[_Run]]:
        """Return what so many threads read, or nothing if they cannot be started."""
        try:
            while len(self._workers) < count:
                number = len(self._workers) + 1
                runs: SimpleQueue[_Run] = SimpleQueue()
                name = f"graphgpu lane {number}"
                threading.Thread(
                    target=_serve, args=(number, runs), name=name, daemon=True
                ).start()
                self._workers.append(runs)
        except RuntimeError:  # at the limit of threads, or at the end of the program
            return []
        return self._workers[:count]


_pool = _Pool()


def _renew_pool() -> None:
    """Start afresh in a forked child, which has none of the threads."""
    global _pool  # noqa: PLW0603
    _pool = _Pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_pool)
