"""A translated program bound to a device: its memory, functions and steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any, final

import numpy as np

from graphgpu.backends.base import Task
from graphgpu.backends.cuda.drivers.driver import Function, Memory, Prepared
from graphgpu.backends.cuda.kernels.kernel import Call
from graphgpu.backends.cuda.lowering.in_place import GATE
from graphgpu.backends.cuda.lowering.views import is_leaf
from graphgpu.backends.cuda.runtime.commit import Moves
from graphgpu.backends.cuda.runtime.context import Context
from graphgpu.backends.cuda.runtime.order import BoundLoop, Order
from graphgpu.backends.cuda.runtime.staging import Staging
from graphgpu.backends.cuda.runtime.status import Watch
from graphgpu.backends.cuda.runtime.step import Bound, Step
from graphgpu.backends.cuda.translate import Code, Copy, Launch, Loop, Place
from graphgpu.bytesize import format_bytes
from graphgpu.errors import CompileError, DeviceError
from graphgpu.graph import Constant, Storage, Stored, describe
from graphgpu.nodes import Node

__all__ = ["Linked", "is_given", "storages_of"]

_version = attrgetter("version")
_NOWHERE: Mapping[Node, int] = {}


@final
class Linked:
    """What a program needs on the device beside the arena.

    ``watch`` are the words of launches that check something, if there are any.
    """

    def __init__(self, task: Task, code: Code, context: Context) -> None:
        self.code = code
        self._context = context
        self._memory: list[Memory] = []
        self._leaves: dict[Node, int] = {}
        targets = [target for target, _ in task.updates]
        leaves = (*task.nodes, *targets, *code.leaves)
        nodes = dict.fromkeys(n for n in leaves if is_leaf(n))
        self._storages = storages_of(list(nodes))
        self._written = storages_of(targets)
        self._versions = self._fetches = -1
        self.staging = Staging(context, [n for n in nodes if is_given(n)])
        for node in nodes:
            self._place(node)
        checks = [x for x in code.launches if x.kernel.status]
        self.watch: Watch | None = None
        if checks:
            self.watch = context.status.watch(checks)
        self._functions: dict[tuple[str, str], Function] = {}
        self._prepared: dict[int, Prepared] = {}
        for launch in code.all:
            self._prepare(launch)
        apart = code.buffers if task.debug else []
        self._apart = [(self._allocate(b.nbytes), b.nbytes) for b in apart]
        """The memory of each buffer, and its bytes, if they do not share an arena."""
        updated = set(targets)
        self._kept = [
            self._allocate(c.nbytes) if c.source.leaf in updated else None
            for c in code.outputs
        ]
        self._steps: dict[int, Step] = {}
        self._tables: list[Memory] = []
        self._generation = -1

    # --- leaves

    def _allocate(self, nbytes: int) -> int:
        self._memory.append(self._context.driver.allocate(max(1, nbytes)))
        return self._memory[-1].address

    def _place(self, node: Node) -> None:
        """Give a leaf its memory; upload what never changes."""
        leaf = node.variable
        if node is GATE:
            self._leaves[node] = self._context.status.gate
        elif isinstance(leaf, Stored):
            self._leaves[node] = self._context.store.address(leaf.storage)
        elif not is_given(node):
            value = leaf.value if isinstance(leaf, Constant) else None
            if node.operation is not None:
                value = node.operation.numpy()
            self._leaves[node] = address = self._allocate(node.nbytes)
            array = np.ascontiguousarray(value)
            self._context.driver.upload(address, array, self._context.stream)

    def refresh(self) -> None:
        """Let the device have what the host has written to parameters and state."""
        store = self._context.store
        versions = sum(map(_version, self._storages))
        if versions != self._versions:
            for storage in self._storages:
                store.address(storage)
            self._versions, self._fetches = versions, -1

    def wrote(self) -> None:
        """Say that a step has written new values: of the next version, all of them."""
        store = self._context.store
        if self._fetches != store.fetches:
            for storage in self._written:
                store.written(storage)
            self._fetches = store.fetches
        self._versions += len(self._written)

    # --- steps

    def step(self, place: int) -> Step:
        """Return the step that reads its inputs in a place, for the arena as it is.

        Raises
        ------
        MemoryError
            There is not so much memory.
        """
        arena = self._context.arena
        shared = not self._apart
        address = arena.at_least(shared * self.code.placement.arena_bytes)
        if self._generation != arena.generation:
            self._steps.clear()
            self._tables.clear()
            self._generation = arena.generation
        if place not in self._steps:
            self._steps[place] = self._bind(place, address)
        return self._steps[place]

    def rehearsal(self, place: int) -> Step:
        """Return a step that writes its new values elsewhere, to be timed.

        Raises
        ------
        MemoryError
            There is not so much memory.
        """
        self.step(place)
        driver, spare = self._context.driver, {}
        for launch in self.code.last:
            for operand in launch.kernel.writes:
                memory = driver.allocate(max(1, operand.node.nbytes))
                spare[operand.node] = memory
        elsewhere = {node: memory.address for node, memory in spare.items()}
        step = self._bind(place, self._arena, elsewhere)
        step.kept = list(spare.values())
        return step

    def at(self, place: Place | None, inputs: int = 0) -> int:
        """Return the address of a place, with the inputs in one of theirs."""
        assert place is not None
        if place.leaf is None and self._apart:
            return self._apart[place.buffer][0] + place.offset
        if place.leaf is None:
            assert self._context.arena.generation == self._generation
            start = self._arena + self.code.placement.offsets[place.buffer]
            return start + place.offset
        given = self.staging.address(place.leaf, inputs)
        return (self._leaves[place.leaf] if given is None else given) + place.offset

    def _bind(
        self, place: int, arena: int, elsewhere: Mapping[Node, int] = _NOWHERE
    ) -> Step:
        """Return a step, which may write the new values of leaves elsewhere."""
        context, code = self._context, self.code
        self._arena = arena
        launches = [self._bound(x, place) for x in code.launches]
        last = [self._bound(x, place, elsewhere) for x in code.last]
        saves = [self._ends(c, place) for c in code.saves]
        outputs = []
        for copy, kept in zip(code.outputs, self._kept, strict=True):
            source = self.at(copy.source, place)
            if kept is not None:
                saves.append((kept, source, copy.nbytes))
            outputs.append(source if kept is None else kept)
        updates = [self._ends(c, place) for c in code.updates]
        driver, stream, status = context.driver, context.stream, context.status
        return Step(
            driver,
            stream,
            launches,
            self._order(code.order, place),
            self.watch,
            Moves(driver, stream, saves, status.clear if saves else 0),
            last,
            Moves(driver, stream, updates, status.gate if updates else 0),
            outputs,
            self._apart,
        )

    def _order(self, order: Sequence[int | Loop], place: int) -> Order:
        """Return the order of the launches, with the addresses of flags."""
        return [
            BoundLoop(
                self._order(x.condition, place),
                self.at(x.flag, place),
                self._order(x.body, place),
                x.most,
            )
            if isinstance(x, Loop)
            else x
            for x in order
        ]

    def _ends(self, copy: Copy, place: int) -> tuple[int, int, int]:
        return self.at(copy.target, place), self.at(copy.source, place), copy.nbytes

    def _bound(
        self, launch: Launch, place: int, elsewhere: Mapping[Node, int] = _NOWHERE
    ) -> Bound:
        """Return a launch with its function and arguments."""
        kernel = launch.kernel
        pointers = [self.at(p, place) for p in launch.places]
        for k, operand in enumerate(kernel.writes, len(kernel.reads)):
            pointers[k] = elsewhere.get(operand.node, pointers[k])
        if kernel.status:
            assert self.watch is not None
            pointers.append(self.watch.words[id(launch)])
        if isinstance(kernel, Call):
            return Bound(launch, None, pointers, self._prepared[id(kernel)])
        arguments: list[Any] = [*map(np.uint64, pointers), *kernel.numbers]
        if kernel.indirect:
            arguments = [self._table(arguments)]
        function = self._functions[kernel.source, kernel.name]
        return Bound(launch, function, arguments, None)

    def _table(self, arguments: Sequence[np.generic]) -> np.generic:
        """Return the address of arguments in the device's memory, 8 bytes each."""
        words = b"".join(a.tobytes().ljust(8, b"\0") for a in arguments)
        table = self._context.driver.allocate(len(words))
        self._tables.append(table)
        array = np.frombuffer(words, np.uint64)
        self._context.driver.upload(table.address, array, self._context.stream)
        return np.uint64(table.address)

    def _prepare(self, launch: Launch) -> None:
        """Compile a kernel, or prepare a library's call.

        Raises
        ------
        CompileError
            With the node that the kernel is for, its source, and what is wrong.
        """
        driver, kernel = self._context.driver, launch.kernel
        if isinstance(kernel, Call):
            reads, writes = (
                [o.node.components[o.component] for o in operands]
                for operands in (kernel.reads, kernel.writes)
            )
            prepared = driver.prepare(kernel.routine, reads, writes)
            wanted = getattr(prepared, "workspace", 0)
            if wanted > sum(
                x if isinstance(x, int) else x.nbytes for x in kernel.scratch
            ):
                raise DeviceError(
                    f"{kernel.name} takes {format_bytes(wanted)} of workspace, more "
                    "than the choice says that was taken; it is another GPU's or "
                    "library's: compile without it"
                )
            self._prepared[id(kernel)] = prepared
        elif (key := (kernel.source, kernel.name)) not in self._functions:
            try:
                self._functions[key] = driver.compile(*key)
            except CompileError as error:
                what = describe(launch.nodes[-1].variable).rstrip(",")
                raise CompileError(f"the kernel of {what}: {error}") from None


def is_given(node: Node) -> bool:
    """Whether a leaf's value is given with each call."""
    variable = node.variable
    return node.operation is None and not isinstance(variable, Stored | Constant)


def storages_of(nodes: Sequence[Node]) -> list[Storage]:
    """Return the storages of nodes that have one."""
    return [n.variable.storage for n in nodes if isinstance(n.variable, Stored)]
