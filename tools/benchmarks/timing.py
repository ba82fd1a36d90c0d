"""Steps timed in interleaved rounds: A B C, A B C, ..., in one process.

A machine's speed drifts by more than peers differ, so a ratio is taken between
turns of one round, and of these the median.  A turn starts with a pause, in which
the threads of the peer before go to sleep: two pools that spin side by side slow
each other tenfold.  OpenMP's own setting for that (``OMP_WAIT_POLICY=passive``)
would slow PyTorch within a step too.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

Step = Callable[[], object]

PAUSE = 0.1
"""Seconds: PyTorch's threads still spin for 0.02 after a step, OpenBLAS's for 0.03."""
WARM = 2
LEAST = 3


@dataclass(frozen=True)
class Ratio:
    """Peer's time over ours: of the medians, and the median over the rounds."""

    of_medians: float
    by_round: list[float]

    @property
    def typical(self) -> float:
        """The median of the rounds' ratios."""
        return median(self.by_round)

    def as_json(self) -> dict[str, Any]:
        """Return the figures by name."""
        return {**asdict(self), "median_of_rounds": self.typical}


def interleaved(
    steps: Mapping[str, Step], rounds: int, seconds: float
) -> dict[str, list[float]]:
    """Return for every peer the median seconds of a step in each round."""
    for step in steps.values():
        step()  # builds and compiles
    medians: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            medians[name].append(turn(step, seconds))
    return medians


def turn(step: Step, seconds: float) -> float:
    """Return the median time of the steps that fit in so many seconds, or of 3."""
    gc.collect()
    time.sleep(PAUSE)
    for _ in range(WARM):
        step()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < LEAST or time.perf_counter() < end:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return median(times)


def ratio(peer: list[float], ours: list[float]) -> Ratio:
    """Return how many times as long the peer takes as we do.

    >>> ratio([2.0, 3.0, 9.0], [1.0, 2.0, 3.0]).of_medians
    1.5
    >>> ratio([2.0, 3.0, 9.0], [1.0, 2.0, 3.0]).typical
    2.0
    """
    by_round = [a / b for a, b in zip(peer, ours, strict=True)]
    return Ratio(median(peer) / median(ours), by_round)
