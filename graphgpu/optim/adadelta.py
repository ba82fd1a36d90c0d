"""Adadelta."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from graphgpu.graph import Variable
from graphgpu.ops.arithmetic import sqrt, square
from graphgpu.optim.hyperparameters import at_least_zero, below_one
from graphgpu.optim.optimizer import Memory, Optimizer, Rate, Scalar

__all__ = ["Adadelta"]


@final
@dataclass(eq=False)
class Adadelta(Optimizer):
    """Adadelta (M. Zeiler, 2012, Algorithm 1), with a rate as in PyTorch.

    With g the gradient plus ``weight_decay`` times x::

        s ← ρ s + (1 - ρ) g²
        d = g √(r + ε) / √(s + ε)
        r ← ρ r + (1 - ρ) d²
        x ← x - lr d

    State: ``<path>/square_average`` and ``<path>/step_average``.

    Raises
    ------
    GraphError
        A number is negative, or rho is not below 1.
    """

    lr: Rate = 1.0
    rho: float = 0.9
    eps: float = 1e-6
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        """Check what was given."""
        Optimizer.__post_init__(self)
        below_one("rho", self.rho)
        at_least_zero("eps", self.eps)
        at_least_zero("weight_decay", self.weight_decay)

    def rule(
        self, memory: Memory, x: Variable, g: Variable, *scalars: Scalar
    ) -> Variable:
        """Step as far as of late, along the gradient over its mean size."""
        (rate,) = scalars
        if self.weight_decay:
            g = g + self.weight_decay * x
        steps = memory.read("step_average")
        s = self.rho * memory.read("square_average") + (1 - self.rho) * square(g)
        memory.write("square_average", s)
        d = sqrt(steps + self.eps) / sqrt(s + self.eps) * g
        memory.write("step_average", self.rho * steps + (1 - self.rho) * square(d))
        return x - rate * d
