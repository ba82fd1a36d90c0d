"""LAMB: Adam with steps in proportion to the weights, for large batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from graphgpu.graph import Variable
from graphgpu.ops.arithmetic import power, sqrt, square
from graphgpu.ops.comparison import logical_and, where
from graphgpu.optim.moments import Moments
from graphgpu.optim.optimizer import Memory, Scalar

__all__ = ["LAMB"]


@final
@dataclass(eq=False)
class LAMB(Moments):
    """LAMB (Y. You et al., "Large batch optimization for deep learning", 2020).

    At step t = 1, 2, ..., for each parameter x with gradient g, of which ‖·‖ is the
    Euclidean norm of all elements (Algorithm 2 there, φ the identity)::

        m ← β₁ m + (1 - β₁) g
        v ← β₂ v + (1 - β₂) g²
        u = (m / (1 - β₁ᵗ)) / (√(v / (1 - β₂ᵗ)) + ε) + weight_decay x
        x ← x - lr (‖x‖ / ‖u‖) u

    Where one of the norms is 0, their ratio is taken as 1.

    State: ``step``, ``<path>/first_moment`` and ``<path>/second_moment``.

    Raises
    ------
    GraphError
        A number is negative, or a beta is not below 1.
    """

    eps: float = 1e-6
    weight_decay: float = 1e-2

    def scalars(self, rate: Scalar) -> tuple[Scalar, ...]:
        """Return the rate, 1 / (1 - β₁ᵗ), and √(1 - β₂ᵗ)."""
        t = (self.step + 1).cast("float64")
        first, second = (1 - power(beta, t) for beta in self.betas)
        return rate, 1 / first, sqrt(second)

    def rule(
        self, memory: Memory, x: Variable, g: Variable, *scalars: Scalar
    ) -> Variable:
        """Step along Adam's direction, as far as the weights are large."""
        rate, correction, root = scalars
        m, v = self.moments(memory, g)
        u = correction * m / (sqrt(v) / root + self.eps)
        if self.weight_decay:
            u = u + self.weight_decay * x
        weights, length = sqrt(square(x).sum()), sqrt(square(u).sum())
        both = logical_and(weights > 0, length > 0)
        ratio = where(both, weights / where(both, length, 1.0), 1.0)
        return x - (rate * ratio) * u
