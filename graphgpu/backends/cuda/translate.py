"""From nodes to launches: kernels in order, and where every value lies.

Values are C-ordered.  A reshape is its operand's memory.  The step ends with copies
of the outputs, and then of the new values over the old ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby
from math import prod

from graphgpu import memory
from graphgpu.backends.base import Task
from graphgpu.backends.cuda.kernels.kernel import Call, Kernel, Operand, Workspace
from graphgpu.backends.cuda.lowering.lowering import Chooser, lowered
from graphgpu.backends.cuda.lowering.views import Slot, is_leaf, offset, root
from graphgpu.backends.cuda.lowering.work import Mark, Work
from graphgpu.backends.cuda.merging.merge import merged
from graphgpu.backends.cuda.rules.checks import Range
from graphgpu.graph import Stored
from graphgpu.nodes import Node
from graphgpu.plan import Plan

__all__ = ["Code", "Copy", "Launch", "Loop", "Place", "translate"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where an array or a workspace lies: a leaf's own memory, or the arena."""

    leaf: Node | None
    buffer: int = -1
    """The number of the arena's buffer."""
    offset: int = 0
    """Bytes after its start."""


@dataclass(frozen=True, eq=False, slots=True)
class Launch:
    """A kernel of nodes, or a library's call, and where its pointers point."""

    nodes: tuple[Node, ...]
    kernel: Kernel | Call
    places: tuple[Place, ...]
    checks: Range | None = None

    @property
    def what(self) -> str:
        """The word for it in reports."""
        return "a library's call" if isinstance(self.kernel, Call) else "a kernel"

    @property
    def obstacle(self) -> str:
        """Why it is not recorded; empty if it is."""
        return self.kernel.routine.obstacle if isinstance(self.kernel, Call) else ""

    def complaint(self, word: int) -> str:
        """Return what is wrong when its word of the status is not clear."""
        return self.checks.complaint(word) if self.checks else self.kernel.complaint


@dataclass(frozen=True, eq=False, slots=True)
class Copy:
    """Bytes that are copied from one place to another; ``target`` None: an output's."""

    source: Place
    target: Place | None
    nbytes: int


@dataclass(frozen=True, eq=False, slots=True)
class Loop:
    """What the host repeats: the condition, then the body if the flag is true."""

    condition: list[int | Loop]
    flag: Place
    body: list[int | Loop]
    most: int | None
    """Of iterations."""


@dataclass(eq=False)
class Code:
    """A program as launches: what is computed, returned, and written."""

    launches: list[Launch] = field(default_factory=list)
    order: list[int | Loop] = field(default_factory=list)
    """The numbers of the launches as they follow each other."""
    last: list[Launch] = field(default_factory=list)
    """Those that write new values over old ones, if all went well."""
    saves: list[Copy] = field(default_factory=list)
    """Old values that are new values of others."""
    outputs: list[Copy] = field(default_factory=list)
    updates: list[Copy] = field(default_factory=list)
    leaves: dict[Node, None] = field(default_factory=dict)
    """Those that are read."""
    buffers: list[memory.Buffer] = field(default_factory=list)
    placement: memory.Placement = field(default_factory=lambda: memory.place([]))

    def source(self) -> str:
        """Return the source of each kernel once, in the order of first launches."""
        return "\n\n".join(dict.fromkeys(x.kernel.source for x in self.all))

    @property
    def all(self) -> list[Launch]:
        """All launches, in order."""
        return [*self.launches, *self.last]

    def plan(self, task: Task, staging_bytes: int) -> Plan:
        """Return the plan that users see; inputs take so many bytes on the device."""
        stored = {n for n in task.nodes if isinstance(n.variable, Stored)}
        stored.update(target for target, _ in task.updates)
        steps = [f"{k}: {x.kernel.name}" for k, x in enumerate(self.launches)]
        return Plan.of(
            self.buffers,
            self.placement,
            [*steps, "outputs and updates"],
            parameter_bytes=sum(n.nbytes for n in stored),
            staging_bytes=staging_bytes,
            output_bytes=sum(n.nbytes for n in task.outputs),
            sizes=dict(task.sizes),
        )


def translate(task: Task, choose: Chooser | None = None) -> Code:
    """Return the launches of a task.

    ``choose`` is given a node with its rule's kernels, and returns what computes it.

    Raises
    ------
    CompileError
        An operation has no kernels.
    """
    writer = _Writer()
    works = list(lowered(task, choose))
    if task.together:
        works = list(_merged(works, tight=bool(task.late)))
    for work in works:
        if isinstance(work, Mark):
            writer.mark(work)
        else:
            writer.write(work)
    writer.finish(task)
    return writer.code


def _merged(works: Iterable[Work | Mark], *, tight: bool) -> Iterator[Work | Mark]:
    """Yield fewer works that do the same: merged between the marks, and the last."""

    def kind(work: Work | Mark) -> str:
        return "mark" if isinstance(work, Mark) else "last" if work.last else "first"

    for what, group in groupby(works, kind):
        found = list(group)
        if what == "mark":
            yield from found
            continue
        some = [w for w in found if isinstance(w, Work)]
        for work in merged(some, tight=tight and what == "first"):
            yield replace(work, last=what == "last")


class _Writer:
    """Gives work its buffers, and notes how long each is needed."""

    def __init__(self) -> None:
        self.code = Code()
        self._lives: list[list[int]] = []
        """The first and the last step of each buffer."""
        self._buffers: dict[Slot, int] = {}
        self._shared: dict[Workspace, int] = {}
        self._written: set[Node] = set()
        """The leaves that are written in place."""
        self._order = [self.code.order]
        """The launches so far: of the program, and of the loops that are open."""
        self._loops: list[tuple[int, Place | None, int | None]] = []
        """The first launch of each of these, its flag, and its bound."""

    def write(self, work: Work) -> None:
        """Add a launch."""
        kernel = work.kernel
        operands = [*kernel.reads, *kernel.writes]
        places = [self._place(o) for o in operands]
        places += [self._workspace(n, work.nodes[-1]) for n in kernel.scratch]
        launch = Launch(work.nodes, kernel, tuple(places), work.checks)
        if work.last:
            self.code.last.append(launch)
            self._written.update(o.node for o in kernel.writes)
        else:
            self._order[-1].append(len(self.code.launches))
            self.code.launches.append(launch)

    def mark(self, mark: Mark) -> None:
        """Begin or end a loop, or its body."""
        if mark.what != "end":
            self._order.append([])
        if mark.what == "loop":
            self._loops.append((len(self.code.launches), None, None))
        elif mark.what == "body":
            assert mark.flag is not None
            first, *_ = self._loops.pop()
            self._loops.append((first, self._place(Operand(mark.flag)), mark.most))
        else:
            first, flag, most = self._loops.pop()
            assert flag is not None
            body, condition = self._order.pop(), self._order.pop()
            self._order[-1].append(Loop(condition, flag, body, most))
            self._keep(first, len(self.code.launches) - 1)

    def _keep(self, first: int, last: int) -> None:
        """Let what a loop touches and was there before, live until its end."""
        for life in self._lives:
            if life[0] < first <= life[1]:
                life[1] = max(life[1], last)

    def _place(self, operand: Operand) -> Place:
        """Return where an operand lies, and note that this step touches it."""
        node, component = root(operand.node, operand.component)
        start = offset(operand.node)
        if is_leaf(node):
            self.code.leaves[node] = None
            return Place(node, -1, start)
        if (node, component) not in self._buffers:
            self._buffers[node, component] = self._new(node, component)
        number = self._buffers[node, component]
        self._touch(number)
        return Place(None, number, start)

    def _new(self, node: Node, component: int) -> int:
        type_ = node.components[component]
        shape: tuple[int, ...] = type_.shape  # type: ignore[assignment]
        label = f"{node.operation.kind() if node.operation else 'leaf'}_{node.index}"
        return self._buffer(label, prod(shape) * type_.dtype.itemsize, node, "value")

    def _buffer(self, label: str, nbytes: int, node: Node, kind: str) -> int:
        step = len(self.code.launches)
        made = memory.Buffer(label, nbytes, step, step, node.variable, kind)
        self.code.buffers.append(made)
        self._lives.append([step, step])
        return len(self.code.buffers) - 1

    def _workspace(self, wanted: int | Workspace, node: Node) -> Place:
        if isinstance(wanted, int):
            return Place(None, self._buffer("workspace", wanted, node, "workspace"))
        if wanted not in self._shared:
            self._shared[wanted] = self._buffer(
                "workspace", wanted.nbytes, node, "workspace"
            )
        self._touch(self._shared[wanted])
        return Place(None, self._shared[wanted])

    def _touch(self, number: int) -> None:
        self._lives[number][1] = len(self.code.launches)

    def finish(self, task: Task) -> None:
        """Add the copies at the end, and place the buffers."""
        code = self.code
        for node in task.outputs:
            source = self._place(Operand(node))
            code.outputs.append(Copy(source, None, node.nbytes))
        written = {target for target, _ in task.updates}
        for target, value in task.updates:
            if target in self._written:
                continue
            source = self._place(Operand(value))
            if source.leaf in written:
                old = Place(None, self._buffer("old", value.nbytes, value, "value"))
                code.saves.append(Copy(source, old, value.nbytes))
                source = old
            code.updates.append(Copy(source, Place(target), value.nbytes))
        code.buffers = [
            memory.Buffer(b.label, b.nbytes, first, last, b.variable, b.kind)
            for b, (first, last) in zip(code.buffers, self._lives, strict=True)
        ]
        code.placement = memory.place(code.buffers, 256)
