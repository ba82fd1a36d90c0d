"""Stochastic gradient descent, with momentum if wanted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from graphgpu.errors import GraphError
from graphgpu.graph import Variable
from graphgpu.optim.hyperparameters import at_least_zero
from graphgpu.optim.optimizer import Memory, Optimizer, Scalar

__all__ = ["SGD"]


@final
@dataclass(eq=False)
class SGD(Optimizer):
    """Stochastic gradient descent (*Deep Learning*, Algorithms 8.1 to 8.3).

    With g the gradient plus ``weight_decay`` times x::

        v ← momentum v + g
        x ← x - lr v                    (x - lr g without momentum)
        x ← x - lr (g + momentum v)     for Nesterov's variant

    The momentum is as in PyTorch: the rate multiplies the velocity when it is
    applied, not when it is gathered (B. Polyak, 1964; I. Sutskever et al., "On
    the importance of initialization and momentum in deep learning", 2013).

    State: ``<path>/momentum``, where there is momentum.

    >>> import graphgpu as gg
    >>> w = gg.parameter("w", 1.0)
    >>> optimiser = gg.optim.SGD(0.1, momentum=0.9)
    >>> step = gg.compile([], None, optimiser.updates(gg.square(w), [w]))
    >>> for _ in range(2):
    ...     step()
    >>> round(float(w.value), 4)
    0.46

    Raises
    ------
    GraphError
        A number is negative; Nesterov's variant without momentum.
    """

    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        """Check what was given."""
        Optimizer.__post_init__(self)
        at_least_zero("momentum", self.momentum)
        at_least_zero("weight_decay", self.weight_decay)
        if self.nesterov and self.momentum == 0:
            raise GraphError("nesterov=True needs a momentum above 0")

    def rule(
        self, memory: Memory, x: Variable, g: Variable, *scalars: Scalar
    ) -> Variable:
        """Step along the velocity."""
        (rate,) = scalars
        if self.weight_decay:
            g = g + self.weight_decay * x
        if self.momentum:
            velocity = self.momentum * memory.read("momentum") + g
            memory.write("momentum", velocity)
            g = g + self.momentum * velocity if self.nesterov else velocity
        return x - rate * g
