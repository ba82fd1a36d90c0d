"""The compact style: operations are the nodes, variables the edges between them.

Numbers are written into the operations that use them, changes of shape beside
the edges, and what a phase reads of the leaves of another is drawn again, paler,
where it is read: what remains to be seen is the computation.
"""

from __future__ import annotations

from typing import ClassVar, final

from graphgpu.draw.dot import Html, markup
from graphgpu.draw.drawing import Drawing, Part, is_change_of_form, place_look, small
from graphgpu.draw.labels import (
    attributes,
    formula,
    is_commutative,
    known_number,
    shorten,
    symbol,
    tooltip,
    type_text,
)
from graphgpu.draw.look import SANS, Look
from graphgpu.draw.options import Options
from graphgpu.graph import Variable
from graphgpu.ops.elementwise import Elementwise

__all__ = ["Compact"]

_LONGEST = 24
"""How many characters of a constant are written into an operation."""


@final
class Compact(Drawing):
    """A drawing in the compact style."""

    font = SANS
    shape = "box"
    spacing: ClassVar[Look] = {"ranksep": 0.35, "nodesep": 0.25}

    def __init__(
        self, options: Options, part: Part, parent: Drawing | None = None
    ) -> None:
        self._texts: dict[Variable, str] = {}
        super().__init__(options, part, parent)

    def fold(self, variable: Variable) -> None:
        """Take numbers as text, changes of form as part of an edge."""
        text = self._text_of(variable)
        if text is None:
            super().fold(variable)
        elif not self.is_kept(variable):
            self._texts[variable] = text

    def _text_of(self, variable: Variable) -> str | None:
        """Return what all elements are, where that is a number or a short formula."""
        operation = variable.operation
        texts = [self._texts.get(v) for v in variable.inputs]
        if is_change_of_form(variable):
            return texts[0]
        if isinstance(operation, Elementwise) and all(t is not None for t in texts):
            text = formula(operation, texts)
            return text if text is not None and len(text) <= _LONGEST else None
        return known_number(variable)

    def is_folded(self, variable: Variable) -> bool:
        """Whether it is a number in an operation, or part of an edge."""
        return variable in self._texts or super().is_folded(variable)

    def computed(self, variable: Variable) -> None:
        """Draw an operation, and an edge from each of its operands."""
        operation = variable.operation
        assert operation is not None
        name = self.names[variable]
        look = self.computed_look(variable)
        look["style"] = f"{look['style']},rounded"
        look |= {"label": self._label(variable), "tooltip": tooltip(variable)}
        self.document.node(name, self.cluster_of(variable), **look)
        self.add_bodies(variable, name)
        wired = [(i, v) for i, v in enumerate(variable.inputs) if v not in self._texts]
        ordered = len(wired) > 1 and not is_commutative(operation)
        for place, parent in wired:
            self.edge(parent, variable, name, **(place_look(place) if ordered else {}))

    def _label(self, variable: Variable) -> Html:
        """Return the name, the operation, its attributes, and the type."""
        operation = variable.operation
        assert operation is not None
        given = self.name_of(variable)
        lines = [f"<B>{markup(shorten(given))}</B>"] if given else []
        texts = [self._texts.get(v) for v in variable.inputs]
        lines.append(markup(shorten(formula(operation, texts) or symbol(operation))))
        lines += [small(text) for text in attributes(operation, variable.inputs)]
        if self.options.types:
            lines.append(small(type_text(variable.type)))
        lines += self.heat_of([variable])[1]
        return Html("<BR/>".join(lines))
