"""What is written at the nodes: names, operations, numbers, types."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

import numpy as np

from graphgpu.dims import Dim
from graphgpu.graph import Constant, Operation, Subgraph, Variable
from graphgpu.ops.creation import Extent, Full
from graphgpu.ops.elementwise import Elementwise
from graphgpu.types import TensorType, TupleType, Type

__all__ = [
    "attributes",
    "bodies",
    "formula",
    "constant_text",
    "is_commutative",
    "known_number",
    "number",
    "shorten",
    "symbol",
    "tooltip",
    "type_text",
]

_SYMBOLS = {
    "add": "+",
    "subtract": "−",
    "multiply": "×",
    "divide": "/",
    "equal": "=",
    "not_equal": "≠",
    "less": "<",
    "less_equal": "≤",
    "greater": ">",
    "greater_equal": "≥",
    "sigmoid": "σ",
}
_FORMULAS = {
    "negative": "−x",
    "square": "x²",
    "sqrt": "√x",
    "reciprocal": "1 / x",
    "abs": "|x|",
}
_COMMUTATIVE = frozenset(
    "add multiply maximum minimum equal not_equal logical_and logical_or "
    "logical_xor logaddexp bitwise_and bitwise_or bitwise_xor hypot".split()
)
# Fields that the type of the result already says, and keys of random numbers.
_IMPLIED = frozenset(("shape", "dtype", "key", "size", "length", "geometry"))
_NEUTRAL = {
    "stride": 1,
    "padding": 0,
    "dilation": 1,
    "groups": 1,
    "keepdims": False,
    "output_padding": 0,
}
_LONGEST = 28


def symbol(operation: Operation) -> str:
    """Return the sign that a book would write for an operation, or its name.

    >>> import graphgpu as gg
    >>> x = gg.placeholder("x", ())
    >>> symbol((x * x).operation), symbol(gg.exp(x).operation)
    ('×', 'exp')
    """
    kind = operation.kind()
    return _SYMBOLS.get(kind, kind)


def is_commutative(operation: Operation) -> bool:
    """Whether the order of the operands does not matter to the reader."""
    return operation.kind() in _COMMUTATIVE


def formula(operation: Operation, constants: Sequence[str | None]) -> str | None:
    """Return an operation with its constant operands written in.

    The entries are the texts of the constant operands, None for the others.  None
    is the answer where the operation's sign or name says it all.

    >>> import graphgpu as gg
    >>> y = 1 - gg.placeholder("x", ())
    >>> formula(y.operation, ["1", None]), formula(y.operation, ["n + 1", "n"])
    ('1 − x', '(n + 1) − n')
    """
    kind = operation.kind()
    letters = iter("xyzuvw")
    terms = [next(letters, "…") if text is None else text for text in constants]
    if kind in _FORMULAS and len(terms) == 1:
        return _FORMULAS[kind].replace("x", _bracketed(terms[0], "*"))
    if all(text is None for text in constants):
        return None
    if kind in _SYMBOLS and len(terms) == 2:
        if kind == "multiply" and constants[0] is None:
            terms.reverse()
        tight = "*" if kind in ("multiply", "divide") else ""
        left, right = (_bracketed(term, tight) for term in terms)
        return f"{left} {_SYMBOLS[kind]} {right}"
    return f"{kind}({', '.join(terms)})"


def _bracketed(term: str, signs: str) -> str:
    """Return a term with brackets around it if it is compound."""
    compound = " " in term or any(sign in term for sign in signs)
    is_call = term.endswith(")") and term.partition("(")[0].isidentifier()
    return f"({term})" if compound and not is_call else term


def attributes(operation: Operation, inputs: Sequence[Variable]) -> list[str]:
    """Return the attributes worth reading, such as ``stride 2``.

    >>> import graphgpu as gg
    >>> y = gg.sum(gg.placeholder("x", (2, 3)), axis=1)
    >>> attributes(y.operation, y.inputs)
    ['axis 1']
    """
    if isinstance(operation, Elementwise) and not dataclasses.fields(operation):  # type: ignore[arg-type]
        return []
    texts = []
    for field in dataclasses.fields(operation):  # type: ignore[arg-type]
        value = getattr(operation, field.name)
        if not _is_salient(field, value, inputs):
            continue
        name = field.name.replace("_", " ")
        if value is True:
            texts.append(name)
        else:
            listed = isinstance(value, tuple) and len(value) == 1
            name = "axis" if name == "axes" and listed else name
            texts.append(shorten(f"{name} {_field_text(value)}"))
    return texts


def _is_salient(field: Any, value: object, inputs: Sequence[Variable]) -> bool:
    """Whether a field says more than the types do and is not as usual."""
    if field.name in _IMPLIED or isinstance(value, Subgraph) or value is None:
        return False
    if field.name in _NEUTRAL:
        usual = _NEUTRAL[field.name]
        return any(v != usual for v in _flat(value))
    if field.name == "axes" and inputs and isinstance(inputs[0].type, TensorType):
        return value != tuple(range(inputs[0].type.ndim)) and value != ()
    if isinstance(value, tuple) and any(isinstance(v, Subgraph) for v in value):
        return False
    return not (value is False or value == field.default)


def _flat(value: object) -> list[object]:
    if isinstance(value, tuple):
        return [leaf for part in value for leaf in _flat(part)]
    return [value]


def _field_text(value: object) -> str:
    leaves = _flat(value)
    if isinstance(value, tuple) and leaves:
        alike = len(leaves) > 1 and all(v == leaves[0] for v in leaves)
        if alike or len(value) == 1:
            return _field_text(leaves[0])
        return f"({', '.join(_field_text(v) for v in value)})"
    if isinstance(value, bool | int | float):
        return number(value)
    return value.name if isinstance(value, np.dtype) else str(value)


def bodies(operation: Operation) -> list[tuple[str, Subgraph]]:
    """Return the subgraphs that an operation owns, with the names of their fields."""
    found = []
    for field in dataclasses.fields(operation):  # type: ignore[arg-type]
        value = getattr(operation, field.name)
        if isinstance(value, Subgraph):
            found.append((field.name, value))
        elif isinstance(value, tuple):
            found += [
                (f"{field.name} {place}", part)
                for place, part in enumerate(value)
                if isinstance(part, Subgraph)
            ]
    return found


def number(value: Any) -> str:
    """Return a number as a reader writes it: four digits, no needless zeros.

    >>> number(1.0), number(0.1), number(1e-5), number(3)
    ('1', '0.1', '1e-05', '3')
    """
    if isinstance(value, Dim):
        return str(value)
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, int | np.integer):
        return str(int(value))
    return f"{float(value):.4g}"


def constant_text(variable: Constant) -> str | None:
    """Return the numbers of a constant, if they are few."""
    array = variable.value
    if array.ndim == 0:
        return number(array[()])
    if array.ndim == 1 and 0 < array.size <= 3:
        return f"[{', '.join(number(v) for v in array)}]"
    return None


def known_number(variable: Variable) -> str | None:
    """Return the one number that a variable is, or is filled with.

    >>> import graphgpu as gg
    >>> known_number(gg.zeros((2, 3))), known_number(gg.constant(0.5))
    ('0', '0.5')
    """
    operation = variable.operation
    if isinstance(operation, Full):
        return number(operation.value)
    if isinstance(operation, Extent):
        return number(operation.size)
    if isinstance(variable, Constant) and variable.ndim == 0:
        return number(variable.value[()])
    return None


def type_text(type_: Type) -> str:
    """Return a type; of float32, the dtype of most arrays, the shape alone.

    >>> import numpy as np
    >>> type_text(TensorType(np.dtype("float32"), (2, 3)))
    '[2,3]'
    """
    if isinstance(type_, TupleType):
        return f"({', '.join(map(type_text, type_.components))})"
    return str(type_).removeprefix("float32")


def tooltip(variable: Variable) -> str:
    """Return what an SVG says of a node under the pointer.

    The file is named without its folder, so that a drawing is the same on every
    machine.  Graphviz reads the backslashes of a tooltip twice, hence there are
    none in it.
    """
    made = variable.operation or type(variable).__name__
    place = f"{PurePath(variable.trace.filename).name}:{variable.trace.line}"
    text = f"{variable.path}: {variable.type}\n{shorten(str(made), 200)}\n{place}"
    return text.replace("\\", "\N{REVERSE SOLIDUS OPERATOR}")


def shorten(text: str, longest: int = _LONGEST) -> str:
    """Return a text, its end cut off where it is too long to draw.

    >>> shorten("a very long name", 8)
    'a very …'
    """
    return text if len(text) <= longest else text[: longest - 1] + "…"
