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
from typing import TypeAlias

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

    __slots__ = ("_hash", "terms")

    terms: tuple[tuple[Monomial, int], ...]

    def __init__(self, terms: tuple[tuple[Monomial, int], ...]) -> None:
        self.terms = terms
        self._hash = hash(terms)

    def __eq__(self, other: object) -> bool:
        """Whether both are the same polynomial."""
        return isinstance(other, Dim) and self.terms == other.terms

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple[type[Dim], tuple[object]]:
        return Dim, (self.terms,)

    def __add__(self, other: Size) -> Size:
        return _sum(self.terms + _terms(other))

    __radd__ = __add__

    def __neg__(self) -> Size:
        return self * -1

    def __sub__(self, other: Size) -> Size:
        return self + other * -1

    def __rsub__(self, other: Size) -> Size:
        return self * -1 + other

    def __mul__(self, other: Size) -> Size:
        return _sum(
            tuple(
                (tuple(sorted(m + n, key=str)), a * b)
                for m, a in self.terms
                for n, b in _terms(other)
            )
        )

    __rmul__ = __mul__

    def __floordiv__(self, other: Size) -> Size:
        return _floor_div(self, other)

    def __rfloordiv__(self, other: Size) -> Size:
        return _floor_div(other, self)

    def __mod__(self, other: Size) -> Size:
        return self - (self // other) * other

    def __bool__(self) -> bool:
        raise ShapeError(f"size {self} is not known until the program is called")

    def __repr__(self) -> str:
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
    """Return ``left / right`` rounded up."""
    return -((-left) // right)


def minimum_size(left: Size, right: Size) -> Size:
    """Return the smaller of two sizes, as an expression if it must be."""
    if isinstance(left, int) and isinstance(right, int):
        return min(left, right)
    if _is_nonnegative(right - left):
        return left
    if _is_nonnegative(left - right):
        return right
    return _atom(Call("min", left, right))


def maximum_size(left: Size, right: Size) -> Size:
    """Return the larger of two sizes, as an expression if it must be."""
    if isinstance(left, int) and isinstance(right, int):
        return max(left, right)
    if _is_nonnegative(left - right):
        return left
    if _is_nonnegative(right - left):
        return right
    return _atom(Call("max", left, right))


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
    if isinstance(left, int) and isinstance(right, int):
        return left // right
    if right == 0:
        raise ShapeError(f"size {left} divided by zero")
    whole, rest = _divide_terms(left, right)
    if rest == 0:
        return whole
    if isinstance(rest, int) and isinstance(right, int):
        return whole + rest // right
    return whole + _nested_floor_div(rest, right)


def _nested_floor_div(left: Size, right: Size) -> Size:
    """Return (a // b) // c as a // (b c), where b and c are known and positive."""
    if isinstance(left, Dim) and isinstance(right, int) and right > 0:
        inner = left.terms[0][0][0] if left.terms[0][0] else ""
        if isinstance(inner, Call) and left == _atom(inner) and inner.function == "//":
            divisor = inner.right
            if isinstance(divisor, int) and divisor > 0:
                return inner.left // (divisor * right)
    return _atom(Call("//", left, right))


def _divide_terms(left: Size, right: Size) -> tuple[Size, Size]:
    """Split ``left`` into ``right * whole + rest``, term by term.

    Exact for an integer or one-monomial divisor; another leaves all in rest.
    """
    divisor = _terms(right)
    if len(divisor) != 1:
        return 0, left
    (names, factor) = divisor[0]
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
