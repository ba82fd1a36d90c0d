"""Sums over the iterations of a loop, to which something is added: they begin with it.

So the sums of blocks of iterations are the sum of all, in the same order and to the
bit, and the gradients of a scan in blocks are those of the scan.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from graphgpu.control.loop import Scan
from graphgpu.graph import Constant, Variable, apply
from graphgpu.ops.arithmetic import Add
from graphgpu.ops.creation import Full
from graphgpu.ops.elementwise import Cast
from graphgpu.ops.tuples import Item, item
from graphgpu.rewrite.draft import Draft, Found

__all__ = ["go_on", "is_nothing", "is_sum"]


def go_on(draft: Draft) -> int:
    """x + Σ_i g(i), a loop's sum from 0, as the sum from x."""
    place = {v: n for n, v in enumerate(draft.order)}
    begins: dict[Variable, dict[int, Variable]] = {}
    """For each loop, what its sums are to begin with."""
    ends: dict[Variable, tuple[Variable, int]] = {}
    for variable in draft.order:
        for x, total in _added(variable):
            found = _loop_sum(total, draft)
            if found is None or place[x] > place[found[0]] or x.type != total.type:
                continue
            scan, k = found
            begins.setdefault(scan, {})[k] = x
            ends[variable] = found
            break
    if not ends:
        return 0
    made: dict[Variable, Variable] = {}

    def component(scan: Variable, k: int) -> Variable:
        if scan not in made:
            assert scan.operation is not None
            inputs = list(scan.inputs)
            for place, x in begins[scan].items():
                inputs[place] = x
            made[scan] = apply(replace(_loop(scan)), *inputs)
        several = hasattr(scan.type, "components")
        return item(made[scan], k) if several else made[scan]

    def offer(variable: Variable) -> Found:
        written = draft.written(variable)
        if written in ends:
            return component(*ends[written]), "a sum that goes on"
        if isinstance(variable.operation, Item):
            scan = draft.written(variable.inputs[0])
            if scan in begins and variable.operation.index not in begins[scan]:
                return component(scan, variable.operation.index), "a sum that goes on"
        return None

    return draft.sweep("loops", offer)


def is_sum(loop: Scan, k: int) -> bool:
    """Whether a carry is a sum, of which nothing but the last value is read."""
    body = loop.body
    head, after = body.inputs[k], body.outputs[k]
    if not isinstance(after.operation, Add) or after in body.inputs:
        return False
    if after.inputs.count(head) != 1 or after.type != head.type:
        return False
    read = [v for v in body.variables if v not in body.inputs and v is not after]
    others = [v for j, v in enumerate(body.outputs) if j != k]
    return not any(head in v.inputs or after in v.inputs for v in read) and not any(
        v is head or v is after for v in others
    )


def is_nothing(variable: Variable) -> bool:
    """Whether a variable is an array of zeros."""
    if isinstance(variable.operation, Full):
        return variable.operation.value == 0
    return isinstance(variable, Constant) and not np.any(variable.value)


def _loop(scan: Variable) -> Scan:
    assert isinstance(scan.operation, Scan)
    return scan.operation


def _added(variable: Variable) -> list[tuple[Variable, Variable]]:
    if not isinstance(variable.operation, Add):
        return []
    left, right = variable.inputs
    return [(left, right), (right, left)]


def _loop_sum(total: Variable, draft: Draft) -> tuple[Variable, int] | None:
    """Return the loop and the number of its carry that is a sum from 0."""
    type_ = total.type
    while isinstance(total.operation, Cast) and draft.readers(total) == 1:
        total = total.inputs[0]
    if total.type != type_ or draft.readers(total) != 1:
        return None
    scan, k = total, 0
    if isinstance(total.operation, Item):
        scan, k = total.inputs[0], total.operation.index
    if not isinstance(scan.operation, Scan) or k >= scan.operation.carries:
        return None
    if not is_nothing(scan.inputs[k]) or not is_sum(scan.operation, k):
        return None
    return scan, k
