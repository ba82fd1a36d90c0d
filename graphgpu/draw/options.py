"""What can be asked of a drawing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from graphgpu.errors import GraphError
from graphgpu.graph import Variable

__all__ = ["Options"]

Style = Literal["book", "compact"]
Names = Literal["all", "needed"]
Direction = Literal["BT", "TB", "LR", "RL"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of :func:`graphgpu.draw.to_dot`, checked; see there."""

    style: Style = "book"
    names: Names = "all"
    show_types: bool | None = None
    clusters: bool = True
    phases: bool = True
    legend: bool = True
    bookkeeping: bool | None = None
    depth: int | None = None
    max_nodes: int = 3000
    rankdir: Direction | None = None
    title: str | None = None
    updates: Mapping[Variable, Variable] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check("style", self.style, get_args(Style))
        _check("names", self.names, get_args(Names))
        if self.rankdir is not None:
            _check("rankdir", self.rankdir, get_args(Direction))
        if self.depth is not None and (
            not isinstance(self.depth, int) or self.depth < 0
        ):
            raise GraphError(f"depth must be an int >= 0 or None; got {self.depth!r}")
        if not isinstance(self.max_nodes, int) or self.max_nodes < 1:
            raise GraphError(f"max_nodes must be an int >= 1; got {self.max_nodes!r}")

    @property
    def types(self) -> bool:
        """Whether types are written: by default where operations are the nodes."""
        return self.style == "compact" if self.show_types is None else self.show_types

    @property
    def shows_bookkeeping(self) -> bool:
        """Whether changes of shape are nodes: by default where variables are."""
        return self.style == "book" if self.bookkeeping is None else self.bookkeeping

    @property
    def direction(self) -> Direction:
        """Which way the edges point: as the book draws, or as one reads."""
        if self.rankdir is not None:
            return self.rankdir
        return "BT" if self.style == "book" else "TB"


def _check(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        listed = ", ".join(map(repr, allowed))
        raise GraphError(f"{name} must be one of {listed}; got {value!r}")
