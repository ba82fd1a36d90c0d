"""Matrix products whose factors are read where a formula says.

As those of ``products.py``, but an element's place is computed from the row and
the term, each of them split into coordinates.  So patches of an image are
multiplied without being written down first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from graphgpu.backends.cuda.kernel import Kernel, Operand, Workspace
from graphgpu.backends.cuda.rules.coordinates import index_type
from graphgpu.backends.cuda.rules.products import Tiling, place, sums, tiling_for
from graphgpu.backends.cuda.rules.threads import threads
from graphgpu.backends.cuda.text import Body, includes, stored_type, value_type
from graphgpu.dtypes import DType, accumulator
from graphgpu.nodes import Node

__all__ = [
    "Matrix",
    "Target",
    "implicit_product",
    "partial_sums",
    "split",
    "sum_of_parts",
]

_ENOUGH = 264
"""So many blocks keep a large GPU busy; fewer are worth cutting the sums."""
_PART = 256
"""The terms that a part of a sum has at least."""
_PARTS = 128
"""And how many parts there are at most."""
_SLACK = 2**16
"""More than a tile reaches beyond an edge."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """Lines of terms: a factor as a kernel reads it.

    ``place`` and the conditions of ``inside``, without which an element is 0, are
    C text of the coordinates of the line, l0, l1, ..., of those of the term, t0,
    t1, ..., and of those of the stack, s0, s1, ....  Neighbouring threads read
    neighbouring terms if ``along_terms``, else neighbouring lines.  ``worth`` are
    those conditions of ``inside`` that depend on the stack and on all coordinates of
    the term but the last: where they do not hold, a whole slab may be passed over.
    """

    node: Node
    lines: Sequence[int]
    terms: Sequence[int]
    place: str
    inside: Sequence[str]
    along_terms: bool
    worth: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """Where an element is written, given ``down`` and the coordinates c0, c1, ...."""

    columns: Sequence[int]
    place: str
    inside: Sequence[str] = ()


def split(name: str, value: str, sizes: Sequence[int], index: str) -> str:
    """Return statements that split a number into coordinates, in C order.

    >>> split("c", "n", (4, 3), "int")
    'const int c0 = (unsigned int)n / 3u, c1 = (unsigned int)n % 3u;'
    """
    parts, suffix = [], "u" if index == "int" else "ull"
    for k, size in enumerate(sizes):
        step = max(prod(sizes[k + 1 :]), 1)
        text = f"(unsigned {index}){value}"
        text += f" / {step}{suffix}" if step > 1 else ""
        text += f" % {max(size, 1)}{suffix}" if k else ""
        parts.append(f"{name}{k} = {text}")
    return f"const {index} {', '.join(parts)};"


def implicit_product(
    name: str,
    node: Node,
    factors: tuple[Matrix, Matrix],
    stack: Sequence[int],
    target: Target,
    setup: str = "",
) -> list[Kernel]:
    """Return the kernels of y[i, j] = Σ_k left[i, k] right[j, k], for a stack.

    Parameters
    ----------
    name
        What the kernels are called.
    node
        What is written.
    factors
        The left one and the right one.
    stack
        The sizes of the coordinates s0, s1, ... of a product in the stack.
    target
        Where it is written.
    setup
        C statements that come first, and may use those coordinates.
    """
    left, right = factors
    dtype = node.tensor.dtype
    rows, columns, inner = prod(left.lines), prod(right.lines), prod(left.terms)
    tiling = _tiling(rows, columns, prod(stack), dtype)
    blocks = -(-rows // tiling.rows) * -(-columns // tiling.columns) * prod(stack)
    parts = min(_ENOUGH // blocks, inner // _PART, _PARTS)
    if parts < 2:
        text = _Text(name, node, factors, stack, target, setup, tiling, 1, None)
        return [text.kernel()]
    partial = partial_sums(node, parts)
    text = _Text(name, node, factors, stack, target, setup, tiling, parts, partial)
    return [text.kernel(), sum_of_parts(f"{name}_sum", node, partial, parts)]


def partial_sums(node: Node, parts: int) -> Workspace:
    """Return room for so many sums of each element."""
    return Workspace(parts * prod(node.shape) * accumulator(node.tensor.dtype).itemsize)


def sum_of_parts(name: str, node: Node, partial: Workspace, parts: int) -> Kernel:
    """Return the kernel that adds an element's partial sums, in order."""
    wide, total = value_type(node.tensor.dtype), prod(node.shape)
    summed = f"""  {wide} sum = 0;
  for (int part = 0; part < {parts}; ++part) sum += partial[part * {total}ll + o];
  y[o] = {Body().pack("sum", node.tensor.dtype)};"""
    scratch = [(f"const {wide}* __restrict__ partial", partial)]
    return threads(name, total, summed, (), [("y", node)], scratch)


def _tiling(rows: int, columns: int, stack: int, dtype: DType) -> Tiling:
    """Return tiles as long as there are few rows: images have many columns."""
    if rows <= 16 and columns >= 256:
        return Tiling(16, 256, 16, 4, 4)
    if rows <= 32 and columns >= 128:
        return Tiling(32, 128, 16, 4, 4)
    return tiling_for(rows, columns, stack, dtype)


@dataclass(frozen=True, slots=True)
class _Text:
    """What the kernel's source is made of."""

    name: str
    node: Node
    factors: tuple[Matrix, Matrix]
    stack: Sequence[int]
    target: Target
    setup: str
    tiling: Tiling
    parts: int
    partial: Workspace | None

    @property
    def index(self) -> str:
        """The type of places, lines and terms."""
        sizes = [prod(n.shape) for n in (self.node, *(f.node for f in self.factors))]
        sizes += [prod(f.lines) for f in self.factors]
        sizes.append(prod(self.node.shape) * self.parts)
        return index_type(max(sizes) + _SLACK)

    @property
    def tiles(self) -> tuple[int, int]:
        """How many tiles there are down and across."""
        rows, columns = (prod(f.lines) for f in self.factors)
        return -(-rows // self.tiling.rows), -(-columns // self.tiling.columns)

    def kernel(self) -> Kernel:
        """Return the kernel that computes all tiles, or parts of their sums."""
        left, right = self.factors
        t, dtype = self.tiling, self.node.tensor.dtype
        kept, wide = stored_type(dtype), value_type(dtype)
        name = f"{self.name}_{'parts_' if self.partial else ''}{t.rows}x{t.columns}"
        part = -(-prod(left.terms) // (self.parts * t.depth)) * t.depth
        source = f"""{includes([dtype])}extern "C" __global__ void
__launch_bounds__({t.threads})
{name}(const {kept}* __restrict__ x, const {kept}* __restrict__ y,
  {wide if self.partial else kept}* __restrict__ out) {{
  __shared__ __align__(16) {wide} slab_x[{t.depth}][{t.rows + 4}];
  __shared__ __align__(16) {wide} slab_y[{t.depth}][{t.columns + 4}];
  {wide} sum[{t.down}][{t.across}] = {{}};
{self._start(part)}{self.setup}\
{self._fixed("x", left, t.rows)}{self._fixed("y", right, t.columns)}\
  for ({self.index} start = part * ({self.index}){part}; start < stop;
       start += {t.depth}) {{
{self._passed_over()}{self._slab("x", left, t.rows)}{self._slab("y", right, t.columns)}\
    __syncthreads();
{sums(wide, "sum[i][j] += a[i] * b[j];", t)}    __syncthreads();
  }}
{self._stores()}}}
"""
        return Kernel(
            source,
            name,
            (prod(self.tiles) * self.parts * prod(self.stack), 1, 1),
            (t.threads, 1, 1),
            [Operand(f.node) for f in self.factors],
            [] if self.partial else [Operand(self.node)],
            [self.partial] if self.partial else [],
        )

    def _start(self, part: int) -> str:
        """Return statements that find a block's tile, part and place in the stack."""
        t, index = self.tiling, self.index
        down, across = self.tiles
        inner = prod(self.factors[0].terms)
        apart = "".join(
            f"  const int s{k} = rest % {size}u; rest /= {size}u;\n"
            for k, size in reversed(list(enumerate(self.stack)))
        )
        lanes = t.columns // t.across
        return f"""  unsigned rest = blockIdx.x;
  const {index} first_x = ({index})(rest % {down}u) * {t.rows}; rest /= {down}u;
  const {index} first_y = ({index})(rest % {across}u) * {t.columns}; rest /= {across}u;
{apart}  const int part = rest;
  const int row = threadIdx.x / {lanes}, column = threadIdx.x % {lanes};
  const {index} next = (part + 1) * ({index}){part};
  const {index} stop = next < {inner} ? next : {inner};
"""

    def _fixed(self, name: str, matrix: Matrix, size: int) -> str:
        """Return statements that find the one line of a tile that a thread reads."""
        if matrix.along_terms:
            return ""
        index = self.index
        line = f"  const {index} line_{name} = first_{name} + threadIdx.x % {size};\n"
        return f"{line}  {split(f'{name}_l', f'line_{name}', matrix.lines, index)}\n"

    def _passed_over(self) -> str:
        """Return statements that leave out slabs of zeros; slabs begin at multiples."""
        matrix = self.factors[0]
        if not matrix.worth or matrix.terms[-1] % self.tiling.depth:
            return ""
        coordinates = split("t", "start", matrix.terms, self.index)
        return f"""    {coordinates}
    if (!({" && ".join(matrix.worth)})) continue;
"""

    def _slab(self, name: str, matrix: Matrix, size: int) -> str:
        """Return statements that copy a slab of a factor to shared memory."""
        t, index = self.tiling, self.index
        line = f"const {index} line_{name} = first_{name} + e;"
        line += f"\n      {split('l', f'line_{name}', matrix.lines, index)}"
        term = f"const {index} term = start + k;"
        term += f"\n      {split('t', 'term', matrix.terms, index)}"
        if matrix.along_terms:
            outer = f"const int k = threadIdx.x % {t.depth};\n      {term}"
            step = t.threads // t.depth
            inner = f"int e = threadIdx.x / {t.depth}; e < {size}; e += {step}"
            each = line
        else:
            names = (f"l{k} = {name}_l{k}" for k in range(len(matrix.lines)))
            outer = f"const int e = threadIdx.x % {size};\n"
            outer += f"      const {index} {', '.join(names)};"
            step = t.threads // size
            inner = f"int k = threadIdx.x / {size}; k < {t.depth}; k += {step}"
            each = term
        edges = (f"line_{name} < {prod(matrix.lines)}", "term < stop")
        element = Body().unpack(f"{name}[{matrix.place}]", self.node.tensor.dtype)
        return f"""    {{
      {outer}
#pragma unroll
      for ({inner}) {{
      {each}
      const bool inside = {" && ".join((*edges, *matrix.inside))};
      slab_{name}[k][e] = inside ? {element} : 0;
      }}
    }}
"""

    def _stores(self) -> str:
        """Return statements that write a thread's sums."""
        t, index = self.tiling, self.index
        rows, columns = (prod(f.lines) for f in self.factors)
        begin = f"part * ({index}){prod(self.node.shape)} + " if self.partial else ""
        result = Body().pack("sum[i][j]", self.node.tensor.dtype)
        inside = (f"across >= {columns}", *(f"!({i})" for i in self.target.inside))
        return f"""#pragma unroll
  for (int j = 0; j < {t.across}; ++j) {{
    const {index} across = first_y + {place("column", "j", t.across, t.columns)};
    {split("c", "across", self.target.columns, index)}
    if ({" || ".join(inside)}) continue;
#pragma unroll
    for (int i = 0; i < {t.down}; ++i) {{
      const {index} down = first_x + {place("row", "i", t.down, t.rows)};
      if (down < {rows})
        out[{begin}{self.target.place}] = {"sum[i][j]" if self.partial else result};
    }}
  }}
"""
