"""Adam, and Adam with decoupled weight decay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from graphgpu.errors import GraphError
from graphgpu.graph import Variable
from graphgpu.ops.arithmetic import power, sqrt, square
from graphgpu.optim.hyperparameters import at_least_zero, below_one
from graphgpu.optim.optimizer import Memory, Optimizer, Rate, Scalar

__all__ = ["Adam", "AdamW"]


@dataclass(eq=False)
class Moments(Optimizer):
    """The estimates of moments that Adam and AdamW share. Abstract."""

    lr: Rate = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    def __post_init__(self) -> None:
        """Check what was given."""
        Optimizer.__post_init__(self)
        if len(self.betas) != 2:
            raise GraphError(f"betas are two numbers; got {self.betas!r}")
        for index, beta in enumerate(self.betas):
            below_one(f"betas[{index}]", beta)
        at_least_zero("eps", self.eps)

    def scalars(self, rate: Scalar) -> tuple[Scalar, ...]:
        """Return the rate, the rate over 1 - β₁ᵗ, and √(1 - β₂ᵗ)."""
        t = (self.step + 1).cast("float64")
        first, second = (1 - power(beta, t) for beta in self.betas)
        return rate, rate / first, sqrt(second)

    def direction(self, memory: Memory, g: Variable, root: Scalar) -> Variable:
        """Return m / (√v / √(1 - β₂ᵗ) + ε), with m and v brought up to date."""
        first, second = self.betas
        m = first * memory.read("first_moment") + (1 - first) * g
        v = second * memory.read("second_moment") + (1 - second) * square(g)
        memory.write("first_moment", m)
        memory.write("second_moment", v)
        return m / (sqrt(v) / root + self.eps)


@final
@dataclass(eq=False)
class Adam(Moments):
    """Adam (*Deep Learning*, Algorithm 8.7; D. Kingma and J. Ba, 2015).

    At step t = 1, 2, ..., with g the gradient plus ``weight_decay`` times x::

        m ← β₁ m + (1 - β₁) g
        v ← β₂ v + (1 - β₂) g²
        x ← x - lr (m / (1 - β₁ᵗ)) / (√(v / (1 - β₂ᵗ)) + ε)

    State: ``step``, ``<path>/first_moment`` and ``<path>/second_moment``.

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

    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        """Check what was given."""
        Moments.__post_init__(self)
        at_least_zero("weight_decay", self.weight_decay)

    def rule(
        self, memory: Memory, x: Variable, g: Variable, *scalars: Scalar
    ) -> Variable:
        """Step along the first moment, scaled by the root of the second."""
        _, step_size, root = scalars
        if self.weight_decay:
            g = g + self.weight_decay * x
        return x - step_size * self.direction(memory, g, root)


@final
@dataclass(eq=False)
class AdamW(Moments):
    """Adam with decoupled weight decay (I. Loshchilov and F. Hutter, 2019).

    As :class:`Adam`, but the decay is no part of the gradient::

        x ← (1 - lr weight_decay) x - lr (m / (1 - β₁ᵗ)) / (√(v / (1 - β₂ᵗ)) + ε)

    State: ``step``, ``<path>/first_moment`` and ``<path>/second_moment``.

    Raises
    ------
    GraphError
        A number is negative, or a beta is not below 1.
    """

    weight_decay: float = 1e-2

    def __post_init__(self) -> None:
        """Check what was given."""
        Moments.__post_init__(self)
        at_least_zero("weight_decay", self.weight_decay)

    def rule(
        self, memory: Memory, x: Variable, g: Variable, *scalars: Scalar
    ) -> Variable:
        """Shrink the parameter, then step as Adam does."""
        rate, step_size, root = scalars
        if self.weight_decay:
            x = x * (1 - rate * self.weight_decay)
        return x - step_size * self.direction(memory, g, root)
