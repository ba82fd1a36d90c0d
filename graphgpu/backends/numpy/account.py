"""Where a node is computed, where its value lies, and why: what ``explain`` tells."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import final

from graphgpu.backends.base import Task
from graphgpu.backends.numpy.body import Body
from graphgpu.backends.numpy.loops import Work
from graphgpu.backends.numpy.residence import is_view
from graphgpu.backends.numpy.timing import computed_by
from graphgpu.backends.numpy.translate import Code
from graphgpu.backends.numpy.translation import Statement, label_of
from graphgpu.backends.report import Account, Excerpt
from graphgpu.bytesize import format_bytes
from graphgpu.graph import Constant, Stored
from graphgpu.nodes import Node

__all__ = ["Ledger"]

_PLACES = {
    "tile": "a loop over blocks of at most {images} images",
    "rows": "a loop over blocks of at most {images} rows",
    "flat": "a loop over pieces of values laid end to end",
    "split": "rows of the result, a lane's share each",
    "serial": "done once",
}
_SHOWN = 8
"""How many lines of a function are quoted."""


@final
@dataclass(eq=False)
class Ledger:
    """The answers about one program."""

    code: Code
    task: Task
    _excerpts: dict[Node, list[Excerpt]] = field(default_factory=dict)
    _phases: dict[Node, int] = field(default_factory=dict)
    _parts: dict[Node, Node] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for body in self.code.bodies():
            for name, place, statements in self._functions(body):
                lines: dict[Node, list[str]] = {}
                for statement in statements:
                    lines.setdefault(statement.node, []).append(statement.text)
                for node, texts in lines.items():
                    excerpt = Excerpt(name, place, _shortened(texts))
                    self._excerpts.setdefault(node, []).append(excerpt)
        for number, phase in enumerate(self._work.phases):
            for node in (*phase.serial, *(n for p in phase.loops for n in p.nodes)):
                self._phases[node] = number
        for node, done in computed_by(self.code).items():
            self._parts.update({n: node for n in done if n is not node})

    @property
    def _kept(self) -> Collection[Node]:
        return self.code.whole.residence.kept

    @property
    def _work(self) -> Work:
        return self.code.whole.work

    def account(self, node: Node) -> Account:
        """Return what there is to say of a node of the task."""
        excerpts = self._excerpts.get(node, [])
        other = self._parts.get(node)
        if other is not None:
            excerpts = [*self._excerpts.get(other, []), *excerpts]
        reasons = dict.fromkeys(self._reasons(node, other))
        memory, layout = self._memory(node), self._layout(node)
        return Account(tuple(excerpts), memory, layout, tuple(reasons))

    def _functions(self, body: Body) -> Iterator[tuple[str, str, list[Statement]]]:
        """Yield the functions of a body: what they are, and their statements."""
        if body.enter:
            yield f"{body.name}_enter", "by each lane, before its loop", body.enter
        yield body.name, self._place(body), body.statements

    def _place(self, body: Body) -> str:
        images = body.cut.largest if body.cut else 0
        text = _PLACES[body.kind].format(images=images)
        lanes = self.code.whole.lanes
        if lanes == 1:
            return text
        together = "for all lanes" if body.kind == "serial" else f"on {lanes} lanes"
        return f"{text} {together}"

    # --- memory

    def _memory(self, node: Node) -> str:
        """Say where the value lies, and for how long."""
        if node.operation is None:
            return _memory_of_leaf(node)
        if is_view(node, self._work.tiles):
            return f"none of its own: that of {_called(node.inputs[0])}, seen otherwise"
        if self._work.is_batched(node):
            return self._batched_memory(node)
        return self._whole_memory(node)

    def _batched_memory(self, node: Node) -> str:
        where = [e.function for e in self._excerpts.get(node, ()) if _is_main(e)]
        if node in self.code.whole.residence.kept:
            return f"kept for the whole batch: {self._bytes(node)}"
        if len(where) > 1:
            times = f"computed again in each of {len(where)} loops that read it"
            return f"not kept: in cache, a block at a time; {times}"
        return "not kept: in cache, a block at a time"

    def _whole_memory(self, node: Node) -> str:
        homes = self.code.whole.homes.get(node, ())
        if node in self._parts and not homes:
            return "in cache, in pieces of the vectors that updates are done on"
        parents = [v.view.buffer.parent for v in homes]
        if any(p is not None for p in parents):
            return f"at its place in a vector that an update reads: {self._bytes(node)}"
        return f"one array: {self._bytes(node)}"

    def _bytes(self, node: Node) -> str:
        buffers = [v.view.buffer for v in self.code.whole.homes.get(node, ())]
        return format_bytes(sum(b.nbytes(self.code.whole.lanes) for b in buffers))

    def _layout(self, node: Node) -> str:
        """Say how the axes lie in memory."""
        homes = self.code.whole.homes.get(node, ())
        tile = node in self._work.tiles and node in self._work.loop_of
        if homes:
            tile = any(v.tile for v in homes)
        return "tiles [H, B, W, C], block by block" if tile else "as written"

    # --- reasons

    def _reasons(self, node: Node, other: Node | None) -> Iterator[str]:
        """Yield why it is computed where it is, and not with its neighbours."""
        if node.operation is None:
            return
        if node in self.task.late:
            yield "computed again for the memory budget, as late as can be"
        if node in self.task.outputs:
            yield "an output: all of it must be there at the end"
        if any(value is node for _, value in self.task.updates):
            yield "the new value of a state"
        if other is not None:
            yield self._shared(other)
        elif not is_view(node, self._work.tiles):
            yield from self._of_rules(node)
        if not self._work.count:
            yield self._uncut()
        elif other is None and not is_view(node, self._work.tiles):
            yield from self._of_place(node)

    def _shared(self, other: Node) -> str:
        """Say with what a node is computed that has no statements of its own."""
        done = self.code.whole.together.get(other)
        if done is None:
            return f"computed by the statements of {_called(other)}"
        return (
            f"computed as one of {len(done)} of the same form, whose values lie end to "
            f"end: the update is done on all as one vector, {_called(other)}"
        )

    def _of_rules(self, node: Node) -> Iterator[str]:
        assert node.operation is not None
        name = f"{node.operation.kind()}_numpy_{node.index}("
        lines = [t for e in self._excerpts.get(node, ()) for t in e.lines]
        if any(name in text for text in lines) and not self.code.whole.plain:
            yield f"no rule writes {node.operation.kind()} here: its numpy is called"

    def _uncut(self) -> str:
        if self.task.checked:
            return "check_finite: every operation is computed by itself"
        if self.code.whole.plain:
            return "compiled without 'fuse': every operation is computed by itself"
        return "no batch is cut into blocks: there is none, or it would not pay"

    def _of_place(self, node: Node) -> Iterator[str]:
        work = self._work
        if work.total(node):
            yield "a sum over the batch: of the blocks' parts, when all lanes have met"
        elif node not in work.relations:
            if not any(map(work.is_batched, node.inputs)):
                yield "it reads nothing that has the batch's axis: computed once"
            else:
                yield "it cannot be computed image by image: computed once"
        for parent in node.inputs:
            again = work.is_batched(parent) and parent not in self._kept
            if parent.operation is None or again or self._together(parent, node):
                continue
            yield self._between(parent, node, f"it reads {self._at(parent)}")
        for reader in node.readers:
            if self._parts.get(reader) in self.code.whole.together:
                yield f"it is read by {_called(reader)}: an update, done at the end"
            elif not self._together(node, reader):
                what = f"it is read by {self._at(reader)}"
                if work.is_batched(node) and node not in self._kept:
                    yield f"{what}: there it is computed again"
                else:
                    yield self._between(node, reader, what)

    def _together(self, node: Node, reader: Node) -> bool:
        loop_of = self._work.loop_of
        if node in loop_of or reader in loop_of:
            return loop_of.get(node) is loop_of.get(reader)
        return True

    def _at(self, node: Node) -> str:
        found = [e.function for e in self._excerpts.get(node, ()) if _is_main(e)]
        return f"{_called(node)}{f' ({found[0]})' if found else ''}"

    def _between(self, node: Node, reader: Node, what: str) -> str:
        """Say why two neighbours are not computed in one loop."""
        work = self._work
        here, there = work.loop_of.get(node), work.loop_of.get(reader)
        if work.total(node):
            why = "the sum is complete when all lanes have met"
        elif here is None:
            why = "computed once, before"
        elif there is None:
            why = "that needs all images"
        elif there.kind == "split":
            why = "computed by rows of the result, a lane's share each"
        elif self._phases.get(node) != self._phases.get(reader):
            cause = self._cause(reader)
            why = "put off, until all lanes have met"
            if cause is not None:
                why = f"that waits for {_called(cause)}, of the whole batch"
        elif here.kind != there.kind:
            kinds = {"tile": "a few images at a time", "rows": "a lane's rows at once"}
            why = f"computed {kinds[there.kind]}, not {kinds.get(here.kind, 'split')}"
        else:
            why = "a loop of another kind lies between"
        return f"{what}: {why}"

    def _cause(self, node: Node) -> Node | None:
        """Return what makes a node wait for the end of the phase before its own."""
        phase = self._phases[node]
        stack, seen = [node], {node}
        while stack:
            for parent in stack.pop().inputs:
                if parent.operation is None or parent in seen:
                    continue
                seen.add(parent)
                there = self._phases.get(parent)
                if there == phase and parent in self._work.loop_of:
                    stack.append(parent)
                elif there == phase - 1 and not self._work.is_batched(parent):
                    return parent
        return None


def _memory_of_leaf(node: Node) -> str:
    if isinstance(node.variable, Constant):
        return "a constant of the program"
    stored = isinstance(node.variable, Stored)
    return "the state's own" if stored else "where a call's input is copied to"


def _is_main(excerpt: Excerpt) -> bool:
    return not excerpt.function.endswith(("_enter", "_serial"))


def _shortened(lines: list[str]) -> tuple[str, ...]:
    if len(lines) <= _SHOWN:
        return tuple(lines)
    return (*lines[:_SHOWN], f"... {len(lines) - _SHOWN} more lines")


def _called(node: Node) -> str:
    """Return what a node is called here: as in the code."""
    return label_of(node)
