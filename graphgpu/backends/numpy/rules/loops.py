"""Scans: code for one iteration, called with views of where it reads and writes.

A value of an iteration lies in memory that all iterations share, counted in the
program's plan.  Elements are read in the sequences, stacked values written to their
places, and a carry is handed on without a copy: it is read where it was written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, TypeAlias, final

import numpy as np

from graphgpu import memory
from graphgpu.backends.numpy.body import Body
from graphgpu.backends.numpy.loops import divide
from graphgpu.backends.numpy.readers import last_readers
from graphgpu.backends.numpy.repetition import Part, Plan, Repetition, Share
from graphgpu.backends.numpy.residence import is_view, settle
from graphgpu.backends.numpy.rows import nodes_of, rows_of
from graphgpu.backends.numpy.rules.registry import Rules
from graphgpu.backends.numpy.storage import Block, Buffer, View, partition
from graphgpu.backends.numpy.translation import Translation, Value, label_of
from graphgpu.control.loop import Scan
from graphgpu.dtypes import Array
from graphgpu.graph import RUN_KEY, Constant, Variable
from graphgpu.nodes import Node
from graphgpu.ops.shape import Reshape
from graphgpu.ops.tuples import Item
from graphgpu.rewrite.loop_sums import is_sum

__all__ = ["rules"]

Write: TypeAlias = Callable[[Body, Node], None]
Slot: TypeAlias = tuple[Node, int]
_LOOPS = "loops"
"""What the loops of a translation are remembered as."""


def rules(write: Write) -> Rules:
    """Return the rule; ``write`` writes the statements of a node."""
    table = Rules()

    @table.of(Scan)
    def scan(body: Body, node: Node) -> bool:
        """Call the code of an iteration again and again."""
        if body.in_blocks:
            return False
        operation = node.operation
        assert isinstance(operation, Scan)
        if body.kind == "split":
            _split(body, node, operation, write)
            return True
        code = _Iteration(node, operation, write, nodes_of(operation.body)).code()
        body.whole.once(_LOOPS, list).append(code)
        values = [_contiguous(body, parent) for parent in node.inputs]
        inputs = [body.text(value) for value in values]
        outputs = [body.text(v) for v in body.outputs(node)]
        work = body.text(View(body.scratch((code.nbytes,), np.dtype("uint8"), "loop")))
        name = body.given(f"loop_{node.index}", lambda _: Repetition(code))
        body.say(f"{name}([{', '.join(inputs)}], [{', '.join(outputs)}], {work})")
        return True

    return table


def _split(body: Body, node: Node, scan: Scan, write: Write) -> None:
    """Let each lane run a loop of its own over its share of the rows."""
    lanes = body.whole.lanes
    rows = rows_of(scan, lanes)
    assert rows is not None
    blocks = partition(rows.count, lanes, rows.count).blocks
    codes = [_Iteration(node, scan, write, rows.share(b)).code() for b in blocks]
    operands = []
    for place, parent in enumerate(node.inputs):
        variable = scan.body.inputs[place]
        axis = None
        if rows.values[variable] in rows.given:
            axis = int(_input(scan, place, variable).kind == "element")
        operands.append(_own(body, parent, axis, blocks))
    for place, value in enumerate(body.outputs(node)):
        axis = int(place >= scan.carries)
        operands.append(value.view.then("rows", _rows(axis, blocks)))
    nbytes = max(code.nbytes for code in codes)
    operands.append(View(body.scratch((nbytes,), np.dtype("uint8"), "loop")))
    made = [Share(code, len(node.inputs)) for code in codes]
    body.bound(f"loop_{node.index}", lambda b: made[b.lane if b else 0], *operands)


def _rows(axis: int | None, blocks: Sequence[Block]) -> Callable[[Array, Any], Array]:
    """Return what sees a lane's rows of an array; all of it without an axis."""

    def seen(array: Array, block: Block) -> Array:
        if axis is None:
            return array
        start, size = blocks[block.lane].start, blocks[block.lane].size
        rows: Array = array[(slice(None),) * axis + (slice(start, start + size),)]
        return rows

    return seen


def _own(body: Body, node: Node, axis: int | None, blocks: Sequence[Block]) -> View:
    """Return a lane's rows of a value, the elements of each iteration's in order."""
    value = body.value(node, sliced=False).plain()
    key = "all" if axis is None else "rows"
    rows = value.view.then(key, _rows(axis, blocks))
    if value.view.contiguous:
        return rows

    def shape(lane: int) -> tuple[int, ...]:
        sizes = list(value.shape)
        if axis is not None:
            sizes[axis] = blocks[lane].size
        return tuple(sizes)

    most = max(prod(shape(lane)) for lane in range(len(blocks)))
    memory = View(body.scratch((most,), value.dtype, "copied"))

    def seen(array: Array, block: Block) -> Array:
        wanted = shape(block.lane)
        return array[: prod(wanted)].reshape(wanted)

    made = memory.then("own", seen)
    body.copy(made, rows)
    return made


def _contiguous(body: Body, node: Node) -> Value | View:
    """Return a value, its elements one after the other in memory."""
    value = body.value(node, sliced=False).plain()
    if value.view.contiguous:
        return value
    made = View(body.scratch(value.shape, value.dtype, "copied"))
    body.copy(made, value)
    return made


@final
@dataclass(eq=False)
class _Iteration:
    """The code of one iteration in the making."""

    node: Node
    scan: Scan
    write: Write
    nodes: tuple[list[Node], dict[Variable, Node]]
    parts: dict[Buffer, Part] = field(default_factory=dict)

    def code(self) -> Plan:
        """Write the statements, and say where everything lies."""
        scan, body = self.scan, self.scan.body
        nodes, values = self.nodes
        work = divide(nodes, None)
        results = [values[v] for v in body.outputs]
        whole = Translation(work, settle(work, results), {}, 1)
        inner = Body(whole, f"loop_{self.node.index}", "serial", None)
        for place, variable in enumerate(body.inputs):
            self._place(whole, values[variable], _input(scan, place, variable))
        for node in nodes:
            if node.operation is None and isinstance(node.variable, Constant):
                self._constant(whole, node, node.variable)
        written = self._place_results(whole, results)
        ordered = [n for phase in work.phases for n in phase.serial]
        inner.last_reader = _private(ordered, results, last_readers(ordered, ()))
        for node in ordered:
            if not is_view(node, work.tiles):
                self.write(inner, node)
        self._copy_results(inner, results, written)
        inner.close()
        used = [b for b in whole.buffers if b not in self.parts and b.first >= 0]
        placed = memory.place(
            [memory.Buffer(b.label, b.nbytes(1), b.first, b.last) for b in used]
        )
        for buffer, offset in zip(used, placed.offsets, strict=True):
            self.parts[buffer] = Part("scratch", offset)
        found = [written.get(_slot(node)) for node in results[: scan.carries]]
        sources = {k: place for k, place in enumerate(found) if place is not None}
        sums = frozenset(k for k in range(scan.carries) if is_sum(scan, k))
        return Plan(
            scan,
            inner,
            self.parts,
            sources,
            sums,
            [values[v].shape for v in body.inputs[: scan.carries]],
            placed.arena_bytes,
            whole.once(_LOOPS, list),
        )

    def _place_results(
        self, whole: Translation, results: Sequence[Node]
    ) -> dict[Slot, int]:
        """Let results be written where they belong: stacked, before carries."""
        written: dict[Slot, int] = {}
        carries = self.scan.carries
        for place in [*range(carries, len(results)), *range(carries)]:
            slot = _slot(results[place])
            node, _ = slot
            if node.operation is not None and not is_view(node, ()):
                written.setdefault(slot, place)
        for node in dict.fromkeys(node for node, _ in written):
            homes = []
            for k, type_ in enumerate(node.components):
                shape: Any = type_.shape
                label = label_of(node, k)
                if (node, k) in written:
                    buffer = Buffer(label, shape, type_.dtype, array=_elsewhere)
                    self.parts[buffer] = Part("output", written[node, k])
                else:
                    buffer = whole.buffer(label, shape, type_.dtype)
                homes.append(Value(View(buffer), shape))
            whole.homes[node] = tuple(homes)
        return written

    def _place(self, whole: Translation, node: Node, part: Part) -> Buffer:
        """Say where a value is that lies outside of the iteration's memory."""
        type_ = node.tensor
        buffer = Buffer(label_of(node), node.shape, type_.dtype, array=_elsewhere)
        whole.homes[node] = (Value(View(buffer), node.shape),)
        self.parts[buffer] = part
        return buffer

    def _constant(self, whole: Translation, node: Node, constant: Constant) -> None:
        buffer = self._place(whole, node, Part("constant", 0))
        value = constant.value
        buffer.array = lambda: value

    def _copy_results(
        self, inner: Body, results: Sequence[Node], written: dict[Slot, int]
    ) -> None:
        """Copy values that are read in several places, or that were not computed."""
        for place, node in enumerate(results):
            at = written.get(_slot(node))
            if at == place or (place < self.scan.carries and at is not None):
                continue
            type_ = node.tensor
            name = f"result_{place}"
            target = Buffer(name, node.shape, type_.dtype, array=_elsewhere)
            self.parts[target] = Part("output", place)
            inner.node = self.node
            inner.copy(View(target), inner.value(node).plain())


def _slot(node: Node) -> Slot:
    """Return the value, and its component, whose memory a node shows, reshaped."""
    while isinstance(node.operation, Reshape) and is_view(node, ()):
        (node,) = node.inputs
    if isinstance(node.operation, Item):
        return node.inputs[0], node.operation.index
    return node, 0


def _input(scan: Scan, place: int, variable: Variable) -> Part:
    """Return where an input of the body is."""
    if variable is RUN_KEY:
        return Part("key", place)
    if place < scan.carries:
        return Part("carry", place)
    if place < scan.carries + scan.sequences:
        return Part("element", place)
    return Part("shared", place)


def _private(
    nodes: Sequence[Node], results: Sequence[Node], found: dict[Node, Node]
) -> dict[Node, Node]:
    """Return the last readers of values that are read in the iteration alone."""
    kept = set(results)
    for node in reversed(nodes):
        if node in kept and is_view(node, ()):
            kept.add(node.inputs[0])
    inside = set(nodes)
    return {n: r for n, r in found.items() if n in inside and n not in kept}


def _elsewhere() -> Array:
    raise AssertionError("bound by the loop")
