"""Averages of the weights over the steps of training.

The averages are state beside the parameters.  A program that is to use them reads
them in the parameters' place: :meth:`Average.apply`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, final, get_args, overload

from graphgpu.dtypes import accumulator, is_floating
from graphgpu.errors import GraphError
from graphgpu.graph import (
    State,
    Stored,
    Variable,
    as_variable,
    current,
    describe,
    inside,
    state,
    substitute,
)
from graphgpu.ops.arithmetic import maximum, minimum, power
from graphgpu.ops.comparison import logical_and, where
from graphgpu.optim.arguments import checked_list, shown
from graphgpu.optim.hyperparameters import below_one, count

__all__ = ["EMA", "SWA", "Average", "Start"]

Start = Literal["debiased", "ramp", "values"]


class Average(ABC):
    """Averages of parameters over the steps: a ← a + w (x - a). Abstract.

    One of your own derives from it and defines :meth:`weight`.

    Parameters
    ----------
    stored
        What is averaged: parameters, and floating-point state such as the
        statistics of batch normalisation.
    """

    name: str
    """What the averages are named, after the path of what is averaged."""

    def __init__(self, stored: Iterable[Stored]) -> None:
        self.averages: dict[Stored, State] = {}
        for owner in checked_list(stored):
            if not isinstance(owner, Stored) or not is_floating(owner.dtype):
                raise GraphError(
                    "expected floating-point parameters or state to average; got "
                    f"{shown(owner)}"
                )
            if owner in self.averages:
                raise GraphError(f"{describe(owner)} is to be averaged twice")
            with _updating(owner.path):
                value = owner.value.astype(accumulator(owner.dtype))
                self.averages[owner] = state(self.name, value)
        if not self.averages:
            raise GraphError("expected at least one parameter to average; got none")
        with _updating(current().path):
            self.step = state(f"{self.name}_step", 0)

    @abstractmethod
    def weight(self, step: Variable) -> Variable:
        """Return the weight w of the new values, a float64 scalar from 0 to 1.

        ``step`` is an int64 scalar: 1 at the first step.
        """

    def states(self) -> list[State]:
        """Return the averages and the counter of steps, to be saved and loaded."""
        return [*self.averages.values(), self.step]

    def updates(self, updates: Mapping[Stored, Any]) -> dict[Stored, Variable]:
        """Return the new averages, given the other updates of the step.

        They are of the new values: where a parameter has none, of the one that it
        has.  The ``averages`` of an optimiser's ``updates`` does this; call it
        yourself where updates are changed afterwards, as :func:`max_norm` does:
        ``updates |= ema.updates(updates)``.

        Raises
        ------
        GraphError
            The averages are among the updates already.
        """
        new: dict[Stored, Variable] = {}
        with _updating(self.step.context.path):
            step = self.step + 1
            weight = self.weight(step)
            new[self.step] = step
        for owner, average in self.averages.items():
            with _updating(owner.context.path):
                x = as_variable(updates.get(owner, owner), owner.tensor)
                x, w = x.cast(average.dtype), weight.cast(average.dtype)
                moved = where(w < 1, average + w * (x - average), x)
                new[average] = where(w > 0, moved, average)
        for target in new:
            if target in updates:
                raise GraphError(f"{describe(target)} is among the updates already")
        return new

    @overload
    def apply(self, outputs: Variable) -> Variable: ...
    @overload
    def apply(self, outputs: Sequence[Variable]) -> list[Variable]: ...
    def apply(self, outputs: Variable | Sequence[Variable]) -> Any:
        """Return outputs that read the averages where these read the parameters.

        The graph is rebuilt, and the parameters stay what they are: a program of
        each can be compiled.  To save the averages as if they were the model's:
        ``gg.save(path, {p.path: a for p, a in ema.averages.items()})``.
        """
        given = [outputs] if isinstance(outputs, Variable) else list(outputs)
        table: dict[Variable, Variable] = {
            owner: average.cast(owner.dtype) for owner, average in self.averages.items()
        }
        replaced = substitute(given, table)
        return replaced[0] if isinstance(outputs, Variable) else replaced


@final
class EMA(Average):
    """The exponential moving average of weights (B. Polyak and A. Juditsky, 1992).

    After step t = 1, 2, ..., with x the new value of a parameter and d the decay::

        a ← a + w (x - a),      w = 1 - d

    What it starts from would have the weight dᵗ, so w is larger at first:

    ``"debiased"``
        w = (1 - d) / (1 - dᵗ), so that a = (1 - d) Σᵢ dᵗ⁻ⁱ xᵢ / (1 - dᵗ), as Adam
        corrects its moments: after the first step a is x (the default);
    ``"ramp"``
        w = 1 - min(d, (1 + t) / (10 + t)), as TensorFlow has it;
    ``"values"``
        w = 1 - d from the value that the parameter has when this is made.

    State: ``<path>/ema``, in float32 for halves, and ``ema_step``.

    >>> import graphgpu as gg
    >>> w = gg.parameter("w", 4.0)
    >>> ema = gg.optim.EMA([w], decay=0.5)
    >>> updates = gg.optim.SGD(0.25).updates(gg.square(w), [w], averages=[ema])
    >>> step = gg.compile([], None, updates)
    >>> step(), step(), float(w.value)
    (None, None, 1.0)
    >>> program = gg.compile([], ema.apply(10 * w))  # a = (0.25 * 2 + 0.5 * 1) / 0.75
    >>> round(float(program()), 4)
    13.3333

    Raises
    ------
    GraphError
        Something cannot be averaged, or the decay is not within [0, 1).
    """

    name = "ema"

    def __init__(
        self,
        stored: Iterable[Stored],
        decay: float = 0.999,
        start: Start = "debiased",
    ) -> None:
        self.decay = below_one("decay", decay)
        if start not in get_args(Start):
            raise GraphError(
                f"start is 'debiased', 'ramp' or 'values'; got start={start!r}"
            )
        self.start = start
        super().__init__(stored)

    def weight(self, step: Variable) -> Variable:
        """Return 1 - d, or more in the first steps."""
        t = step.cast("float64")
        if self.start == "debiased":
            return (1 - self.decay) / (1 - power(self.decay, t))
        if self.start == "ramp":
            return 1 - minimum(self.decay, (1 + t) / (10 + t))
        return as_variable(1 - self.decay, t.tensor)


@final
class SWA(Average):
    """Stochastic weight averaging: the mean of weights along the way.

    P. Izmailov et al., "Averaging weights leads to wider optima and better
    generalization", 2018.  Of the weights after step ``start``, and after every
    ``every`` steps from then on, which are n of them so far::

        a ← a + (x - a) / n

    Until then the averages follow the parameters.  The statistics of batch
    normalisation belong to the weights: after training, run
    ``gg.state_updates(swa.apply(scores))`` over the data, of scores for training,
    and use those then.

    State: ``<path>/swa``, in float32 for halves, and ``swa_step``.

    Raises
    ------
    GraphError
        Something cannot be averaged, or a number is no int above 0.
    """

    name = "swa"

    def __init__(self, stored: Iterable[Stored], start: int, every: int = 1) -> None:
        self.start = count("start", start)
        self.every = count("every", every)
        super().__init__(stored)

    def weight(self, step: Variable) -> Variable:
        """Return 1 / n where the weights are to be averaged, 0 elsewhere, 1 before."""
        after = maximum(step - self.start, 0)
        due = 1 / (after // self.every + 1).cast("float64")
        skipped = logical_and(after > 0, (after % self.every) > 0)
        return where(skipped, 0.0, due)


def _updating(path: str) -> Any:
    return inside(replace(current(), path=path, phase="update", origin=None))
