"""Learning rates as graph: functions of the number of steps done before.

A schedule takes an int64 scalar variable, 0 at the first step, and returns the
rate as a float64 scalar variable.  Tied to an optimiser's own counter::

    SGD(lr=lambda step: warmup(step, 500, cosine(step, 0.1, 20_000)))

or to a state of yours, such as the number of the epoch, which you set::

    epoch = gg.state("epoch", 0)
    SGD(lr=step_decay(epoch, 0.1, 30, 0.1))

``lr`` may itself be a variable in each of them.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, ParamSpec

import numpy as np

from graphgpu.errors import GraphError
from graphgpu.graph import Operand, Variable, as_variable, describe
from graphgpu.ops.arithmetic import clip, minimum, power
from graphgpu.ops.comparison import where
from graphgpu.ops.trigonometric import cos
from graphgpu.optim.hyperparameters import at_least_zero, count, positive
from graphgpu.types import TensorType

__all__ = [
    "constant",
    "cosine",
    "exponential",
    "multi_step_decay",
    "one_cycle",
    "polynomial",
    "step_decay",
    "warmup",
]

Scalar = float | Variable
Arguments = ParamSpec("Arguments")
_FLOAT64 = TensorType(np.dtype("float64"), ())


def _of_step(
    schedule: Callable[Arguments, Variable],
) -> Callable[Arguments, Variable]:
    """Let a schedule that is called without its step say how it is given instead."""
    signature = inspect.signature(schedule)

    @wraps(schedule)
    def checked(*args: Arguments.args, **options: Arguments.kwargs) -> Variable:
        try:
            step = signature.bind(*args, **options).arguments["step"]
        except TypeError:
            step = None
        if step is None or isinstance(step, float):
            raise GraphError(_without_step(schedule.__name__, signature, args, options))
        return schedule(*args, **options)

    return checked


def _without_step(
    name: str,
    signature: inspect.Signature,
    args: Sequence[object],
    options: Mapping[str, object],
) -> str:
    """Return what is wrong with a call that lacks the step, or something else."""
    parameters = signature.parameters.values()
    takes = ", ".join(str(p.replace(annotation=p.empty)) for p in parameters)
    shown = [_shown(a) for a in args]
    shown += [f"{key}={_shown(value)}" for key, value in options.items()]
    has_step = "step" in options or (args and isinstance(args[0], Variable))
    rest = ["..."] if has_step or not shown else shown
    return (
        f"expected {name}({takes}), the rate at a step; got "
        f"{name}({', '.join(shown)}); for an optimiser write lr=lambda step: "
        f"{name}({', '.join(['step', *rest])})"
    )


def _shown(value: object) -> str:
    """Return an argument as a message shows it."""
    return f"<{value.path}>" if isinstance(value, Variable) else repr(value)


@_of_step
def constant(step: Operand, lr: Scalar) -> Variable:
    """Return lr at every step."""
    _scalar("step", step)
    return _scalar("lr", lr)


@_of_step
def step_decay(step: Operand, lr: Scalar, step_size: int, gamma: float) -> Variable:
    """Return lr γ^⌊step / step_size⌋.

    >>> import graphgpu as gg
    >>> step = gg.placeholder("step", (), "int64")
    >>> rate = gg.optim.schedules.step_decay(step, 1.0, 30, 0.5)
    >>> float(gg.evaluate(rate, {step: 60}))
    0.25
    """
    times = _scalar("step", step) // count("step_size", step_size)
    return _scalar("lr", lr) * power(at_least_zero("gamma", gamma), times)


@_of_step
def multi_step_decay(
    step: Operand, lr: Scalar, milestones: Sequence[int], gamma: float
) -> Variable:
    """Return lr γ^n, n being how many milestones are not above step."""
    done = _scalar("step", step)
    rate = _scalar("lr", lr)
    factor = at_least_zero("gamma", gamma)
    for milestone in milestones:
        rate = rate * where(done >= milestone, factor, 1.0)
    return rate


@_of_step
def exponential(step: Operand, lr: Scalar, gamma: float) -> Variable:
    """Return lr γ^step."""
    return _scalar("lr", lr) * power(
        at_least_zero("gamma", gamma), _scalar("step", step)
    )


@_of_step
def polynomial(
    step: Operand,
    lr: Scalar,
    total_steps: int,
    power: float = 1.0,
    final: Scalar = 0.0,
) -> Variable:
    """Return final + (lr - final) (1 - step / total_steps)^power; then final."""
    left = 1 - _fraction(step, total_steps)
    return final + (_scalar("lr", lr) - final) * left**power


@_of_step
def cosine(
    step: Operand, lr: Scalar, total_steps: int, final: Scalar = 0.0
) -> Variable:
    """Return final + (lr - final) (1 + cos(π step / total_steps)) / 2; then final.

    I. Loshchilov and F. Hutter, "SGDR", 2017, equation 5.
    """
    return _anneal(_scalar("lr", lr), final, _fraction(step, total_steps))


@_of_step
def warmup(step: Operand, steps: int, after: Scalar) -> Variable:
    """Return ``after``, times (step + 1) / steps in the first steps.

    ``after`` is the rate that is warmed up to: a number, or another schedule.

    >>> import graphgpu as gg
    >>> from graphgpu.optim.schedules import cosine, warmup
    >>> step = gg.placeholder("step", (), "int64")
    >>> rate = warmup(step, 4, cosine(step, 0.1, 100))
    >>> float(gg.evaluate(rate, {step: 0}))
    0.025
    """
    done = _scalar("step", step)
    rise = minimum((done + 1) / count("steps", steps), 1)
    return _scalar("after", after) * rise


@_of_step
def one_cycle(
    step: Operand,
    max_lr: Scalar,
    total_steps: int,
    pct_start: float = 0.3,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
) -> Variable:
    """Return a rate that rises to max_lr and falls to almost nothing.

    From max_lr / div_factor along half a cosine to max_lr, at step
    ``pct_start total_steps - 1``, and down to max_lr / (div_factor
    final_div_factor), at step ``total_steps - 1``; then that.  PyTorch's
    ``OneCycleLR`` (L. Smith and N. Topin, "Super-convergence", 2018).

    Raises
    ------
    GraphError
        ``pct_start`` is not within [0, 1], or a factor is not positive.
    """
    if not 0 <= pct_start <= 1:
        raise GraphError(f"pct_start must be within [0, 1]; got {pct_start!r}")
    top = _scalar("max_lr", max_lr)
    low = top / positive("div_factor", div_factor)
    end = low / positive("final_div_factor", final_div_factor)
    last = count("total_steps", total_steps) - 1
    peak = pct_start * total_steps - 1
    done = clip(_scalar("step", step), 0, last)
    rise = _anneal(low, top, done / peak) if peak > 0 else top
    if peak >= last:
        return rise
    fall = _anneal(top, end, (done - peak) / (last - peak))
    return where(done <= peak, rise, fall)


def _anneal(start: Variable, end: Scalar, fraction: Variable) -> Variable:
    """Go from start to end along half a cosine."""
    return end + (start - end) * ((1 + cos(math.pi * fraction)) / 2)


def _fraction(step: Operand, total_steps: int) -> Variable:
    """Return which part of the steps is done: from 0 to 1."""
    return clip(_scalar("step", step) / count("total_steps", total_steps), 0, 1)


def _scalar(name: str, value: Any) -> Variable:
    variable = as_variable(value, _FLOAT64)
    if variable.shape != ():
        raise GraphError(f"{name} must be a scalar; got {describe(variable)}")
    return variable.cast("float64")
