"""What a docstring says of a function in its section "Properties".

The section has a line ``key : value`` for each property; a value may go on in
indented lines.  Formulas are Python expressions of NumPy's functions, so that they
can be evaluated: the tests do, and the page prints them.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphgpu.ops.special import erf, erfc

__all__ = ["KEYS", "Equation", "Interval", "Kink", "evaluated", "kinks", "properties"]

KEYS = (
    "formula",
    "derivative",
    "range",
    "monotone",
    "kinks",
    "saturates",
    "scale",
    "shift",
    "symmetry",
)
"""What the docstring of a function of one number says, in this order."""

_HEADING = re.compile(r"^Properties\n-+\n", re.MULTILINE)
_NEXT = re.compile(r"^\S.*\n-{3,}$", re.MULTILINE)
_KINK = re.compile(r"([^\s(]+)\s*(?:\(slope ([^)]+)\))?")


def properties(function: Callable[..., Any]) -> dict[str, str]:
    """Return the properties that a docstring names, in order; none: empty."""
    text = inspect.getdoc(function) or ""
    start = _HEADING.search(text)
    if start is None:
        return {}
    section = text[start.end() :]
    if end := _NEXT.search(section):
        section = section[: end.start()]
    found: dict[str, str] = {}
    key = ""
    for line in section.strip().splitlines():
        if line.startswith(" ") and key:
            found[key] += " " + line.strip()
        elif " : " in line:
            key, value = line.split(" : ", 1)
            found[key.strip()] = value.strip()
        elif line.strip():
            break
    return found


@dataclass(frozen=True)
class Interval:
    """A set of numbers between two ends, each of which belongs to it or does not."""

    low: float
    high: float
    low_attained: bool
    high_attained: bool

    @classmethod
    def of(cls, text: str) -> Interval:
        """Read ``[0, inf)``."""
        inner = text.strip()
        low, high = (_number(part) for part in inner[1:-1].split(","))
        return cls(low, high, inner[0] == "[", inner[-1] == "]")


@dataclass(frozen=True)
class Kink:
    """A point where the slope jumps, and the slope that the gradient has there."""

    point: float
    slope: float | None


def kinks(text: str) -> list[Kink]:
    """Read ``-3 (slope 0), 3 (slope 1)``; of ``none`` there is none.

    >>> kinks("0 (slope 1/2)")
    [Kink(point=0.0, slope=0.5)]
    """
    if text == "none":
        return []
    found = []
    for part in text.split(","):
        match = _KINK.fullmatch(part.strip())
        if match is None:
            raise ValueError(f"expected 'point (slope s)'; got {part!r}")
        point, slope = match.groups()
        found.append(Kink(_number(point), None if slope is None else _number(slope)))
    return found


@dataclass(frozen=True)
class Equation:
    """Two expressions that are equal for all numbers in their names."""

    left: str
    right: str

    @classmethod
    def of(cls, text: str) -> Equation:
        """Read ``f(a * x) == a * f(x)``."""
        left, right = text.split("==")
        return cls(left.strip(), right.strip())


def evaluated(expression: str, names: Mapping[str, Any]) -> Any:
    """Return the value of an expression in some names and NumPy's functions."""
    known = {name: getattr(np, name) for name in np.__all__ if name not in names}
    known |= {"erf": erf, "erfc": erfc, "inf": math.inf, "sigmoid": _sigmoid}
    with np.errstate(all="ignore"):
        return eval(expression, {"__builtins__": {}}, known | dict(names))


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def _number(text: str) -> float:
    return float(evaluated(text, {}))
