"""What became of a variable in a program: rewriting, code, memory, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

from graphgpu.backends.report import Account, Excerpt
from graphgpu.errors import GraphError
from graphgpu.graph import Constant, Variable, describe
from graphgpu.rewrite import Rewritten
from graphgpu.schedule import look_through, schedule

__all__ = ["Explanation", "explained"]

_SHOWN = 3
"""How many variables of the same value are named."""


@final
@dataclass(frozen=True, eq=False)
class Explanation:
    """What became of a variable; prints as text.

    ``rules`` are those of rewriting passes that touched it; ``now`` is the variable
    that computes its value, None if none does; ``fate`` says that in words.
    ``excerpts`` are the lines of the generated code that compute it, function by
    function; ``memory`` says where the value lies, ``layout`` in which order, and
    ``reasons`` why it is so, and why not computed together with its neighbours.
    """

    variable: Variable
    rules: tuple[str, ...]
    now: Variable | None
    fate: str
    excerpts: tuple[Excerpt, ...] = ()
    memory: str = ""
    layout: str = ""
    reasons: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [describe(self.variable).rstrip(",")]
        lines += [f"rewritten by {rule}" for rule in self.rules]
        lines.append(self.fate)
        for excerpt in self.excerpts:
            lines.append(f"in {excerpt.function}, {excerpt.what}:")
            lines += [f"    {line}" for line in excerpt.lines]
        if self.memory:
            lines.append(f"memory: {self.memory}")
        if self.layout:
            lines.append(f"layout: {self.layout}")
        lines += [f"- {reason}" for reason in self.reasons]
        return "\n".join(lines)


def explained(
    variable: Variable,
    wanted: Sequence[Variable],
    rewritten: Rewritten,
    became: Mapping[Variable, Variable],
    accounts: Mapping[Variable, Callable[[], Sequence[Account]]],
) -> Explanation:
    """Return what became of a variable of the graph of ``wanted``.

    ``became`` maps variables as written to those that compute their values, and
    ``accounts`` these to what the device tells of them, clones included.

    Raises
    ------
    GraphError
        The variable is no part of the program.
    """
    source = look_through(variable)
    written = set(schedule(wanted).order)
    if source not in written and source not in accounts:
        raise GraphError(
            f"{describe(variable)} is not part of this program; only the ancestors of "
            "its outputs and of the new values of its updates are"
        )
    now = source if source in accounts else became.get(source)
    if now not in accounts:
        now = None
    rules = rewritten.notes.get(source, ())
    same = [look_through(v) for v, n in became.items() if n is now]
    others = [v for v in dict.fromkeys(same) if v is not source]
    fate = _fate(source, now, others)
    if now is None:
        return Explanation(variable, rules, None, fate)
    first, *clones = accounts[now]()
    found = [first, *clones]
    return Explanation(
        variable,
        rules,
        now,
        fate,
        tuple(dict.fromkeys(e for a in found for e in a.excerpts)),
        first.memory,
        first.layout,
        tuple(dict.fromkeys(r for a in found for r in a.reasons)),
    )


def _fate(source: Variable, now: Variable | None, others: Sequence[Variable]) -> str:
    """Say in words what computes the value of a variable."""
    if now is None:
        return "not computed: nothing that is computed reads it"
    if source.operation is None:
        return "a leaf"
    if isinstance(now, Constant):
        return "a constant: its value was computed when compiling"
    shared = "; ".join(describe(v).rstrip(",") for v in others[:_SHOWN])
    also = f", and so is the value of {shared}" if others else ""
    if now is source or now.operation == source.operation:
        return f"computed as written{also}"
    return f"computed by {now.operation or describe(now).rstrip(',')}{also}"
