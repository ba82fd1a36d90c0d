"""Shapes, lines and colours, and the legend that says what they mean.

The colours are of the palette of Okabe and Ito ("Color Universal Design",
2008), which the colour-blind tell apart, the fills lightened so that text is
read on them.  Nothing is said by colour alone: the phases also differ in the
line around a node, the kinds of leaves in their shape, so a drawing can be
printed in grey.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from graphgpu.draw.dot import markup
from graphgpu.graph import Constant, Parameter, Placeholder, State, Variable

__all__ = [
    "body_look",
    "box_look",
    "caption",
    "heat_look",
    "heat_text",
    "kind_of",
    "leaf_look",
    "phase_look",
    "scope_look",
]

Look = Mapping[str, object]

INK = "#333333"
FAINT = "#767676"
SERIF = "serif"
SANS = "sans-serif"

_PHASES: dict[str, Look] = {
    "forward": {"style": "filled", "color": "#0072B2", "fillcolor": "#EAF4FB"},
    "gradient": {
        "style": "filled,dashed",
        "color": "#B04A00",
        "fillcolor": "#FBE6D5",
    },
    "update": {
        "style": "filled",
        "penwidth": 2.2,
        "color": "#00724F",
        "fillcolor": "#CDEBDD",
    },
}
_LEAVES: dict[str, Look] = {
    "placeholder": {
        "shape": "ellipse",
        "style": "filled",
        "color": INK,
        "fillcolor": "white",
    },
    "parameter": {
        "shape": "cylinder",
        "style": "filled",
        "color": "#8A6D00",
        "fillcolor": "#FFF3B8",
    },
    "state": {
        "shape": "cylinder",
        "style": "filled,dashed",
        "color": "#555555",
        "fillcolor": "#EFEFEF",
    },
    "constant": {"shape": "plaintext", "width": 0.2, "height": 0.25, "margin": 0.03},
    "key": {
        "shape": "diamond",
        "style": "filled",
        "color": "#7A3F62",
        "fillcolor": "#F4E3ED",
    },
}


def kind_of(variable: Variable) -> str:
    """Return what a variable is: ``operation``, or the kind of leaf."""
    if variable.operation is not None:
        return "operation"
    for kind in (Placeholder, Parameter, State, Constant):
        if isinstance(variable, kind):
            return kind.__name__.lower()
    return "key"


def phase_look(phase: str) -> Look:
    """Return the line and the fill of what is computed in a phase."""
    return _PHASES[phase]


def leaf_look(kind: str) -> Look:
    """Return the shape, line and fill of a kind of leaf."""
    return _LEAVES[kind]


def box_look(phase: str) -> Look:
    """Return the look of a scope that is drawn as one node."""
    return {**_PHASES[phase], "shape": "box3d", "margin": 0.12}


def heat_look(share: float, most: float) -> Look:
    """Return the fill of what takes a share of the time: white to orange.

    ``most`` is the largest share in the drawing.
    """
    part = (share / most) ** 0.5 if most > 0 else 0.0
    hot, cold = (0xFF, 0xB3, 0x70), (0xFF, 0xFF, 0xFF)
    mixed = (round(c + (h - c) * part) for h, c in zip(hot, cold, strict=True))
    return {"fillcolor": "#" + "".join(f"{v:02X}" for v in mixed)}


def heat_text(share: float) -> str:
    """Return a share as it is written at a node.

    >>> heat_text(0.1234), heat_text(0.0001), heat_text(0.0)
    ('12.3 %', '< 0.1 %', '')
    """
    if share < 0.001:
        return "< 0.1 %" if share > 0 else ""
    return f"{share:.1%}".replace("%", " %")


def scope_look(label: str, phase: str, level: int) -> Look:
    """Return the look of the cluster around a scope, or around a phase."""
    fill = ("#F6F6F6", "#EDEDED", "#E4E4E4")[min(level, 2)]
    return {
        "label": label,
        "style": "filled,rounded",
        "color": "#C4C4C4",
        "fillcolor": fill,
        "fontcolor": _PHASES[phase]["color"] if phase != "forward" else INK,
        "fontsize": 11,
        "labeljust": "l",
        "margin": 10,
    }


def body_look(label: str) -> Look:
    """Return the look of the cluster around a subgraph that an operation owns."""
    look = {"label": label, "style": "dashed,rounded", "color": FAINT}
    return {**look, "fontcolor": FAINT, "fontsize": 10, "margin": 8}


def caption(
    title: str | None, phases: Sequence[str], leaves: Iterable[str], heat: bool = False
) -> str:
    """Return markup with the title and a row that shows what each look means."""
    rows = [f"<TR><TD>{markup(title)}</TD></TR>"] if title is not None else []
    if heat:
        rows.append(f"<TR>{_meaning('fill and per cent: share of the time')}</TR>")
    looks = [(k, _LEAVES[k]) for k in leaves if k != "constant"]
    looks += [(p, _PHASES[p]) for p in phases]
    if phases:
        cells = "".join(f"{_sample(look)}{_meaning(name)}" for name, look in looks)
        cells += _meaning("double line: output", FAINT)
        table = '<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="4">'
        rows.append(f"<TR><TD>{table}<TR>{cells}</TR></TABLE></TD></TR>")
    return f'<TABLE BORDER="0" CELLBORDER="0">{"".join(rows)}</TABLE>'


def _sample(look: Look) -> str:
    line = "DASHED" if "dashed" in str(look["style"]) else "SOLID"
    line = "ROUNDED" if look.get("shape") == "ellipse" else line
    width = 2 if "penwidth" in look else 1
    return (
        f'<TD FIXEDSIZE="TRUE" WIDTH="22" HEIGHT="12" BORDER="{width}" '
        f'STYLE="{line}" COLOR="{look["color"]}" BGCOLOR="{look["fillcolor"]}"></TD>'
    )


def _meaning(text: str, colour: str = INK) -> str:
    font = f'<FONT POINT-SIZE="9" COLOR="{colour}">'
    return f'<TD ALIGN="LEFT">{font}{text}&#160;&#160;</FONT></TD>'
