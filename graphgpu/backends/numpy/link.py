"""Generated code bound to memory: one arena, and functions that work in it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

import numpy as np

from graphgpu.backends.numpy.body import Body
from graphgpu.backends.numpy.calls import Call, Calls
from graphgpu.backends.numpy.lanes import Part
from graphgpu.backends.numpy.layout import Layout
from graphgpu.backends.numpy.repetition import Repetition
from graphgpu.backends.numpy.runtime import FUNCTIONS
from graphgpu.backends.numpy.shared_leaves import share_leaves
from graphgpu.backends.numpy.storage import Block, Buffer, View
from graphgpu.backends.numpy.timing import MARK, Recorder, Track
from graphgpu.backends.numpy.translate import Code
from graphgpu.backends.numpy.translation import Statement
from graphgpu.dtypes import Array

__all__ = ["Linked", "bytes_of", "link"]

_PIECE = 400
"""Statements of a serial part in one function: Python's compiler likes them short."""


@dataclass(eq=False)
class Linked:
    """A program that can be run: parts for lanes, sources, and where lines are from."""

    parts: list[Part]
    commit: list[Part]
    source: str
    statements: dict[str, list[Statement]]
    """The statements of each file of code, by the name that tracebacks show."""
    memory: dict[tuple[Buffer, int], Array] = field(default_factory=dict)
    """The bytes of each buffer; of scratch, of each lane's."""
    recorder: Recorder | None = None
    """What the clock is read for, if it is."""
    copies: list[tuple[Array, Array]] = field(default_factory=list)
    """What is written in place of stored values, with these."""

    def finally_once(self, action: Callable[[], object]) -> None:
        """Add what is done when everything has been computed."""
        last = self.parts.pop() if self.parts else Part(None)
        actions = [last.serial, action] if last.serial else [action]
        self.parts.append(Part(last.parallel, _all(actions)))


def link(
    code: Code,
    layout: Layout,
    arena: Array,
    recorder: Recorder | None = None,
    apart: Collection[Buffer] = (),
) -> Linked:
    """Bind the code to an arena, which is as large as the layout asks, or larger.

    With a ``recorder`` the clock is read after every statement.  Stored values that
    are to stay as they are (``apart``) are copied, and the copies written.
    """
    lanes = layout.lanes
    linked = Linked([], [], "", {}, recorder=recorder)
    if code.whole.shared and recorder is None:
        linked.memory |= {(b, 0): array for b, array in share_leaves(code).items()}
    for buffer in code.packs:
        bytes_of(linked, buffer, None)
    for buffer in apart:
        original = bytes_of(linked, buffer, None)
        linked.memory[buffer, 0] = original.copy()
        linked.copies.append((linked.memory[buffer, 0], original))
    for buffer, offset in layout.shared.items():
        _locate(linked, buffer, arena[offset:], 0, lanes)
    for region in layout.regions:
        for lane, start in enumerate(region.offsets):
            for buffer, offset in region.buffers.items():
                _locate(linked, buffer, arena[start + offset :], lane, lanes)
    sources: list[str] = []
    for bodies, serial in code.phases:
        linked.parts += _link_phase(linked, bodies, serial, sources)
    if code.commit is not None:
        linked.commit = _link_phase(linked, *code.commit, sources)
    linked.source = "\n\n".join(sources)
    return linked


def _link_phase(
    linked: Linked, bodies: Sequence[Body], serial: Body, sources: list[str]
) -> list[Part]:
    """Return the part that runs a phase; none if it is empty."""
    lanes = serial.whole.lanes
    tables: list[list[Call]] = [[] for _ in range(lanes)]
    recorder = linked.recorder
    tracks, once = recorder.part(lanes) if recorder else ([], None)
    for body in bodies:
        text, runs = _link_body(linked, body, lanes, tracks)
        sources.append(text)
        for table, run in zip(tables, runs, strict=True):
            table.extend(run)
    action = None
    if serial.statements:
        text, action = _link_serial(linked, serial, once)
        sources.append(text)
    parallel: Callable[[int], None] | None = None
    if bodies:
        parallel = Calls(f"part_{len(linked.parts)}", dict(enumerate(tables)))
    if bodies and tracks:
        timed = zip(tracks, map(_all, tables), strict=True)
        parallel = _each([t.begins(run) for t, run in timed])
    return [Part(parallel, action)] if parallel or action else []


def _locate(
    linked: Linked, buffer: Buffer, memory: Array, lane: int, lanes: int
) -> None:
    found = memory[: buffer.nbytes(lanes)]
    linked.memory[buffer, lane if buffer.scope == "lane" else 0] = found


def _all(runs: Sequence[Callable[[], object]]) -> Callable[[], None]:
    def run() -> None:
        for part in runs:
            part()

    return run


def _each(runs: list[Callable[[], None]]) -> Callable[[int], None]:
    def parallel(lane: int) -> None:
        runs[lane]()

    return parallel


# --- one body


def _link_serial(
    linked: Linked, body: Body, track: Track | None
) -> tuple[str, Callable[[], None]]:
    """Return the text and the function of a serial part."""
    names = _names(linked, body, body.views, None, track)
    texts, functions = [], []
    for first in range(0, len(body.statements), _PIECE):
        piece = body.statements[first : first + _PIECE]
        name = body.name if first == 0 else f"{body.name}_{first}"
        text = _function(name, "", piece, timed=track is not None)
        if track is not None:
            track.expect(body.name, piece)
        file = f"<{name}>"
        linked.statements[file] = [piece[0], *piece]
        exec(compile(text, file, "exec"), names)
        texts.append(text)
        functions.append(names[name])
    texts += [made.source for made in names.values() if isinstance(made, Repetition)]
    run = functions[0] if len(functions) == 1 else _all(functions)
    return "\n\n".join(texts), track.begins(run) if track else run


def _link_body(
    linked: Linked, body: Body, lanes: int, tracks: Sequence[Track]
) -> tuple[str, list[list[Call]]]:
    """Return the text of a loop, and for each lane what runs it."""
    assert body.cut is not None
    varying = {n: v for n, v in body.views.items() if v.by_block}
    fixed = {n: v for n, v in body.views.items() if not v.by_block}
    text, codes = _texts(linked, body, tuple(varying))
    runs: list[list[Call]] = []
    loops: dict[str, str] = {}
    for lane in range(lanes):
        own = [b for b in body.cut.blocks if b.lane == lane]
        run: list[Call] = []
        entered = False
        for size in dict.fromkeys(b.size for b in own):
            blocks = [b for b in own if b.size == size]
            track = tracks[lane] if tracks else None
            names = _names(linked, body, fixed, blocks[0], track)
            loops |= {n: names[n].source for n in body.bindings}
            for code in codes:
                exec(code, names)
            if body.enter and not entered:
                run.append(Call(names[f"{body.name}_enter"]))
                entered = True
                if track:
                    track.expect(f"{body.name}_enter", body.enter)
            function = names[body.name]
            if track:
                track.expect(body.name, body.statements, len(blocks))
            if body.kind == "split":
                run.append(Call(function))
                continue
            rows = [
                tuple(
                    v.bind(bytes_of(linked, v.buffer, b), b) for v in varying.values()
                )
                for b in blocks
            ]
            run.append(Call(function, rows))
        runs.append(run)
    return "\n\n".join([text, *loops.values()]), runs


def _texts(
    linked: Linked, body: Body, varying: tuple[str, ...]
) -> tuple[str, list[CodeType]]:
    """Return the source of a loop, and its compiled functions."""
    texts, codes = [], []
    timed = linked.recorder is not None
    if body.enter:
        name = f"{body.name}_enter"
        texts.append(_function(name, "", body.enter, timed=timed))
        linked.statements[f"<{name}>"] = [body.enter[0], *body.enter]
        codes.append(compile(texts[-1], f"<{name}>", "exec"))
    if body.kind == "split":
        texts.append(_function(body.name, "", body.statements, timed=timed))
        lead = 1
    else:
        head = f"for {', '.join(varying)}{',' * (len(varying) == 1)} in blocks:"
        if not varying:
            head = "for _ in blocks:"
        texts.append(_function(body.name, "blocks", body.statements, head, timed))
        lead = 2
    first = body.statements[0]
    linked.statements[f"<{body.name}>"] = [first] * lead + body.statements
    codes.append(compile(texts[-1], f"<{body.name}>", "exec"))
    return "\n\n".join(texts), codes


def _function(
    name: str,
    arguments: str,
    statements: Sequence[Statement],
    head: str = "",
    timed: bool = False,
) -> str:
    """Return the text of a function: a line for each statement."""
    indent = "        " if head else "    "
    lines = [f"def {name}({arguments}):"]
    if head:
        lines.append(f"    {head}")
    end = f"; {MARK}" if timed else ""
    lines += [f"{indent}{s.text}{end}" for s in statements]
    return "\n".join(lines) + "\n"


def _names(
    linked: Linked,
    body: Body,
    views: dict[str, View],
    block: Block | None,
    track: Track | None,
) -> dict[str, Any]:
    """Return what the names of a body mean to a lane, for a size of block."""
    names = {**FUNCTIONS, **(track.names if track else {})}
    for name, make in body.objects.items():
        names[name] = made = make(block)
        if isinstance(made, np.ndarray):
            made.flags.writeable = False
    for name, view in views.items():
        names[name] = _bound(linked, view, block)
    for name, (make, operands) in body.bindings.items():
        names[name] = make(block).bind(*[_bound(linked, v, block) for v in operands])
    for name, kernels in body.kernels.items():
        assert block is not None
        kernel, needed = kernels[block.size]
        arrays = [_bound(linked, v, block) for v in needed]
        names[name] = kernel.bind(*arrays)
    return names


def _bound(linked: Linked, view: View, block: Block | None) -> Array:
    return view.bind(bytes_of(linked, view.buffer, block), block)


def bytes_of(linked: Linked, buffer: Buffer, block: Block | None) -> Array:
    """Return the bytes of a buffer, as a block sees it."""
    if buffer.parent is not None:
        parent, offset = buffer.parent
        return bytes_of(linked, parent, block)[offset : offset + buffer.nbytes(1)]
    key = (buffer, block.lane if block and buffer.scope == "lane" else 0)
    if key not in linked.memory:
        assert buffer.array is not None, buffer.label
        array = buffer.array()
        if not array.flags.c_contiguous:
            array = np.ascontiguousarray(array)
        linked.memory[key] = array.reshape(-1).view(np.uint8)
    return linked.memory[key]
