"""What must hold of a graph after every pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence

from graphgpu.errors import CompileError, GraphError
from graphgpu.graph import Constant, Operation, Variable, ancestors, describe
from graphgpu.ops.random import Random
from graphgpu.rewrite.draft import Draft
from graphgpu.types import Guards

__all__ = ["Before", "check_serials", "validate"]


class Before:
    """What validation compares with: outputs, leaves and random operations."""

    def __init__(self, draft: Draft) -> None:
        variables = ancestors(draft.outputs, draft.given)
        self.types = [v.type for v in draft.outputs]
        self.leaves = {v for v in variables if v.operation is None} | draft.given
        self.random = _random(variables)


def validate(name: str, before: Before, draft: Draft) -> None:
    """Require of a pass that the graph it made can stand for the one before.

    The outputs have the same types; no leaf is new, constants apart; no random
    operation is new or there twice; the graph has no cycle; each variable's type
    is the one inferred from its inputs.

    Raises
    ------
    CompileError
        Something does not hold; the message names the pass and the node.
    """
    types = [v.type for v in draft.outputs]
    if types != before.types:
        _fail(name, f"the outputs have types {types}, no longer {before.types}")
    variables = ancestors(draft.outputs, draft.given)
    _check_cycles(name, variables, draft.given)
    for variable in variables:
        if variable in draft.given:
            continue
        if variable.operation is None:
            if variable not in before.leaves and not isinstance(variable, Constant):
                _fail(name, f"{describe(variable)} is a new leaf")
            continue
        _check_type(name, variable, variable.operation)
    random = _random(variables)
    for variable in variables:
        if not isinstance(variable.operation, Random):
            continue
        now, then = random[variable.operation], before.random[variable.operation]
        if now > then:
            what = f"{describe(variable)} is there {now} times, before {then} times"
            _fail(name, f"{what}: random numbers changed")


def check_serials(draft: Draft) -> None:
    """Require that inputs are older than what is computed from them."""
    for variable in ancestors(draft.outputs, draft.given):
        if variable in draft.given:
            continue
        if any(parent.serial >= variable.serial for parent in variable.inputs):
            _fail("renumber", f"{describe(variable)} is older than its inputs")


def _random(variables: Sequence[Variable]) -> Counter[Operation]:
    return Counter(v.operation for v in variables if isinstance(v.operation, Random))


def _check_cycles(
    name: str, variables: Sequence[Variable], given: Container[Variable]
) -> None:
    """Require an order in which inputs come first (Kahn's algorithm)."""
    readers: dict[Variable, list[Variable]] = {v: [] for v in variables}
    missing = {v: 0 if v in given else len(v.inputs) for v in variables}
    for variable in variables:
        for parent in () if variable in given else variable.inputs:
            readers[parent].append(variable)
    ready = [v for v in variables if not missing[v]]
    count = 0
    while ready:
        count += 1
        for reader in readers[ready.pop()]:
            missing[reader] -= 1
            if not missing[reader]:
                ready.append(reader)
    if count < len(variables):
        stuck = next(v for v in variables if missing[v])
        _fail(name, f"{describe(stuck)} depends on itself")


def _check_type(name: str, variable: Variable, operation: Operation) -> None:
    """Require the type that the operation infers."""
    try:
        inferred = operation.infer(Guards(), *[v.type for v in variable.inputs])
    except GraphError as error:
        _fail(name, f"{describe(variable)} cannot be computed from its inputs: {error}")
    if inferred != variable.type:
        _fail(name, f"{describe(variable)} computes a value of type {inferred}")


def _fail(name: str, what: str) -> None:
    raise CompileError(
        f"pass {name!r} broke the graph: {what.rstrip(',')}; leave the pass out of "
        "compile(passes=...), and report it"
    )
