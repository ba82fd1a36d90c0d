"""Loops made one, and without what nobody reads.

The gradient of a scan reads the same scan with more outputs (``control/loop.py``).
Both have one body and the same inputs, so the one computes what the other does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from graphgpu.control.loop import Scan
from graphgpu.graph import Subgraph, Variable, ancestors, apply
from graphgpu.ops.tuples import Item, item
from graphgpu.rewrite.draft import Draft, Found
from graphgpu.rewrite.loop_sums import go_on

__all__ = ["loops"]


def loops(draft: Draft) -> int:
    """Let one loop compute what several do, without what nobody reads."""
    scans = [v for v in draft.order if isinstance(v.operation, Scan)]
    if not scans:
        return 0
    return _united(draft, scans) + go_on(draft)


def _united(draft: Draft, scans: Sequence[Variable]) -> int:
    """Let one loop compute what several do; drop outputs that nobody reads."""
    read = _read(draft)
    groups: dict[Any, _Group] = {}
    group_of: dict[Variable, _Group] = {}
    for scan in scans:
        group = groups.setdefault(_key(scan), _Group())
        group.add(scan, read.get(scan, set()))
        group_of[scan] = group

    def offer(variable: Variable) -> Found:
        place = 0
        scan = variable
        if isinstance(variable.operation, Item):
            place, scan = variable.operation.index, variable.inputs[0]
        elif len(_components(variable)) != 1:
            return None
        group = group_of.get(draft.written(scan))
        if group is None or not group.changes:
            return None
        return group.component(scan, place), group.text

    return draft.sweep("loops", offer)


@dataclass(eq=False)
class _Group:
    """Loops that have their body's inputs and their carries in common."""

    members: list[Variable] = field(default_factory=list)
    finals: set[int] = field(default_factory=set)
    """The carries whose last value is read."""
    stacked: list[Variable] = field(default_factory=list)
    """The variables of the body whose stack is read."""
    kept: list[int] = field(default_factory=list)
    made: Variable | None = None
    changes: bool = False

    def add(self, scan: Variable, read: set[int]) -> None:
        """Add a loop of which some components are read."""
        loop = _loop(scan)
        self.members.append(scan)
        self.finals |= {k for k in read if k < loop.carries}
        for place, value in enumerate(loop.body.outputs):
            if place >= loop.carries and place in read and value not in self.stacked:
                self.stacked.append(value)
        self.kept = _needed(loop, self.finals, self.stacked)
        wanted = [*(loop.body.outputs[k] for k in self.kept), *self.stacked]
        used = ancestors(wanted, stop=set(loop.body.inputs))
        unused = set(loop.body.inputs[loop.carries :]).difference(used)
        same = len(self.members) == 1 and wanted == list(loop.body.outputs)
        self.changes = bool(wanted) and (bool(unused) or not same)

    @property
    def text(self) -> str:
        """What the log says."""
        return "loops made one" if len(self.members) > 1 else "a loop of what is read"

    def component(self, scan: Variable, place: int) -> Variable:
        """Return what computes a component of one of the loops."""
        loop = _loop(scan)
        if self.made is None:
            self.made = self._make(loop, scan.inputs)
        if place < loop.carries:
            index = self.kept.index(place)
        else:
            index = len(self.kept) + self.stacked.index(loop.body.outputs[place])
        return self.made if len(_components(self.made)) == 1 else item(self.made, index)

    def _make(self, loop: Scan, inputs: Sequence[Variable]) -> Variable:
        body = loop.body
        outputs = [*(body.outputs[k] for k in self.kept), *self.stacked]
        used = set(ancestors(outputs, stop=set(body.inputs)))
        places = [
            place
            for place, p in enumerate(body.inputs)
            if (place in self.kept if place < loop.carries else p in used)
        ]
        first, last = loop.carries, loop.carries + loop.sequences
        inner = Subgraph([body.inputs[p] for p in places], outputs, body.sizes)
        operation = replace(
            loop,
            body=inner,
            carries=len(self.kept),
            sequences=sum(first <= p < last for p in places),
        )
        return apply(operation, *(inputs[p] for p in places))


def _loop(scan: Variable) -> Scan:
    assert isinstance(scan.operation, Scan)
    return scan.operation


def _components(scan: Variable) -> tuple[Any, ...]:
    return getattr(scan.type, "components", (scan.type,))


def _key(scan: Variable) -> Any:
    """Return what loops that can be one have in common."""
    loop = _loop(scan)
    inputs = loop.body.inputs
    carried = loop.body.outputs[: loop.carries]
    sizes = tuple(sorted(loop.body.sizes.items()))
    plain = (loop.length, loop.reverse, loop.keeps, loop.scale, loop.first, loop.step)
    counts = loop.carries, loop.sequences
    return plain, counts, inputs, carried, sizes, scan.inputs


def _read(draft: Draft) -> dict[Variable, set[int]]:
    """Return which components of loops are read."""
    found: dict[Variable, set[int]] = {}
    for variable in draft.order:
        if isinstance(variable.operation, Item):
            found.setdefault(variable.inputs[0], set()).add(variable.operation.index)
            continue
        for parent in variable.inputs:
            found.setdefault(parent, set()).update(range(len(_components(parent))))
    for output in draft.outputs:
        found.setdefault(output, set()).update(range(len(_components(output))))
    return found


def _needed(loop: Scan, finals: set[int], stacked: Sequence[Variable]) -> list[int]:
    """Return the carries that are read after the loop, or in it for what is."""
    body = loop.body
    heads = body.inputs[: loop.carries]
    needed = set(finals)
    while True:
        wanted = [*stacked, *(body.outputs[k] for k in needed)]
        used = set(ancestors(wanted, stop=set(body.inputs)))
        more = {k for k, head in enumerate(heads) if head in used} - needed
        if not more:
            return sorted(needed)
        needed |= more
