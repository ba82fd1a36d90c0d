"""The memory plan of a program: what lies where and when, before anything runs."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from graphgpu.bytesize import format_bytes
from graphgpu.errors import SaveError
from graphgpu.memory import Buffer, Placement
from graphgpu.optional import load_optional

__all__ = ["PlacedBuffer", "Plan"]

_SUFFIXES = (".svg", ".png", ".pdf")
_MOST_DRAWN = 4_000
"""Rectangles in a picture; more would be thinner than a line."""
# The colours of a drawn graph's phases.
_FILLS = {
    "forward": ("#BFE0F4", "#0072B2"),
    "gradient": ("#F6CBA8", "#B04A00"),
    "update": ("#A9DEC8", "#00724F"),
    "workspace": ("#DDDDDD", "#555555"),
}


@final
@dataclass(frozen=True, eq=False, slots=True)
class PlacedBuffer:
    """A buffer and the byte of the arena that it begins at."""

    buffer: Buffer
    offset: int

    @property
    def label(self) -> str:
        """What it holds."""
        return self.buffer.label

    @property
    def nbytes(self) -> int:
        """How many bytes it takes."""
        return self.buffer.nbytes

    @property
    def first(self) -> int:
        """The step that writes it first."""
        return self.buffer.first

    @property
    def last(self) -> int:
        """The step that reads it last."""
        return self.buffer.last

    @property
    def kind(self) -> str:
        """``forward``, ``gradient`` or ``update``; ``workspace`` for scratch memory."""
        if self.buffer.kind == "workspace" or self.buffer.variable is None:
            return "workspace"
        return self.buffer.variable.phase

    @property
    def created(self) -> str:
        """Where its value's node was created: ``train.py:41``; "" if not known."""
        if self.buffer.variable is None:
            return ""
        trace = self.buffer.variable.trace
        return f"{Path(trace.filename).name}:{trace.line}"


@final
@dataclass(frozen=True, eq=False)
class Plan:
    """What memory a program takes for given sizes, exactly; prints as a table.

    Made by ``program.plan(batch=64)`` without allocating anything.

    ``arena_bytes`` is the length of the arena that every value computed within a
    step shares, ``widest_bytes`` the most bytes alive in one step, below which no
    arena can be; ``workspace_bytes`` is what kernels need beside the arena;
    ``written_order_bytes`` is the widest step had the order been as written.
    ``parameter_bytes`` (all state), ``staging_bytes`` (copies of inputs) and
    ``output_bytes`` are apart from the peak.  ``steps`` are the labels of the
    steps by whose numbers the lifetimes of ``buffers`` are told.
    """

    buffers: tuple[PlacedBuffer, ...]
    steps: tuple[str, ...]
    arena_bytes: int
    widest_bytes: int
    workspace_bytes: int = 0
    parameter_bytes: int = 0
    staging_bytes: int = 0
    output_bytes: int = 0
    written_order_bytes: int | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)

    @staticmethod
    def of(
        buffers: Sequence[Buffer],
        placement: Placement,
        steps: Sequence[str],
        **others: Any,
    ) -> Plan:
        """Return the plan for placed buffers; the others are fields of the plan."""
        placed = map(PlacedBuffer, buffers, placement.offsets)
        return Plan(
            tuple(placed),
            tuple(steps),
            placement.arena_bytes,
            placement.widest,
            **others,
        )

    @property
    def peak_bytes(self) -> int:
        """The arena and the workspaces beside it."""
        return self.arena_bytes + self.workspace_bytes

    def largest(self, n: int = 10) -> tuple[PlacedBuffer, ...]:
        """Return the ``n`` largest buffers, the largest first, then the earliest."""
        order = sorted(self.buffers, key=lambda b: (-b.nbytes, b.first, b.offset))
        return tuple(order[:n])

    def alive(self) -> list[int]:
        """Return for each step the bytes of the buffers alive in it."""
        change = np.zeros(len(self.steps) + 1, np.int64)
        first, last, size = _columns(self.buffers)
        np.add.at(change, np.clip(first, 0, len(self.steps)), size)
        np.subtract.at(change, np.clip(last + 1, 0, len(self.steps)), size)
        return [int(n) for n in np.cumsum(change)[:-1]]

    def __str__(self) -> str:
        sizes = ", ".join(f"{name}={size}" for name, size in self.sizes.items())
        title = f"memory plan for {sizes}" if sizes else "memory plan"
        largest = self.largest()
        shown = f"the {len(largest)} largest of {len(self.buffers):,} buffers"
        parts = [title, _printed(_totals(self))]
        if largest:
            parts += [shown, _printed(_listing(largest))]
        return "\n".join(parts)

    def to_json(self) -> str:
        """Return all of it as JSON; offsets and sizes in bytes."""
        content = {
            "sizes": dict(self.sizes),
            "peak_bytes": self.peak_bytes,
            "arena_bytes": self.arena_bytes,
            "widest_bytes": self.widest_bytes,
            "workspace_bytes": self.workspace_bytes,
            "written_order_bytes": self.written_order_bytes,
            "parameter_bytes": self.parameter_bytes,
            "staging_bytes": self.staging_bytes,
            "output_bytes": self.output_bytes,
            "steps": list(self.steps),
            "buffers": [
                {
                    "label": b.label,
                    "kind": b.kind,
                    "offset": b.offset,
                    "nbytes": b.nbytes,
                    "first": b.first,
                    "last": b.last,
                    "created": str(v.trace)
                    if (v := b.buffer.variable) is not None
                    else None,
                }
                for b in self.buffers
            ],
        }
        return json.dumps(content, indent=1) + "\n"

    def picture(self, path: str | os.PathLike[str]) -> Path:
        """Draw the arena, time across and address up; return the file's path.

        Each buffer is a rectangle in the colour of its phase; the line is what is
        alive.  A ``.svg``, ``.png`` or ``.pdf`` file, through matplotlib.

        Raises
        ------
        SaveError
            The suffix is another, or the file cannot be written.
        MissingDependencyError
            Matplotlib is not installed.
        """
        target = Path(path)
        if target.suffix.lower() not in _SUFFIXES:
            listed = ", ".join(_SUFFIXES)
            raise SaveError(f"{target}: expected a suffix among {listed}")
        what = f"the picture {target.name}"
        matplotlib = load_optional("matplotlib", "matplotlib", what, extra="plot")
        module = load_optional("matplotlib.figure", "matplotlib", what, extra="plot")
        # The same plan gives the same file.
        with matplotlib.rc_context({"svg.hashsalt": "plan", "svg.fonttype": "none"}):
            figure = module.Figure(figsize=(10, 5), layout="constrained")
            _draw(self, figure.subplots())
            metadata = {"Software": None} if target.suffix.lower() == ".png" else None
            if target.suffix.lower() == ".svg":
                metadata = {"Date": None}
            try:
                figure.savefig(target, dpi=150, metadata=metadata)
            except OSError as error:
                raise SaveError(f"{target}: cannot be written ({error})") from error
        return target


def _columns(buffers: Sequence[PlacedBuffer]) -> tuple[Any, Any, Any]:
    """Return the first and the last steps and the sizes as arrays."""
    rows = [(b.first, b.last, b.nbytes) for b in buffers]
    first, last, size = np.array(rows, np.int64).reshape(-1, 3).T
    return first, last, size


# --- the table


def _totals(plan: Plan) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    for name, count, note in _lines(plan):
        table.add_row(Text(name), Text(format_bytes(count)), Text(note))
    return table


def _lines(plan: Plan) -> Iterator[tuple[str, int, str]]:
    arena, widest = plan.arena_bytes, plan.widest_bytes
    yield "peak", plan.peak_bytes, f"{plan.peak_bytes:,} bytes"
    ratio = f", {arena / widest:.3f} of the widest step" if widest else ""
    yield "  arena", arena, f"{len(plan.buffers):,} buffers{ratio}"
    yield "  workspaces", plan.workspace_bytes, ""
    if plan.written_order_bytes is not None:
        note = ""
        if plan.written_order_bytes:
            note = f"the order chosen: {widest / plan.written_order_bytes:.1%} of it"
        yield "order as written", plan.written_order_bytes, note
    yield "parameters", plan.parameter_bytes, ""
    yield "inputs", plan.staging_bytes, ""
    yield "outputs", plan.output_bytes, ""


def _listing(buffers: Sequence[PlacedBuffer]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("buffer", overflow="fold")
    for heading in ("size", "offset", "steps"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("phase", no_wrap=True)
    table.add_column("created at", overflow="fold")
    for b in buffers:
        cells = (
            b.label,
            format_bytes(b.nbytes),
            f"{b.offset:,}",
            f"{b.first}-{b.last}",
            b.kind,
            b.created,
        )
        table.add_row(*map(Text, cells))
    return table


def _printed(table: Table) -> str:
    text = io.StringIO()
    Console(file=text, width=120).print(table)
    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    return "\n".join(line for line in lines if line)


# --- the picture


def _draw(plan: Plan, axes: Any) -> None:
    unit, scale = _unit(plan.arena_bytes)
    drawn = [b for b in plan.largest(_MOST_DRAWN) if b.nbytes]
    for kind, (fill, line) in _FILLS.items():
        # One path a kind, with a gap after every rectangle: fast to draw and small.
        corners = [_corners(b, scale) for b in drawn if b.kind == kind]
        if corners:
            x, y = np.concatenate(corners).T
            axes.fill(x, y, facecolor=fill, edgecolor=line, linewidth=0.4, label=kind)
    steps = np.arange(len(plan.steps) + 1)
    alive = np.array([*plan.alive(), 0]) / scale
    axes.step(steps, alive, where="post", color="#333333", linewidth=1, label="alive")
    left_out = sum(b.nbytes > 0 for b in plan.buffers) - len(drawn)
    title = f"arena of {format_bytes(plan.arena_bytes)}"
    if left_out:
        title += f" (without {left_out:,} small buffers)"
    axes.set_title(title)
    axes.set_xlabel("step")
    axes.set_ylabel(f"address in {unit}")
    axes.set_xlim(0, max(1, len(plan.steps)))
    axes.set_ylim(0, max(plan.arena_bytes / scale, 1e-9) * 1.02)
    axes.legend(loc="upper right", framealpha=0.9)


def _unit(count: int) -> tuple[str, int]:
    """Return the unit that a number of bytes is printed in, and its bytes."""
    unit = format_bytes(count).split()[-1]
    return unit, 1024 ** ("B", "KiB", "MiB", "GiB", "TiB", "PiB").index(unit)


def _corners(b: PlacedBuffer, scale: int) -> Any:
    left, right = b.first, b.last + 1
    low, high = b.offset / scale, (b.offset + b.nbytes) / scale
    corners = [(left, low), (right, low), (right, high), (left, high), (left, low)]
    return np.array([*corners, (np.nan, np.nan)])
