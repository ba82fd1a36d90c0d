"""Adam, and Adam with decoupled weight decay."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

from graphgpu.graph import Variable
from graphgpu.ops.arithmetic import maximum, sqrt
from graphgpu.optim.moments import Moments
from graphgpu.optim.optimizer import Memory, Scalar

__all__ = ["Adam", "AdamW"]


@dataclass(eq=False)
class AdamDirection(Moments):
    """What Adam and AdamW share. Abstract."""

    amsgrad: bool = field(default=False, kw_only=True)

    def direction(self, memory: Memory, g: Variable, root: Scalar) -> Variable:
        """Return m / (√v / √(1 - β₂ᵗ) + ε)."""
        m, v = self.moments(memory, g)
        if self.amsgrad:
            v = maximum(memory.read("largest_second_moment"), v)
            memory.write("largest_second_moment", v)
        return m / (sqrt(v) / root + self.eps)


@final
@dataclass(eq=False)
class Adam(AdamDirection):
    """Adam (*Deep Learning*, Algorithm 8.7; D. Kingma and J. Ba, 2015).

    At step t = 1, 2, ..., with g the gradient plus ``weight_decay`` times x::

        m ← β₁ m + (1 - β₁) g
        v ← β₂ v + (1 - β₂) g²
        x ← x - lr (m / (1 - β₁ᵗ)) / (√(v / (1 - β₂ᵗ)) + ε)

    ``amsgrad`` takes the largest v of all steps so far in the last line (S. Reddi
    et al., "On the convergence of Adam and beyond", 2018).

    State: ``step``, ``<path>/first_moment`` and ``<path>/second_moment``, and
    ``<path>/largest_second_moment`` for ``amsgrad``.

    >>> import graphgpu as gg
    >>> w = gg.parameter("w", 1.0)
    >>> updates = gg.optim.Adam(lr=0.5).updates(gg.square(w), [w])
    >>> sorted(v.path for v in updates)
    ['step', 'w', 'w/first_moment', 'w/second_moment']

    Raises
    ------
    GraphError
        A number is negative, or a beta is not below 1.
    """

    def rule(
        self, memory: Memory, x: Variable, g: Variable, *scalars: Scalar
    ) -> Variable:
        """Step along the first moment, scaled by the root of the second."""
        rate, step_size, root = scalars
        x, g = self.decayed(x, g, rate, decoupled=False)
        return x - step_size * self.direction(memory, g, root)


@final
@dataclass(eq=False)
class AdamW(AdamDirection):
    """Adam with decoupled weight decay (I. Loshchilov and F. Hutter, 2019).

    As :class:`Adam`, but the decay is no part of the gradient::

        x ← (1 - lr weight_decay) x - lr (m / (1 - β₁ᵗ)) / (√(v / (1 - β₂ᵗ)) + ε)

    ``amsgrad`` and the state are as for :class:`Adam`.

    Raises
    ------
    GraphError
        A number is negative, or a beta is not below 1.
    """

    weight_decay: float = 1e-2

    def rule(
        self, memory: Memory, x: Variable, g: Variable, *scalars: Scalar
    ) -> Variable:
        """Shrink the parameter, then step as Adam does."""
        rate, step_size, root = scalars
        x, g = self.decayed(x, g, rate, decoupled=True)
        return x - step_size * self.direction(memory, g, root)
