"""What the family of Adam has in common: estimates of two moments of the gradient."""

from __future__ import annotations

from dataclasses import dataclass

from graphgpu.graph import Variable
from graphgpu.ops.arithmetic import power, sqrt, square
from graphgpu.optim.hyperparameters import at_least_zero, two_betas
from graphgpu.optim.optimizer import Memory, Optimizer, Rate, Scalar

__all__ = ["Moments"]


@dataclass(eq=False)
class Moments(Optimizer):
    """An optimiser by moving averages m of g and v of g². Abstract."""

    lr: Rate = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        """Check what was given."""
        Optimizer.__post_init__(self)
        two_betas(self.betas)
        at_least_zero("eps", self.eps)
        at_least_zero("weight_decay", self.weight_decay)

    def scalars(self, rate: Scalar) -> tuple[Scalar, ...]:
        """Return the rate, the rate over 1 - β₁ᵗ, and √(1 - β₂ᵗ)."""
        t = (self.step + 1).cast("float64")
        first, second = (1 - power(beta, t) for beta in self.betas)
        return rate, rate / first, sqrt(second)

    def moments(self, memory: Memory, g: Variable) -> tuple[Variable, Variable]:
        """Return m and v, brought up to date with a gradient."""
        first, second = self.betas
        m = first * memory.read("first_moment") + (1 - first) * g
        v = second * memory.read("second_moment") + (1 - second) * square(g)
        return memory.write("first_moment", m), memory.write("second_moment", v)

    def decayed(
        self, x: Variable, g: Variable, rate: Scalar, decoupled: bool
    ) -> tuple[Variable, Variable]:
        """Return parameter and gradient with weight decay, in one or the other."""
        if not self.weight_decay:
            return x, g
        if decoupled:
            return x * (1 - rate * self.weight_decay), g
        return x, g + self.weight_decay * x
