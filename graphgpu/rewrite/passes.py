"""The passes in their order, and the function that runs them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TypeAlias

from graphgpu.errors import CompileError
from graphgpu.graph import Subgraph, Variable, renumber, revised
from graphgpu.rewrite import broadcasts, choices, joints, pooled_choices
from graphgpu.rewrite.batch_norms import fold_batch_norm
from graphgpu.rewrite.bodies import rewrite_bodies
from graphgpu.rewrite.draft import Draft
from graphgpu.rewrite.factors import factors
from graphgpu.rewrite.fold import fold
from graphgpu.rewrite.layout import Wish, lay_out
from graphgpu.rewrite.loop_products import loop_products
from graphgpu.rewrite.loops import loops
from graphgpu.rewrite.merge import merge
from graphgpu.rewrite.precision import PRECISIONS, precise
from graphgpu.rewrite.products import products
from graphgpu.rewrite.shapes import shapes
from graphgpu.rewrite.simplify import simplify
from graphgpu.rewrite.stabilise import stabilise
from graphgpu.rewrite.validate import Before, check_serials, validate

__all__ = ["PASSES", "PRECISIONS", "Rewritten", "rewrite"]

Pass: TypeAlias = Callable[[Draft], int]

RULES_WITHIN = (broadcasts, choices, joints, pooled_choices)
"""Modules whose rules belong to a pass that is defined elsewhere."""

_PASSES: dict[str, Pass] = {
    "loops": loops,
    "fold": fold,
    "merge": merge,
    "simplify": simplify,
    "factors": factors,
    "stabilise": stabilise,
    "shapes": shapes,
    "loop_products": loop_products,
    "products": products,
    "fold_batch_norm": fold_batch_norm,
}

LAYOUT = "layout"
"""The pass that runs last, once, if a device wishes it."""

PASSES: tuple[str, ...] = (*_PASSES, LAYOUT)
"""The names of the passes, in the order in which they run."""

_ROUNDS = 4
"""How often all passes run at most; a pass that has nothing new to see is skipped."""


@dataclass(frozen=True)
class Rewritten:
    """What became of a graph.

    ``outputs`` are those given, one for one and of the same types.  ``became``
    maps each variable of the original graph whose value is still computed to
    the variable that computes it.  ``log`` has a line for each pass that did
    something, and ``notes`` the rules that touched a variable, by the original
    and by the new one.
    """

    outputs: tuple[Variable, ...]
    became: dict[Variable, Variable]
    log: tuple[str, ...]
    notes: dict[Variable, tuple[str, ...]]


def rewrite(
    outputs: Sequence[Variable],
    passes: Collection[str] | None = None,
    *,
    precision: str = "float32",
    channels_last: Wish | None = None,
    debug: bool = False,
) -> Rewritten:
    """Return the graph of the outputs as the passes leave it: all, or those named.

    ``precision`` is that of products and convolutions, one of ``PRECISIONS``; it is
    seen to after all passes, and even if there are none.  Then comes the pass
    ``"layout"``: ``channels_last`` says in what multiples of channels a device computes
    convolutions in a precision faster so, 0 if never.  With ``debug`` the graph is
    validated after every pass.

    Raises
    ------
    CompileError
        A pass is unknown, does not come to an end, or breaks the graph.
    """
    chosen = _chosen(passes)
    draft = Draft.of(outputs)
    original = draft.order
    _run(draft, chosen, debug)

    def finish(inner: Draft) -> None:
        _finish(inner, debug)

    made = partial(precise, draft, precision, finish)
    _run_last("precision", draft, debug, made)
    if channels_last is not None and (passes is None or LAYOUT in passes):
        laid = partial(lay_out, draft, channels_last, precision, finish)
        _run_last(LAYOUT, draft, debug, laid)
    return _report(original, draft)


def _chosen(passes: Collection[str] | None) -> dict[str, Pass]:
    """Return the passes asked for, in their order."""
    if passes is None:
        return _PASSES
    if isinstance(passes, str):
        passes = (passes,)
    for name in passes:
        if name not in PASSES:
            raise CompileError(
                f"unknown pass {name!r}; the passes are {', '.join(PASSES)}"
            )
    return {name: f for name, f in _PASSES.items() if name in passes}


def _run(draft: Draft, chosen: dict[str, Pass], debug: bool) -> None:
    """Run the passes until no one finds anything, some rounds at most."""

    def checked(name: str, run: Pass) -> int:
        before = Before(draft) if debug else None
        found = run(draft)
        if before:
            validate(name, before, draft)
        return found

    def bodies(draft: Draft) -> int:
        return rewrite_bodies(draft, lambda body: _rewritten_body(body, chosen, debug))

    # The number of replacements by all passes when a pass last ran.
    seen = dict.fromkeys(chosen, -1)
    total = checked("loops", loops) if "loops" in chosen else 0  # bodies still alike
    total += checked("bodies", bodies) if chosen else 0
    for _ in range(_ROUNDS):
        start = total
        for name, run in chosen.items():
            if seen[name] != total:
                total += checked(name, run)
                seen[name] = total
        if total == start:
            break
    _finish(draft, debug)


def _run_last(name: str, draft: Draft, debug: bool, run: Callable[[], int]) -> None:
    """Run what comes after the passes, once."""
    before = Before(draft) if debug else None
    if not run():
        return
    if before:
        validate(name, before, draft)
    _finish(draft, debug)


def _finish(draft: Draft, debug: bool) -> None:
    """Put the variables in the order as written."""
    before = Before(draft) if debug else None
    _renumber(draft)
    if before:
        validate("renumber", before, draft)
        check_serials(draft)


def _rewritten_body(body: Subgraph, chosen: dict[str, Pass], debug: bool) -> Subgraph:
    """Return a subgraph as the passes leave it; the same if they find nothing."""
    draft = Draft.of(body.outputs, body.inputs)
    _run(draft, chosen, debug)
    if not draft.became:
        return body
    return Subgraph(body.inputs, draft.outputs, body.sizes)


def _renumber(draft: Draft) -> None:
    """Give the variables serial numbers that keep the order as written.

    What a rule made stands where the variable stood that it was made for.  Serial
    numbers only grow, so what was written after it is copied.
    """
    made, given = draft.made, draft.given
    placed = [v for v in draft.order if (v.operation or v in made) and v not in given]
    if all(left.serial < right.serial for left, right in pairwise(placed)):
        return
    moved: dict[Variable, Variable] = {}
    started = False
    for variable in placed:
        inputs = tuple([moved.get(v, v) for v in variable.inputs])
        if variable in made:
            started = True
            variable.inputs = inputs
            renumber(variable)
        elif started:
            moved[variable] = revised(variable, inputs)
            draft.inherit(variable, moved[variable])
    draft.replace(moved, [moved.get(v, v) for v in draft.order])


def _report(original: Sequence[Variable], draft: Draft) -> Rewritten:
    """Return what the draft came to."""
    live = set(draft.order)
    became = {}
    notes = {}
    for variable in original:
        now = draft.now(variable)
        if now in live:
            became[variable] = now
        found = draft.notes.get(now, ()) if now in live else ()
        own = draft.notes.get(variable, ())
        if own or found:
            notes[variable] = tuple(dict.fromkeys((*own, *found)))
    for variable in draft.order:
        if variable in draft.notes:
            notes.setdefault(variable, draft.notes[variable])
    return Rewritten(tuple(draft.outputs), became, _log(draft.counts), notes)


def _log(counts: Counter[str]) -> tuple[str, ...]:
    """Return a line for each pass that did something."""
    lines: dict[str, list[str]] = {}
    for text, count in counts.items():
        name, _, rule = text.partition(": ")
        lines.setdefault(name, []).append(f"{count} {rule}")
    return tuple(f"{name}: {', '.join(parts)}" for name, parts in lines.items())
