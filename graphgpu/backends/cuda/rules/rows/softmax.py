"""Softmax and log-softmax: as elementwise nodes and folds, and kernels of long rows.

A row that fits in registers is computed in stages, and read once.  A longer row, or
one whose elements are not neighbours, is read twice: first m, the largest element,
and Σ e^(x - m) are formed together, rescaled whenever m grows (M. Milakov and N.
Gimelshein, "Online normalizer calculation for softmax", 2018).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from graphgpu.backends.cuda.kernels.kernel import Kernel, Operand
from graphgpu.backends.cuda.kernels.text import Body, stored_type
from graphgpu.backends.cuda.rules.places import made
from graphgpu.backends.cuda.rules.registry import Rules
from graphgpu.backends.cuda.rules.rows import folds
from graphgpu.backends.cuda.rules.rows.programs import row_program
from graphgpu.backends.cuda.rules.rows.reductions import Schedule, columns
from graphgpu.backends.cuda.rules.rows.stages import Rows
from graphgpu.backends.cuda.rules.rows.walks import (
    BLOCK,
    Layout,
    array_walk,
    assembled,
    block_group,
    ceil_power,
    layout,
    offset,
    quotient,
)
from graphgpu.dtypes import DType, accumulator
from graphgpu.nodes import Node
from graphgpu.ops.activations.normalized import LogSoftmax, Softmax
from graphgpu.ops.arithmetic import Divide, Subtract
from graphgpu.ops.exponential import Exp, Log
from graphgpu.ops.reduction import Max, Sum
from graphgpu.types import TensorType

__all__ = ["RULES", "normalized"]

RULES = Rules()


@RULES.of(Softmax, LogSoftmax)
def softmax(node: Node) -> list[Kernel]:
    """Normalise along the operation's axis."""
    operation = node.operation
    assert isinstance(operation, Softmax | LogSoftmax)
    rows = Rows(node.shape, (operation.axis,))
    if rows.fit():
        parts = normalized(node)
        (kernel,) = row_program(rows, parts, parts[-1:])
        return [replace(kernel, writes=[Operand(node)])]
    space = layout(node.shape, (operation.axis,), node.tensor.dtype.itemsize)
    if not space.outputs or not space.length:
        return []
    logarithm = isinstance(operation, LogSoftmax)
    if not space.rows:
        height = min(ceil_power(quotient(space.length, 8)), 8)
        width = min(ceil_power(space.outputs), BLOCK // height)
        return [_twice(node, space, columns(space, width), logarithm)]
    return [_twice(node, space, _block(1024), logarithm)]


def normalized(node: Node) -> list[Node]:
    """Return nodes that compute what a node of this kind does, the last one it.

    Nothing is changed: what they read does not know them as its readers.
    """
    operation: Any = node.operation
    (x,) = node.inputs
    axes = (operation.axis,)
    narrow, wide = node.tensor.dtype, accumulator(node.tensor.dtype)
    kept = Rows(node.shape, axes).kept

    whole = TensorType(wide, node.shape)
    largest = made(node, Max(axes, True), (x,), TensorType(narrow, kept))
    rest = made(node, Subtract(), (x, largest), whole)
    power = made(node, Exp(), (rest,), whole)
    total = made(node, Sum(axes, True), (power,), TensorType(wide, kept))
    found = [largest, rest, power, total]
    if isinstance(operation, Softmax):
        return [*found, made(node, Divide(), (power, total), node.tensor)]
    logarithm = made(node, Log(), (total,), TensorType(wide, kept))
    last = made(node, Subtract(), (rest, logarithm), node.tensor)
    return [*found, logarithm, last]


def _block(threads: int) -> Schedule:
    group = block_group(threads)
    return Schedule(group, threads, 1, "0", "threadIdx.x", threads // 32)


def _twice(node: Node, space: Layout, plan: Schedule, logarithm: bool) -> Kernel:
    """Return the kernel that reads its rows twice."""
    dtype = node.tensor.dtype
    fold = folds.log_sum_exp(dtype)
    _, exp, log = _names(dtype)
    text = f"typedef {space.index} Index;\n{fold.text()}{array_walk(space, dtype)}"
    text += plan.group + _saves(dtype, space.pack)
    last = f"v[i] - s.m - {log}(s.s)" if logarithm else f"{exp}(v[i] - s.m) / s.s"
    body = f"""\
  __shared__ State shared[{plan.shared}];
  const Index o = (Index)blockIdx.x * {plan.per_block}u + {plan.slot};
  const Index row = {offset(space.kept, "o")}, member = {plan.member};
  State s = nothing();
  if (o < {space.outputs}u) s = walk(x, row, member, {space.packs}u, {plan.members}u);
  s = together(s, shared);
  if (s.m - s.m != 0) s.s = s.m - s.m;  // a row of -inf alone, or with inf: NaN
  if (o < {space.outputs}u)
    for (Index r = member; r < {space.packs}u; r += {plan.members}u) {{
      const Index e = r * {space.pack}u, at = row + ({offset(space.reduced, "e")});
      Wide v[{space.pack}];
      load(x + at, v);
#pragma unroll
      for (int i = 0; i < {space.pack}; ++i) v[i] = {last};
      save(v, y + at);
    }}
"""
    return _made(node, space, plan, text, body, logarithm)


def _names(dtype: DType) -> tuple[str, str, str]:
    wide = folds.wide_type(dtype)
    return wide, folds.function("exp", wide), folds.function("log", wide)


def _saves(dtype: DType, pack: int) -> str:
    """Return the function that writes neighbours."""
    return f"""\
__device__ __forceinline__ void save(const Wide* from, {stored_type(dtype)}* to) {{
  Pack pack;
#pragma unroll
  for (int i = 0; i < {pack}; ++i) pack.items[i] = {Body().pack("from[i]", dtype)};
  *reinterpret_cast<Pack*>(to) = pack;
}}
"""


def _made(
    node: Node, space: Layout, plan: Schedule, text: str, body: str, logarithm: bool
) -> Kernel:
    dtype = node.tensor.dtype
    kind = stored_type(dtype)
    name = f"{'log_' if logarithm else ''}softmax_{dtype.name}"
    parameters = f"const {kind}* __restrict__ x, {kind}* __restrict__ y"
    threads = plan.members * plan.per_block
    source, unique = assembled(name, [dtype], text, parameters, body, threads)
    blocks = quotient(space.outputs, plan.per_block)
    reads, writes = [Operand(node.inputs[0])], [Operand(node)]
    return Kernel(source, unique, (blocks, 1, 1), (threads, 1, 1), reads, writes)
