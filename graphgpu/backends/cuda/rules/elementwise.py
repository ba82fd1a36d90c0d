"""Elementwise operations: one kernel for a node, or for a group of nodes.

A thread computes one vector of adjacent elements: as many as 16 bytes hold of the
largest operand, if all operands allow it.  An operand that is repeated along some
axes is found by divisions by constants; adjacent axes are taken as one where that
operand's strides allow it.  Values between the nodes of a group stay in
registers, rounded to their dtype as if they had been stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from hashlib import blake2s
from math import prod
from typing import Any

from graphgpu.backends.cuda.kernel import Kernel, Operand
from graphgpu.backends.cuda.primitives import evaluate
from graphgpu.backends.cuda.rules.registry import Rules
from graphgpu.backends.cuda.text import Body, Value, literal, stored_type, value_type
from graphgpu.dtypes import accumulator
from graphgpu.graph import Constant
from graphgpu.nodes import Node
from graphgpu.ops.elementwise import Cast, Elementwise
from graphgpu.ops.expression import parse

__all__ = ["RULES", "compute", "elementwise_kernel"]

RULES = Rules()
_THREADS = 256
"""Threads of a block; two blocks fit on a multiprocessor, so 128 registers a thread.

Without that number ptxas takes 40 registers for doubles on sm_90, and spills.
"""
_BLOCKS = 1 << 20
"""Blocks at most; beyond it, each thread takes several vectors."""
_WIDE = 1 << 31
"""Elements from which indices have 64 bits."""
_VECTOR = 16
"""Bytes that one access moves at most."""


@RULES.of(Elementwise, Cast)
def elementwise(node: Node) -> list[Kernel]:
    """Compute one node."""
    return [elementwise_kernel([node])] if prod(node.shape) else []


def elementwise_kernel(
    nodes: Sequence[Node], outputs: Sequence[Node] | None = None
) -> Kernel:
    """Return one kernel that computes elementwise nodes and writes some of them.

    Parameters
    ----------
    nodes
        Elementwise operations and casts, in topological order.
    outputs
        Those that are written, all of one shape, which is not empty, and to which
        the shapes of all nodes broadcast; by default, the last.
    """
    outputs = [nodes[-1]] if outputs is None else list(outputs)
    return _Writer(nodes, outputs).kernel()


def compute(
    body: Body,
    nodes: Sequence[Node],
    given: Mapping[Node, Value],
    outputs: Sequence[Node] = (),
) -> tuple[dict[Node, Value], dict[Node, str]]:
    """Write the statements of nodes for one element.

    ``given`` has the values of the inputs that are neither among the nodes nor
    constants of one number.  Returns the values of what nodes read or, where there
    are no outputs, of all; and the outputs as arrays have them.
    """
    read = {p for n in nodes for p in n.inputs} if outputs else set(nodes)
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


def _constant(node: Node) -> Value:
    number = _number(node)
    assert number is not None, f"{node} is neither given nor a number"
    dtype = node.tensor.dtype
    return Value(literal(number, dtype), dtype)


def _number(node: Node) -> Any:
    """Return the number that a node is; None if it is no constant of one number."""
    leaf = node.variable
    if isinstance(leaf, Constant) and leaf.value.size == 1:
        return leaf.value.reshape(())[()]
    return None


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


# --- where elements lie


@dataclass(frozen=True, slots=True)
class _Source:
    """An array that is read.

    ``axes`` are pairs of a size and a stride, outermost first, with neighbours
    taken as one where that is possible.
    """

    node: Node
    number: int
    axes: tuple[tuple[int, int], ...]

    @property
    def single(self) -> bool:
        """Whether it is one element."""
        return all(stride == 0 for _, stride in self.axes)

    @property
    def whole(self) -> bool:
        """Whether its elements are those of the output, one by one."""
        return len(self.axes) == 1 and self.axes[0][1] == 1

    @property
    def adjacent(self) -> bool:
        """Whether neighbours in the output read neighbours."""
        return bool(self.axes) and self.axes[-1][1] == 1

    def offset(self, suffix: str) -> str:
        """Return the place of the output's element ``i``."""
        terms, inner = [], 1
        total = prod(size for size, _ in self.axes)
        for size, stride in reversed(self.axes):
            text = "i" if inner == 1 else f"i / {inner}{suffix}"
            if inner * size != total:
                text += f" % {size}{suffix}"
            if stride:
                terms.append(text if stride == 1 else f"({text}) * {stride}{suffix}")
            inner *= size
        return " + ".join(f"({t})" if "i /" in t else t for t in terms)


def _axes(shape: Sequence[int], target: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Return the sizes and strides of an array that is broadcast to a shape."""
    shape = (1,) * (len(target) - len(shape)) + tuple(shape)
    axes: list[tuple[int, int]] = []
    stride = 1
    for own, size in zip(reversed(shape), reversed(target), strict=True):
        assert own in (1, size), (shape, target)
        step = stride if own == size else 0
        stride *= own
        if size == 1:
            continue
        if axes and step == axes[-1][0] * axes[-1][1]:
            axes[-1] = (axes[-1][0] * size, axes[-1][1])
        else:
            axes.append((size, step))
    return tuple(reversed(axes))


# --- the kernel


class _Writer:
    """Writes the kernel of a group."""

    def __init__(self, nodes: Sequence[Node], outputs: Sequence[Node]) -> None:
        self.nodes = nodes
        self.outputs = outputs
        shape = outputs[0].shape
        self.size = prod(shape)
        assert self.size
        assert all(n.shape == shape for n in outputs), outputs
        inside = set(nodes)
        read = dict.fromkeys(p for n in nodes for p in n.inputs if p not in inside)
        arrays = [n for n in read if _number(n) is None]
        self.sources = [
            _Source(n, k, _axes(n.shape, shape)) for k, n in enumerate(arrays)
        ]
        self.width = self._width()
        wide = self.size >= _WIDE
        self.index = "unsigned long long" if wide else "unsigned int"
        self.suffix = "ull" if wide else "u"
        self.body = Body()
        given = {
            s.node: Value(f"x{s.number}", s.node.tensor.dtype) for s in self.sources
        }
        _, self.stored = compute(self.body, nodes, given, outputs)

    def _width(self) -> int:
        """Return how many elements a thread computes at once."""
        moved = [s.node for s in self.sources if s.adjacent]
        width = _VECTOR // max(n.tensor.dtype.itemsize for n in (*moved, *self.outputs))
        inner = [s.axes[-1][0] for s in self.sources if not (s.whole or s.single)]
        while any(size % width for size in inner) or width > self.size:
            width //= 2
        return width

    def kernel(self) -> Kernel:
        """Return the kernel."""
        vectors, rest = divmod(self.size, self.width)
        blocks = min(-(-vectors // _THREADS), _BLOCKS)
        text = "".join(f"{line}\n" for line in self._lines(vectors, rest, blocks))
        if self.width > 1:
            self.body.functions["gg_pack"] = None
        arrays = [s.node for s in self.sources] + list(self.outputs)
        text = self.body.preamble(n.tensor.dtype for n in arrays) + text
        kinds = [n.operation.kind() for n in self.nodes if n.operation]
        mark = blake2s(text.encode(), digest_size=6).hexdigest()
        name = "_".join([*kinds[:3], *(["etc"] if len(kinds) > 3 else []), mark])
        return Kernel(
            text.replace("NAME", name, 1),
            name,
            (blocks, 1, 1),
            (_THREADS, 1, 1),
            [Operand(s.node) for s in self.sources],
            [Operand(n) for n in self.outputs],
        )

    def _lines(self, vectors: int, rest: int, blocks: int) -> Iterable[str]:
        u, index = self.suffix, self.index
        yield (
            f'extern "C" __global__ void __launch_bounds__({_THREADS}, 2) '
            f"NAME({self._parameters()}) {{"
        )
        for source in self.sources:
            if source.single:
                yield f"  {self._load(source, f'a{source.number}[0]')}"
        block = f"({index})blockIdx.x * {_THREADS}{u}"
        yield f"  const {index} first = {block} + threadIdx.x;"
        if blocks * _THREADS >= vectors:
            yield f"  if (first < {vectors}{u}) {{"
            start = "first"
        else:
            stride = blocks * _THREADS
            yield (f"  for ({index} v = first; v < {vectors}{u}; v += {stride}{u}) {{")
            start = "v"
        width = f" * {self.width}{u}" if self.width > 1 else ""
        yield f"    const {index} i = {start}{width};"
        yield from self._vector() if self.width > 1 else self._element()
        yield "  }"
        if rest:
            yield f"  if (first < {rest}{u}) {{"
            yield f"    const {index} i = {vectors * self.width}{u} + first;"
            yield from self._element()
            yield "  }"
        yield "}"

    def _parameters(self) -> str:
        texts = []
        for s in self.sources:
            type_ = stored_type(s.node.tensor.dtype)
            texts.append(f"const {type_}* __restrict__ a{s.number}")
        for k, n in enumerate(self.outputs):
            texts.append(f"{stored_type(n.tensor.dtype)}* __restrict__ b{k}")
        return ", ".join(texts)

    def _load(self, source: _Source, text: str) -> str:
        dtype = source.node.tensor.dtype
        value = self.body.unpack(text, dtype)
        return f"const {value_type(dtype)} x{source.number} = {value};"

    def _element(self) -> Iterable[str]:
        """Compute the element ``i``."""
        for source in self.sources:
            if not source.single:
                place = source.offset(self.suffix)
                yield f"    {self._load(source, f'a{source.number}[{place}]')}"
        for line in self.body.statements:
            yield f"    {line}"
        for k, node in enumerate(self.outputs):
            yield f"    b{k}[i] = {self.stored[node]};"

    def _vector(self) -> Iterable[str]:
        """Compute the elements ``i`` to ``i + width - 1``."""
        width = self.width
        for source in self.sources:
            if source.single:
                continue
            k, place = source.number, source.offset(self.suffix)
            if source.adjacent:
                pack = f"gg_pack<{stored_type(source.node.tensor.dtype)}, {width}>"
                yield f"    const {pack} p{k} = *(const {pack}*)(a{k} + {place});"
            else:
                yield f"    {self._load(source, f'a{k}[{place}]')}"
        packs = [
            f"gg_pack<{stored_type(n.tensor.dtype)}, {width}>" for n in self.outputs
        ]
        for k, pack in enumerate(packs):
            yield f"    {pack} q{k};"
        yield "    #pragma unroll"
        yield f"    for (int k = 0; k < {width}; ++k) {{"
        for source in self.sources:
            if source.adjacent:
                yield f"      {self._load(source, f'p{source.number}.v[k]')}"
        for line in self.body.statements:
            yield f"      {line}"
        for k, node in enumerate(self.outputs):
            yield f"      q{k}.v[k] = {self.stored[node]};"
        yield "    }"
        for k, pack in enumerate(packs):
            yield f"    *({pack}*)(b{k} + i) = q{k};"
