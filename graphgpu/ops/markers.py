"""Operations that compute nothing and say something about the graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphgpu.errors import DTypeError, GraphError
from graphgpu.graph import (
    Operand,
    Operation,
    State,
    Stored,
    Variable,
    ancestors,
    apply,
    as_variable,
    describe,
    located,
    substitute,
)
from graphgpu.types import Guards, TensorType

__all__ = ["state_updates", "stop_gradient", "with_state_update"]


@dataclass(frozen=True, slots=True)
class StopGradient(Operation):
    """x, through which no gradient flows."""

    outputs_alias = True
    identity_of = 0

    def infer(self, guards: Guards, x: TensorType) -> TensorType:
        """Return the same type."""
        return x

    def numpy(self, x: Any) -> Any:
        """Return x."""
        return x

    def connects(self, index: int) -> bool:
        """No gradient flows."""
        return False


@dataclass(frozen=True, slots=True)
class WithStateUpdate(Operation):
    """x, and with it the new value that a state is to have after the step."""

    outputs_alias = True
    identity_of = 0

    def infer(
        self, guards: Guards, x: TensorType, state: TensorType, value: TensorType
    ) -> TensorType:
        """Return the type of x."""
        if value != state:
            raise DTypeError(f"expected an update of the state's type {state}")
        return x

    def numpy(self, x: Any, *_: Any) -> Any:
        """Return x."""
        return x

    def connects(self, index: int) -> bool:
        """The gradient flows through x alone."""
        return index == 0

    def bprop(
        self,
        inputs: tuple[Variable, ...],
        output: Variable,
        grad: Variable,
        wanted: tuple[bool, ...],
    ) -> list[Variable | None]:
        """Pass the gradient on."""
        return [grad, None, None]


def stop_gradient(x: Operand) -> Variable:
    """Return x as a constant to differentiation.

    >>> import graphgpu as gg
    >>> x = gg.placeholder("x", ())
    >>> (dx,) = gg.gradients(x * gg.stop_gradient(x), [x])
    >>> float(gg.evaluate(dx, {x: 3.0}))
    3.0
    """
    return apply(StopGradient(), as_variable(x))


def with_state_update(x: Variable, state: Stored, value: Variable) -> Variable:
    """Return x, marked: a program that computes it should update the state.

    Layers with running statistics use it; :func:`state_updates` collects.

    Raises
    ------
    GraphError
        What is to be updated is no state.
    DTypeError
        The new value is not of the state's type.
    """
    if not isinstance(state, State):
        error = GraphError("only gg.state is updated so")
        raise located(error, "with_state_update", (x, state))
    return apply(WithStateUpdate(), x, state, value)


def state_updates(outputs: Variable | Sequence[Variable]) -> dict[Stored, Variable]:
    """Return the updates of state that computing the outputs asks for.

    They belong among the ``updates`` of a training program: running means of
    batch normalisation, for instance.  Where a layer was applied more than
    once, its updates follow each other in the order as written: ask for those of
    all outputs at once.  Of two dicts put together, one update replaces the other.

    >>> import graphgpu as gg
    >>> layer = gg.nn.BatchNorm(3)
    >>> y = layer(gg.placeholder("x", ("batch", 3)), training=True)
    >>> sorted(s.name for s in gg.state_updates(y))
    ['running_mean', 'running_var']
    """
    listed = [outputs] if isinstance(outputs, Variable) else list(outputs)
    updates: dict[Stored, Variable] = {}
    marked: dict[State, dict[Variable, Variable]] = {}
    for variable in ancestors(listed):
        if isinstance(variable.operation, WithStateUpdate):
            _, state, value = variable.inputs
            if not isinstance(state, State):
                raise GraphError(f"{describe(state)} is no state to be updated")
            before = marked.setdefault(state, {})
            if state in updates:
                # What was computed before the last update did not read its result.
                (value,) = substitute([value], {**before, state: updates[state]})
            updates[state] = value
            before[variable] = variable
    return updates


def lost_updates(
    outputs: Sequence[Variable], updates: Mapping[Stored, Variable]
) -> list[State]:
    """Return the state that has several updates, and is to get one of them alone."""
    marked: dict[State, list[Variable]] = {}
    for variable in ancestors(outputs):
        if isinstance(variable.operation, WithStateUpdate):
            _, state, value = variable.inputs
            if isinstance(state, State) and state in updates:
                marked.setdefault(state, []).append(value)
    return [
        state
        for state, values in marked.items()
        if _one_alone(state, values, updates[state])
    ]


def _one_alone(state: State, values: list[Variable], update: Variable) -> bool:
    """Whether an update is one of several values, of which each follows the last."""
    inputs = update.inputs
    if len(inputs) == 3 and inputs[2] is state:  # where(the step is taken, new, old)
        update = inputs[1]
    if update is values[-1]:
        return len(values) > 1 and state in ancestors([update])
    return any(update is value for value in values)
