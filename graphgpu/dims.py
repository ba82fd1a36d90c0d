"""Sizes that are not known until a program is called.

A dimension is an ``int``, or a :class:`Dim`: an integer expression in named
sizes, built from sums, products, floor division, minimum and maximum.  A
``Dim`` is kept as a polynomial with integer coefficients whose atoms are names
and the calls ``a // b``, ``min(a, b)`` and ``max(a, b)``; two expressions that
are the same polynomial are equal, so most questions about shapes are decided
while the graph is built.  A name stands for any integer >= 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import gcd
from typing import SupportsIndex, TypeAlias

from graphgpu.errors import ShapeError

__all__ = [
    "Dim",
    "Size",
    "ceil_div",
    "dim",
    "evaluate_size",
    "maximum_size",
    "minimum_size",
    "product",
    "symbols_of",
]


@dataclass(frozen=True, slots=True)
class Call:
    """An atom that is not a name: ``left // right``, ``min`` or ``max``."""

    function: str
    left: Size
    right: Size

    def __str__(self) -> str:
        """Print as Python would write it."""
        if self.function == "//":
            return f"{_bracketed(self.left)}//{_bracketed(self.right)}"
        return f"{self.function}({self.left}, {self.right})"


Atom: TypeAlias = "str | Call"
Monomial: TypeAlias = "tuple[Atom, ...]"


class Dim:
    """A symbolic size; arithmetic gives an ``int`` as soon as it can.

    >>> h = dim("h")
    >>> (2 * h + 6) // 2
    h + 3
    >>> h - h
    0
    >>> (h * 3) // h
    3
    >>> ((h - 1) // 2 + 1).evaluate({"h": 7})
    4
    """

    __slots__ = ("_hash", "_text", "terms")

    terms: tuple[tuple[Monomial, int], ...]

    def __init__(self, terms: tuple[tuple[Monomial, int], ...]) -> None:
        self.terms = terms
        self._hash = hash(terms)
        self._text: str | None = None

    def __eq__(self, other: object) -> bool:
        """Whether both are the same polynomial."""
        return isinstance(other, Dim) and self.terms == other.terms

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple[type[Dim], tuple[object]]:
        return Dim, (self.terms,)

    def __add__(self, other: Size) -> Size:
        size = _size(other)
        return NotImplemented if size is None else _sum(self.terms + _terms(size))

    __radd__ = __add__

    def __neg__(self) -> Size:
        return self * -1

    def __sub__(self, other: Size) -> Size:
        size = _size(other)
        return NotImplemented if size is None else self + size * -1

    def __rsub__(self, other: Size) -> Size:
        return self * -1 + other

    def __mul__(self, other: Size) -> Size:
        size = _size(other)
        if size is None:
            return NotImplemented
        return _sum(
            tuple(
                (tuple(sorted(m + n, key=str)), a * b)
                for m, a in self.terms
                for n, b in _terms(size)
            )
        )

    __rmul__ = __mul__

    def __floordiv__(self, other: Size) -> Size:
        size = _size(other)
        return NotImplemented if size is None else _floor_div(self, size)

    def __rfloordiv__(self, other: Size) -> Size:
        size = _size(other)
        return NotImplemented if size is None else _floor_div(size, self)

    def __mod__(self, other: Size) -> Size:
        size = _size(other)
        return NotImplemented if size is None else self - (self // size) * size

    def __rmod__(self, other: Size) -> Size:
        size = _size(other)
        return NotImplemented if size is None else size - (size // self) * self

    def __bool__(self) -> bool:
        raise ShapeError(f"size {self} is not known until the program is called")

    def __repr__(self) -> str:
        # Kept, as terms are ordered by how they print, and a call prints its parts
        # twice: without, the time is exponential in how deep calls are nested.
        if self._text is None:
            self._text = self._print()
        return self._text

    def _print(self) -> str:
        text = ""
        for monomial, factor in self.terms:
            sign = " - " if factor < 0 else " + "
            body = "*".join(
                _factor_text(a, len(monomial) + (factor != 1)) for a in monomial
            )
            size = abs(factor)
            part = str(size) if not body else body if size == 1 else f"{size}*{body}"
            text += (sign if text else "-" if factor < 0 else "") + part
        return text

    def evaluate(self, sizes: Mapping[str, int]) -> int:
        """Return the value when each name has the size given.

        Raises
        ------
        ShapeError
            A name has no size.
        """
        total = 0
        for monomial, factor in self.terms:
            value = factor
            for atom in monomial:
                value *= _evaluate_atom(atom, sizes)
            total += value
        return total

    def symbols(self) -> frozenset[str]:
        """Return the names that the expression depends on."""
        found: set[str] = set()
        for monomial, _ in self.terms:
            for atom in monomial:
                if isinstance(atom, str):
                    found.add(atom)
                else:
                    found |= symbols_of(atom.left) | symbols_of(atom.right)
        return frozenset(found)


Size: TypeAlias = int | Dim


def dim(name: str) -> Dim:
    """Return the named size.

    Raises
    ------
    ShapeError
        The name is not an identifier.
    """
    if not name.isidentifier():
        raise ShapeError(
            f"a dimension's name must be an identifier such as 'batch'; got {name!r}"
        )
    return Dim((((name,), 1),))


def symbols_of(size: Size) -> frozenset[str]:
    """Return the names in a size; none in an ``int``."""
    return size.symbols() if isinstance(size, Dim) else frozenset()


def evaluate_size(size: Size, sizes: Mapping[str, int]) -> int:
    """Return the value of a size when each name has the size given."""
    return size.evaluate(sizes) if isinstance(size, Dim) else size


def product(shape: tuple[Size, ...]) -> Size:
    """Return the number of elements of a shape.

    >>> product((2, dim("n"), 3))
    6*n
    """
    total: Size = 1
    for size in shape:
        total = total * size
    return total


def ceil_div(left: Size, right: Size) -> Size:
    """Return ``left / right`` rounded up.

    >>> ceil_div(dim("h"), 2)
    (h + 1)//2
    """
    if isinstance(right, int) and right > 0:
        return (left + (right - 1)) // right
    return -((-left) // right)


def minimum_size(left: Size, right: Size) -> Size:
    """Return the smaller of two sizes, as an expression if it must be."""
    if isinstance(left, int) and isinstance(right, int):
        return min(left, right)
    if _is_nonnegative(right - left):
        return left
    if _is_nonnegative(left - right):
        return right
    return _atom(Call("min", *sorted((left, right), key=str)))


def maximum_size(left: Size, right: Size) -> Size:
    """Return the larger of two sizes, as an expression if it must be."""
    if isinstance(left, int) and isinstance(right, int):
        return max(left, right)
    if _is_nonnegative(left - right):
        return left
    if _is_nonnegative(right - left):
        return right
    return _atom(Call("max", *sorted((left, right), key=str)))


def _size(value: object) -> Size | None:
    """Return an operand as a size; None if it is no whole number."""
    if isinstance(value, Dim):
        return value
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        return None
    return value.__index__()


def _atom(atom: Atom) -> Dim:
    return Dim((((atom,), 1),))


def _terms(size: Size) -> tuple[tuple[Monomial, int], ...]:
    if isinstance(size, Dim):
        return size.terms
    return (((), int(size)),) if size else ()


def _sum(terms: tuple[tuple[Monomial, int], ...]) -> Size:
    """Collect equal monomials; names first, the constant last."""
    table: dict[Monomial, int] = {}
    for monomial, factor in terms:
        table[monomial] = table.get(monomial, 0) + factor
    kept = [(m, f) for m, f in table.items() if f]
    if not kept:
        return 0
    if len(kept) == 1 and not kept[0][0]:
        return kept[0][1]
    return Dim(tuple(sorted(kept, key=lambda t: (-len(t[0]), [str(a) for a in t[0]]))))


def _floor_div(left: Size, right: Size) -> Size:
    if right == 0:
        raise ShapeError(f"size {left} divided by zero")
    if left == right:
        return 1
    if _terms(right)[0][1] < 0:
        left, right = -left, -right
    if isinstance(right, int):
        return _divide_by_int(left, right)
    whole, rest = _divide_terms(left, right)
    return whole if rest == 0 else _atom(Call("//", rest, right)) + whole


def _divide_by_int(left: Size, right: int) -> Size:
    """Return ``left // right`` for a divisor above 0.

    With d the divisor, whole multiples of d leave the quotient; a factor g of d
    that all terms but the constant c share is divided out, by ⌊(gx + c) / gd⌋ =
    ⌊(x + ⌊c/g⌋) / d⌋; and ⌊(⌊a/b⌋ + c) / d⌋ = ⌊(a + bc) / bd⌋.
    """
    if isinstance(left, int):
        return left // right
    whole = _sum(tuple((m, f // right) for m, f in left.terms))
    rest = _sum(tuple((m, f % right) for m, f in left.terms))
    if isinstance(rest, int):
        return whole
    shared = gcd(right, *(f for m, f in rest.terms if m))
    rest = _sum(tuple((m, f // shared) for m, f in rest.terms))
    right //= shared
    if right == 1:
        return whole + rest
    inner = [
        m[0]
        for m, f in _terms(rest)
        if f == 1 and len(m) == 1 and isinstance(m[0], Call) and m[0].function == "//"
    ]
    if len(inner) == 1 and isinstance(inner[0].right, int):
        divisor = inner[0].right
        others = rest - _atom(inner[0])
        return whole + (inner[0].left + others * divisor) // (divisor * right)
    return _atom(Call("//", rest, right)) + whole


def _divide_terms(left: Size, right: Dim) -> tuple[Size, Size]:
    """Split ``left`` into ``right * whole + rest``, term by term.

    Exact for a divisor of one monomial; another leaves all in rest.
    """
    if len(right.terms) != 1:
        return 0, left
    ((names, factor),) = right.terms
    whole: list[tuple[Monomial, int]] = []
    rest: list[tuple[Monomial, int]] = []
    for monomial, value in _terms(left):
        remaining = list(monomial)
        fits = value % factor == 0
        for atom in names:
            if fits and atom in remaining:
                remaining.remove(atom)
            else:
                fits = False
        if fits:
            whole.append((tuple(remaining), value // factor))
        else:
            rest.append((monomial, value))
    return _sum(tuple(whole)), _sum(tuple(rest))


def _is_nonnegative(size: Size) -> bool:
    """Whether a size is surely >= 0, all names being >= 0."""
    if isinstance(size, int):
        return size >= 0
    return all(
        factor > 0 and all(_atom_is_nonnegative(a) for a in monomial)
        for monomial, factor in size.terms
    )


def _atom_is_nonnegative(atom: Atom) -> bool:
    if isinstance(atom, str):
        return True
    left, right = _is_nonnegative(atom.left), _is_nonnegative(atom.right)
    return left or right if atom.function == "max" else left and right


def _evaluate_atom(atom: Atom, sizes: Mapping[str, int]) -> int:
    if isinstance(atom, str):
        if atom not in sizes:
            raise ShapeError(f"size {atom!r} is not given by any input")
        return sizes[atom]
    left = evaluate_size(atom.left, sizes)
    right = evaluate_size(atom.right, sizes)
    if atom.function == "min":
        return min(left, right)
    if atom.function == "max":
        return max(left, right)
    if right == 0:
        raise ShapeError(f"{atom}: divided by zero, as {atom.right} is 0")
    return left // right


def _bracketed(size: Size) -> str:
    simple = isinstance(size, int) or (
        len(size.terms) == 1 and size.terms[0][1] == 1 and len(size.terms[0][0]) == 1
    )
    nested = isinstance(size, Dim) and "//" in str(size)
    return str(size) if simple and not nested else f"({size})"


def _factor_text(atom: Atom, factors: int) -> str:
    text = str(atom)
    return f"({text})" if factors > 1 and "//" in text else text
