"""RMSProp."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from graphgpu.graph import Variable
from graphgpu.ops.arithmetic import maximum, sqrt, square
from graphgpu.optim.hyperparameters import at_least_zero, below_one
from graphgpu.optim.optimizer import Memory, Optimizer, Rate, Scalar

__all__ = ["RMSProp"]


@final
@dataclass(eq=False)
class RMSProp(Optimizer):
    """RMSProp (*Deep Learning*, Algorithm 8.5; T. Tieleman and G. Hinton, 2012).

    With g the gradient plus ``weight_decay`` times x::

        s ← α s + (1 - α) g²
        d = g / (√s + ε)
        x ← x - lr d

    ``centered`` takes √(s - a²), the standard deviation, with a ← α a + (1 - α) g
    (A. Graves, 2013, equation 40); ``momentum`` takes for d the velocity
    v ← momentum v + d.

    State: ``<path>/square_average``, and ``<path>/average``,
    ``<path>/momentum`` where they are used.

    Raises
    ------
    GraphError
        A number is negative, or alpha is not below 1.
    """

    lr: Rate = 1e-2
    alpha: float = 0.99
    eps: float = 1e-8
    momentum: float = 0.0
    centered: bool = False
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        """Check what was given."""
        Optimizer.__post_init__(self)
        below_one("alpha", self.alpha)
        at_least_zero("eps", self.eps)
        at_least_zero("momentum", self.momentum)
        at_least_zero("weight_decay", self.weight_decay)

    def rule(
        self, memory: Memory, x: Variable, g: Variable, *scalars: Scalar
    ) -> Variable:
        """Step along the gradient over the root of its mean square."""
        (rate,) = scalars
        if self.weight_decay:
            g = g + self.weight_decay * x
        spread = self._average(memory, "square_average", square(g))
        if self.centered:
            mean = self._average(memory, "average", g)
            # s >= a² but for rounding, which must not make it NaN.
            spread = maximum(spread - square(mean), 0)
        direction = g / (sqrt(spread) + self.eps)
        if self.momentum:
            direction = self.momentum * memory.read("momentum") + direction
            memory.write("momentum", direction)
        return x - rate * direction

    def _average(self, memory: Memory, name: str, value: Variable) -> Variable:
        mean = self.alpha * memory.read(name) + (1 - self.alpha) * value
        return memory.write(name, mean)
