"""Where the buffers of a program lie: one arena, part of it each lane's own."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from operator import itemgetter

from graphgpu import memory
from graphgpu.backends.base import Task
from graphgpu.backends.numpy.storage import Buffer
from graphgpu.backends.numpy.translate import Code
from graphgpu.graph import Stored
from graphgpu.plan import PlacedBuffer, Plan

__all__ = ["Layout", "Region", "lay_out"]


@dataclass(frozen=True, eq=False)
class Region:
    """The scratch of each lane in one phase, through which lanes are out of step."""

    first: int
    last: int
    nbytes: int
    buffers: dict[Buffer, int]
    """Where each buffer begins within a lane's part."""
    offsets: tuple[int, ...]
    """Where each lane's part begins."""


@dataclass(frozen=True, eq=False)
class Layout:
    """Where buffers lie: those that all lanes see, and the scratch of each lane."""

    shared: dict[Buffer, int]
    regions: tuple[Region, ...]
    arena_bytes: int
    widest_bytes: int
    lanes: int

    def plan(self, code: Code, task: Task, written_bytes: int) -> Plan:
        """Return the plan that users see."""
        placed = [
            PlacedBuffer(_described(b, self.lanes), offset)
            for b, offset in self.shared.items()
        ]
        placed += [
            PlacedBuffer(_described(b, self.lanes), start + offset)
            for region in self.regions
            for start in region.offsets
            for b, offset in region.buffers.items()
        ]
        stored = {n for n in task.nodes if isinstance(n.variable, Stored)}
        stored.update(target for target, _ in task.updates)
        return Plan(
            tuple(placed),
            tuple(step_labels(code)),
            self.arena_bytes,
            self.widest_bytes,
            parameter_bytes=sum(n.nbytes for n in stored),
            staging_bytes=sum(b.nbytes(1) for b in code.staged.values()),
            output_bytes=sum(n.nbytes for n in task.outputs),
            written_order_bytes=written_bytes,
            sizes=dict(task.sizes),
        )


def lay_out(code: Code) -> Layout:
    """Place the buffers in an arena, without allocating it."""
    lanes = code.whole.lanes
    shared = [b for b in code.whole.buffers if b.scope != "lane"]
    wanted = [_described(b, lanes) for b in shared]
    found = _scratch(code)
    within = [memory.place([_described(b, lanes) for b in own]) for *_, own in found]
    parts, needed = [], []
    for (first, last, _), inner in zip(found, within, strict=True):
        parts += [memory.Buffer("", inner.arena_bytes, first, last)] * lanes
        needed += [memory.Buffer("", inner.widest, first, last)] * lanes
    placed = memory.place([*wanted, *parts])
    starts = placed.offsets[len(wanted) :]
    regions = [
        Region(
            first,
            last,
            inner.arena_bytes,
            dict(zip(own, inner.offsets, strict=True)),
            starts[number * lanes : (number + 1) * lanes],
        )
        for number, ((first, last, own), inner) in enumerate(
            zip(found, within, strict=True)
        )
    ]
    return Layout(
        dict(zip(shared, placed.offsets, strict=False)),
        tuple(regions),
        placed.arena_bytes,
        memory.widest([*wanted, *needed]),
        lanes,
    )


def _scratch(code: Code) -> list[tuple[int, int, list[Buffer]]]:
    """Return the first and last step of each phase's loops, and their scratch."""
    found: list[tuple[int, int, list[Buffer]]] = [(*w, []) for w in code.windows]
    for buffer in code.whole.buffers:
        if buffer.scope == "lane" and buffer.last >= 0:
            place = bisect_right(found, buffer.first, key=itemgetter(0)) - 1
            first, last, own = found[place]
            assert first <= buffer.first <= buffer.last <= last, buffer.label
            own.append(buffer)
    return [f for f in found if f[2]]


def _described(buffer: Buffer, lanes: int) -> memory.Buffer:
    value = buffer.scope in ("whole", "batch")
    return memory.Buffer(
        buffer.label,
        buffer.nbytes(lanes),
        max(buffer.first, 0),
        max(buffer.last, 0),
        buffer.variable,
        "value" if value else "workspace",
    )


def step_labels(code: Code) -> list[str]:
    """Return for each step the function that it belongs to."""
    labels = [""] * (code.whole.clock + 1)
    for body in code.bodies():
        for place in range(body.start, len(labels)):
            labels[place] = body.name
    return labels
