"""What optimisers have in common: their state, the rate and its schedule."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any, Self, TypeAlias, final

import numpy as np

from graphgpu.dtypes import accumulator, is_floating
from graphgpu.errors import GraphError
from graphgpu.graph import (
    Parameter,
    State,
    Stored,
    Variable,
    as_variable,
    current,
    describe,
    inside,
    state,
)
from graphgpu.optim.group import Group
from graphgpu.optim.hyperparameters import at_least_zero
from graphgpu.optim.updater import CLIPS, Slopes, Updater, updating
from graphgpu.types import TensorType

__all__ = ["Memory", "Optimizer", "Rate", "Scalar"]

Scalar: TypeAlias = float | Variable
Rate: TypeAlias = float | Variable | Callable[[Variable], Scalar]
"""A number; a scalar variable; or a schedule, which makes one of the counter."""


class Memory:
    """The state that an optimiser keeps for one parameter."""

    def __init__(
        self,
        parameter: Parameter,
        states: dict[str, State],
        updates: dict[Stored, Variable],
    ) -> None:
        self._parameter = parameter
        self._states = states
        self._updates = updates

    @property
    def path(self) -> str:
        """The path of the parameter."""
        return self._parameter.path

    def read(self, name: str, initial: float = 0.0) -> State:
        """Return a state of the parameter's shape, as it was before the step.

        It is made, filled with ``initial``, when it is first asked for.  It has
        the parameter's dtype; float16 and bfloat16, in which small squares
        vanish, have their state in float32.
        """
        if name not in self._states:
            owner = self._parameter
            wide = accumulator(owner.dtype)
            value = np.full_like(owner.storage.array, initial, dtype=wide)
            with inside(replace(current(), path=owner.path)):
                self._states[name] = state(name, value)
        return self._states[name]

    def write(self, name: str, value: Variable) -> Variable:
        """Say what a state is to be after the step; return that."""
        self._updates[self.read(name)] = value
        return value


@final
@dataclass(eq=False)
class Kept:
    """All state of an optimiser, which its variants for groups share."""

    step: State | None = None
    shared: dict[tuple[str, Hashable], State] = field(default_factory=dict)
    owned: dict[Parameter, dict[str, State]] = field(default_factory=dict)

    def states(self) -> list[State]:
        """Return what there is."""
        made = [s for states in self.owned.values() for s in states.values()]
        made += self.shared.values()
        return made if self.step is None else [*made, self.step]


@dataclass(eq=False)
class Optimizer(Updater):
    """Builds the updates of parameters that lower a loss, by a rule. Abstract.

    An optimiser of your own derives from it and defines :meth:`rule`.

    Parameters
    ----------
    lr
        The learning rate: a number; a scalar variable, such as a state that is
        set from outside; or a schedule: a function that is given the step
        counter, 0 at the first step, and returns a scalar variable.
    clip_by_value
        A limit for the magnitude of every element of the gradients.
    clip_by_norm
        A limit for the norm of each gradient.
    clip_by_global_norm
        A limit for the norm of all gradients of a call of :meth:`updates`.
    """

    lr: Rate
    _kept: Kept = field(default_factory=Kept, init=False, repr=False)

    def __post_init__(self) -> None:
        """Check what was given."""
        if isinstance(self.lr, Variable):
            _check_rate(self.lr)
        elif not callable(self.lr):
            at_least_zero("lr", self.lr)
        Updater.__post_init__(self)

    @property
    def step(self) -> State:
        """The counter of steps, an int64 state named ``step``; 0 before the first.

        It is made when it is first asked for, and counted where it is needed:
        by schedules, by Adam, and from then on.
        """
        if self._kept.step is None:
            with updating(current().path):
                self._kept.step = state("step", 0)
        return self._kept.step

    @property
    def learning_rate(self) -> Variable:
        """The rate of the coming step as a scalar variable: an output to log."""
        return as_variable(self._rate(), TensorType(np.dtype("float64"), ()))

    def kept_states(self) -> list[State]:
        """Return the state that there is, but for that of loss scaling."""
        return self._kept.states()

    def stepped(self, groups: Sequence[Group], slopes: Slopes) -> dict[Stored, Any]:
        """Return what the rule makes of parameters, and of the state."""
        updates: dict[Stored, Any] = {}
        for group in groups:
            own = self._variant(group.hyperparameters)
            own._step_of(group, slopes, updates)
            updates.update(own.counted())
        return updates

    def _step_of(
        self, group: Group, slopes: Slopes, updates: dict[Stored, Any]
    ) -> None:
        """Add the updates of a group's parameters and of their state."""
        scalars = self.scalars(self._rate())
        for parameter in group.parameters:
            wide = accumulator(parameter.dtype)
            states = self._kept.owned.setdefault(parameter, {})
            memory = Memory(parameter, states, updates)
            with updating(parameter.context.path):
                new = self.rule(
                    memory,
                    parameter.cast(wide),
                    slopes[parameter].cast(wide),
                    *[s.cast(wide) if isinstance(s, Variable) else s for s in scalars],
                )
                updates[parameter] = new.cast(parameter.dtype)

    def _variant(self, hyperparameters: Mapping[str, Any]) -> Self:
        """Return the optimiser with other hyperparameters, and the same state."""
        if not hyperparameters:
            return self
        known = [n for n in vars(self) if not n.startswith("_") and n not in CLIPS]
        for name in hyperparameters:
            if name not in known:
                raise GraphError(
                    f"{type(self).__name__} has no hyperparameter {name!r} for a "
                    f"group; it has {', '.join(known)}"
                )
        variant = copy(self)
        vars(variant).update(hyperparameters)
        variant.__post_init__()
        return variant

    def shared(self, name: str, initial: float, of: Hashable = None) -> State:
        """Return a float64 scalar that is state for all parameters together.

        There is one for each value of ``of``: the hyperparameters that it depends
        on.  It is made when it is first asked for, and :meth:`counted` updates it.
        """
        if (name, of) not in self._kept.shared:
            with updating(current().path):
                self._kept.shared[name, of] = state(name, np.float64(initial))
        return self._kept.shared[name, of]

    def counted(self) -> dict[Stored, Variable]:
        """Return the new values of what is state for all parameters together.

        The counter of steps, where it is used, unless overridden.
        """
        if self._kept.step is None:
            return {}
        with updating(self._kept.step.context.path):
            return {self._kept.step: self._kept.step + 1}

    def scalars(self, rate: Scalar) -> tuple[Scalar, ...]:
        """Return what the rule needs beside the gradient, made once a step.

        The rate alone, unless overridden.  Numbers stay numbers and variables
        are float64, for the rule in the dtype that it computes in.
        """
        return (rate,)

    @abstractmethod
    def rule(self, memory: Memory, x: Variable, g: Variable, *scalars: Any) -> Variable:
        """Return the new value of a parameter x with gradient g."""

    def _rate(self) -> Scalar:
        """Return the rate of the coming step: a float, or a float64 variable."""
        rate = self.lr
        if callable(rate):
            with updating(current().path):
                rate = rate(self.step)
            if not isinstance(rate, Variable):
                return at_least_zero("what the schedule of lr returned", rate)
        if isinstance(rate, Variable):
            _check_rate(rate)
            return rate.cast("float64")
        return float(rate)


def _check_rate(rate: Variable) -> None:
    if rate.shape != () or not is_floating(rate.dtype):
        raise GraphError(
            f"lr must be a floating-point scalar; got {describe(rate)} "
            "use gg.cast where it is an integer"
        )
