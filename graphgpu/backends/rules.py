"""Which rule of a backend is for which operation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from graphgpu.graph import Operation

__all__ = ["Rules"]

_Rule = TypeVar("_Rule")


@dataclass(frozen=True)
class Rules(Generic[_Rule]):
    """A table from operations to rules."""

    table: dict[type[Operation], _Rule] = field(default_factory=dict)

    def of(self, *classes: type[Operation]) -> Callable[[_Rule], _Rule]:
        """Return a decorator that enters a rule for operations."""

        def enter(rule: _Rule) -> _Rule:
            for cls in classes:
                self.table[cls] = rule
            return rule

        return enter

    def find(self, operation: Operation) -> _Rule | None:
        """Return the rule for an operation, or for what it derives from."""
        for cls in type(operation).__mro__:
            if cls in self.table:
                return self.table[cls]
        return None
