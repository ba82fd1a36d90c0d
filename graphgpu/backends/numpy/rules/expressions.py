"""Expressions of elements as statements: each part once, in memory at hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from graphgpu.backends.numpy.body import Body
from graphgpu.backends.numpy.storage import View
from graphgpu.backends.numpy.translation import Value
from graphgpu.dtypes import DType
from graphgpu.ops.expression import PRIMITIVES, Apply, Literal, Name, Tree

__all__ = ["BOUNDS", "Form", "Operand", "Writer", "formed", "lines"]

_BOOLEAN = frozenset(
    "equal not_equal less less_equal greater greater_equal logical_and logical_or "
    "logical_xor logical_not isnan isinf isfinite signbit".split()
)
BOUNDS = ("maximum", "minimum")
_FEW = 1024
"""Elements below which an exponential costs less than a call with a conversion."""
_COSTLY = frozenset(
    "exp expm1 exp2 log log1p log2 log10 tanh sinh cosh sin cos tan power erf erfc "
    "normcdf".split()
)
"""What is looked for among what other operations of a block have computed."""


@dataclass(frozen=True, slots=True)
class Operand:
    """A name in the code, its dtype, and whether it is a number."""

    view: View | str
    dtype: DType
    number: float | None = None


@dataclass(frozen=True, slots=True)
class Form:
    """How all arrays of an operation are seen: flat, in lines, or as they are."""

    kind: str
    shape: tuple[int, ...]
    """The output's shape."""
    row: int = 0
    """The length of a line."""


def lines(value: Value, length: int) -> View:
    """Return a contiguous tile as rows of a length."""
    return value.view.then(
        f"by{length}", lambda a, _: a.reshape(a.size // length, length), True
    )


def formed(value: Value, form: Form) -> View:
    """Return the output, or memory like it, in the form."""
    if form.kind == "flat":
        return value.view.then("flat", lambda a, _: a.reshape(-1), True)
    if form.kind == "lines":
        return lines(value, form.row)
    return value.view


class Writer:
    """Writes the tree of an expression."""

    def __init__(
        self,
        body: Body,
        names: dict[str, Operand],
        form: Form,
        out: Value,
        dtype: DType,
        tree: Tree,
    ) -> None:
        self.body = body
        self.names = names
        self.form = form
        self.out = out
        self.dtype = dtype
        """What numbers that meet no array are computed in."""
        self.parts = frozenset(_parts(tree))
        self.done: dict[Tree, Operand] = {}
        """Where the parts of the tree are that have been computed."""

    def root(self, tree: Tree, target: Operand) -> None:
        """Write the tree so that its value ends in the target."""
        if isinstance(tree, Apply) and self._found(tree) is None:
            self._apply(tree, target)
        else:
            value = self.value(tree, target.dtype)
            self.body.copy(target.view, value)  # type: ignore[arg-type]

    def operand(self, tree: Tree) -> Operand:
        """Write a part of the tree; return where its value is."""
        match tree:
            case Literal(value=value):
                return Operand("", np.dtype(bool), value)
            case Name(name=name):
                return self.names[name]
        if tree not in self.done:
            found = self._found(tree)
            if found is None:
                found = self._computed(tree)
                key = self._key(tree)
                if key is not None and isinstance(found.view, View):
                    self.body.known[key] = found
            self.done[tree] = found
        return self.done[tree]

    def _found(self, tree: Apply) -> Operand | None:
        """Return where the block has computed a costly part before, if it has."""
        key = self._key(tree)
        found: Operand | None = self.body.known.get(key) if key is not None else None
        if found is None:
            return None
        assert isinstance(found.view, View)
        whole = Value(View(found.view.buffer), self.out.shape, self.out.tile)
        return Operand(formed(whole, self.form), found.dtype)

    def _computed(self, tree: Apply) -> Operand:
        """Write a part of the tree to memory of its own."""
        other = _falling(tree)
        large = self.body.in_blocks or prod(self.out.shape) >= _FEW
        if large and other is not None and other in self.parts:
            return self._limited(self.operand(other), tree)
        arguments = [self.operand(a) for a in tree.arguments]
        boolean = tree.primitive in _BOOLEAN
        if not boolean and all(o.number is not None for o in arguments):
            return self._folded(tree.primitive, arguments)
        dtype = np.dtype(bool) if boolean else self._common(arguments)
        target = Operand(self._temporary(dtype), dtype)
        self._write(tree.primitive, arguments, target)
        return target

    def _folded(self, primitive: str, given: list[Operand]) -> Operand:
        """Compute a number once."""
        numbers = [np.asarray(o.number, self.dtype) for o in given]
        with np.errstate(all="ignore"):
            number = float(PRIMITIVES[primitive](*numbers))
        return Operand("", np.dtype(bool), number)

    def _limited(self, power: Operand, tree: Apply) -> Operand:
        """Write exp(min(x, 0)), given exp(-|x|): the larger of that and x >= 0."""
        assert isinstance(tree.arguments[0], Apply)
        x = self.operand(tree.arguments[0].arguments[0])
        target = Operand(self._temporary(power.dtype), power.dtype)
        out, zero = self.body.text(target.view), self.body.constant(0, x.dtype)
        at_least = self._text(x, x.dtype)
        self.body.say(f"greater_equal({at_least}, {zero}, out={out}, casting='unsafe')")
        self.body.say(f"maximum({out}, {self._text(power, power.dtype)}, out={out})")
        return target

    def _key(self, tree: Apply) -> Any:
        """Return what a costly part is known by in its block; None for others."""
        if tree.primitive not in _COSTLY or not self.body.in_blocks:
            return None
        views: list[Any] = []
        for part in _parts(tree):
            if isinstance(part, Name):
                operand = self.names[part.name]
                if operand.number is not None:
                    views.append((part.name, operand.number))
                else:
                    assert isinstance(operand.view, View)
                    seen = operand.view.key
                    for end in (".flat", f".by{self.form.row}"):
                        seen = seen.removesuffix(end)  # the same memory, in order
                    views.append((part.name, operand.view.buffer, seen))
        buffers = tuple(v[1:] for v in views)
        names = {v[0]: f"_{k}" for k, v in enumerate(views)}
        kind = "flat" if self.form.kind == "lines" else self.form.kind
        form = (kind, self.form.shape, self.out.tile)
        return _renamed(tree, names), buffers, form, self.dtype

    def value(self, tree: Tree, dtype: DType) -> str:
        """Return the text of an operand."""
        return self._text(self.operand(tree), dtype)

    def _apply(self, tree: Apply, target: Operand) -> None:
        self._write(tree.primitive, [self.operand(a) for a in tree.arguments], target)

    def _write(self, primitive: str, given: list[Operand], target: Operand) -> None:
        if primitive == "where":
            self._where(given, target)
            return
        common = self._common(given)
        texts = [self._text(o, common) for o in given]
        if primitive in BOUNDS and not all(o.number is not None for o in given):
            texts = [
                t if o.number is None else self._row_of(o.number, common, t)
                for o, t in zip(given, texts, strict=True)
            ]
        out = self.body.text(target.view)
        if isinstance(PRIMITIVES[primitive], np.ufunc):
            self.body.say(f"{primitive}({', '.join(texts)}, out={out})")
        else:
            self.body.say(f"copyto({out}, {primitive}({', '.join(texts)}))")

    def _where(self, given: list[Operand], target: Operand) -> None:
        """Choose by bits: a m, or b + (a - b) m, m being 0 or 1."""
        condition, a, b = given
        size = target.dtype.itemsize
        if condition.dtype != np.dtype(bool) or size not in (4, 8):
            texts = [self._text(condition, condition.dtype)]
            texts += [self._text(o, target.dtype) for o in (a, b)]
            out = self.body.text(target.view)
            self.body.say(f"copyto({out}, where({', '.join(texts)}))")
            return
        integer = np.dtype(f"int{8 * size}")
        mask = self.body.text(condition.view)
        out = self._bits(target, integer)
        if _is_zero(b):
            bits = self._bits(a, integer, target.dtype)
            self.body.say(f"multiply({bits}, {mask}, out={out})")
        elif _is_zero(a):
            other = self.body.text(self._temporary(np.dtype(bool)))
            self.body.say(f"logical_not({mask}, out={other})")
            bits = self._bits(b, integer, target.dtype)
            self.body.say(f"multiply({bits}, {other}, out={out})")
        else:
            left = self._bits(a, integer, target.dtype)
            right = self._bits(b, integer, target.dtype)
            part = self.body.text(self._temporary(integer))
            self.body.say(f"subtract({left}, {right}, out={part})")
            self.body.say(f"multiply({part}, {mask}, out={part})")
            self.body.say(f"add({part}, {right}, out={out})")

    def _bits(self, operand: Operand, integer: DType, like: DType | None = None) -> str:
        """Return the operand's bits as integers."""
        if operand.number is not None:
            number = np.asarray(operand.number, like).view(integer)
            return self.body.constant(number, integer)
        assert isinstance(operand.view, View)
        if operand.dtype == integer:
            return self.body.text(operand.view)
        return self.body.text(
            operand.view.then("bits", lambda a, _: a.view(integer), True)
        )

    def _common(self, given: list[Operand]) -> DType:
        """Return the dtype of the operands that are no numbers."""
        arrays = [o.dtype for o in given if o.number is None]
        return arrays[-1] if arrays else self.dtype

    def _text(self, operand: Operand, common: DType) -> str:
        if operand.number is not None:
            return self.body.constant(operand.number, common)
        return self.body.text(operand.view)

    def _row_of(self, number: float, dtype: DType, scalar: str) -> str:
        """Return a row of a number, where there are rows: faster than one number."""
        if self.form.kind != "lines":
            return scalar
        length, body = self.form.row, self.body
        key = ("row of", np.asarray(number, dtype).tobytes(), dtype, length)

        def make() -> str:
            name = f"{scalar.replace('number', 'row_of')}_{length}"
            return body.given(name, lambda _: np.full(length, number, dtype))

        text: str = body.once(key, make)
        return text

    def _temporary(self, dtype: DType) -> View:
        memory = self.body.scratch(self.out.shape, dtype)
        return formed(Value(View(memory), self.out.shape, self.out.tile), self.form)


def _parts(tree: Tree) -> Iterator[Tree]:
    """Yield a tree and all of its parts."""
    yield tree
    if isinstance(tree, Apply):
        for argument in tree.arguments:
            yield from _parts(argument)


def _renamed(tree: Tree, names: dict[str, str]) -> Tree:
    """Return the tree with other names."""
    if isinstance(tree, Name):
        return Name(names[tree.name])
    if isinstance(tree, Apply):
        return Apply(tree.primitive, tuple(_renamed(a, names) for a in tree.arguments))
    return tree


def _falling(tree: Apply) -> Tree | None:
    """Return exp(-abs(x)) for exp(minimum(x, 0)): what a sigmoid is made of."""
    match tree:
        case Apply("exp", (Apply("minimum", (x, Literal(value=0))),)):
            return Apply("exp", (Apply("negative", (Apply("abs", (x,)),)),))
    return None


def _is_zero(operand: Operand) -> bool:
    return operand.number is not None and _is_plus_zero(operand.number)


def _is_plus_zero(number: float) -> bool:
    return number == 0 and not np.signbit(number)
