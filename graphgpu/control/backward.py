"""The gradient of a loop as another loop, which goes the other way.

With c' = f(c, x, s) and y = g(c, x, s) in every iteration, the gradient of c is
f_c^T G_c' + g_c^T G_y: a carry, which begins with the gradient of the last c.  That
of x is stacked, and that of s is summed, in another carry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from graphgpu.control.closing import Bindings, close, subgraph
from graphgpu.control.residuals import kept, reach
from graphgpu.dtypes import accumulator, is_floating
from graphgpu.gradient import gradients
from graphgpu.graph import RUN_KEY, Subgraph, Variable, ancestors, placeholder
from graphgpu.graph import substitute as substituted
from graphgpu.ops.creation import zeros, zeros_like
from graphgpu.ops.elementwise import cast

__all__ = ["Backward", "Closed", "backward"]

Parts = Sequence[Variable | None]


class Loop(Protocol):
    """What is differentiated."""

    @property
    def body(self) -> Subgraph:
        """What is repeated."""

    @property
    def carries(self) -> int:
        """How many inputs are carries."""

    @property
    def sequences(self) -> int:
        """How many inputs after them are sequences."""

    @property
    def keeps(self) -> bool:
        """Whether more than the carries is kept for the gradient."""

    @property
    def word(self) -> str:
        """What messages call it."""


@dataclass(frozen=True)
class Closed:
    """The body of a loop with its inputs."""

    body: Subgraph
    inputs: list[Variable]
    carries: int
    sequences: int


@dataclass(frozen=True, eq=False)
class Backward:
    """The gradient of a body, and what becomes of its values.

    ``extra`` are the outputs that the body needs besides its own, ``places`` those
    of what the gradient reads among all, and ``reads`` what stands for them in it.
    """

    loop: Loop
    inputs: tuple[Variable, ...]
    carried: Bindings
    """The gradients of carries, with what each begins with."""
    sums: Bindings
    """The sums, with what each begins with."""
    stacked: Bindings
    """The gradients of elements, with the sequences of them."""
    results: list[Variable]
    """The next gradients of carries, the next sums, the gradients of elements."""
    targets: list[Variable]
    """The inputs of the body to which the results belong."""
    extra: list[Variable]
    places: list[int]
    reads: list[Variable]

    def closed(self, kept: Sequence[Variable]) -> Closed:
        """Return the body of the loop, given the stacks of what it reads."""
        body, first = self.loop.body, self.loop.carries
        last = first + self.loop.sequences
        bound = dict(zip(body.inputs, self.inputs, strict=True))
        elements = {p: bound[p] for p in body.inputs[first:last]}
        sequences = {
            **self.stacked,
            **elements,
            **dict(zip(self.reads, kept, strict=True)),
        }
        carries = {**self.carried, **self.sums}
        outer = {p: bound[p] for p in body.inputs[last:] if p is not RUN_KEY}
        outputs = substituted(self.results, outer)
        own = {**carries, **sequences}
        name = self.loop.word
        shared, outputs = close(own, outputs, {*outer.values()}, name)
        used = set(ancestors(outputs, stop=own))
        sequences = {p: v for p, v in sequences.items() if p in used}
        inner, inputs = subgraph({**carries, **sequences, **shared}, outputs)
        return Closed(inner, inputs, len(carries), len(sequences))

    def answers(self, results: Sequence[Variable]) -> list[Variable | None]:
        """Return the gradient of each input, given what the loop computes."""
        found = dict(zip(self.targets, results, strict=True))
        return [
            cast(found[p], p.dtype) if p in found else None
            for p in self.loop.body.inputs
        ]


def backward(
    loop: Loop, inputs: tuple[Variable, ...], parts: Parts, wanted: Sequence[bool]
) -> Backward | None:
    """Return the gradient of a loop's body; None if all gradients are zero.

    ``parts`` are the gradients with respect to what the loop computes.
    """
    body, carries = loop.body, loop.carries
    heads = body.inputs[:carries]
    elements = body.inputs[carries : carries + loop.sequences]
    active = _active(loop, parts, wanted)
    carried, stacked, known = _slots(loop, inputs, parts, active)
    others = [p for p, w in zip(body.inputs, wanted, strict=True) if w]
    targets = [heads[k] for k in active] + [p for p in others if p not in heads]
    if not known or not targets:
        return None
    built = gradients(None, targets, known=known, disconnected="none")
    slopes = {p: s for p, s in zip(targets, built, strict=True) if s is not None}
    each = [p for p in slopes if p in elements]
    total = [p for p in slopes if p not in elements and p not in heads]
    if not carried and not slopes:
        return None
    results = [_slope(slopes, heads[k]) for k in active]
    sums: Bindings = {}
    for p in total:
        wide = accumulator(p.dtype)
        so_far = placeholder("sum", p.shape, wide)
        sums[so_far] = zeros(p.shape, wide)
        results.append(so_far + cast(slopes[p], wide))
    results += [slopes[p] for p in each]
    slots = {*carried, *sums, *stacked}
    values = kept(body, results, slots, heads, elements, carries_alone=not loop.keeps)
    extra, places = _placed(body, carries, values)
    reads: list[Variable] = [
        placeholder(f"kept{n}", v.shape, v.dtype) for n, v in enumerate(values)
    ]
    results = substituted(results, dict(zip(values, reads, strict=True)))
    targets = [heads[k] for k in active] + total + each
    made = carried, sums, stacked, results, targets
    return Backward(loop, inputs, *made, extra, places, reads)


def _slots(
    loop: Loop, inputs: tuple[Variable, ...], parts: Parts, active: Sequence[int]
) -> tuple[Bindings, Bindings, dict[Variable, Variable]]:
    """Return the gradients of carries, those of elements, and those of all results."""
    body, carries = loop.body, loop.carries
    carried: Bindings = {}
    stacked: Bindings = {}
    known: dict[Variable, Variable] = {}
    for place, (result, part) in enumerate(zip(body.outputs, parts, strict=True)):
        used = place in active if place < carries else part is not None
        if not used or not is_floating(result.dtype):
            continue
        slot = placeholder(f"slope{place}", result.shape, result.dtype)
        if place < carries:
            head = body.inputs[place]
            carried[slot] = _zeros(head, inputs[place]) if part is None else part
        else:
            assert part is not None
            stacked[slot] = part
        known[result] = known[result] + slot if result in known else slot
    return carried, stacked, known


def _zeros(head: Variable, start: Variable) -> Variable:
    """Return the gradient of a last carry that nothing reads."""
    return zeros(start.shape, head.dtype)


def _slope(slopes: Mapping[Variable, Variable], head: Variable) -> Variable:
    """Return the gradient of a carry, which may be zero."""
    return slopes[head] if head in slopes else zeros_like(head)


def _placed(
    body: Subgraph, carries: int, values: Sequence[Variable]
) -> tuple[list[Variable], list[int]]:
    """Return the outputs to be added, and the places of all values."""
    stacked = list(body.outputs[carries:])
    own = len(stacked)
    for value in values:
        if value not in stacked:
            stacked.append(value)
    return stacked[own:], [carries + stacked.index(v) for v in values]


def _active(loop: Loop, parts: Parts, wanted: Sequence[bool]) -> list[int]:
    """Return the carries through which a gradient flows from a part to a target."""
    body, carries = loop.body, loop.carries
    heads = {k: p for k, p in enumerate(body.inputs[:carries]) if is_floating(p.dtype)}
    targets = [
        p
        for p, w in zip(body.inputs[carries:], wanted[carries:], strict=True)
        if w and p is not RUN_KEY
    ]
    found = reach(body, {*heads.values(), *targets})
    given = [k for k, part in enumerate(parts) if part is not None]
    read = {k for k in heads if k in given}
    stacked = [body.outputs[k] for k in given if k >= carries]
    reached = {k for k in heads if wanted[k]}
    reached |= {k for k in heads if not found[body.outputs[k]].isdisjoint(targets)}
    while True:
        results = [*stacked, *(body.outputs[k] for k in read)]
        sources = frozenset().union(*(found[v] for v in results))
        more = {k for k, p in heads.items() if p in sources}
        starts = {heads[k] for k in reached}
        further = {k for k in heads if not found[body.outputs[k]].isdisjoint(starts)}
        if more <= read and further <= reached:
            return sorted(read & reached)
        read |= more
        reached |= further
