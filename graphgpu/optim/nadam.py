"""Adam with Nesterov's momentum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from graphgpu.graph import State, Stored, Variable
from graphgpu.ops.arithmetic import power, sqrt
from graphgpu.optim.hyperparameters import at_least_zero
from graphgpu.optim.moments import Moments
from graphgpu.optim.optimizer import Memory, Optimizer, Rate, Scalar

__all__ = ["NAdam"]


@final
@dataclass(eq=False)
class NAdam(Moments):
    """Adam with Nesterov's momentum (T. Dozat, 2016), as in PyTorch.

    At step t = 1, 2, ..., with g the gradient plus ``weight_decay`` times x, ψ the
    ``momentum_decay``, and μₜ = β₁ (1 - 0.96^(t ψ) / 2)::

        m ← β₁ m + (1 - β₁) g
        v ← β₂ v + (1 - β₂) g²
        m̂ = μₜ₊₁ m / (1 - ∏ᵢ₌₁ᵗ⁺¹ μᵢ) + (1 - μₜ) g / (1 - ∏ᵢ₌₁ᵗ μᵢ)
        x ← x - lr m̂ / (√(v / (1 - β₂ᵗ)) + ε)

    ``decoupled_weight_decay`` keeps the decay out of g: first x ← (1 - lr
    weight_decay) x.

    State: ``step``, ``momentum_product`` (∏ μᵢ), ``<path>/first_moment`` and
    ``<path>/second_moment``.

    >>> import graphgpu as gg
    >>> w = gg.parameter("w", 1.0)
    >>> nadam = gg.optim.NAdam(0.5)
    >>> gg.compile([], None, nadam.updates(gg.square(w), [w]))()
    >>> round(float(w.value), 4)
    0.4718

    Raises
    ------
    GraphError
        A number is negative, or a beta is not below 1.
    """

    lr: Rate = 2e-3
    momentum_decay: float = 4e-3
    decoupled_weight_decay: bool = False

    def __post_init__(self) -> None:
        """Check what was given."""
        Moments.__post_init__(self)
        at_least_zero("momentum_decay", self.momentum_decay)

    @property
    def _product(self) -> State:
        """The product of the μ of the steps done."""
        return self.shared(
            "momentum_product", 1.0, (self.betas[0], self.momentum_decay)
        )

    def _momentum(self, later: int) -> Variable:
        """Return μ of the coming step, or of one later."""
        t = (self.step + (1 + later)).cast("float64")
        return self.betas[0] * (1 - 0.5 * power(0.96, t * self.momentum_decay))

    def scalars(self, rate: Scalar) -> tuple[Scalar, ...]:
        """Return the rate, the factors of g and m, and √(1 - β₂ᵗ)."""
        now, following = self._momentum(0), self._momentum(1)
        done = self._product * now
        of_gradient = rate * (1 - now) / (1 - done)
        of_moment = rate * following / (1 - done * following)
        t = (self.step + 1).cast("float64")
        return rate, of_gradient, of_moment, sqrt(1 - power(self.betas[1], t))

    def counted(self) -> dict[Stored, Variable]:
        """Count, and multiply the product by μ of this step."""
        return {
            **Optimizer.counted(self),
            self._product: self._product * self._momentum(0),
        }

    def rule(
        self, memory: Memory, x: Variable, g: Variable, *scalars: Scalar
    ) -> Variable:
        """Step along the moment to come and the gradient."""
        rate, of_gradient, of_moment, root = scalars
        x, g = self.decayed(x, g, rate, self.decoupled_weight_decay)
        m, v = self.moments(memory, g)
        return x - (of_gradient * g + of_moment * m) / (sqrt(v) / root + self.eps)
