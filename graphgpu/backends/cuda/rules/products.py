"""Matrix products by tiles in shared memory and in registers.

A block computes a tile of the output; each of its threads a smaller one.  Slabs
of both factors pass through shared memory, halves as float32.  Where there are
few tiles and long sums, these are cut into parts that are added in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from graphgpu.backends.cuda.kernel import Kernel, Operand, Workspace
from graphgpu.backends.cuda.rules.coordinates import affine, index_type, strides_of
from graphgpu.backends.cuda.rules.gathering import broadcast_strides
from graphgpu.backends.cuda.rules.registry import Rules
from graphgpu.backends.cuda.rules.threads import threads
from graphgpu.backends.cuda.text import (
    Body,
    includes,
    stored_type,
    unsigned_type,
    value_type,
)
from graphgpu.dtypes import DType, is_floating
from graphgpu.nodes import Node
from graphgpu.ops.matrix_product import Matmul

__all__ = ["RULES", "Factor", "Tiling", "place", "product", "sums", "tiling_for"]

RULES = Rules()
BOOL = np.dtype(bool)
_ENOUGH = 264
"""So many blocks keep a large GPU busy; fewer are worth cutting the sums."""
_PART = 256
"""The terms that a part of a sum has at least."""
_PARTS = 32
"""And how many parts there are at most."""


@dataclass(frozen=True, slots=True)
class Tiling:
    """A block computes rows × columns, each thread down × across of them.

    A slab of the factors is ``depth`` terms deep.
    """

    rows: int
    columns: int
    depth: int
    down: int
    across: int

    @property
    def threads(self) -> int:
        """Threads a block."""
        return self.rows // self.down * (self.columns // self.across)


@dataclass(frozen=True, slots=True)
class Factor:
    """A stack of matrices as a kernel reads it.

    ``strides`` are those of the stack's axes, ``row`` and ``column`` those of a
    matrix: one of them 1 if reads are to be coalesced.
    """

    node: Node
    strides: Sequence[int]
    row: int
    column: int


@RULES.of(Matmul)
def matmul(node: Node) -> list[Kernel]:
    """Σ_k x[..., i, k] y[..., k, j], a stack on the left alone as one matrix."""
    if 0 in node.shape:
        return []
    x, y = node.inputs
    *stack, rows, columns = node.shape
    inner = x.shape[-1]
    if prod(y.shape[:-2]) == 1 and prod(x.shape[:-2]) == prod(stack):
        rows, stack = rows * prod(stack), []
    left, right = (
        Factor(n, _stack_strides(n.shape, len(stack)), n.shape[-1], 1) for n in (x, y)
    )
    return product(node, left, right, stack, (rows, columns, inner))


def _stack_strides(shape: Sequence[int], ndim: int) -> list[int]:
    """Return the strides of a stack's axes, when it is broadcast to so many."""
    if not ndim:
        return []
    size = shape[-2] * shape[-1]
    return [s * size for s in broadcast_strides(shape[:-2], ndim)]


def tiling_for(rows: int, columns: int, stack: int, dtype: DType) -> Tiling:
    """Return tiles that fit the sizes, and are many enough where they can be."""
    large = Tiling(128, 128, 8, 8, 8)
    middle = Tiling(64, 64, 16, 4, 4)
    small = Tiling(32, 32, 16, 2, 2)
    blocks = -(-rows // 128) * -(-columns // 128) * stack
    if dtype.itemsize < 8 and min(rows, columns) > 64 and blocks >= _ENOUGH // 2:
        return large
    return middle if min(rows, columns) > 32 else small


def product(
    node: Node,
    left: Factor,
    right: Factor,
    stack: Sequence[int],
    sizes: tuple[int, int, int],
) -> list[Kernel]:
    """Return the kernels of a product of stacks of matrices.

    Parameters
    ----------
    node
        What is written, C-ordered: ``(*stack, rows, columns)``.
    left, right
        The factors.
    stack
        The sizes of the stack's axes.
    sizes
        The output's rows and columns, and the number of terms.
    """
    rows, columns, inner = sizes
    dtype, count = node.tensor.dtype, prod(stack)
    tiling = tiling_for(rows, columns, count, dtype)
    blocks = -(-rows // tiling.rows) * -(-columns // tiling.columns) * count
    parts = min(_ENOUGH // blocks, inner // _PART, _PARTS)
    if parts < 2 or not is_floating(dtype):
        return [_tiles(node, (left, right), stack, sizes, tiling, 1, None)]
    wide = value_type(dtype)
    total = rows * columns * count
    partial = Workspace(parts * total * (8 if wide == "double" else 4))
    summed = f"""  {wide} sum = 0;
  for (int part = 0; part < {parts}; ++part) sum += partial[part * {total}ll + o];
  y[o] = {Body().pack("sum", dtype)};"""
    scratch = [(f"const {wide}* __restrict__ partial", partial)]
    return [
        _tiles(node, (left, right), stack, sizes, tiling, parts, partial),
        threads("product_sum", total, summed, (), [("y", node)], scratch),
    ]


def _arithmetic(dtype: DType) -> tuple[str, str, str]:
    """Return the type of sums, what adds ``a`` and ``b``'s product, and the result."""
    if dtype == BOOL:
        return "unsigned char", "sum[i][j] |= a[i] & b[j];", "sum[i][j]"
    add = "sum[i][j] += a[i] * b[j];"
    if is_floating(dtype):
        return value_type(dtype), add, Body().pack("sum[i][j]", dtype)
    return unsigned_type(dtype), add, f"({stored_type(dtype)})sum[i][j]"


def _slab(
    name: str,
    dtype: DType,
    edge: tuple[int, int, int],
    term: int,
    index: str,
    t: Tiling,
) -> str:
    """Return statements that copy a slab, its edge × depth, to shared memory.

    ``edge`` is the tile's size, the matrix's size and its stride across the terms,
    ``term`` the stride from term to term.  Neighbouring threads read neighbours.
    """
    size, limit, stride = edge
    if term == 1:
        split = f"const int k = n % {t.depth}, e = n / {t.depth};"
    else:
        split = f"const int e = n % {size}, k = n / {size};"
    at = f"({index})(first_{name} + e) * {stride} + ({index})(start + k) * {term}"
    element = f"{name}[{at}]"
    value = element if dtype == BOOL else Body().unpack(element, dtype)
    return f"""#pragma unroll
    for (int n = threadIdx.x; n < {size * t.depth}; n += {t.threads}) {{
      {split}
      slab_{name}[k][e] =
        first_{name} + e < {limit} && start + k < stop ? {value} : 0;
    }}
"""


def place(name: str, number: str, each: int, size: int) -> str:
    """Return where a thread's number-th row or column is in its tile of a size.

    Up to four lie side by side, so that they are read as one.
    """
    side = min(each, 4)
    if side == each:
        return f"{name} * {side} + {number}"
    apart = size // each * side
    return f"{number} / {side} * {apart} + {name} * {side} + {number} % {side}"


def sums(wide: str, add: str, t: Tiling) -> str:
    """Return statements that add a slab's terms to the sums of a thread."""
    return f"""#pragma unroll
    for (int k = 0; k < {t.depth}; ++k) {{
      {wide} a[{t.down}], b[{t.across}];
#pragma unroll
      for (int i = 0; i < {t.down}; ++i)
        a[i] = slab_x[k][{place("row", "i", t.down, t.rows)}];
#pragma unroll
      for (int j = 0; j < {t.across}; ++j)
        b[j] = slab_y[k][{place("column", "j", t.across, t.columns)}];
#pragma unroll
      for (int i = 0; i < {t.down}; ++i)
#pragma unroll
        for (int j = 0; j < {t.across}; ++j) {add}
    }}
"""


def _stores(rows: int, columns: int, result: str, index: str, t: Tiling) -> str:
    """Return statements that write a thread's sums."""
    return f"""#pragma unroll
  for (int i = 0; i < {t.down}; ++i)
#pragma unroll
    for (int j = 0; j < {t.across}; ++j) {{
      const int down = first_x + {place("row", "i", t.down, t.rows)};
      const int across = first_y + {place("column", "j", t.across, t.columns)};
      if (down < {rows} && across < {columns})
        out[({index})down * {columns} + across] = {result};
    }}
"""


def _start(
    factors: tuple[Factor, Factor],
    stack: Sequence[int],
    sizes: tuple[int, int, int],
    index: str,
    t: Tiling,
    parts: int,
) -> str:
    """Return statements that find a block's tile, part and place in the stack."""
    rows, columns, inner = sizes
    left, right = factors
    tiles = (-(-rows // t.rows), -(-columns // t.columns))
    part, lanes = -(-inner // parts), t.columns // t.across
    names = [f"s{k}" for k in range(len(stack))]
    apart = "".join(
        f"  const {index} s{k} = rest % {size}u; rest /= {size}u;\n"
        for k, size in reversed(list(enumerate(stack)))
    )
    out = affine(0, [s * rows * columns for s in strides_of(stack)], names)
    return f"""  unsigned rest = blockIdx.x;
  const int first_y = rest % {tiles[1]}u * {t.columns}; rest /= {tiles[1]}u;
  const int first_x = rest % {tiles[0]}u * {t.rows}; rest /= {tiles[0]}u;
  const int part = rest % {parts}u; rest /= {parts}u;
{apart}  x += {affine(0, left.strides, names)};
  y += {affine(0, right.strides, names)};
  out += {out} + ({index})part * {prod(stack) * rows * columns};
  const int row = threadIdx.x / {lanes}, column = threadIdx.x % {lanes};
  const int stop = min(part * {part} + {part}, {inner});
"""


def _tiles(
    node: Node,
    factors: tuple[Factor, Factor],
    stack: Sequence[int],
    sizes: tuple[int, int, int],
    t: Tiling,
    parts: int,
    partial: Workspace | None,
) -> Kernel:
    """Return the kernel that computes all tiles, or parts of their sums."""
    rows, columns, inner = sizes
    left, right = factors
    dtype = node.tensor.dtype
    wide, add, result = _arithmetic(dtype)
    largest = max(prod(n.shape) for n in (left.node, right.node))
    index = index_type(parts * prod(node.shape), largest)
    kept, kind = stored_type(dtype), "parts_" if partial else ""
    name = f"product_{kind}{t.rows}x{t.columns}"
    left_edge, right_edge = (
        (t.rows, rows, left.row),
        (t.columns, columns, right.column),
    )
    source = f"""{includes([dtype])}extern "C" __global__ void
__launch_bounds__({t.threads})
{name}(const {kept}* __restrict__ x, const {kept}* __restrict__ y,
  {wide if partial else kept}* __restrict__ out) {{
  __shared__ __align__(16) {wide} slab_x[{t.depth}][{t.rows + 4}];
  __shared__ __align__(16) {wide} slab_y[{t.depth}][{t.columns + 4}];
  {wide} sum[{t.down}][{t.across}] = {{}};
{_start(factors, stack, sizes, index, t, parts)}\
  for (int start = part * {-(-inner // parts)}; start < stop; start += {t.depth}) {{
{_slab("x", dtype, left_edge, left.column, index, t)}\
{_slab("y", dtype, right_edge, right.row, index, t)}\
    __syncthreads();
{sums(wide, add, t)}    __syncthreads();
  }}
{_stores(rows, columns, "sum[i][j]" if partial else result, index, t)}}}
"""
    blocks = -(-rows // t.rows) * -(-columns // t.columns) * parts * prod(stack)
    return Kernel(
        source,
        name,
        (blocks, 1, 1),
        (t.threads, 1, 1),
        [Operand(f.node) for f in factors],
        [] if partial else [Operand(node)],
        [partial] if partial else [],
    )
