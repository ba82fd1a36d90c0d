"""A program for the CPU, for given sizes: its plan, running it, its results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np

from graphgpu.backends.base import Executable, Task
from graphgpu.backends.numpy.account import Ledger
from graphgpu.backends.numpy.blas import one_thread
from graphgpu.backends.numpy.lanes import Lanes, Part, quiet
from graphgpu.backends.numpy.layout import Layout, lay_out
from graphgpu.backends.numpy.link import Linked, bytes_of, link
from graphgpu.backends.numpy.storage import Buffer
from graphgpu.backends.numpy.timing import Recorder
from graphgpu.backends.numpy.translate import Code, translate
from graphgpu.backends.numpy.translation import Statement
from graphgpu.backends.numpy.validate import validate
from graphgpu.backends.report import Account, Timings
from graphgpu.dtypes import Array
from graphgpu.errors import GraphGPUError
from graphgpu.graph import Storage, Stored, failure
from graphgpu.nodes import Node
from graphgpu.plan import Plan

__all__ = ["Arena", "NumpyExecutable"]


@final
class Arena:
    """Memory that the programs for all sizes of one graph share: as the largest."""

    def __init__(self) -> None:
        self.bytes = np.empty(0, np.uint8)
        self.user: object = None

    def at_least(self, size: int) -> Array:
        """Return the memory, enlarged if it must be."""
        if self.bytes.size < size:
            whole = np.empty(size + 64, np.uint8)
            start = -whole.ctypes.data % 64
            self.bytes = whole[start : start + size]
        return self.bytes


@final
class NumpyExecutable(Executable):
    """Generated code, bound to memory when it is first run."""

    def __init__(self, task: Task, arena: Arena | None = None) -> None:
        self.task = task
        self.arena = arena or Arena()
        self.code: Code = translate(
            task.nodes,
            task.outputs,
            task.updates,
            fused=task.fused,
            late=task.late,
            checked=task.checked,
        )
        self.layout: Layout = lay_out(self.code)
        if task.debug:
            validate(self.code, self.layout)
        self._lanes = Lanes(self.code.whole.lanes, task.threads)
        self._linked: Linked | None = None
        self._ledger: Ledger | None = None
        self._bound: Array | None = None
        self._storages: list[tuple[Storage, Array]] = []
        self._staged: list[tuple[Node, Array]] = []
        self._results: list[Array] = []

    def run(self, inputs: Mapping[Node, Array]) -> list[Array]:
        """Compute; return copies of the outputs."""
        linked = self._ready()
        self._stage(inputs)
        self._compute(linked, linked.parts)
        return self._copied()

    def commit(self) -> None:
        """Write the new values over the old ones."""
        if self._linked is not None and self._linked.commit:
            with one_thread(), quiet():
                self._lanes.run(self._linked.commit)

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
                lambda: self._compute(linked, linked.parts),
                self._copied,
                lambda: self._compute(linked, linked.commit),
            )
        return recorder.timings(self.code)

    def source(self) -> str:
        """Return the generated functions, in the order in which they are run."""
        return self._ready().source

    def plan(self) -> Plan:
        """Return what memory the program takes."""
        return self.layout.plan(self.code, self.task)

    def _stage(self, inputs: Mapping[Node, Array]) -> None:
        """Copy the inputs to where the code reads them."""
        for node, memory in self._staged:
            np.copyto(memory, inputs[node])

    def _compute(self, linked: Linked, parts: Sequence[Part]) -> None:
        """Run the code."""
        try:
            with one_thread(), quiet():
                self._lanes.run(parts)
        except GraphGPUError:
            raise
        except Exception as error:
            statement = _blamed(linked, error)
            if statement is None:
                raise
            raise _failure(statement.node, error) from error

    def _copied(self) -> list[Array]:
        """Return copies of the outputs."""
        return [array.copy() for array in self._results]

    def _targets(self) -> list[Buffer]:
        """Return the buffers of the stored values that are updated."""
        homes = self.code.whole.homes
        return [homes[t][0].view.buffer for t, _ in self.task.updates if t in homes]

    # --- memory

    def _ready(self) -> Linked:
        """Return the code bound to the arena and the storages as they are now."""
        arena = self.arena.at_least(self.layout.arena_bytes)
        stale = self._linked is None or self._bound is not arena
        if stale or any(s.array is not a for s, a in self._storages):
            self._link(arena)
        assert self._linked is not None
        if self.arena.user is not self:
            for memory in self._linked.kept:
                memory.fill(0)
            self.arena.user = self
        return self._linked

    def _link(self, arena: Array) -> None:
        linked = self._linked = link(self.code, self.layout, arena)
        self._bound = arena
        self.arena.user = None
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


def _blamed(linked: Linked, error: BaseException) -> Statement | None:
    """Return the statement that raised an error."""
    trace = error.__traceback__
    found = None
    while trace is not None:
        lines = linked.statements.get(trace.tb_frame.f_code.co_filename)
        if lines is not None:
            found = lines[min(trace.tb_lineno - 1, len(lines) - 1)]
        trace = trace.tb_next
    return found


def _array(buffer: Buffer) -> Array:
    assert buffer.array is not None
    return buffer.array()


def _failure(node: Node, error: Exception) -> Exception:
    assert node.operation is not None
    given: list[Any] = [n.type for n in node.inputs]
    return failure(node.variable, node.operation, given, error)
