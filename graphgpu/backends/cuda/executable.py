"""A program for a GPU, for given sizes: compiled, recorded once, and replayed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import numpy as np

from graphgpu.backends.base import Executable, Task
from graphgpu.backends.cuda.commit import Commit
from graphgpu.backends.cuda.driver import Driver, Function, Memory, Recording
from graphgpu.backends.cuda.store import Store
from graphgpu.backends.cuda.translate import (
    Code,
    Launch,
    Place,
    is_leaf,
    translate,
)
from graphgpu.backends.report import Account, Excerpt, Timings
from graphgpu.bytesize import format_bytes
from graphgpu.dtypes import Array
from graphgpu.errors import DeviceError
from graphgpu.graph import Constant, Stored, failure
from graphgpu.nodes import Node
from graphgpu.plan import Plan

__all__ = ["CudaExecutable"]

_CLEAR = 2**64 - 1
"""A word of a step's status when nothing is wrong."""


@final
class CudaExecutable(Executable):
    """Kernels over one arena; a step is one launch of what was recorded.

    The first call runs the launches one by one; the second records them.
    """

    def __init__(self, task: Task, driver: Driver, store: Store) -> None:
        self.task = task
        self.code: Code = translate(task)
        self._driver = driver
        self._store = store
        self._stream = driver.stream()
        self._linked: _Linked | None = None

    def plan(self) -> Plan:
        """Return what memory the program takes."""
        return self.code.plan(self.task)

    def source(self) -> str:
        """Return the source of its kernels."""
        return self.code.source()

    def run(
        self, inputs: Mapping[Node, Array], before_writing: Callable[[], object]
    ) -> list[Any]:
        """Compute, write the new values, and return copies of the outputs."""
        if self._linked is None:
            self._linked = self._link()
        linked, driver, stream = self._linked, self._driver, self._stream
        for node, address in linked.given.items():
            driver.upload(address, np.ascontiguousarray(inputs[node]), stream)
        for storage in linked.storages:
            self._store.address(storage, stream)
        before_writing()
        if linked.recording is not None:
            linked.recording.launch(stream)
        else:
            linked.launch_all(self)
        self._raise_if_wrong(linked)
        for storage in linked.written:
            self._store.written(storage, stream)
        results = []
        for node, address in zip(self.task.outputs, linked.outputs, strict=True):
            results.append(np.empty(node.shape, node.tensor.dtype))
            driver.download(address, results[-1], stream)
        if linked.recording is None:
            driver.begin_recording(stream)
            linked.launch_all(self)
            linked.recording = driver.end_recording(stream)
        return results

    def _raise_if_wrong(self, linked: _Linked) -> None:
        """Raise what the first check has found, if any; nothing was written then.

        Raises
        ------
        ComputeError
            An index is out of range.
        """
        if not linked.checks:
            return
        words = np.empty(len(linked.checks), np.uint64)
        self._driver.download(linked.status, words, self._stream)
        for word, launch in zip(words.tolist(), linked.checks, strict=True):
            if word != _CLEAR:
                (node,) = launch.nodes
                assert node.operation is not None
                assert launch.checks is not None
                error = IndexError(launch.checks.complaint(word))
                types = [n.type for n in node.inputs]
                raise failure(node.variable, node.operation, types, error)

    def account(self, node: Node) -> Account:
        """Return which kernels compute a node."""
        found = [x for x in self.code.launches if node in x.nodes]
        excerpts = [
            Excerpt(x.kernel.name, "a kernel", tuple(x.kernel.source.splitlines()[:8]))
            for x in found
        ]
        where = "in the arena" if found else "the memory of its operand, or of a leaf"
        size = format_bytes(node.nbytes)
        return Account(tuple(excerpts), f"{where}, {size}", "C-ordered", ())

    def profile(self, inputs: Mapping[Node, Array], repeat: int) -> Timings:
        """Time each launch."""
        raise DeviceError("profiles of CUDA programs are not measured yet")

    def _link(self) -> _Linked:
        """Allocate, upload constants, compile; return what a step needs."""
        plan, free = self.plan(), self._driver.free_bytes()
        if plan.peak_bytes > free:
            largest = "; ".join(
                f"{b.label} {format_bytes(b.nbytes)} {b.created}".rstrip()
                for b in plan.largest(5)
            )
            raise DeviceError(
                f"the program takes {format_bytes(plan.peak_bytes)}; the device has "
                f"{format_bytes(free)} free; its largest values: {largest}; use a "
                "smaller batch or memory_budget"
            )
        return _Linked(self)


class _Linked:
    """A program's memory and functions on the device."""

    def __init__(self, program: CudaExecutable) -> None:
        driver, stream = program._driver, program._stream
        task, code = program.task, program.code
        self.recording: Recording | None = None
        self._memory: list[Memory] = []
        self.given: dict[Node, int] = {}
        leaves: dict[Node, int] = {}
        targets = [target for target, _ in task.updates]
        nodes = dict.fromkeys(n for n in (*task.nodes, *targets) if is_leaf(n))
        self.storages = [
            n.variable.storage for n in nodes if isinstance(n.variable, Stored)
        ]
        self.written = [
            t.variable.storage for t in targets if isinstance(t.variable, Stored)
        ]
        for node in nodes:
            leaf = node.variable
            if isinstance(leaf, Stored):
                leaves[node] = program._store.address(leaf.storage, stream)
                continue
            leaves[node] = self._allocate(driver, node.nbytes)
            if isinstance(leaf, Constant):
                driver.upload(leaves[node], np.ascontiguousarray(leaf.value), stream)
            elif node.operation is not None:
                made = np.ascontiguousarray(node.operation.numpy())
                driver.upload(leaves[node], made, stream)
            else:
                self.given[node] = leaves[node]
        arena = self._allocate(driver, code.placement.arena_bytes)
        self.outputs = [self._allocate(driver, c.nbytes) for c in code.outputs]
        addresses = [arena + offset for offset in code.placement.offsets]

        def at(place: Place | None) -> int:
            assert place is not None
            return leaves[place.leaf] if place.leaf else addresses[place.buffer]

        self.checks = [x for x in code.launches if x.kernel.status]
        self.status = self._allocate(driver, 8 * len(self.checks))
        self._commit = Commit(driver, self.status, len(self.checks))
        functions: dict[tuple[str, str], Function] = {}
        self._launches: list[tuple[Function, Launch, Sequence[np.generic]]] = []
        for launch in code.launches:
            key = launch.kernel.source, launch.kernel.name
            if key not in functions:
                functions[key] = driver.compile(*key)
            pointers = [np.uint64(at(p)) for p in launch.places]
            if launch.kernel.status:
                pointers.append(np.uint64(self.status + 8 * self.checks.index(launch)))
            numbers = [*pointers, *launch.kernel.numbers]
            self._launches.append((functions[key], launch, numbers))
        saves = [(at(c.target), at(c.source), c.nbytes) for c in code.saves]
        copied = zip(self.outputs, code.outputs, strict=True)
        self._copies = saves + [(o, at(c.source), c.nbytes) for o, c in copied]
        self._updates = [(at(c.target), at(c.source), c.nbytes) for c in code.updates]

    def _allocate(self, driver: Driver, nbytes: int) -> int:
        self._memory.append(driver.allocate(max(1, nbytes)))
        return self._memory[-1].address

    def launch_all(self, program: CudaExecutable) -> None:
        """Launch every kernel, then the copies."""
        driver, stream = program._driver, program._stream
        if self.checks:
            driver.fill(self.status, 0xFF, 8 * len(self.checks), stream)
        for function, launch, arguments in self._launches:
            kernel = launch.kernel
            if 0 not in kernel.grid:
                driver.launch(
                    function,
                    kernel.grid,
                    kernel.block,
                    arguments,
                    stream,
                    kernel.shared_bytes,
                )
        for target, source, nbytes in self._copies:
            if nbytes:
                driver.copy(target, source, nbytes, stream)
        for target, source, nbytes in self._updates:
            if nbytes:
                self._commit.copy(target, source, nbytes, stream)
