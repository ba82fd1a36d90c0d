"""What can be asked of a drawing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from graphgpu.errors import GraphError
from graphgpu.graph import Variable

__all__ = ["Options"]

_STYLES = ("book", "compact")
_NAMES = ("all", "needed")
_DIRECTIONS = ("BT", "TB", "LR", "RL")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of :func:`graphgpu.draw.to_dot`, checked; see there."""

    style: str
    names: str
    show_types: bool | None
    clusters: bool
    phases: bool
    legend: bool
    bookkeeping: bool | None
    depth: int | None
    max_nodes: int
    rankdir: str | None
    title: str | None
    heat: Mapping[Variable, float] | None = None

    def __post_init__(self) -> None:
        _check("style", self.style, _STYLES)
        _check("names", self.names, _NAMES)
        if self.rankdir is not None:
            _check("rankdir", self.rankdir, _DIRECTIONS)
        if self.depth is not None and (
            not isinstance(self.depth, int) or self.depth < 0
        ):
            raise GraphError(f"depth must be an int >= 0 or None; got {self.depth!r}")
        if not isinstance(self.max_nodes, int) or self.max_nodes < 1:
            raise GraphError(f"max_nodes must be an int >= 1; got {self.max_nodes!r}")

    def warmth(self, variables: Iterable[Variable]) -> float:
        """Return the sum of the heat of variables."""
        heat = self.heat or {}
        return sum(heat.get(v, 0.0) for v in variables)

    @property
    def types(self) -> bool:
        """Whether types are written: by default where operations are the nodes."""
        return self.style == "compact" if self.show_types is None else self.show_types

    @property
    def shows_bookkeeping(self) -> bool:
        """Whether changes of shape are nodes: by default where variables are."""
        return self.style == "book" if self.bookkeeping is None else self.bookkeeping

    @property
    def direction(self) -> str:
        """Which way the edges point: as the book draws, or as one reads."""
        if self.rankdir is not None:
            return self.rankdir
        return "BT" if self.style == "book" else "TB"


def _check(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        listed = ", ".join(map(repr, allowed))
        raise GraphError(f"{name} must be one of {listed}; got {value!r}")
