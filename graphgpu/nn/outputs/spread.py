"""Scores that say how wide a Gaussian is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from graphgpu.graph import Variable
from graphgpu.nn.outputs.unit import OutputUnit
from graphgpu.ops.activations.sigmoidal import softplus
from graphgpu.ops.arithmetic import abs as abs_
from graphgpu.ops.arithmetic import maximum, sqrt
from graphgpu.ops.exponential import exp, log

__all__ = ["Spread", "Spreading"]

Positive = Literal["softplus", "exp"]


@dataclass(frozen=True, slots=True)
class Spread:
    """Numbers that are positive, v = softplus(r) + m or exp(r) + m, and their use."""

    positive: Positive
    least: float

    def value(self, r: Variable) -> Variable:
        """Return v."""
        return (softplus(r) if self.positive == "softplus" else exp(r)) + self.least

    def log(self, r: Variable) -> Variable:
        """Return log v, also where exp(r) overflows."""
        if self.positive == "softplus":
            return log(self.value(r))
        least = math.log(self.least)
        return maximum(r, least) + softplus(-abs_(r - least))

    def divided(self, x: Variable, r: Variable, power: float) -> Variable:
        """Return x / vᵖ, p being ½ or 1; nothing larger is computed between."""
        if self.positive == "exp":
            return x * exp(-power * self.log(r))
        return x / (self.value(r) if power == 1 else sqrt(self.value(r)))


class Spreading(OutputUnit):
    """A unit some of whose scores say how wide a Gaussian is. Abstract."""

    shown: ClassVar[tuple[str, ...]] = ("in_features", "out_features", "positive_by")

    def _call(self) -> str:
        # A layer's ``positive`` is a method, hence the other name of the attribute.
        return super()._call().replace("positive_by=", "positive=")

    def take_spread(self, positive: str, least: float) -> None:
        """Take what makes scores positive, or raise."""
        if positive not in get_args(Positive):
            self.reject(f"expected positive='softplus' or 'exp', got {positive!r}")
        if not isinstance(least, int | float) or not 0 < least < math.inf:
            self.reject(f"expected min_variance to be a number > 0, got {least!r}")
        self.positive_by = positive
        self.spread = Spread(positive, float(least))  # type: ignore[arg-type]
