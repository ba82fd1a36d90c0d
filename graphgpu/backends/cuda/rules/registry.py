"""Which rule makes the kernels of which operation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from graphgpu.backends.cuda.kernel import Kernel
from graphgpu.graph import Operation
from graphgpu.nodes import Node

__all__ = ["Rule", "Rules"]

Rule: TypeAlias = Callable[[Node], list[Kernel]]
"""Returns the kernels that compute a node, in order; none for an empty array."""


@dataclass(frozen=True)
class Rules:
    """A table from operations to rules."""

    table: dict[type[Operation], Rule] = field(default_factory=dict)

    def of(self, *classes: type[Operation]) -> Callable[[Rule], Rule]:
        """Return a decorator that enters a rule for operations."""

        def enter(rule: Rule) -> Rule:
            for cls in classes:
                self.table[cls] = rule
            return rule

        return enter

    def find(self, operation: Operation) -> Rule | None:
        """Return the rule for an operation, or for what it derives from."""
        for cls in type(operation).__mro__:
            if cls in self.table:
                return self.table[cls]
        return None
