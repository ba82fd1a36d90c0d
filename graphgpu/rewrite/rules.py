"""Rules: small functions from a variable to a better one, registered by operation.

A rule is told a variable computed by an operation of its classes and returns
another with the same type and the same values, or None if it does not apply.
The first line of its docstring is the mathematics, ``x · 1 = x``; it is what
``program.explain`` shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any, TypeAlias, TypeVar

from graphgpu.graph import Operation, Variable
from graphgpu.rewrite.draft import Draft, Found

__all__ = ["Rule", "Rules"]

Rule: TypeAlias = (
    Callable[[Variable], Variable | None] | Callable[[Variable, Draft], Variable | None]
)
_Rule = TypeVar("_Rule", bound=Rule)


class Rules:
    """The rules of a pass; it is skipped unless the graph has what they are about."""

    def __init__(self, name: str, about: Sequence[Any] = (Operation,)) -> None:
        self.name = name
        self.about = tuple(about)
        self._registered: list[tuple[type[Operation], Any, str, bool]] = []
        self._by_class: dict[type[Operation], list[tuple[Any, str, bool]]] = {}

    def on(self, *classes: Any) -> Callable[[_Rule], _Rule]:
        """Register a rule for operations of the classes, and of those below them.

        A rule with a second parameter is told the whole graph in it.
        """

        def register(rule: _Rule) -> _Rule:
            text = (rule.__doc__ or rule.__name__).partition("\n")[0].rstrip(".")
            wide = len(signature(rule).parameters) == 2
            self._registered += [(cls, rule, text, wide) for cls in classes]
            self._by_class.clear()
            return rule

        return register

    def __call__(self, draft: Draft) -> int:
        """Apply the rules until none applies; return how often one did."""
        by_class = self._by_class
        present = {v.operation.__class__ for v in draft.order}
        if not any(issubclass(cls, self.about) for cls in present):
            return 0

        def offer(variable: Variable) -> Found:
            operation = variable.operation
            if operation is None:
                return None
            cls = operation.__class__
            rules = by_class.get(cls)
            if rules is None:
                rules = self._of(cls)
            for rule, text, wide in rules:
                better = rule(variable, draft) if wide else rule(variable)
                if better is not None and better is not variable:
                    return better, text
            return None

        return draft.sweep(self.name, offer)

    def _of(self, cls: type[Operation]) -> list[tuple[Any, str, bool]]:
        """Return the rules for a class, in the order of registration."""
        rules = [known[1:] for known in self._registered if issubclass(cls, known[0])]
        self._by_class[cls] = rules
        return rules
