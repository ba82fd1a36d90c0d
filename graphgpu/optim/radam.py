"""Rectified Adam."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from graphgpu.graph import Variable
from graphgpu.ops.arithmetic import maximum, power, sqrt
from graphgpu.ops.comparison import where
from graphgpu.optim.moments import Moments
from graphgpu.optim.optimizer import Memory, Scalar

__all__ = ["RAdam"]

_LEAST = 5.0
"""The effective number of samples from which on the second moment is trusted."""


@final
@dataclass(eq=False)
class RAdam(Moments):
    """Rectified Adam, as in PyTorch.

    L. Liu et al., "On the variance of the adaptive learning rate and beyond", 2020.
    At step t = 1, 2, ..., with g the gradient plus ``weight_decay`` times x,
    ρ∞ = 2 / (1 - β₂) - 1 and ρ = ρ∞ - 2 t β₂ᵗ / (1 - β₂ᵗ)::

        m ← β₁ m + (1 - β₁) g
        v ← β₂ v + (1 - β₂) g²
        r = √[(ρ - 4) (ρ - 2) ρ∞ / ((ρ∞ - 4) (ρ∞ - 2) ρ)]
        x ← x - lr (m / (1 - β₁ᵗ)) r √(1 - β₂ᵗ) / (√v + ε)    where ρ > 5
        x ← x - lr m / (1 - β₁ᵗ)                              else

    ``decoupled_weight_decay`` keeps the decay out of g: first x ← (1 - lr
    weight_decay) x.

    State: ``step``, ``<path>/first_moment`` and ``<path>/second_moment``.

    Raises
    ------
    GraphError
        A number is negative, or a beta is not below 1.
    """

    decoupled_weight_decay: bool = False

    def scalars(self, rate: Scalar) -> tuple[Scalar, ...]:
        """Return the rate, the factor of m, and 1 where √v is divided by, else 0."""
        t = (self.step + 1).cast("float64")
        first, second = self.betas
        step_size = rate / (1 - power(first, t))
        longest = 2 / (1 - second) - 1
        if longest <= _LEAST:  # ρ < ρ∞ never gets there
            return rate, step_size, 0.0
        decayed = power(second, t)
        rho = longest - 2 * t * decayed / (1 - decayed)
        trusted = rho > _LEAST
        rho = maximum(rho, _LEAST)
        r = sqrt(
            (rho - 4) * (rho - 2) / rho * (longest / (longest - 4) / (longest - 2))
        )
        adaptive = step_size * r * sqrt(1 - decayed)
        return rate, where(trusted, adaptive, step_size), trusted.cast("float64")

    def rule(
        self, memory: Memory, x: Variable, g: Variable, *scalars: Scalar
    ) -> Variable:
        """Step along the first moment, scaled once the second one is known."""
        rate, step_size, trusted = scalars
        x, g = self.decayed(x, g, rate, self.decoupled_weight_decay)
        m, v = self.moments(memory, g)
        if not isinstance(trusted, Variable):
            return x - step_size * m
        return x - step_size * (m / where(trusted > 0, sqrt(v) + self.eps, 1.0))
