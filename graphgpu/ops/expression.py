"""Element expressions: one formula from which every device's code is made.

An elementwise operation declares what it does to one element as a line of
text, ``"maximum(x, 0) + log1p(exp(-abs(x)))"``.  It is parsed once into a small
tree of calls to primitives; here the tree becomes a NumPy function.  Names are
the operation's operands or its fields; numbers are weak, as everywhere.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import numpy as np

from graphgpu.errors import GraphError
from graphgpu.ops.special import erf, erfc, normcdf

__all__ = ["PRIMITIVES", "Apply", "Literal", "Name", "Tree", "numpy_function", "parse"]

PRIMITIVES: dict[str, Callable[..., Any]] = {
    name: getattr(np, name)
    for name in (
        "add subtract multiply divide floor_divide remainder power negative abs sign "
        "maximum minimum exp expm1 exp2 log log1p log2 log10 sqrt square reciprocal "
        "sin cos tan asin acos atan atan2 sinh cosh tanh asinh acosh atanh floor ceil "
        "rint trunc equal not_equal less less_equal greater greater_equal logical_and "
        "logical_or logical_xor logical_not isnan isinf isfinite signbit copysign "
        "where hypot fmod"
    ).split()
} | {"erf": erf, "erfc": erfc, "normcdf": normcdf}
"""The functions that an expression may call, each with its NumPy meaning."""

_OPERATORS: dict[type[ast.AST], str] = {
    ast.Add: "add",
    ast.Sub: "subtract",
    ast.Mult: "multiply",
    ast.Div: "divide",
    ast.FloorDiv: "floor_divide",
    ast.Mod: "remainder",
    ast.Pow: "power",
    ast.Eq: "equal",
    ast.NotEq: "not_equal",
    ast.Lt: "less",
    ast.LtE: "less_equal",
    ast.Gt: "greater",
    ast.GtE: "greater_equal",
}


@dataclass(frozen=True, slots=True)
class Literal:
    """A number."""

    value: float | int | bool


@dataclass(frozen=True, slots=True)
class Name:
    """An operand, or a field of the operation."""

    name: str


@dataclass(frozen=True, slots=True)
class Apply:
    """A primitive applied to expressions."""

    primitive: str
    arguments: tuple[Tree, ...]


Tree: TypeAlias = Literal | Name | Apply


@cache
def parse(text: str) -> Tree:
    """Return the tree of an expression.

    >>> parse("x * exp(-y)")  # doctest: +NORMALIZE_WHITESPACE
    Apply(primitive='multiply', arguments=(Name(name='x'),
          Apply(primitive='exp', arguments=(Apply(primitive='negative',
          arguments=(Name(name='y'),)),))))

    Raises
    ------
    GraphError
        It uses anything but numbers, names, operators and primitives.
    """
    try:
        return _tree(ast.parse(text, mode="eval").body)
    except (SyntaxError, KeyError, TypeError) as error:
        raise GraphError(f"element expression {text!r}: {error!r}") from None


def _tree(node: ast.expr) -> Tree:
    match node:
        case ast.Constant(value=bool() | int() | float() as value):
            return Literal(value)
        case ast.Name(id=name):
            return Name(name)
        case ast.BinOp(left=left, op=op, right=right):
            return Apply(_OPERATORS[type(op)], (_tree(left), _tree(right)))
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            return Apply(_OPERATORS[type(op)], (_tree(left), _tree(right)))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return Apply("negative", (_tree(operand),))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            if name not in PRIMITIVES:
                raise KeyError(name)
            return Apply(name, tuple(_tree(a) for a in arguments))
    raise TypeError(ast.unparse(node))


@cache
def numpy_function(text: str, names: tuple[str, ...]) -> Callable[..., Any]:
    """Return a NumPy function of the names for an expression.

    >>> numpy_function("maximum(x, 0) * y", ("x", "y"))(np.float32(2), np.float32(3))
    np.float32(6.0)
    """
    source = f"lambda {', '.join(names)}: {_numpy_source(parse(text), names)}"
    function: Callable[..., Any] = eval(source, dict(PRIMITIVES))
    return function


def _numpy_source(tree: Tree, names: Sequence[str]) -> str:
    match tree:
        case Literal(value=value):
            return repr(value)
        case Name(name=name):
            if name not in names:
                raise GraphError(f"an element expression uses {name!r}, not in {names}")
            return name
        case Apply(primitive=primitive, arguments=arguments):
            inner = ", ".join(_numpy_source(a, names) for a in arguments)
            return f"{primitive}({inner})"
