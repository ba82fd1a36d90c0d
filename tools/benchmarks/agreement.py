"""Whether the peers compute the same: losses, gradients, running statistics.

In float64 they must agree to rounding.  In float32 only the losses are held to a
limit, a loose one: where the input of a relu falls on the other side of 0, a
gradient moves by per cents, with any library.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.nets import NETS, problem
from benchmarks.peers import OURS, Peer, make
from graphgpu.dtypes import Array

STEPS = 3
LIMITS = {"float64": 1e-9, "float32": 1e-3}


@dataclass(frozen=True)
class Difference:
    """Largest differences from ours, each relative to the largest entry."""

    peer: str
    losses: float
    gradients: float
    running: float
    weights: float

    def fails(self, dtype: str) -> bool:
        """Whether something is beyond the limit; in float32, whether a loss is."""
        checked = [self.losses]
        if dtype == "float64":
            checked += [self.gradients, self.running, self.weights]
        return not max(checked) <= LIMITS[dtype]


@dataclass(frozen=True)
class Trained:
    """What some steps leave behind; the gradients are those of the first."""

    losses: list[Array]
    gradients: list[Array]
    running: list[Array]
    weights: list[Array]


def trained(peer: Peer, steps: int = STEPS) -> Trained:
    """Train some steps."""
    losses = [peer.step()]
    gradients = peer.momenta()
    losses += [peer.step() for _ in range(steps - 1)]
    listed = [np.array(loss) for loss in losses]
    return Trained(listed, gradients, peer.running(), peer.parameters())


def differences(
    row: str, names: list[str], dtype: str, batch: int | None = None
) -> list[Difference]:
    """Compare peers with graphgpu on a row."""
    start = problem(NETS[row], dtype, batch)
    ours = trained(make(OURS, start))
    found = []
    for name in names:
        theirs = trained(make(name, start))
        parts = ("losses", "gradients", "running", "weights")
        errors = [largest(getattr(theirs, p), getattr(ours, p)) for p in parts]
        found.append(Difference(name, *errors))
    return found


def largest(theirs: list[Array], ours: list[Array]) -> float:
    """Return the largest of max |a - b| / max |b| over pairs of arrays; inf if NaN."""
    worst = 0.0
    for a, b in zip(theirs, ours, strict=True):
        if a.shape != b.shape:
            raise ValueError(f"expected shape {b.shape}; got {a.shape}")
        scale = float(np.abs(b).max()) or 1.0
        error = float(np.abs(a - b).max()) / scale
        worst = max(worst, error if np.isfinite(error) else np.inf)
    return worst
