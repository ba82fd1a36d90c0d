"""A program for the CPU, for given sizes: its plan, running it, its results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from traceback import walk_tb
from typing import Any, final

import numpy as np

from graphgpu.backends.base import Executable, Task
from graphgpu.backends.numpy.account import Ledger
from graphgpu.backends.numpy.blas import one_thread
from graphgpu.backends.numpy.lanes import Lanes, quiet
from graphgpu.backends.numpy.layout import Layout, lay_out
from graphgpu.backends.numpy.link import Linked, bytes_of, link
from graphgpu.backends.numpy.orders import better_order
from graphgpu.backends.numpy.processes import ProcessLanes
from graphgpu.backends.numpy.shared_memory import memory
from graphgpu.backends.numpy.sharing import is_worthwhile, shared_lanes, start_team
from graphgpu.backends.numpy.storage import Buffer
from graphgpu.backends.numpy.team import Team
from graphgpu.backends.numpy.timing import Recorder
from graphgpu.backends.numpy.translate import Code, translate
from graphgpu.backends.numpy.translation import Statement
from graphgpu.backends.numpy.validate import validate
from graphgpu.backends.report import Account, Timings
from graphgpu.dtypes import Array
from graphgpu.errors import GraphGPUError
from graphgpu.garbage import collection_paused
from graphgpu.graph import Storage, Stored, failure
from graphgpu.nodes import Node
from graphgpu.plan import Plan

__all__ = ["Arena", "NumpyExecutable"]


@final
class Arena:
    """Memory that the programs for all sizes of one graph share: as the largest."""

    def __init__(self) -> None:
        self.bytes = np.empty(0, np.uint8)
        self.shared = False

    def at_least(self, size: int, shared: bool) -> Array:
        """Return the memory, enlarged or made shared if it must be."""
        if self.bytes.size < size or (shared and not self.shared):
            self.shared |= shared
            self.bytes = memory(max(size, self.bytes.size), self.shared)
        return self.bytes


@final
class NumpyExecutable(Executable):
    """Generated code, bound to memory when it is first run."""

    def __init__(self, task: Task, arena: Arena | None = None) -> None:
        self.task = task
        self.arena = arena or Arena()
        self._translate()
        self._lanes = Lanes(self.code.whole.lanes, task.threads)
        self._linked: Linked | None = None
        self._team: Team | None = None
        """Kept while new code is linked: processes take a while to start."""
        self._processes: ProcessLanes | None = None
        self._bound: Array | None = None
        self._storages: list[tuple[Storage, Array]] = []
        self._staged: list[tuple[Node, Array]] = []
        self._results: list[Array] = []
        self._outputs: list[Array] = []
        """Copies of the results of the last run."""

    def _translate(self) -> None:
        """Write the code, and decide where everything lies."""
        task = self.task
        self.code: Code = translate(
            task.nodes,
            task.outputs,
            task.updates,
            fused=task.fused,
            late=task.late,
            checked=task.checked,
        )
        self.code.whole.shared = is_worthwhile(self.code, task.threads)
        self.layout: Layout = lay_out(self.code)
        self._written_bytes = self.layout.widest_bytes
        if task.fused and not task.checked and self.code.whole.lanes == 1:
            self._reorder()
        if task.debug:
            validate(self.code, self.layout)
        self._ledger: Ledger | None = None

    def _reorder(self) -> None:
        """Take an order that needs less memory, where there are no loops to keep."""
        task = self.task
        nodes = better_order(task)
        if nodes is None:
            return
        code = translate(nodes, task.outputs, task.updates, late=task.late)
        layout = lay_out(code)
        if layout.arena_bytes < self.layout.arena_bytes:
            self.code, self.layout = code, layout

    def run(
        self, inputs: Mapping[Node, Array], before_writing: Callable[[], object]
    ) -> list[Array]:
        """Compute; write the new values over the old ones; return the outputs.

        All is one run of the threads that share the lanes.  Where processes share
        them, threads do what writes stored values: nothing of it can be lost.
        """
        again = self._linked is not None
        linked = self._ready()
        if again and self.code.whole.shared and self._processes is None:
            self._hand_over(linked)
        self._stage(inputs)
        parts = linked.parts
        if self._processes is not None:
            self._compute(linked, self._processes.run)
            parts = []
        self._compute(
            linked, partial(self._lanes.run, parts, linked.commit, before_writing)
        )
        outputs, self._outputs = self._outputs, []
        return outputs

    def account(self, node: Node) -> Account:
        """Return where a node is computed, where its value lies, and why."""
        if self._ledger is None:
            self._ledger = Ledger(self.code, self.task)
        return self._ledger.account(node)

    def profile(self, inputs: Mapping[Node, Array], repeat: int) -> Timings:
        """Return when each statement ran; stored values stay as they are."""
        self._ready()
        assert self._bound is not None
        recorder = Recorder()
        apart = [*self.code.packs, *self._targets()]
        linked = link(self.code, self.layout, self._bound, recorder, apart)
        for _ in range(repeat + 1):
            for copy, original in linked.copies:
                np.copyto(copy, original)
            recorder.run(
                lambda: self._stage(inputs),
                lambda: self._compute(linked, partial(self._lanes.run, linked.parts)),
                self._copy,
                lambda: self._compute(linked, partial(self._lanes.run, linked.commit)),
            )
        return recorder.timings(self.code)

    def source(self) -> str:
        """Return the generated functions, in the order in which they are run."""
        return self._ready().source

    def plan(self) -> Plan:
        """Return what memory the program takes."""
        return self.layout.plan(self.code, self.task, self._written_bytes)

    def _stage(self, inputs: Mapping[Node, Array]) -> None:
        """Copy the inputs to where the code reads them."""
        for node, place in self._staged:
            np.copyto(place, inputs[node])

    def _compute(self, linked: Linked, work: Callable[[], None]) -> None:
        """Run the code, up to what replaces stored values."""
        try:
            with one_thread(), quiet():
                work()
        except GraphGPUError:
            raise
        except Exception as error:
            statement = _blamed(linked, error)
            if statement is None:
                raise
            raise _failure(statement.node, error) from error

    def _copy(self) -> None:
        """Copy the outputs."""
        self._outputs = [array.copy() for array in self._results]

    def _targets(self) -> list[Buffer]:
        """Return the buffers of the stored values that are updated."""
        homes = self.code.whole.homes
        return [homes[t][0].view.buffer for t, _ in self.task.updates if t in homes]

    # --- memory

    def _ready(self) -> Linked:
        """Return the code bound to the arena and the storages as they are now."""
        arena = self._room()
        stale = self._linked is None or self._bound is not arena
        if stale or any(s.array is not a for s, a in self._storages):
            if any(f.is_scattered() for f in self.code.families):
                self._translate()
                arena = self._room()
            self._link(arena)
        assert self._linked is not None
        return self._linked

    def _room(self) -> Array:
        return self.arena.at_least(self.layout.arena_bytes, self.code.whole.shared)

    def _hand_over(self, linked: Linked) -> None:
        """Let processes compute all lanes but the first, if they can be given them."""
        count = self._lanes.count
        self._team = start_team(count)
        if self._team is not None:
            self._processes = shared_lanes(linked.parts, count, self._team)
        if self._processes is None:
            self.code.whole.shared, self._team = False, None

    def _link(self, arena: Array) -> None:
        self._linked = self._processes = None  # what holds memory that is replaced
        self._storages, self._results = [], []
        with collection_paused():
            linked = self._linked = link(self.code, self.layout, arena)
        linked.finally_once(self._copy)
        self._bound = arena
        self._staged = [
            (node, _array(buffer)) for node, buffer in self.code.staged.items()
        ]
        self._storages = [
            (n.variable.storage, n.variable.storage.array)
            for n in (*self.task.nodes, *(t for t, _ in self.task.updates))
            if isinstance(n.variable, Stored)
        ]
        views = [self.code.results[n].view for n in self.task.outputs]
        self._results = [v.bind(bytes_of(linked, v.buffer, None), None) for v in views]
        linked.memory.clear()


def _blamed(linked: Linked, error: BaseException) -> Statement | None:
    """Return the statement that raised an error."""
    found = None
    for file, number in _places(error):
        lines = linked.statements.get(file)
        if lines is not None:
            found = lines[min(number - 1, len(lines) - 1)]
    return found


def _places(error: BaseException) -> list[tuple[str, int]]:
    """Return the lines that an error passed, in this process or another."""
    elsewhere: list[tuple[str, int]] | None = getattr(error, "lane_lines", None)
    if elsewhere is not None:
        return elsewhere
    frames = walk_tb(error.__traceback__)
    return [(frame.f_code.co_filename, line) for frame, line in frames]


def _array(buffer: Buffer) -> Array:
    assert buffer.array is not None
    return buffer.array()


def _failure(node: Node, error: Exception) -> Exception:
    assert node.operation is not None
    given: list[Any] = [n.type for n in node.inputs]
    return failure(node.variable, node.operation, given, error)
