"""Where the buffers of a program lie: one arena, part of it each lane's own."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from graphgpu import memory
from graphgpu.backends.base import Task
from graphgpu.backends.numpy.storage import Buffer
from graphgpu.backends.numpy.translate import Code
from graphgpu.graph import Stored
from graphgpu.nodes import Node
from graphgpu.plan import PlacedBuffer, Plan

__all__ = ["Layout", "lay_out"]


@dataclass(frozen=True, eq=False)
class Layout:
    """Where buffers lie: those that all lanes see, and the scratch of each lane."""

    shared: dict[Buffer, int]
    scratch: dict[Buffer, int]
    shared_bytes: int
    scratch_bytes: int
    widest_bytes: int
    lanes: int

    @property
    def arena_bytes(self) -> int:
        """The bytes of the arena: what is shared, then each lane's scratch."""
        return self.shared_bytes + self.lanes * self.scratch_bytes

    def plan(self, code: Code, task: Task, written_bytes: int) -> Plan:
        """Return the plan that users see."""
        end = code.whole.clock
        placed = [
            PlacedBuffer(_described(b, self.lanes, end), offset)
            for b, offset in self.shared.items()
        ]
        for lane in range(self.lanes):
            start = self.shared_bytes + lane * self.scratch_bytes
            placed += [
                PlacedBuffer(_described(b, self.lanes, end), start + offset)
                for b, offset in self.scratch.items()
            ]
        stored = {n for n in task.nodes if isinstance(n.variable, Stored)}
        stored.update(target for target, _ in task.updates)
        return Plan(
            tuple(placed),
            tuple(step_labels(code)),
            self.arena_bytes,
            self.widest_bytes,
            parameter_bytes=sum(bytes_in(n) for n in stored),
            staging_bytes=sum(b.nbytes(1) for b in code.staged.values()),
            output_bytes=sum(bytes_in(n) for n in task.outputs),
            written_order_bytes=written_bytes,
            sizes=dict(task.sizes),
        )


def lay_out(code: Code) -> Layout:
    """Place the buffers in an arena, without allocating it."""
    lanes, end = code.whole.lanes, code.whole.clock
    shared = [b for b in code.whole.buffers if b.scope != "lane"]
    scratch = [b for b in code.whole.buffers if b.scope == "lane"]
    placed = [
        memory.place([_described(b, lanes, end) for b in s]) for s in (shared, scratch)
    ]
    return Layout(
        dict(zip(shared, placed[0].offsets, strict=True)),
        dict(zip(scratch, placed[1].offsets, strict=True)),
        placed[0].arena_bytes,
        placed[1].arena_bytes,
        placed[0].widest + lanes * placed[1].widest,
        lanes,
    )


def _described(buffer: Buffer, lanes: int, end: int) -> memory.Buffer:
    first, last = max(buffer.first, 0), max(buffer.last, 0)
    if buffer.kept:
        first, last = 0, end
    value = buffer.scope in ("whole", "batch")
    return memory.Buffer(
        buffer.label,
        buffer.nbytes(lanes),
        first,
        last,
        buffer.variable,
        "value" if value else "workspace",
    )


def bytes_in(node: Node) -> int:
    """Return the bytes of a node's array."""
    return prod(node.shape) * node.tensor.dtype.itemsize


def step_labels(code: Code) -> list[str]:
    """Return for each step the function that it belongs to."""
    labels = [""] * (code.whole.clock + 1)
    for body in code.bodies():
        for place in range(body.start, len(labels)):
            labels[place] = body.name
    return labels
