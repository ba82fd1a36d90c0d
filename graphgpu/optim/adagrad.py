"""AdaGrad."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from graphgpu.graph import Variable
from graphgpu.ops.arithmetic import sqrt, square
from graphgpu.optim.hyperparameters import at_least_zero
from graphgpu.optim.optimizer import Memory, Optimizer, Rate, Scalar

__all__ = ["Adagrad"]


@final
@dataclass(eq=False)
class Adagrad(Optimizer):
    """AdaGrad (*Deep Learning*, Algorithm 8.4; J. Duchi et al., 2011).

    With g the gradient plus ``weight_decay`` times x, and r at first
    ``initial_accumulator_value``::

        r ← r + g²
        x ← x - lr g / (√r + ε)

    State: ``<path>/accumulator``.

    Raises
    ------
    GraphError
        A number is negative.
    """

    lr: Rate = 1e-2
    eps: float = 1e-10
    initial_accumulator_value: float = 0.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        """Check what was given."""
        Optimizer.__post_init__(self)
        at_least_zero("eps", self.eps)
        at_least_zero("initial_accumulator_value", self.initial_accumulator_value)
        at_least_zero("weight_decay", self.weight_decay)

    def rule(
        self, memory: Memory, x: Variable, g: Variable, *scalars: Scalar
    ) -> Variable:
        """Step along the gradient over the root of the sum of its squares."""
        (rate,) = scalars
        if self.weight_decay:
            g = g + self.weight_decay * x
        total = memory.read("accumulator", self.initial_accumulator_value) + square(g)
        memory.write("accumulator", total)
        return x - rate * (g / (sqrt(total) + self.eps))
