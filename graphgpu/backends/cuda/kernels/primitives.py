"""Element expressions as C: each primitive with NumPy's meaning and dtypes.

What dtype a primitive computes in and returns is asked of NumPy; numbers are
weak.  Where it computes in float16 (the exponential of an int8) here it computes
in float32, and rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import numpy as np

from graphgpu.backends.cuda.kernels.text import (
    Body,
    Value,
    literal,
    unsigned_type,
    value_type,
)
from graphgpu.dtypes import DType, accumulator, kind
from graphgpu.ops.expression import PRIMITIVES, Apply, Literal, Name, Tree

__all__ = ["evaluate"]

_BOOL = np.dtype(bool)
_CALLS = {
    **{
        name: name
        for name in (
            "exp expm1 exp2 log log1p log2 log10 sqrt sin cos tan asin acos atan atan2 "
            "sinh cosh tanh asinh acosh atanh floor ceil rint trunc copysign hypot "
            "fmod erf erfc normcdf"
        ).split()
    },
    "power": "pow",
    "abs": "fabs",
}
"""CUDA's functions of doubles; those of floats end in f."""
_INFIX = {
    "equal": "==",
    "not_equal": "!=",
    "less": "<",
    "less_equal": "<=",
    "greater": ">",
    "greater_equal": ">=",
}
_ARITHMETIC = {"add": "+", "subtract": "-", "multiply": "*"}
_LOGICAL = {"logical_and": "&&", "logical_or": "||", "logical_xor": "!="}
_EXACT = {"isnan": "false", "isinf": "false", "isfinite": "true"} | dict.fromkeys(
    ("floor", "ceil", "trunc"), ""
)
"""What tests and steps give of bools and integers; nothing: what they are given."""
_OF_BOOLS = {"add": "||", "multiply": "&&", "maximum": "||", "minimum": "&&"}


def evaluate(
    body: Body, tree: Tree, names: Mapping[str, Value], default: DType
) -> Value:
    """Write the statements of an expression; return its value.

    Parts without any array are computed in the ``default`` dtype.
    """
    match tree:
        case Literal(value=number):
            return Value("", default, number)
        case Name(name=name):
            return names[name]
        case Apply(primitive=primitive, arguments=arguments):
            given = [evaluate(body, a, names, default) for a in arguments]
            if all(v.number is not None for v in given):
                given = [body.convert(v, default) for v in given]
            return _apply(body, primitive, given)


def _apply(body: Body, primitive: str, given: list[Value]) -> Value:
    weak = tuple(v.dtype if v.number is None else type(v.number) for v in given)
    *inputs, output = _dtypes(primitive, weak)
    values = [body.convert(v, d) for v, d in zip(given, inputs, strict=True)]
    texts = [v.text for v in values]
    wide = accumulator(inputs[-1])
    result = body.name(
        _BOOL if output == _BOOL else wide, _text(body, primitive, texts, wide)
    )
    return body.convert(result, output)


@cache
def _dtypes(primitive: str, given: tuple[DType | type, ...]) -> tuple[DType, ...]:
    """Return the dtypes in which NumPy computes, and the result's."""
    if primitive == "where":
        *_, common = np.add.resolve_dtypes((*given[1:], None))
        return (_BOOL, common, common, common)
    function = PRIMITIVES[primitive]
    if not isinstance(function, np.ufunc):  # of ops/special.py
        return (given[0], given[0])  # type: ignore[return-value]
    dtypes: tuple[DType, ...] = function.resolve_dtypes((*given, None))
    return dtypes


def _text(body: Body, primitive: str, texts: list[str], dtype: DType) -> str:
    """Return a primitive of values of one dtype (and a condition)."""
    if primitive == "where":
        return f"{texts[0]} ? {texts[1]} : {texts[2]}"
    if primitive in _INFIX:
        return f"{texts[0]} {_INFIX[primitive]} {texts[1]}"
    if primitive in _LOGICAL:
        return f"({texts[0]} != 0) {_LOGICAL[primitive]} ({texts[1]} != 0)"
    if primitive == "logical_not":
        return f"{texts[0]} == 0"
    if kind(dtype) < 2 and primitive in _EXACT:
        return _EXACT[primitive] or texts[0]
    by_kind = (_of_bools, _of_integers, _of_floats)[kind(dtype)]
    return by_kind(body, primitive, texts, dtype)


def _of_bools(body: Body, primitive: str, texts: list[str], dtype: DType) -> str:
    if primitive in _OF_BOOLS:
        return f"{texts[0]} {_OF_BOOLS[primitive]} {texts[1]}"
    assert primitive == "abs", f"{primitive} of {dtype}"
    return texts[0]


def _of_floats(body: Body, primitive: str, texts: list[str], dtype: DType) -> str:
    x, *rest = texts
    suffix = "" if dtype.itemsize == 8 else "f"
    if primitive in _CALLS:
        return f"{_CALLS[primitive]}{suffix}({', '.join(texts)})"
    if primitive in ("maximum", "minimum", "sign"):
        return body.call(f"gg_{primitive}", *texts)
    if primitive in ("floor_divide", "remainder"):
        return body.call(f"gg_{primitive}{suffix}", *texts)
    if primitive in _ARITHMETIC or primitive == "divide":
        return f"{x} {_ARITHMETIC.get(primitive, '/')} {rest[0]}"
    infinity = literal(np.inf, dtype)
    forms = {
        "negative": f"-{x}",
        "square": f"{x} * {x}",
        "reciprocal": f"{literal(1, dtype)} / {x}",
        "isnan": f"{x} != {x}",
        "isinf": f"fabs{suffix}({x}) == {infinity}",
        "isfinite": f"fabs{suffix}({x}) < {infinity}",
        "signbit": f"copysign{suffix}({literal(1, dtype)}, {x}) < 0",
    }
    return forms[primitive]


def _of_integers(body: Body, primitive: str, texts: list[str], dtype: DType) -> str:
    """Compute unsigned, so that what overflows wraps; x / 0 is 0."""
    type_, unsigned = value_type(dtype), unsigned_type(dtype)
    wide = [f"({unsigned}){t}" for t in texts]
    x, y = texts[0], texts[-1]
    if primitive in _ARITHMETIC:
        return f"({type_})({wide[0]} {_ARITHMETIC[primitive]} {wide[1]})"
    if primitive == "power":
        power = body.call("gg_integer_power", x, wide[1])
        if dtype.kind == "u":
            return power
        return f"{y} < 0 ? {body.call('gg_inverse_power', x, y)} : {power}"
    if primitive in ("floor_divide", "remainder", "fmod"):
        if dtype.kind == "u":
            operator = "/" if primitive == "floor_divide" else "%"
            return f"{y} == 0 ? ({type_})0 : ({type_})({x} {operator} {y})"
        return body.call(f"gg_integer_{primitive}", x, y)
    negative = f"({type_})(({unsigned})0 - {wide[0]})"
    magnitude = x if dtype.kind == "u" else f"{x} < 0 ? {negative} : {x}"
    signs = f"{x} > 0" if dtype.kind == "u" else f"({x} > 0) - ({x} < 0)"
    units = f"{x} == 1" if dtype.kind == "u" else f"({x} == 1 || {x} == -1)"
    forms: dict[str, Callable[[], str]] = {
        "negative": lambda: negative,
        "square": lambda: f"({type_})({wide[0]} * {wide[0]})",
        "abs": lambda: magnitude,
        "sign": lambda: f"({type_})({signs})",
        "maximum": lambda: f"{x} > {y} ? {x} : {y}",
        "minimum": lambda: f"{x} < {y} ? {x} : {y}",
        "reciprocal": lambda: f"{units} ? {x} : ({type_})0",
    }
    return forms[primitive]()
