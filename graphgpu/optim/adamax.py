"""Adam by the maximum norm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from graphgpu.graph import Variable
from graphgpu.ops.arithmetic import abs as abs_
from graphgpu.ops.arithmetic import maximum
from graphgpu.optim.moments import Moments
from graphgpu.optim.optimizer import Memory, Rate, Scalar

__all__ = ["Adamax"]


@final
@dataclass(eq=False)
class Adamax(Moments):
    """Adam by the maximum norm (D. Kingma and J. Ba, 2015, Algorithm 2).

    At step t = 1, 2, ..., with g the gradient plus ``weight_decay`` times x, and
    as in PyTorch with ε within the maximum::

        m ← β₁ m + (1 - β₁) g
        u ← max(β₂ u, |g| + ε)
        x ← x - lr (m / (1 - β₁ᵗ)) / u

    State: ``step``, ``<path>/first_moment`` and ``<path>/norm``.

    Raises
    ------
    GraphError
        A number is negative, or a beta is not below 1.
    """

    lr: Rate = 2e-3

    def rule(
        self, memory: Memory, x: Variable, g: Variable, *scalars: Scalar
    ) -> Variable:
        """Step along the first moment over the largest gradient of late."""
        rate, step_size, _ = scalars
        x, g = self.decayed(x, g, rate, decoupled=False)
        first, second = self.betas
        m = first * memory.read("first_moment") + (1 - first) * g
        norm = maximum(second * memory.read("norm"), abs_(g) + self.eps)
        memory.write("first_moment", m)
        memory.write("norm", norm)
        return x - step_size * (m / norm)
