"""What makes a weight of a layer's parameter."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

from graphgpu.types import Type

__all__ = ["Transforms"]


@final
@dataclass(slots=True)
class Transforms:
    """The type of a parameter, and the attributes whose layers make w of it."""

    type: Type
    places: list[str] = field(default_factory=list)
