"""The book's style: variables are the nodes, as in *Deep Learning*, figure 6.8.

The edges from the operands of one operation meet in a point, from which one
arrow, with the operation's name beside it, goes to the result.
"""

from __future__ import annotations

from typing import ClassVar, final

from graphgpu.draw.dot import Html, markup
from graphgpu.draw.drawing import Drawing, Part, place_look, small
from graphgpu.draw.labels import (
    attributes,
    is_commutative,
    known_number,
    shorten,
    symbol,
    tooltip,
    type_text,
)
from graphgpu.draw.look import SERIF, Look, leaf_look, phase_look
from graphgpu.draw.options import Options
from graphgpu.graph import Operation, Variable
from graphgpu.types import TensorType

__all__ = ["Book"]

_LETTERS = {"forward": "u", "gradient": "g", "update": "v"}


@final
class Book(Drawing):
    """A drawing in the book's style."""

    font = SERIF
    shape = "circle"
    spacing: ClassVar[Look] = {"ranksep": 0.22, "nodesep": 0.3}

    def __init__(
        self, options: Options, part: Part, parent: Drawing | None = None
    ) -> None:
        super().__init__(options, part, parent)
        self._labels = self._name_all()

    def _name_all(self) -> dict[Variable, str]:
        """Name what has no name: u⁽¹⁾, u⁽²⁾, ... in the order as written.

        Bodies go on counting, so that a name is that of one node in a drawing.
        """
        labels: dict[Variable, str] = {}
        for variable in self.part.variables:
            name = self.name_of(variable)
            if name:
                labels[variable] = _set(markup(shorten(name)), variable)
            elif (
                self.options.names == "all"
                and variable.operation
                and variable not in self.boxes
                and known_number(variable) is None
            ):
                self.seen.named[variable.phase] += 1
                letter = _LETTERS[variable.phase]
                letter = letter.upper() if _rank(variable) > 1 else letter
                mark = f"<SUP>({self.seen.named[variable.phase]})</SUP>"
                labels[variable] = _set(letter, variable) + mark
        return labels

    def leaf_label(self, variable: Variable) -> Html:
        """Set the name as the book does; numbers stay upright."""
        plain = Drawing.leaf_label(self, variable)
        if variable not in self._labels:
            return plain
        lines = [self._labels[variable]]
        if self.options.types:
            lines.append(small(type_text(variable.type)))
        return Html("<BR/>".join(lines))

    def computed(self, variable: Variable) -> None:
        """Draw a variable, the point where its operands meet, and the arrow."""
        value = known_number(variable)
        cluster = self.cluster_of(variable)
        look = self.computed_look(variable)
        lines = [self._labels[variable]] if variable in self._labels else []
        if value is not None and not lines:
            look |= dict(leaf_look("constant"), style="solid")
            lines = [markup(value)]
        elif not lines:
            look |= {"width": 0.2, "height": 0.2}
        if self.options.types:
            lines.append(small(type_text(variable.type)))
            look |= {"shape": "ellipse"} if look["shape"] == "circle" else {}
        lines += self.heat_of([variable])[1]
        look |= {"label": Html("<BR/>".join(lines)) if lines else ""}
        name = self.names[variable]
        self.document.node(name, cluster, **look, tooltip=tooltip(variable))
        self._operands(variable)

    def _operands(self, variable: Variable) -> None:
        """Draw the edges of an operation."""
        operation = variable.operation
        assert operation is not None
        name, label = self.names[variable], self._annotation(operation, variable)
        self.add_bodies(variable, name)
        if not variable.inputs:
            return
        if len(variable.inputs) == 1:
            self.edge(variable.inputs[0], variable, name, label=label)
            return
        joint = f"{name}_joint"
        colour = phase_look(self.phase_of(variable))["color"]
        look = {"shape": "point", "width": 0.05, "color": colour}
        self.document.node(joint, self.cluster_of(variable), **look)
        ordered = not is_commutative(operation)
        for place, parent in enumerate(variable.inputs):
            end = place_look(place) if ordered else {}
            self.edge(parent, variable, joint, arrowhead="none", **end)
        self.document.edge(joint, name, label=label, color=colour, weight=3)

    def _annotation(self, operation: Operation, variable: Variable) -> Html:
        """Return the operation's sign or name, and its attributes below."""
        lines = [f"&#160;{markup(symbol(operation))}"]
        lines += [
            f'<FONT POINT-SIZE="7.5">{markup(text)}</FONT>'
            for text in attributes(operation, variable.inputs)
        ]
        return Html("<BR/>".join(lines))


def _rank(variable: Variable) -> int:
    return len(variable.type.shape) if isinstance(variable.type, TensorType) else 0


def _set(name: str, variable: Variable) -> str:
    """Set a name as the book does: scalars in italics, arrays bold as well."""
    italic = f"<I>{name}</I>"
    return f"<B>{italic}</B>" if _rank(variable) > 0 else italic
