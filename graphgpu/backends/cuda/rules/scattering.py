"""Operations that write elements at places given by integer arrays, in order.

Where several elements have one place, they are added in the order of their
indices, each sum by one thread: so the results are those of the CPU, to the
bit, and no atomics are needed; a long run of one place is a sum of pieces.
Where a few indices are searched by every thread, one kernel does it all; else
the places are sorted first, each with its number below it in one integer, so
that a place's elements lie side by side.  An index out of range adds nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from graphgpu.backends.cuda.kernels.kernel import Kernel, Operand, Workspace
from graphgpu.backends.cuda.kernels.text import (
    Body,
    includes,
    stored_type,
    unsigned_type,
    value_type,
)
from graphgpu.backends.cuda.rules.coordinates import (
    affine,
    strides_of,
    word_type,
    written,
)
from graphgpu.backends.cuda.rules.gathering import broadcast_strides, place_at
from graphgpu.backends.cuda.rules.key_sort import padded, sort_keys
from graphgpu.backends.cuda.rules.registry import Rules
from graphgpu.backends.cuda.rules.threads import threads
from graphgpu.dtypes import DType, is_floating
from graphgpu.nodes import Node
from graphgpu.ops.gather import AddAlongAxis, PutAlongAxis, ScatterAdd, adjacent

__all__ = ["RULES"]

RULES = Rules()
SEARCHED = 2**22
"""Up to so many comparisons, every thread looks through all indices."""
SEARCHED_LINES = 2**28
"""And through those of its line: of them there are more to be sorted."""
FEW = 16
"""And where there are so few indices, whatever the number of threads."""
PIECE = 256
"""Longer sums of one place are made of the sums of such pieces."""


@dataclass(frozen=True, slots=True)
class _Updates:
    """Updates 0 ≤ b < count, each a row of ``width`` elements 0 ≤ w < width.

    ``place`` is C statements that set ``row`` and ``inside`` for b, ``source`` and
    ``target`` are where element w of update b and of a row lie.
    """

    node: Node
    count: int
    width: int
    place: str
    source: str
    target: str

    @property
    def indices(self) -> tuple[Node, ...]:
        """The index arrays."""
        return self.node.inputs[1:]


@RULES.of(ScatterAdd)
def scatter_add(node: Node) -> list[Kernel]:
    """Σ over the indices that name a place."""
    operation = node.operation
    assert isinstance(operation, ScatterAdd)
    axes, shape, indices = operation.axes, node.shape, node.inputs[1:]
    common = np.broadcast_shapes(*(i.shape for i in indices))
    first = axes[0] if adjacent(axes) else 0
    rest = [a for a in range(len(shape)) if a not in axes]
    lead = prod(shape[a] for a in rest[:first])
    tail = prod(shape[a] for a in rest[first:])
    count = prod(common)
    names = [f"b / {s} % {n}" for s, n in zip(strides_of(common), common, strict=True)]
    text, row = "bool inside = true;\n    ", "0"
    for k, (index, axis) in enumerate(zip(indices, axes, strict=True)):
        strides = broadcast_strides(index.shape, len(common))
        element = "b" if index.shape == common else affine(0, strides, names)
        text += place_at(
            f"i{k}", f"x{k + 1}[{element}]", index.tensor.dtype, shape[axis]
        )
        row = f"({row}) * {shape[axis]} + i{k}"
    if adjacent(axes):
        rows = prod(shape[a] for a in axes)
        target = f"w / {max(tail, 1)} * {rows * tail}ll + row * {tail} + w % {tail}"
    else:
        target = _apart(shape, axes, rest)
    source = f"w / {max(tail, 1)} * {count * tail}ll + b * {tail}ll + w % {tail}"
    place = f"{text}const long long row = {row};\n    "
    return _added(_Updates(node, count, lead * tail, place, source, target))


def _apart(shape: Sequence[int], axes: Sequence[int], rest: Sequence[int]) -> str:
    """Return the place of an element whose indexed axes are not adjacent."""
    strides, names = strides_of(shape), [""] * len(shape)
    for several, name in ((axes, "row"), (rest, "w")):
        sizes = [shape[a] for a in several]
        for axis, size, stride in zip(several, sizes, strides_of(sizes), strict=True):
            names[axis] = f"({name} / {stride} % {size})"
    return affine(0, strides, names)


def _many(node: Node, count: int, most: int) -> bool:
    """Whether it takes too long to search so many indices for every element."""
    total = prod(node.shape)
    return count > FEW and total * count > most and total < 2**32


def _added(updates: _Updates) -> list[Kernel]:
    if 0 in updates.node.shape:
        return []
    if _many(updates.node, updates.count, SEARCHED):
        return _sorted(updates)
    return [_searched(updates)]


def _sum_text(dtype: DType, element: str) -> tuple[str, str, str]:
    """Return the type of a sum, the statement that adds, and what is stored."""
    body = Body()
    if is_floating(dtype):
        value = body.unpack(element, dtype)
        return value_type(dtype), f"sum += {value};", body.pack("sum", dtype)
    wide = unsigned_type(dtype)
    return wide, f"sum += ({wide}){element};", f"({stored_type(dtype)})sum"


def _named(node: Node) -> list[tuple[str, Node]]:
    """Return the inputs with the names x0, x1, ...."""
    return [(f"x{k}", n) for k, n in enumerate(node.inputs)]


def _searched(updates: _Updates) -> Kernel:
    """Return the kernel in which each element's thread looks through all indices."""
    node, width = updates.node, updates.width
    wide, add, result = _sum_text(node.tensor.dtype, f"x0[{updates.source}]")
    body = f"""  const long long mine = o / {width}, w = o % {width};
  {wide} sum = 0;
  for (long long b = 0; b < {updates.count}; ++b) {{
    {updates.place}if (inside && row == mine) {add}
  }}
  const long long row = mine;
  y[{updates.target}] = {result};"""
    count = prod(node.shape)
    return threads("scatter_add", count, body, _named(node), [("y", node)])


def _sorted(updates: _Updates) -> list[Kernel]:
    """Return the kernels that sort the places, then add what lies side by side."""
    node, width, count = updates.node, updates.width, updates.count
    keys, word = Workspace(8 * padded(count)), word_type(node.tensor.dtype.itemsize)
    wide, add, result = _sum_text(node.tensor.dtype, f"x0[{updates.source}]")
    places = f"""  const long long b = o;
  keys[b] = ~0ull;
  if (b >= {count}) return;
  {updates.place}if (inside) keys[b] = (unsigned long long)row << 32 | b;"""
    sums = f"""  const long long first = o / {width}, w = o % {width};
  const unsigned long long row = keys[first] >> 32;
  if (keys[first] == ~0ull) return;
  const bool starts = !first || keys[first - 1] >> 32 != row;
  if (!starts && !({_is_piece("first")})) return;
  const long long end = (first / {PIECE} + (starts ? 2 : 1)) * {PIECE};
  {wide} sum = 0;
  long long k = first;
  for (; k < end && k < {count} && keys[k] >> 32 == row; ++k) {{
    const long long b = keys[k] & 0xffffffffull;
    {add}
  }}
  if (starts && (k < end || k >= {count} || keys[k] >> 32 != row))
    y[{updates.target}] = {result};
  else
    parts[(first / {PIECE} * 2 + starts) * {width} + w] = sum;"""
    pieces = -(-count // PIECE)
    parts = Workspace(2 * 8 * pieces * width)
    named = _named(node)
    scratch = [("unsigned long long* __restrict__ keys", keys)]
    const = [("const unsigned long long* __restrict__ keys", keys)]
    partial = [(f"{wide}* __restrict__ parts", parts)]
    out = [("y", node)]
    kernels = [
        *written("zeros", node, node.shape, "value = 0;", [], word=word),
        threads("scatter_places", padded(count), places, named[1:], (), scratch),
        *sort_keys(keys, padded(count)),
        threads("scatter_add", count * width, sums, named[:1], out, const + partial),
    ]
    if pieces > 2:
        body = _pieces_text(updates, wide, result)
        kernels.append(
            threads(
                "scatter_join", (pieces - 2) * width, body, (), out, const + partial
            )
        )
    return kernels


def _is_piece(first: str) -> str:
    """Return whether the sum of a long run goes on with a piece that begins here.

    The thread where a run begins adds up to the end of the next piece, so that runs
    of up to ``PIECE`` elements are one sum; later pieces have threads of their own.
    """
    before = f"{first} - {PIECE + 1}"
    return f"{first} % {PIECE} == 0 && {first} > {PIECE} && keys[{before}] >> 32 == row"


def _pieces_text(updates: _Updates, wide: str, result: str) -> str:
    """Return what adds up the pieces of each run that begins in piece p."""
    width, count = updates.width, updates.count
    return f"""  const long long p = o / {width}, w = o % {width};
  const unsigned long long row = keys[(p + 2) * {PIECE}] >> 32;
  if (keys[(p + 2) * {PIECE}] == ~0ull) return;
  if (keys[(p + 1) * {PIECE} - 1] >> 32 != row) return;
  if (p && keys[p * {PIECE} - 1] >> 32 == row) return;
  {wide} sum = parts[(2 * p + 1) * {width} + w];
  for (long long q = p + 2; q * {PIECE} < {count}; ++q) {{
    if (keys[q * {PIECE}] >> 32 != row) break;
    sum += parts[2 * q * {width} + w];
  }}
  y[{updates.target}] = {result};"""


def _in_line(node: Node, length: int) -> tuple[str, str]:
    """Return the place of index j in the line of c0 and c2, and what finds its row."""
    index = node.inputs[1]
    axis = node.operation.axis  # type: ignore[union-attr]
    at = f"(c0 * {length}ll + j) * {prod(node.shape[axis + 1 :])} + c2"
    place = place_at("i0", f"x1[{at}]", index.tensor.dtype, node.shape[axis])
    return at, f"bool inside = true;\n    {place}if (inside && i0 == c1)"


def _lines(node: Node, axis: int) -> list[int]:
    return [prod(node.shape[:axis]), node.shape[axis], prod(node.shape[axis + 1 :])]


@RULES.of(AddAlongAxis)
def add_along_axis(node: Node) -> list[Kernel]:
    """Σ over the indices that name a place in their line."""
    operation = node.operation
    assert isinstance(operation, AddAlongAxis)
    updates, index = node.inputs
    dtype, length = node.tensor.dtype, updates.shape[operation.axis]
    sizes = _lines(node, operation.axis)
    if 0 in sizes:
        return []
    if _many(node, length, SEARCHED_LINES):
        text = "bool inside = true;\n    "
        text += place_at("i0", "x1[b]", index.tensor.dtype, sizes[1])
        row = f"(b / {length * sizes[2]} * {sizes[1]} + i0) * {sizes[2]}"
        text += f"const long long row = {row} + b % {sizes[2]};\n    "
        return _sorted(_Updates(node, prod(updates.shape), 1, text, "b", "row"))
    at, found = _in_line(node, length)
    wide, add, result = _sum_text(dtype, f"x0[{at}]")
    statements = f"""{wide} sum = 0;
    for (int j = 0; j < {length}; ++j) {{
    {found} {add}
    }}
    value = {result};"""
    reads = [(Operand(n), stored_type(n.tensor.dtype)) for n in node.inputs]
    return written(
        "add_along_axis",
        node,
        sizes,
        statements,
        reads,
        word=stored_type(dtype),
        largest=prod(updates.shape),
        preamble=includes([dtype]),
    )


@RULES.of(PutAlongAxis)
def put_along_axis(node: Node) -> list[Kernel]:
    """Write the last value whose index names the place."""
    operation = node.operation
    assert isinstance(operation, PutAlongAxis)
    _, index, _ = node.inputs
    word = word_type(node.tensor.dtype.itemsize)
    length = index.shape[operation.axis]
    sizes = _lines(node, operation.axis)
    if _many(node, length, SEARCHED_LINES):
        return _put_marked(node, length, sizes)
    at, found = _in_line(node, length)
    statements = f"""value = x0[o];
    for (int j = {length - 1}; j >= 0; --j) {{
    {found} {{ value = x2[{at}]; break; }}
    }}"""
    types = (word, stored_type(index.tensor.dtype), word)
    return written(
        "put_along_axis",
        node,
        sizes,
        statements,
        [(Operand(n), t) for n, t in zip(node.inputs, types, strict=True)],
        word=word,
        largest=prod(index.shape),
    )


def _put_marked(node: Node, length: int, sizes: Sequence[int]) -> list[Kernel]:
    """Return the kernels that find each place's last index by an integer maximum."""
    _, size, after = sizes
    x, index, values = node.inputs
    total, last = prod(node.shape), Workspace(4 * prod(node.shape))
    place = place_at("i0", "x1[o]", index.tensor.dtype, size)
    mark = f"""  bool inside = true;
  {place}const long long row = o / {length * after} * {size} + i0;
  const int j = o / {after} % {length};
  if (inside) atomicMax(last + row * {after} + o % {after}, j);"""
    choose = f"""  const long long j = last[o];
  const long long line = o / {size * after} * {length} + j;
  y[o] = j < 0 ? x0[o] : x2[line * {after} + o % {after}];"""
    scratch = [("int* __restrict__ last", last)]
    return [
        threads("put_cleared", total, "  last[o] = -1;", scratch=scratch),
        threads("put_marked", prod(index.shape), mark, [("x1", index)], (), scratch),
        threads(
            "put_along_axis",
            total,
            choose,
            [("x0", x), ("x2", values)],
            [("y", node)],
            scratch,
            word=word_type(node.tensor.dtype.itemsize),
        ),
    ]
