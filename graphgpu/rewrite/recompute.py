"""A byte budget: forward values dropped, and computed again for the backward pass.

The choice of memory against time in f'(f(f(w))), where f(w) is stored or
computed twice.  What is computed again are clones of whole nodes: the same
operations on the same values with the same random keys, so the bits are the
same.  A clone is created right before its first reader, so the order as written
is the order to run it in.  Nothing may merge equal nodes afterwards.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from graphgpu.bytesize import format_bytes
from graphgpu.control.loop import Scan
from graphgpu.errors import CompileError
from graphgpu.graph import Variable, revised
from graphgpu.rewrite.checkpoints import candidates
from graphgpu.rewrite.replay import Cost, Program
from graphgpu.schedule import look_through

__all__ = ["Measure", "Recomputed", "estimate", "recompute"]

Measure: TypeAlias = Callable[[tuple[Variable, ...], Collection[Variable]], int]
"""The peak in bytes of the program that computes some outputs."""

_STEP = 0.995
"""A candidate has to save this much more than one that costs less."""
_NEAR = 1.15
"""What is estimated to take up to so many times the least may truly take less."""
_MOST = 24
"""How many of these are measured before a budget is refused."""


@dataclass(frozen=True, eq=False)
class Recomputed:
    """A graph that fits a budget.

    ``outputs`` are those given, one for one; ``peak_bytes`` is their measure.
    ``clones`` maps each node that computes a value again to the node that
    computed it first, ``became`` each other node that was replaced to its
    replacement.  ``extra_flops`` is the part of all FLOPs that was added.
    """

    outputs: tuple[Variable, ...]
    peak_bytes: int
    clones: dict[Variable, Variable] = field(default_factory=dict)
    became: dict[Variable, Variable] = field(default_factory=dict)
    extra_flops: float = 0.0

    def __str__(self) -> str:
        return (
            f"recompute: {len(self.clones)} nodes computed again, "
            f"{self.extra_flops:.1%} more FLOPs, peak {format_bytes(self.peak_bytes)}"
        )


def recompute(
    outputs: Sequence[Variable],
    sizes: Mapping[str, int],
    budget: int,
    measure: Measure | None = None,
    cost: Cost | None = None,
) -> Recomputed:
    """Return the graph with the least computed again whose peak is within a budget.

    Parameters
    ----------
    outputs
        Outputs and new values of states, with their gradients in the graph.
    sizes
        The value of every named size.
    budget
        The most bytes.
    measure
        Returns the peak of a program for outputs, given the clones among their
        ancestors; :func:`estimate` if None.
    cost
        Returns what a node costs from its FLOPs and the bytes that it reads and
        writes, in any unit; an estimate if None.

    Raises
    ------
    CompileError
        Nothing tried fits; the message names the least that was reached.
    """
    outputs = tuple(outputs)
    measured = measure or (lambda found, _: estimate(found, sizes))
    plain = measured(outputs, ())
    if plain <= budget:
        return Recomputed(outputs, plain)
    program = Program(outputs, sizes, cost)
    frontier, others = _frontier(program)
    search = _Search(program, outputs, frontier, others, budget, measured)
    chosen = search.run(frontier[0].peak / max(1, plain))
    if chosen is None:
        least = min(search.least, plain)
        raise CompileError(
            f"memory_budget: expected at least {least:,} bytes "
            f"({format_bytes(least)}), the least that this program takes for these "
            f"sizes when it computes again what it can; got {budget:,} "
            f"({format_bytes(budget)}); it takes {plain:,} without a budget; a smaller "
            f"batch takes less{_advice_on_scans(program.variables)}"
        )
    return chosen


def _advice_on_scans(variables: Sequence[Variable]) -> str:
    """Return how scans take less: what they keep is not computed again here."""
    phases = {
        v.phase
        for v in variables
        if isinstance(v.operation, Scan) and v.operation.carries
    }
    if not phases >= {"forward", "gradient"}:
        return ""
    return (
        ", and so does a gg.scan or a recurrent layer with checkpoint_every, at best "
        "near the square root of its length"
    )


def estimate(outputs: Sequence[Variable], sizes: Mapping[str, int]) -> int:
    """Return the most bytes alive when nodes run one by one in the order as written.

    Leaves and outputs lie elsewhere and take none; neither do views.
    """
    program = Program(outputs, sizes, reorder=False)
    return program.weigh([False] * program.count).peak


@dataclass(frozen=True, slots=True)
class _Candidate:
    work: float
    peak: int
    flops: int
    dropped: list[bool]


def _frontier(program: Program) -> tuple[list[_Candidate], list[_Candidate]]:
    """Return the candidates that nothing beats in both work and peak, and the others.

    The cheapest come first; the very first is to drop nothing.
    """
    found = []
    for dropped in [[False] * program.count, *candidates(program)]:
        weight = program.weigh(dropped)
        found.append(_Candidate(weight.work, weight.peak, weight.flops, dropped))
    rest = sorted(found[1:], key=lambda c: (c.work, c.peak))
    frontier = found[:1]
    others: list[_Candidate] = []
    for candidate in rest:
        better = candidate.peak < _STEP * frontier[-1].peak
        (frontier if better else others).append(candidate)
    return frontier, others


class _Search:
    """The search for the first candidate whose measured peak fits.

    Estimated and true peaks fall together along the frontier, so it is a
    bisection, begun where the budget would be if both fell in proportion.
    """

    def __init__(
        self,
        program: Program,
        outputs: tuple[Variable, ...],
        frontier: Sequence[_Candidate],
        others: Sequence[_Candidate],
        budget: int,
        measure: Measure,
    ) -> None:
        self.least = sys.maxsize
        """The least peak that was measured."""
        self._others = others
        self._results: dict[int, Recomputed] = {}
        self._program = program
        self._outputs = outputs
        self._frontier = frontier
        self._budget = budget
        self._measure = measure

    def run(self, scale: float) -> Recomputed | None:
        """Return the best; ``scale`` is the estimated over the true peak."""
        frontier = self._frontier
        guess = next(
            (i for i, c in enumerate(frontier) if c.peak <= self._budget * scale),
            len(frontier) - 1,
        )
        low, high, step = -1, len(frontier), 1
        while low + 1 < high:
            if self._fits(guess):
                high = guess
            else:
                low = guess
            if high < len(frontier):
                guess = (low + high) // 2
            else:
                guess = min(low + step, len(frontier) - 1)
                step *= 2
        if high < len(frontier):
            return self._results[high]
        return self._nearly_best()

    def _nearly_best(self) -> Recomputed | None:
        """Return what fits although the estimate ranks others before it."""
        near = _NEAR * self._frontier[-1].peak
        close = [c for c in (*self._frontier, *self._others) if c.peak <= near]
        fewest = sorted(close, key=lambda c: c.peak)[:_MOST]
        for candidate in sorted(fewest, key=lambda c: c.work):
            built = self._built(candidate)
            if built.peak_bytes <= self._budget:
                return built
        return None

    def _fits(self, place: int) -> bool:
        if place not in self._results:
            self._results[place] = self._built(self._frontier[place])
        return self._results[place].peak_bytes <= self._budget

    def _built(self, chosen: _Candidate) -> Recomputed:
        outputs, clones, became = _build(self._program, self._outputs, chosen.dropped)
        extra = chosen.flops / max(1, self._frontier[0].flops) - 1
        peak = self._measure(outputs, clones)
        self.least = min(self.least, peak)
        return Recomputed(outputs, peak, clones, became, extra)


def _build(
    program: Program, outputs: Sequence[Variable], dropped: Sequence[bool]
) -> tuple[tuple[Variable, ...], dict[Variable, Variable], dict[Variable, Variable]]:
    """Create clones, and all that is not of the forward pass anew, in order."""
    number = {v: i for i, v in enumerate(program.variables)}
    table: dict[int, Variable] = {}
    clones: dict[Variable, Variable] = {}
    became: dict[Variable, Variable] = {}
    count = program.count
    for node in program.nodes(dropped):
        base = node % count
        variable = program.variables[base]
        from_clones = node >= count or not program.forward[base]
        inputs = []
        for parent in map(look_through, variable.inputs):
            place = number.get(parent)
            if place is not None and from_clones and dropped[place]:
                place += count
            inputs.append(parent if place is None else table[place])
        if node >= count:
            table[node] = revised(variable, tuple(inputs))
            clones[table[node]] = variable
        elif from_clones:
            table[node] = became[variable] = revised(variable, tuple(inputs))
        else:
            table[node] = variable
    found = [look_through(v) for v in outputs]
    return tuple(became.get(v, v) for v in found), clones, became
