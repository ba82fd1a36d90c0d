"""Lion: the sign of a momentum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from graphgpu.graph import Variable
from graphgpu.ops.arithmetic import sign
from graphgpu.optim.hyperparameters import at_least_zero, two_betas
from graphgpu.optim.optimizer import Memory, Optimizer, Rate, Scalar

__all__ = ["Lion"]


@final
@dataclass(eq=False)
class Lion(Optimizer):
    """Lion (X. Chen et al., "Symbolic discovery of optimization algorithms", 2023).

    Every element moves by the rate, whatever the size of its gradient g
    (Algorithm 2 there; the defaults are the authors')::

        x ← (1 - lr weight_decay) x - lr sign(β₁ m + (1 - β₁) g)
        m ← β₂ m + (1 - β₂) g

    The rate is best 3 to 10 times smaller than AdamW's, the decay as much larger.

    State: ``<path>/momentum``.

    >>> import graphgpu as gg
    >>> w = gg.parameter("w", [1.0, -5.0])
    >>> lion = gg.optim.Lion(0.25)
    >>> gg.compile([], None, lion.updates(gg.sum(gg.square(w)), [w]))()
    >>> w.value
    array([ 0.75, -4.75], dtype=float32)

    Raises
    ------
    GraphError
        A number is negative, or a beta is not below 1.
    """

    lr: Rate = 1e-4
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        """Check what was given."""
        Optimizer.__post_init__(self)
        two_betas(self.betas)
        at_least_zero("weight_decay", self.weight_decay)

    def rule(
        self, memory: Memory, x: Variable, g: Variable, *scalars: Scalar
    ) -> Variable:
        """Shrink the parameter, then step along the sign."""
        (rate,) = scalars
        first, second = self.betas
        m = memory.read("momentum")
        direction = sign(first * m + (1 - first) * g)
        memory.write("momentum", second * m + (1 - second) * g)
        if self.weight_decay:
            x = x * (1 - rate * self.weight_decay)
        return x - rate * direction
