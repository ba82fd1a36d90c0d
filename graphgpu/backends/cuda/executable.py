"""A program for a GPU, for given sizes: compiled, recorded, and replayed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, final

import numpy as np

from graphgpu.backends.base import Executable, Task
from graphgpu.backends.cuda.drivers.driver import DeviceArray
from graphgpu.backends.cuda.kernels.kernel import Call, Kernel
from graphgpu.backends.cuda.runtime.context import Context
from graphgpu.backends.cuda.runtime.guard import Guard
from graphgpu.backends.cuda.runtime.host_checks import HostChecks
from graphgpu.backends.cuda.runtime.link import Linked, is_given, storages_of
from graphgpu.backends.cuda.runtime.staging import staging_bytes
from graphgpu.backends.cuda.runtime.step import Step as BoundStep
from graphgpu.backends.cuda.translate import Code, translate
from graphgpu.backends.report import Account, Excerpt, Step, Timings
from graphgpu.bytesize import format_bytes
from graphgpu.dtypes import Array
from graphgpu.errors import DeviceError
from graphgpu.graph import Constant
from graphgpu.nodes import Node
from graphgpu.plan import Plan

__all__ = ["CudaExecutable"]

_LINES = 16
"""Of a kernel, as many are shown."""


@final
class CudaExecutable(Executable):
    """Kernels over the device's arena; a step is one launch of what was recorded.

    The first call runs the launches one by one, and waits for them if they check
    something; later ones do not wait.  The outputs are arrays of the device.
    """

    def __init__(self, task: Task, context: Context) -> None:
        self.task = task
        self._choose = context.tuner.chooser(task.deterministic)
        with context.lock:  # candidates may be tried on the device
            self.code: Code = translate(task, self._choose)
        self._context = context
        self._checks = HostChecks(self.code)
        self._types = [(n.shape, n.tensor.dtype) for n in task.outputs]
        self._sizes = [n.nbytes for n in task.outputs]
        self._linked: Linked | None = None
        self._guard: Guard | None = None
        self._warm = False
        """Whether it has been run."""

    def plan(self) -> Plan:
        """Return what memory the program takes."""
        leaves = [n for n in self.task.nodes if n.operation is None]
        constants = [n for n in leaves if isinstance(n.variable, Constant)]
        inputs = staging_bytes([n for n in leaves if is_given(n)])
        nbytes = inputs + sum(n.nbytes for n in constants)
        return self.code.plan(self.task, nbytes)

    def source(self) -> str:
        """Return the source of its kernels."""
        return self.code.source()

    def choices(self) -> dict[str, dict[str, Any]]:
        """Return what was chosen among candidates."""
        return self._choose.save()

    def run(
        self,
        inputs: Mapping[Node, Array | DeviceArray],
        before_writing: Callable[[], object],
    ) -> list[Any]:
        """Compute, and write the new values; return arrays of the device.

        Raises
        ------
        ComputeError
            A check has failed, of this step or of one before it.
        NonFiniteError
            A value is not finite, and the task is ``checked``.
        DeviceError
            There is not enough memory.
        """
        with self._context.lock:
            self._context.status.poll()
            # With check_finite, what is wrong first is told first: on the device.
            told = not self.task.checked and self._checks.raise_if_wrong(inputs)
            return self._run(inputs, before_writing, told)

    def _run(
        self,
        inputs: Mapping[Node, Array | DeviceArray],
        before_writing: Callable[[], object],
        told: bool,
    ) -> list[Any]:
        """Do a step; ``told`` says that nothing can be wrong with its indices."""
        driver, stream = self._context.driver, self._context.stream
        try:
            linked = self._ready()
            given = linked.staging.arrays_of(inputs)
            results = [driver.array(shape, dtype) for shape, dtype in self._types]
            if given or results:
                driver.wait_for_caller(stream)
            place = linked.staging.stage(inputs, given)
            step = linked.step(place)
        except MemoryError:
            raise self._too_large() from None
        try:
            self._launch(step, place, before_writing)
        except BaseException:  # in a loop that the host drives: inputs are still read
            with suppress(DeviceError):
                stream.synchronize()
            raise
        for target, source, nbytes in zip(
            map(driver.address_of, results), step.outputs, self._sizes, strict=True
        ):
            if nbytes and target is not None:
                driver.copy(target, source, nbytes, stream)
        linked.staging.launched(place)
        if given or results:
            driver.let_caller_wait(stream)
        waits = not self._warm or not (told or self.task.updates)
        if waits and linked.watch is not None and self._guard is None:
            self._context.status.wait()
        self._warm = True
        linked.wrote()
        return results

    def _launch(
        self, step: BoundStep, place: int, before_writing: Callable[[], object]
    ) -> None:
        """Launch a step that reads its inputs in a place."""
        assert self._linked is not None
        if self._guard is not None:
            self._guard.run(step, place)
            before_writing()
            step.save()
            step.commit()
            return
        if self._warm:
            step.replay(before_writing)
        else:
            step.run(before_writing)
        if self._linked.watch is not None:
            self._linked.watch.began(self.step)

    def account(self, node: Node) -> Account:
        """Return which kernels compute a node."""
        found = [x for x in self.code.all if node in x.nodes]
        excerpts = [
            Excerpt(x.kernel.name, x.what, tuple(_shown(x.kernel))) for x in found
        ]
        reasons = [x.obstacle for x in found if x.obstacle]
        reasons += [f"computed with {_kinds(x.nodes)}" for x in found if x.nodes[1:]]
        if self.task.checked:
            reasons.append("check_finite: every operation is computed by itself")
        reasons += self._context.tuner.why(node, self.task.deterministic)
        where = "in the arena" if found else "the memory of its operand, or of a leaf"
        size = format_bytes(node.nbytes)
        told = tuple(dict.fromkeys(reasons))
        return Account(tuple(excerpts), f"{where}, {size}", "C-ordered", told)

    def profile(
        self, inputs: Mapping[Node, Array | DeviceArray], repeat: int
    ) -> Timings:
        """Time each launch, waiting for it; stored values are never written."""
        with self._context.lock:
            self._context.status.poll()
            try:
                linked = self._ready()
                given = linked.staging.arrays_of(inputs)
                self._context.driver.wait_for_caller(self._context.stream)
                place = linked.staging.stage(inputs, given)
                step = linked.rehearsal(place)
            except MemoryError:
                raise self._too_large() from None
            rows = [step.timed() for _ in range(repeat + 1)][1:]  # the first warms up
        marks = np.array(rows, np.int64)
        ends = (marks - marks[:, :1]) * 1e-9
        steps = [
            Step(x.nodes[-1], x.kernel.name, x.kernel.name, None, k)
            for k, x in enumerate(self.code.all)
        ]
        return Timings(
            steps,
            ends[:, :-1],
            ends[:, 1:],
            ends[:, -1],
            [1] * repeat,
            {x.nodes[-1]: x.nodes for x in self.code.all},
            {n: 1 for x in self.code.all for n in x.nodes},
            0.0,
        )

    def _ready(self) -> Linked:
        """Return the program bound to the device, parameters and state up to date.

        Raises
        ------
        DeviceError
            It takes more memory than there is.
        """
        if self._linked is None:
            if not self._fits():
                self._context.finish()  # and give back what was waiting for that
                if not self._fits():
                    raise self._too_large()
            self._linked = Linked(self.task, self.code, self._context)
        if self.task.checked and self._guard is None:
            self._guard = Guard(self.task, self._linked, self._context)
        self._linked.refresh()
        return self._linked

    def _fits(self) -> bool:
        """Whether there is memory for it."""
        arena = max(self.code.placement.arena_bytes, self._context.arena.nbytes)
        return arena + self._other_bytes() <= self._context.available_bytes()

    def _other_bytes(self) -> int:
        """Return what is needed beside the arena."""
        nodes = [*self.task.nodes, *(target for target, _ in self.task.updates)]
        missing = self._context.store.missing_bytes(dict.fromkeys(storages_of(nodes)))
        plan = self.plan()
        return missing + plan.staging_bytes + plan.output_bytes

    def _too_large(self) -> DeviceError:
        """Return the error for too little memory; nothing has changed."""
        plan, free = self.plan(), self._context.available_bytes()
        largest = "; ".join(
            f"{b.label} {format_bytes(b.nbytes)} {b.created}".rstrip()
            for b in plan.largest(5)
        )
        return DeviceError(
            f"the program takes {format_bytes(plan.peak_bytes)}, and "
            f"{format_bytes(self._other_bytes())} for parameters that are not on the "
            f"device yet, inputs and outputs; {self._context.driver.name} has "
            f"{format_bytes(free)} free; its largest values: {largest}; no state was "
            "changed; use a smaller batch or memory_budget"
        )


def _shown(kernel: Kernel | Call) -> list[str]:
    """Return the first lines of a kernel, without what comes before it."""
    lines = kernel.source.splitlines()
    first = next((k for k, line in enumerate(lines) if f"{kernel.name}(" in line), 0)
    return lines[first : first + _LINES]


def _kinds(nodes: Sequence[Node]) -> str:
    """Return the operations of nodes, in order, and how often each."""
    counts = Counter(n.operation.kind() for n in nodes if n.operation)
    return ", ".join(f"{n} {kind}" if n > 1 else kind for kind, n in counts.items())
