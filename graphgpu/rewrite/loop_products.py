"""Products that need not be in a loop: one product of all iterations instead.

Many small products become a large one, outside: what is multiplied by the same
matrix in every iteration and does not come from the one before; products that are
nothing but stacked; and sums of products over the iterations, such as the gradient
of a weight.  That takes memory for all iterations at once, so it is not done in a
loop that was to keep little.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from graphgpu.control.loop import Scan
from graphgpu.dims import product
from graphgpu.graph import (
    RUN_KEY,
    Constant,
    Subgraph,
    Variable,
    ancestors,
    apply,
    placeholder,
    substitute,
)
from graphgpu.ops.arithmetic import Add
from graphgpu.ops.elementwise import Cast
from graphgpu.ops.matrix_product import Matmul
from graphgpu.ops.reduction import Sum
from graphgpu.ops.shape import Reshape, Transpose
from graphgpu.ops.tuples import Item, item
from graphgpu.rewrite.draft import Draft, Found
from graphgpu.rewrite.loop_sums import is_sum

__all__ = ["loop_products"]

Components: TypeAlias = Callable[[int], Variable]
Stack: TypeAlias = Callable[[Variable], Variable]
"""Returns the stack of a variable of the body."""


def loop_products(draft: Draft) -> int:
    """Take products out of loops."""
    if not any(isinstance(v.operation, Scan) for v in draft.order):
        return 0
    before = _sweep(draft, _before, "a product before the loop")
    return before + _sweep(draft, _after, "products after the loop")


def _sweep(
    draft: Draft, remake: Callable[[Variable], Components | None], text: str
) -> int:
    known: dict[Variable, Components | None] = {}

    def offer(variable: Variable) -> Found:
        place, scan = 0, variable
        if isinstance(variable.operation, Item):
            place, scan = variable.operation.index, variable.inputs[0]
        elif hasattr(variable.type, "components"):
            return None
        if not isinstance(scan.operation, Scan) or not scan.operation.keeps:
            return None
        if scan not in known:
            known[scan] = remake(scan)
        components = known[scan]
        return None if components is None else (components(place), text)

    return draft.sweep("loop_products", offer)


# --- before the loop


def _before(scan: Variable) -> Components | None:
    """X_i W, of elements X_i and a matrix W that all share, as elements."""
    parts = _Parts.of(scan)
    instead: dict[Variable, Variable] = {}
    for variable in parts.body.variables:
        if not isinstance(variable.operation, Matmul) or variable in parts.bound:
            continue
        stack = _product(variable, parts, parts.of_elements)
        if stack is not None:
            element = placeholder("product", variable.shape, variable.dtype)
            parts.sequences[element] = stack
            instead[variable] = element
    if not instead:
        return None
    outputs = substitute(parts.body.outputs, instead)
    made = parts.scan(range(parts.loop.carries), outputs)
    return lambda place: _component(made, place)


def _product(
    variable: Variable, parts: _Parts, stack: Callable[[Variable], Variable | None]
) -> Variable | None:
    """Return the stack of a product by a matrix that all iterations share."""
    x, y = variable.inputs
    if x.ndim != 2 or y.ndim != 2:
        return None
    rows = parts.outside(y)
    turned = rows is None and y.shape[1] == 1
    if turned:
        rows, x = parts.outside(x), y
    if rows is None:
        return None
    values = stack(x)
    if values is None:
        return None
    length = product((values.shape[0], *x.shape[:-1]))
    if turned:
        rows, length = rows.transpose((1, 0)), values.shape[0]
    flat = values.reshape((length, rows.shape[0]))
    assert variable.operation is not None
    return apply(variable.operation, flat, rows).reshape(
        (values.shape[0], *variable.shape)
    )


# --- after the loop


def _after(scan: Variable) -> Components | None:
    """Products that are stacked or summed, as products of what is stacked."""
    parts = _Parts.of(scan)
    loop = parts.loop
    later: dict[int, Callable[[Stack], Variable]] = {}
    wanted: dict[Variable, None] = {}
    for place, value in enumerate(parts.body.outputs):
        found = parts.summed(place) if place < loop.carries else parts.stacked(value)
        if found is not None:
            needed, later[place] = found
            wanted.update(dict.fromkeys(needed))
    for place in range(loop.carries):
        found = None if place in later else parts.summed(place, wanted)
        if found is not None:
            needed, later[place] = found
            wanted.update(dict.fromkeys(needed))
    if not later:
        return None
    kept = [k for k in range(loop.carries) if k not in later]
    places = range(loop.carries, len(parts.body.outputs))
    stacks = [parts.body.outputs[j] for j in places if j not in later]
    stacks += [v for v in wanted if v not in parts.sequences and v not in stacks]
    outputs = [*(parts.body.outputs[k] for k in kept), *stacks]
    made = parts.scan(kept, outputs) if outputs else None

    def stack(variable: Variable) -> Variable:
        if variable in parts.sequences:
            return parts.sequences[variable]
        assert made is not None
        return _component(made, len(kept) + stacks.index(variable))

    def component(place: int) -> Variable:
        if place in later:
            return later[place](stack)
        if place < loop.carries:
            assert made is not None
            return _component(made, kept.index(place))
        return stack(parts.body.outputs[place])

    return component


Later: TypeAlias = "tuple[list[Variable], Callable[[Stack], Variable]]"


@dataclass(eq=False)
class _Parts:
    """A loop taken apart."""

    loop: Scan
    bound: dict[Variable, Variable]
    """The inputs of the body, and what they stand for outside."""
    sequences: dict[Variable, Variable] = field(default_factory=dict)

    @classmethod
    def of(cls, scan: Variable) -> _Parts:
        """Take a loop apart."""
        loop = scan.operation
        assert isinstance(loop, Scan)
        inputs = list(zip(loop.body.inputs, scan.inputs, strict=True))
        first, last = loop.carries, loop.carries + loop.sequences
        return cls(loop, dict(inputs), dict(inputs[first:last]))

    @property
    def body(self) -> Subgraph:
        """The body."""
        return self.loop.body

    def outside(self, variable: Variable) -> Variable | None:
        """Return what all iterations share as it is outside; None if they do not."""
        if isinstance(variable, Constant):
            return variable
        own = {*self.body.inputs[: self.loop.carries], *self.sequences, RUN_KEY}
        if variable in self.bound and variable not in own:
            return self.bound[variable]
        return None

    def of_elements(self, variable: Variable) -> Variable | None:
        """Return the stack of elements of a sequence, which may be reshaped."""
        shape = variable.shape
        sequence = self.sequences.get(self._base(variable))
        if sequence is None:
            return None
        return sequence.reshape((sequence.shape[0], *shape))

    def stacked(self, value: Variable) -> Later | None:
        """Return what computes a stack of products, and what it needs stacked."""
        elements = self.of_elements(value)
        if elements is not None:
            return [], lambda _: elements
        source = self._base(value)
        if not isinstance(source.operation, Matmul) or source in self.bound:
            return None
        if self._readers(source) + self.body.outputs.count(source) != 1:
            return None
        needed: list[Variable] = []

        def seen(variable: Variable) -> Variable:
            needed.append(self._base(variable))
            length = self.loop.length
            return placeholder("stack", (length, *variable.shape), variable.dtype)

        if _product(source, self, seen) is None or self._is_shared(*needed):
            return None
        shape = value.shape

        def later(stack: Stack) -> Variable:
            made = _product(source, self, lambda v: stack(self._base(v)))
            assert made is not None
            return made.reshape((made.shape[0], *shape))

        return needed, later

    def summed(self, place: int, stacked: Container[Variable] = ()) -> Later | None:
        """Return what computes a sum of products, and what it needs stacked.

        Or a sum of sums, of what is among the ``stacked``.
        """
        if not is_sum(self.loop, place):
            return None
        head, after = self.body.inputs[place], self.body.outputs[place]
        (term,) = (v for v in after.inputs if v is not head)
        start = self.bound[head]
        terms = self._terms(term)
        found = [self._product_of(t) or self._sum_of(t, stacked) for t in terms]
        if not all(found):
            return None
        parts = [part for part in found if part is not None]

        def later(stack: Stack) -> Variable:
            total = start
            for _, make in parts:
                total = total + make(stack).cast(start.dtype)
            return total

        return [v for needed, _ in parts for v in needed], later

    def _terms(self, term: Variable) -> list[Variable]:
        """Return the terms of a sum that nothing else reads."""
        found, waiting = [], [term]
        while waiting:
            variable = waiting.pop()
            inner = isinstance(variable.operation, Add | Cast)
            if inner and variable not in self.bound and self._readers(variable) == 1:
                waiting.extend(reversed(variable.inputs))
            else:
                found.append(variable)
        return found

    def _product_of(self, term: Variable) -> Later | None:
        """Return what computes a sum over the iterations of X_i^T Y_i."""
        if not isinstance(term.operation, Matmul) or term in self.bound:
            return None
        x, y = term.inputs
        turned, right = _turned(x, self.bound), self._base(y)
        if turned is None or self._readers(term) != 1 or term.ndim != 2:
            return None
        if self._is_shared(turned, right):
            return None
        rows = self.loop.length * x.shape[1]

        def make(stack: Stack) -> Variable:
            left = stack(turned).reshape((rows, x.shape[0])).transpose((1, 0))
            return apply(Matmul(), left, stack(right).reshape((rows, y.shape[1])))

        return [turned, right], make

    def _sum_of(self, term: Variable, stacked: Container[Variable]) -> Later | None:
        """Return what computes a sum over the iterations of sums."""
        value = term
        axes: tuple[int, ...] = (0,)
        operation = term.operation
        if isinstance(operation, Sum) and term not in self.bound:
            if operation.keepdims:
                return None
            (value,) = term.inputs
            axes = (0, *(axis + 1 for axis in operation.axes))
        base, shape = self._base(value), (self.loop.length, *value.shape)
        if base not in stacked and base not in self.sequences:
            return None

        def make(stack: Stack) -> Variable:
            return apply(Sum(axes, keepdims=False), stack(base).reshape(shape))

        return [base], make

    def _base(self, variable: Variable) -> Variable:
        """Return what a variable shows in another shape."""
        while isinstance(variable.operation, Reshape) and variable not in self.bound:
            (variable,) = variable.inputs
        return variable

    def _is_shared(self, *variables: Variable) -> bool:
        return any(self.outside(v) is not None or v is RUN_KEY for v in variables)

    def _readers(self, variable: Variable) -> int:
        found = 0
        for reader in self.body.variables:
            if reader not in self.bound:
                found += reader.inputs.count(variable)
        return found

    def scan(self, carries: Sequence[int], outputs: Sequence[Variable]) -> Variable:
        """Return the loop with some of its carries, and of what is read then."""
        heads = [self.body.inputs[k] for k in carries]
        used = set(ancestors(outputs, stop={*self.bound, *self.sequences}))
        sequences = {p: v for p, v in self.sequences.items() if p in used}
        first = self.loop.carries + self.loop.sequences
        shared = [p for p in self.body.inputs[first:] if p in used]
        inputs = [*(self.bound[h] for h in heads), *sequences.values()]
        inputs += [self.bound[p] for p in shared]
        operation = replace(
            self.loop,
            body=Subgraph([*heads, *sequences, *shared], outputs, self.body.sizes),
            carries=len(heads),
            sequences=len(sequences),
        )
        return apply(operation, *inputs)


def _turned(x: Variable, bound: dict[Variable, Any]) -> Variable | None:
    """Return the matrix, or the vector, of which another is the transpose."""
    if x in bound or not x.inputs:
        return None
    (y,) = x.inputs if len(x.inputs) == 1 else (x,)
    if isinstance(x.operation, Transpose) and x.operation.axes == (1, 0):
        return y
    if isinstance(x.operation, Reshape) and x.shape[1] == 1 and y.ndim == 1:
        return y
    return None


def _component(scan: Variable, place: int) -> Variable:
    return item(scan, place) if hasattr(scan.type, "components") else scan
