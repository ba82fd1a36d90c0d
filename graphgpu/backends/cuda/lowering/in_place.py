"""New values that are written over old ones where they are computed.

An elementwise update reads each old number right where the new one belongs, so it
needs no memory of its own.  Such kernels come last in a step.  They do nothing unless
the device's gate is open: the word that says whether the step went well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphgpu.backends.base import Task
from graphgpu.backends.cuda.lowering.fusion import Region
from graphgpu.backends.cuda.lowering.views import root
from graphgpu.graph import constant
from graphgpu.nodes import Node

__all__ = ["GATE", "InPlace", "split"]

_WORD = constant(np.zeros(1, np.uint64))
GATE = Node(-1, _WORD, None, (), _WORD.type)
"""What a kernel reads to know whether it may write: a leaf with the gate's memory."""


@dataclass(frozen=True, eq=False, slots=True)
class InPlace:
    """A region, and for each of its outputs the stored leaf that it is written to."""

    region: Region
    targets: Sequence[Node]

    def reads_elsewhere(self, leaf: Node) -> bool:
        """Whether it reads numbers of a leaf in other places than their own, or may."""
        seen = [n for n in self.region.reads if root(n, 0)[0] is leaf]
        return any(n is not leaf or n.shape != self.region.shape for n in seen)


def split(plan: Sequence[Region], task: Task) -> tuple[list[Region], list[InPlace]]:
    """Return the regions that come first, and those that write in place.

    Nobody else reads what is written in place: no region, no output, and of the old
    values none of the regions that write in place as well.
    """
    targets: dict[Node, list[Node]] = {}
    for target, value in task.updates:
        targets.setdefault(value, []).append(target)
    read = {root(n, 0)[0] for n in task.outputs} | set(task.outputs)
    for region in plan:
        for node in region.reads:
            read |= {node, root(node, 0)[0]}
    found = []
    for region in plan:
        outputs = region.outputs
        if region.alone or region.folds or not outputs or read & set(outputs):
            continue
        owners = [targets.get(n, []) for n in outputs]
        if all(len(o) == 1 for o in owners):
            found.append(InPlace(region, [leaf for (leaf,) in owners]))
    while conflicting := _conflicting(found):
        found = [x for x in found if x not in conflicting]
    last = {id(x.region) for x in found}
    return [r for r in plan if id(r) not in last], found


def _conflicting(found: Sequence[InPlace]) -> list[InPlace]:
    """Return what writes leaves that others still read, or it itself elsewhere."""
    readers: dict[Node, list[InPlace]] = {}
    for one in found:
        for leaf in {root(n, 0)[0] for n in one.region.reads}:
            readers.setdefault(leaf, []).append(one)
    return [
        one
        for one in found
        if any(
            other is not one or one.reads_elsewhere(leaf)
            for leaf in one.targets
            for other in readers.get(leaf, ())
        )
    ]
