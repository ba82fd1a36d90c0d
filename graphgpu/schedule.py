"""The order in which a program computes, and how long each value lives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

from graphgpu.graph import Variable

__all__ = ["Schedule", "schedule"]


@dataclass(frozen=True, eq=False)
class Schedule:
    """What to compute, in order.

    ``order`` holds leaves and computed variables, ``inputs`` the variables that
    each reads, ``last_use`` the place in the order after which a value is not
    needed any more (outputs are needed to the end and have none).
    """

    order: tuple[Variable, ...]
    inputs: dict[Variable, tuple[Variable, ...]]
    outputs: tuple[Variable, ...]
    last_use: dict[Variable, int]


def schedule(outputs: Sequence[Variable]) -> Schedule:
    """Return the schedule for the outputs: the order as written.

    Operations that pass a value on unchanged are looked through, so what only
    they read is not computed.
    """
    resolved = tuple(look_through(v) for v in outputs)
    inputs: dict[Variable, tuple[Variable, ...]] = {}
    stack = list(dict.fromkeys(resolved))
    while stack:
        variable = stack.pop()
        if variable in inputs:
            continue
        parents = tuple(map(look_through, variable.inputs))
        inputs[variable] = parents
        stack.extend(p for p in parents if p not in inputs)
    order = tuple(sorted(inputs, key=attrgetter("serial")))
    last_use: dict[Variable, int] = {}
    for place, variable in enumerate(order):
        for parent in inputs[variable]:
            last_use[parent] = place
    for variable in resolved:
        last_use.pop(variable, None)
    return Schedule(order, inputs, resolved, last_use)


def look_through(variable: Variable) -> Variable:
    """Return the variable whose value this one is."""
    while variable.operation and variable.operation.identity_of is not None:
        variable = variable.inputs[variable.operation.identity_of]
    return variable
