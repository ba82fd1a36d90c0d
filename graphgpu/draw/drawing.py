"""What both styles of drawing do alike: leaves, boxes, clusters, bodies."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

from graphgpu.draw.boxes import Box, collapse
from graphgpu.draw.dot import Document, Html, markup
from graphgpu.draw.labels import (
    bodies,
    constant_text,
    shorten,
    tooltip,
    type_text,
)
from graphgpu.draw.look import (
    FAINT,
    INK,
    Look,
    body_look,
    box_look,
    caption,
    heat_look,
    heat_text,
    kind_of,
    leaf_look,
    phase_look,
    scope_look,
)
from graphgpu.draw.options import Options
from graphgpu.graph import Constant, Stored, Variable
from graphgpu.ops.elementwise import Cast
from graphgpu.ops.markers import StopGradient, WithStateUpdate
from graphgpu.ops.shape import BroadcastTo, Reshape, Transpose
from graphgpu.ops.tuples import Item

__all__ = ["Drawing", "Part", "is_change_of_form", "place_look", "small"]

_CHANGES_OF_FORM: dict[type, str] = {
    Reshape: "reshape",
    Transpose: "transpose",
    BroadcastTo: "broadcast",
    Cast: "cast",
    StopGradient: "stop gradient",
}
# Above this many variables the layout is not polished to the end, which takes
# Graphviz time that grows with the square of their number.
_LARGE = 200
PHASES = ("forward", "gradient", "update")


@dataclass(frozen=True, eq=False)
class Part:
    """Variables that are drawn together: a graph, or the body of an operation.

    ``outputs`` maps the outputs to names that they may have, ``updates`` pairs
    what is stored with its new value; ``inputs`` are the variables that a body is
    given, ``prefix`` begins the identifiers, and ``around`` is the cluster that
    all of it lies in.
    """

    variables: Sequence[Variable]
    outputs: Mapping[Variable, str | None]
    updates: Sequence[tuple[Stored, Variable]] = ()
    inputs: frozenset[Variable] = frozenset()
    prefix: str = ""
    around: tuple[str, ...] = ()

    @cached_property
    def kept(self) -> frozenset[Variable]:
        """The variables that are results, and so are drawn as what they are."""
        return frozenset((*self.outputs, *(value for _, value in self.updates)))


@dataclass(eq=False)
class Seen:
    """What a drawing has shown so far, and how many variables it named by phase."""

    phases: set[str] = field(default_factory=set)
    leaves: dict[str, None] = field(default_factory=dict)
    named: Counter[str] = field(default_factory=Counter)


class Drawing(ABC):
    """A drawing of a part; the bodies in it are drawings of their own. Abstract."""

    font: ClassVar[str]
    shape: ClassVar[str]
    """The shape of what is computed."""
    spacing: ClassVar[Look]
    """How far apart nodes are, in inches."""

    def __init__(
        self, options: Options, part: Part, parent: Drawing | None = None
    ) -> None:
        self.options = options
        self.part = part
        self.document: Document = parent.document if parent else Document()
        self.seen: Seen = parent.seen if parent else Seen()
        self.boxes = collapse(part.variables, options.depth, options.max_nodes)
        self.names: dict[Variable, str] = {}
        self._box_edges: set[tuple[str, str]] = set()
        self._again: dict[tuple[Variable, str, str], str] = {}
        self._through: dict[Variable, tuple[Variable, tuple[str, ...]]] = {}
        for number, variable in enumerate(part.variables):
            self.names[variable] = f"{part.prefix}v{number}"
            if variable not in self.boxes and variable not in part.inputs:
                self.fold(variable)
        self._away = self._read_elsewhere() - part.kept
        alone = [[v] for v in part.variables if v not in self.boxes]
        boxes = [b.variables for b in dict.fromkeys(self.boxes.values())]
        self._most = max(map(options.warmth, [*alone, *boxes]), default=0.0)

    def fold(self, variable: Variable) -> None:
        """Take what is a mere change of form as part of the edges that it is on."""
        operation = variable.operation
        if self.options.shows_bookkeeping or self.is_kept(variable):
            return
        if isinstance(operation, Item):
            change = [f"item {operation.index}"]
        elif isinstance(operation, WithStateUpdate):
            change = []
        elif is_change_of_form(variable):
            change = [_CHANGES_OF_FORM[type(operation)]]
        else:
            return
        source = variable.inputs[0]
        origin, changes = self._through.get(source, (source, ()))
        self._through[variable] = origin, (*changes, *change)

    def _read_elsewhere(self) -> set[Variable]:
        """Return the leaves that other phases alone read."""
        home: set[Variable] = set()
        away: set[Variable] = set()
        for variable in self.part.variables:
            passed = variable in self._through or variable in self.boxes
            for parent in _read(variable) if passed else variable.inputs:
                if parent.operation is None:
                    near = variable in self.boxes or parent.phase == variable.phase
                    (home if near or not self.options.phases else away).add(parent)
        return away - home

    def is_kept(self, variable: Variable) -> bool:
        """Whether a variable has a node whatever computes it."""
        return variable in self.part.kept or bool(self.name_of(variable))

    def is_folded(self, variable: Variable) -> bool:
        """Whether a variable has no node of its own."""
        return variable in self._through

    @abstractmethod
    def computed(self, variable: Variable) -> None:
        """Draw a variable and the operation that computes it."""

    def draw(self) -> None:
        """Draw all variables of the part, in the order as written."""
        for number, box in enumerate(dict.fromkeys(self.boxes.values())):
            name = f"{self.part.prefix}s{number}"
            self.names.update(dict.fromkeys(box.variables, name))
            self._add_box(name, box)
        for variable in self.part.variables:
            if variable in self.boxes:
                for parent in _read(variable):
                    self.box_edge(parent, variable)
            elif not self.is_folded(variable):
                if variable.operation and variable not in self.part.inputs:
                    self.computed(variable)
                elif variable not in self._away:
                    self.leaf_node(self.names[variable], variable, variable)
        for number, (stored, value) in enumerate(self.part.updates):
            if value not in self.boxes:
                self._add_update(f"{self.part.prefix}w{number}", stored, value)

    def finish(self) -> str:
        """Return the DOT, with a legend if there is something to tell apart."""
        options = self.options
        shown = options.legend and len(self.seen.phases) > 1
        phases = [p for p in PHASES if p in self.seen.phases] if shown else []
        head: dict[str, object] = {"rankdir": options.direction, **self.spacing}
        heat = options.heat is not None and options.legend
        if options.title is not None or phases or heat:
            text = caption(options.title, phases, self.seen.leaves, heat)
            head["label"] = Html(text)
        font = {"fontname": self.font, "fontcolor": INK}
        if len(self.names) > _LARGE:
            head |= {"nslimit": 1, "nslimit1": 1, "mclimit": 0.2}
        else:
            head["newrank"] = True
        self.document.defaults("graph", **head, **font)
        node = {"fontsize": 11, "margin": 0.06, "height": 0.3, "width": 0.4}
        self.document.defaults("node", **font, **node)
        edge = {"fontsize": 9, "color": "#555555", "arrowsize": 0.6}
        self.document.defaults("edge", **font, **edge)
        return f"{self.document}\n"

    # --- nodes

    def leaf_node(self, name: str, variable: Variable, reader: Variable) -> None:
        """Add the node of a leaf in the scope of a reader; a paler one elsewhere."""
        kind = "placeholder" if variable in self.part.inputs else kind_of(variable)
        look = dict(leaf_look(kind))
        if reader.phase != variable.phase and variable not in self._away:
            look |= {"color": FAINT, "fontcolor": FAINT}
        else:
            self.seen.leaves[kind] = None
        look |= {"label": self.leaf_label(variable), "tooltip": tooltip(variable)}
        look |= self.output_look(variable)
        self.document.node(name, self.cluster_of(reader), **look)

    def leaf_label(self, variable: Variable) -> Html:
        """Return what is written on a leaf: its name or number, and its type."""
        text = self.name_of(variable)
        value = constant_text(variable) if isinstance(variable, Constant) else None
        lines = [markup(shorten(text or value or kind_of(variable)))]
        if self.options.types and value is None:
            lines.append(small(type_text(variable.type)))
        return Html("<BR/>".join(lines))

    def edge(
        self, parent: Variable, variable: Variable, target: str, **look: object
    ) -> None:
        """Draw the edge from an operand to a node of the operation's.

        An edge shows what changes of form are made on the way.  It starts at a
        paler copy of a leaf that belongs to another phase.
        """
        origin, changes = self._through.get(parent, (parent, ()))
        if origin in self.boxes and target == self.names[variable]:
            self.box_edge(origin, variable)
            return
        if changes:
            lines = [", ".join(changes)]
            if self.options.types:
                lines.append(type_text(parent.type))
            texts = [*map(small, lines), *([look["label"]] if "label" in look else [])]
            look["label"] = Html("<BR/>".join(map(str, texts)))
        look["color"] = phase_look(self.phase_of(variable))["color"]
        look |= self.weight(origin, variable)
        self.document.edge(self._source(origin, variable), target, **look)

    def weight(self, parent: Variable, variable: Variable) -> Look:
        """Return the weight that keeps what belongs together together."""
        near = parent.phase == variable.phase and (
            parent.context.path == variable.context.path
        )
        return {"weight": 3} if near else {}

    def _source(self, origin: Variable, reader: Variable) -> str:
        """Return the node that an edge comes from: a leaf is drawn in each phase."""
        if (
            origin.operation is not None
            or origin.phase == reader.phase
            or origin in self.boxes
            or not self.options.phases
        ):
            return self.names[origin]
        key = origin, reader.phase, reader.context.path
        if key not in self._again:
            self._again[key] = f"{self.names[origin]}_again{len(self._again)}"
            self.leaf_node(self._again[key], origin, reader)
        return self._again[key]

    def name_of(self, variable: Variable) -> str | None:
        """Return the name that a variable was given, if it was."""
        return self.part.outputs.get(variable) or variable.name

    def output_look(self, variable: Variable) -> Look:
        """Return the double line around an output."""
        return {"peripheries": 2} if variable in self.part.outputs else {}

    def phase_of(self, variable: Variable) -> str:
        """Return the phase as which a variable is drawn."""
        phase = variable.phase if self.options.phases else "forward"
        self.seen.phases.add(phase)
        return phase

    def computed_look(self, variable: Variable) -> dict[str, object]:
        """Return the look of what an operation computes."""
        look = {"shape": self.shape, **phase_look(self.phase_of(variable))}
        return {**look, **self.output_look(variable), **self.heat_of([variable])[0]}

    def heat_of(self, variables: Sequence[Variable]) -> tuple[Look, list[str]]:
        """Return the fill and the line of text for what variables take."""
        if self.options.heat is None or variables[0] in self.part.inputs:
            return {}, []
        share = self.options.warmth(variables)
        text = heat_text(share)
        line = f'<FONT POINT-SIZE="9">{markup(text)}</FONT>'
        return heat_look(share, self._most), [line] if text else []

    def _add_update(self, name: str, stored: Variable, value: Variable) -> None:
        """Draw what is stored once more, as that which a new value goes to."""
        look = dict(leaf_look(kind_of(stored)))
        label = f"{shorten(stored.name or kind_of(stored))} \N{LEFTWARDS ARROW}"
        look |= {"label": label, "tooltip": tooltip(stored)}
        look |= {k: v for k, v in phase_look("update").items() if k != "fillcolor"}
        path = self._cluster(stored.context.path, value.phase)
        self.document.node(name, path, **look)
        self.document.edge(self.names[value], name, color=look["color"])

    # --- scopes

    def cluster_of(self, variable: Variable) -> tuple[str, ...]:
        """Return the cluster of a variable's scope, made if it is new."""
        return self._cluster(variable.context.path, variable.phase)

    def _cluster(self, scope: str, phase: str) -> tuple[str, ...]:
        path = self.part.around
        if not self.options.clusters or not scope:
            return path
        shown = phase if self.options.phases else "forward"
        for level, name in enumerate(scope.split("/")):
            path = (*path, f"{shown}:{name}")
            label = name if shown == "forward" else f"{name} ({shown})"
            self.document.cluster(path, scope_look(shorten(label), shown, level))
        return path

    # --- boxes: scopes that are drawn as one node

    def _add_box(self, name: str, box: Box) -> None:
        phase = box.phase if self.options.phases else "forward"
        self.seen.phases.add(phase)
        title = box.path.rpartition("/")[2] or "everything else"
        lines = [f"<B>{markup(shorten(title))}</B>"]
        heat, share = self.heat_of(box.variables)
        lines += [small(line) for line in box.contents] + share
        look = dict(box_look(phase), label=Html("<BR/>".join(lines)), **heat)
        if any(v in self.part.outputs for v in box.variables):
            look["peripheries"] = 2
        outer = box.path.rpartition("/")[0]
        self.document.node(name, self._cluster(outer, box.phase), **look)

    def box_edge(self, parent: Variable, variable: Variable) -> None:
        """Draw the edge between two variables, one of them in a box, but once."""
        parent, _ = self._through.get(parent, (parent, ()))
        if self.is_folded(parent):
            return
        pair = self.names[parent], self.names[variable]
        if pair[0] == pair[1] or pair in self._box_edges:
            return
        self._box_edges.add(pair)
        look: dict[str, object] = {}
        if self.options.types:
            look["label"] = Html(small(type_text(parent.type)))
        self.document.edge(pair[0], pair[1], **look)

    # --- subgraphs

    def add_bodies(self, variable: Variable, target: str) -> None:
        """Draw the subgraphs that the operation of a variable owns."""
        assert variable.operation is not None
        for owner, body in bodies(variable.operation):
            name = self.names[variable]
            around = (*self.cluster_of(variable), f"{name}:{owner}")
            title = f"{variable.operation.kind()}: {owner}"
            self.document.cluster(around, body_look(title))
            inputs = frozenset(body.inputs)
            everything = {*body.variables, *inputs}
            part = Part(
                variables=sorted(everything, key=lambda v: v.serial),
                outputs=dict.fromkeys(body.outputs),
                inputs=inputs,
                prefix=f"{name}_{owner.replace(' ', '_')}_",
                around=around,
            )
            drawing = type(self)(self.options, part, self)
            drawing.draw()
            for output in body.outputs:
                self.document.edge(
                    drawing.names[output], target, style="dotted", arrowhead="empty"
                )


def small(text: str) -> str:
    """Return text as markup for a line below a name."""
    return f'<FONT POINT-SIZE="8.5" COLOR="{FAINT}">{markup(text)}</FONT>'


def place_look(place: int) -> Look:
    """Return the look of an edge that says which operand it brings."""
    return {"headlabel": str(place), "labelfontsize": 7, "labeldistance": 1.7}


def _read(variable: Variable) -> tuple[Variable, ...]:
    """Return the operands that a value is computed from."""
    operation = variable.operation
    if operation is None or operation.identity_of is None:
        return variable.inputs
    return (variable.inputs[operation.identity_of],)


def is_change_of_form(variable: Variable) -> bool:
    """Whether a variable holds what its only input does, in another form."""
    return type(variable.operation) in _CHANGES_OF_FORM
