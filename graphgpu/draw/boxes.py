"""Scopes drawn as one node each, so that a large graph can be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from graphgpu.draw.look import kind_of
from graphgpu.errors import GraphError
from graphgpu.graph import Parameter, Variable

__all__ = ["Box", "collapse"]

_UNTOLD = frozenset("reshape broadcast_to transpose cast item full extent".split())
EVERYTHING = -1
"""The depth at which all that is no placeholder is in a box."""


@dataclass(eq=False)
class Box:
    """What a scope holds of one phase, drawn as one node."""

    path: str
    phase: str
    variables: list[Variable] = field(default_factory=list)

    @property
    def contents(self) -> list[str]:
        """Lines that say what is inside."""
        kinds = Counter(v.operation.kind() for v in self.variables if v.operation)
        total = sum(kinds.values())
        lines = [f"{total:,} operation{'s' * (total != 1)}"]
        if kinds:
            told = {k: n for k, n in kinds.items() if k not in _UNTOLD} or kinds
            common = [kind for kind, _ in Counter(told).most_common(4)]
            lines.append(", ".join(common) + ", …" * (len(told) > 4))
        count = sum(
            v.storage.array.size for v in self.variables if isinstance(v, Parameter)
        )
        if count:
            lines.append(f"{count:,} parameters")
        return lines


def collapse(
    variables: Sequence[Variable], depth: int | None, max_nodes: int
) -> dict[Variable, Box]:
    """Return the boxes that variables are drawn in; the others are drawn alone.

    ``depth`` is how many levels of scopes are opened.  Without one, all are,
    unless that is more than ``max_nodes``: then as many as fit.

    Raises
    ------
    GraphError
        There are more nodes than ``max_nodes`` even so.
    """
    if depth is None and len(variables) <= max_nodes:
        return {}
    counts = Counter(_place(v) for v in variables)
    if depth is None:
        deepest = max(path.count("/") + bool(path) for path, _, _ in counts)
        depths = list(range(deepest - 1, EVERYTHING - 1, -1))
    else:
        depths = [depth]
    for chosen in depths:
        if _drawn(counts, chosen) <= max_nodes:
            return _boxes(variables, chosen)
    raise GraphError(
        f"a drawing of {_drawn(counts, depths[-1]):,} nodes was asked for, which is "
        f"more than max_nodes={max_nodes}; draw fewer outputs, open fewer scopes "
        f"(depth={max(depths[-1] - 1, 0)}), or raise max_nodes"
    )


def _place(variable: Variable) -> tuple[str, str, bool]:
    alone = kind_of(variable) == "placeholder"
    return variable.context.path, variable.phase, alone


def _box_path(path: str, depth: int) -> str | None:
    """Return the path of the box that a scope is drawn in; None if it is open."""
    if depth == EVERYTHING:
        return ""
    parts = path.split("/") if path else []
    return "/".join(parts[: depth + 1]) if len(parts) > depth else None


def _drawn(counts: Counter[tuple[str, str, bool]], depth: int) -> int:
    alone = 0
    boxes = set()
    for (path, phase, is_alone), count in counts.items():
        box = None if is_alone else _box_path(path, depth)
        if box is None:
            alone += count
        else:
            boxes.add((box, phase))
    return alone + len(boxes)


def _boxes(variables: Sequence[Variable], depth: int) -> dict[Variable, Box]:
    boxes: dict[tuple[str, str], Box] = {}
    result: dict[Variable, Box] = {}
    for variable in variables:
        path, phase, alone = _place(variable)
        box = None if alone else _box_path(path, depth)
        if box is not None:
            result[variable] = boxes.setdefault((box, phase), Box(box, phase))
            result[variable].variables.append(variable)
    return result
