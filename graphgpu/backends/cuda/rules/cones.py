"""Elementwise nodes in registers: what a kernel reads, computes and writes in places.

A *cone* is what is computed for each place of a shape: elementwise nodes, in order,
from arrays whose shapes broadcast to it.  A kernel of elementwise nodes is a loop
over a cone; one of a reduction folds its values.  Values between nodes are rounded
to their dtype as if they had been stored.

A thread takes a vector of adjacent places: as many as 16 bytes hold of the largest
array, if all arrays allow it.  An array that is repeated along some axes is found by
divisions by constants; adjacent axes are taken as one where its strides allow it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import fields
from math import prod
from typing import Any

from graphgpu.backends.cuda.kernels.kernel import Operand
from graphgpu.backends.cuda.kernels.primitives import evaluate
from graphgpu.backends.cuda.kernels.text import (
    Body,
    Value,
    literal,
    stored_type,
    value_type,
)
from graphgpu.backends.cuda.rules.places import is_places
from graphgpu.backends.cuda.rules.sources import Source
from graphgpu.dtypes import accumulator
from graphgpu.graph import Constant
from graphgpu.nodes import Node
from graphgpu.ops.elementwise import Cast
from graphgpu.ops.expression import parse

__all__ = ["Cone", "compute", "is_number"]

_VECTOR = 16
"""Bytes that one access moves at most."""
_WIDE = 1 << 31
"""Elements from which indices have 64 bits."""


def compute(
    body: Body,
    nodes: Sequence[Node],
    given: Mapping[Node, Value],
    outputs: Collection[Node] = (),
    wanted: Collection[Node] = (),
) -> tuple[dict[Node, Value], dict[Node, str]]:
    """Write the statements of nodes for one element.

    ``given`` has the values of the inputs that are neither among the nodes nor
    constants of one number.  Returns the values of what nodes read and of what is
    ``wanted`` or, where nothing is and there are no outputs, of all; and the outputs
    as arrays have them.
    """
    read = {p for n in nodes for p in n.inputs} | set(wanted)
    if not outputs and not wanted:
        read = set(nodes)
    values, stored = dict(given), {}
    for node in nodes:
        for parent in node.inputs:
            if parent not in values:
                values[parent] = _constant(parent)
        value = _result(body, node, [values[p] for p in node.inputs])
        dtype = node.tensor.dtype
        rounds = value.dtype != dtype  # a half that is still a float
        if rounds or node in outputs:
            stored[node] = body.stored(Value(value.text, dtype))
        if rounds and node in read:
            value = body.name(dtype, body.unpack(stored[node], dtype))
        values[node] = value
    return values, {n: stored[n] for n in outputs}


def is_number(node: Node) -> bool:
    """Whether a node is a constant of one number, which the source has in it."""
    leaf = node.variable
    return isinstance(leaf, Constant) and leaf.value.size == 1


def _constant(node: Node) -> Value:
    assert is_number(node), f"{node} is neither given nor a number"
    leaf: Any = node.variable
    dtype = node.tensor.dtype
    return Value(literal(leaf.value.reshape(())[()], dtype), dtype)


def _result(body: Body, node: Node, inputs: list[Value]) -> Value:
    """Return a node's value; that of a half may be a float, not rounded yet."""
    operation: Any = node.operation
    dtype = node.tensor.dtype
    if isinstance(operation, Cast):
        source = inputs[0]
        if accumulator(source.dtype) == accumulator(dtype) != dtype:
            return Value(source.text, accumulator(dtype))
        return body.convert(source, dtype)
    wide = [Value(v.text, accumulator(v.dtype)) for v in inputs]
    names = dict(zip(operation.operands, wide, strict=True))
    default = wide[-1].dtype
    for field in fields(operation):
        number = getattr(operation, field.name)
        names[field.name] = Value("", default, number)
    value = evaluate(body, parse(operation.expression), names, default)
    target = accumulator(dtype) if value.dtype == accumulator(dtype) else dtype
    return body.convert(value, target)


def _kind(node: Node) -> str:
    return stored_type(node.tensor.dtype)


class Cone:
    """Nodes that are computed for each place of a shape.

    Parameters
    ----------
    shape
        The places.
    nodes
        Elementwise operations and casts, in topological order.
    outputs
        Those of them that are written: of that very shape.
    wanted
        Nodes, or arrays that are read, whose values are needed in registers.
    targets
        What the outputs are written over, place by place, if not memory of their own.
    """

    def __init__(
        self,
        shape: Sequence[int],
        nodes: Sequence[Node],
        outputs: Sequence[Node],
        wanted: Sequence[Node] = (),
        targets: Sequence[Node] | None = None,
    ) -> None:
        self.outputs = outputs
        self.size = prod(shape)
        assert all(n.shape == tuple(shape) for n in outputs), outputs
        inside = set(nodes)
        read = [p for n in nodes for p in n.inputs] + list(wanted)
        arrays = dict.fromkeys(p for p in read if p not in inside and not is_number(p))
        self.sources = [Source.of(n, k, shape) for k, n in enumerate(arrays)]
        self._written = [Source.written(n, k) for k, n in enumerate(outputs)]
        self._targets = targets or [s.node for s in self._written]
        wide = self.size >= _WIDE
        self.index = "unsigned long long" if wide else "unsigned int"
        self.suffix = "ull" if wide else "u"
        self.body = Body()
        given = {
            s.node: Value(f"x{s.number}", s.node.tensor.dtype) for s in self.sources
        }
        given |= {n: _constant(n) for n in wanted if is_number(n)}
        self.values, self.stored = compute(self.body, nodes, given, outputs, wanted)

    def width(self) -> int:
        """Return how many places a thread may take at once."""
        width = _VECTOR // self.largest
        inner = [n for s in self.sources if not s.single for n in s.lengths]
        inner += [n for s in self._written for n in s.lengths]
        while any(size % width for size in inner) or width > max(self.size, 1):
            width //= 2
        return width

    @property
    def largest(self) -> int:
        """The bytes of the largest element that is read or written along the places."""
        moved = [s.node for s in self._arrays if s.adjacent] + list(self.outputs)
        return max((n.tensor.dtype.itemsize for n in moved), default=_VECTOR)

    @property
    def _arrays(self) -> list[Source]:
        """The sources that are in memory."""
        return [s for s in self.sources if not is_places(s.node)]

    @property
    def reads(self) -> list[Operand]:
        """The arrays that are read."""
        return [Operand(s.node) for s in self._arrays]

    @property
    def writes(self) -> list[Operand]:
        """The arrays that are written."""
        return [Operand(n) for n in self._targets]

    def parameters(self) -> list[str]:
        """Return the declarations of the pointers to what is read, and written."""
        return [*self.sources_declared(), *self.outputs_declared()]

    def sources_declared(self) -> list[str]:
        """Return the declarations of the pointers to what is read."""
        texts = []
        for s in self._arrays:
            alone = "" if s.node in self._targets else "__restrict__ "
            texts.append(f"const {_kind(s.node)}* {alone}a{s.number}")
        return texts

    def outputs_declared(self) -> list[str]:
        """Return the declarations of the pointers to what is written."""
        read = {s.node for s in self.sources}
        return [
            f"{_kind(n)}* {'' if target in read else '__restrict__ '}b{k}"
            for k, (n, target) in enumerate(
                zip(self.outputs, self._targets, strict=True)
            )
        ]

    def names(self) -> list[str]:
        """Return the names of these pointers."""
        return [p.rpartition(" ")[2] for p in self.parameters()]

    def preamble(self, packed: bool) -> str:
        """Return the includes and device functions that the statements need."""
        if packed:
            self.body.functions["gg_pack"] = None
        arrays = [s.node for s in self.sources] + list(self.outputs)
        return self.body.preamble(n.tensor.dtype for n in arrays)

    # --- statements

    def after(self, given: Node, result: Node) -> list[str]:
        """Return the statements for place ``i``, given the value of one array.

        That is ``value``, to be rounded as if it had been stored; the last statement
        returns the value of ``result``.
        """
        lines = []
        for source in self.sources:
            if source.node is given:
                dtype = given.tensor.dtype
                kind = value_type(dtype)
                text = self.body.unpack(self.body.pack("value", dtype), dtype)
                lines.append(f"const {kind} x{source.number} = {text};")
            else:
                place = "0" if source.single else source.offset(self.suffix)
                lines.append(self._load(source, source.element(place)))
        return [*lines, *self.body.statements, f"return {self.values[result].text};"]

    def singles(self) -> Iterator[str]:
        """Yield the statements that read arrays of one element."""
        for source in self.sources:
            if source.single:
                yield self._load(source, source.element("0"))

    def _load(self, source: Source, text: str) -> str:
        dtype = source.node.tensor.dtype
        value = self.body.unpack(text, dtype)
        return f"const {value_type(dtype)} x{source.number} = {value};"

    def places(self, width: int, each: Sequence[str] = ()) -> Iterator[str]:
        """Yield the statements for places ``i`` to ``i + width - 1``.

        ``each`` are statements for each place ``k`` of them.
        """
        if width == 1:
            yield from self._place(each)
            return
        for source in self.sources:
            if source.single or (source.adjacent and is_places(source.node)):
                continue
            n, place = source.number, source.offset(self.suffix)
            if source.adjacent:
                pack = f"gg_pack<{stored_type(source.node.tensor.dtype)}, {width}>"
                yield f"const {pack} p{n} = *(const {pack}*)(a{n} + {place});"
            else:
                yield self._load(source, source.element(place))
        packs = [
            f"gg_pack<{stored_type(n.tensor.dtype)}, {width}>" for n in self.outputs
        ]
        for n, pack in enumerate(packs):
            yield f"{pack} q{n};"
        yield "#pragma unroll"
        yield f"for (int k = 0; k < {width}; ++k) {{"
        for source in self.sources:
            if source.adjacent:
                place = f"{source.offset(self.suffix)} + k"
                known = is_places(source.node)
                text = source.element(place) if known else f"p{source.number}.v[k]"
                yield f"  {self._load(source, text)}"
        for line in (*self.body.statements, *each):
            yield f"  {line}"
        for n, node in enumerate(self.outputs):
            yield f"  q{n}.v[k] = {self.stored[node]};"
        yield "}"
        for n, pack in enumerate(packs):
            place = self._written[n].offset(self.suffix)
            yield f"*({pack}*)(b{n} + {place}) = q{n};"

    def _place(self, each: Sequence[str]) -> Iterator[str]:
        for source in self.sources:
            if not source.single:
                place = source.offset(self.suffix)
                yield self._load(source, source.element(place))
        yield from self.body.statements
        if each:
            yield "const int k = 0;"
            yield from each
        for n, node in enumerate(self.outputs):
            place = self._written[n].offset(self.suffix)
            yield f"b{n}[{place}] = {self.stored[node]};"
