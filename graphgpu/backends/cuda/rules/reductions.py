"""Kernels of reductions over any axes.

Where the innermost run of axes is reduced, lanes or a block share an output; else
threads go along outputs.  Where outputs are few the elements of each are cut into
parts, whose states a second kernel merges.  The order is fixed by the shape alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from graphgpu.backends.cuda.kernel import Kernel, Operand, Workspace
from graphgpu.backends.cuda.rules import folds
from graphgpu.backends.cuda.rules.folds import Fold
from graphgpu.backends.cuda.rules.registry import Rules
from graphgpu.backends.cuda.rules.walks import (
    BLOCK,
    Layout,
    assembled,
    block_group,
    ceil_power,
    column_group,
    lane_group,
    layout,
    offset,
    quotient,
    walk,
)
from graphgpu.backends.cuda.text import Body, stored_type
from graphgpu.dtypes import DType
from graphgpu.nodes import Node
from graphgpu.ops.cumulative import Prod
from graphgpu.ops.moments import Moments
from graphgpu.ops.reduction import All, Any, Logsumexp, Max, Mean, Min, Sum
from graphgpu.ops.sorting import Argmax, Argmin

__all__ = ["RULES", "Schedule", "columns", "lanes", "schedule"]

RULES = Rules()

_LONG = 1024
"""More elements than this are shared by a block."""
_BLOCKS = 1024
"""About as many blocks as a large GPU has room for."""

_FOLDS: dict[type, Callable[[DType, int], Fold]] = {
    Sum: lambda dtype, _: folds.total(dtype),
    Mean: folds.mean,
    Prod: lambda dtype, _: folds.product(dtype),
    Max: lambda dtype, _: folds.extremum(dtype, largest=True),
    Min: lambda dtype, _: folds.extremum(dtype, largest=False),
    Any: lambda dtype, _: folds.some(dtype),
    All: lambda dtype, _: folds.every(dtype),
    Logsumexp: lambda dtype, _: folds.log_sum_exp(dtype),
    Moments: folds.moments,
}


@RULES.of(*_FOLDS)
def reduction(node: Node) -> list[Kernel]:
    """Reduce over the operation's axes."""
    axes: tuple[int, ...] = node.operation.axes  # type: ignore[union-attr]
    x, shape = node.inputs[0].tensor, node.inputs[0].shape
    fold = _FOLDS[type(node.operation)](x.dtype, prod(shape[a] for a in axes))
    return fold_kernels(node, fold, layout(shape, axes, x.dtype.itemsize))


@RULES.of(Argmax, Argmin)
def search(node: Node) -> list[Kernel]:
    """Find the first extreme element along the operation's axis."""
    operation = node.operation
    assert isinstance(operation, Argmax | Argmin)
    x, shape = node.inputs[0].tensor, node.inputs[0].shape
    space = layout(shape, (operation.axis,), x.dtype.itemsize)
    fold = folds.place(x.dtype, isinstance(operation, Argmax), space.index)
    return fold_kernels(node, fold, space)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Which threads fold which elements.

    ``group`` is the text of ``together``.  ``members`` threads share an output;
    a block has ``per_block`` outputs, of which the thread's is ``slot`` and its
    place among the members ``member``.  The elements are cut into ``parts``.
    """

    group: str
    members: int
    per_block: int
    slot: str
    member: str
    shared: int
    """How many states of shared memory the group needs."""
    parts: int = 1


def schedule(space: Layout) -> Schedule:
    """Return the schedule for a layout."""
    if not space.rows:
        height = min(ceil_power(quotient(space.length, 8)), 8)
        width = min(ceil_power(space.outputs), BLOCK // height)
        return columns(space, width)
    if space.length > _LONG:
        parts = min(_BLOCKS // space.outputs, quotient(space.packs, 8 * BLOCK))
        return Schedule(
            block_group(BLOCK), BLOCK, 1, "0", "threadIdx.x", BLOCK // 32, max(parts, 1)
        )
    return lanes(min(ceil_power(quotient(space.packs, 4)), 32))


def columns(space: Layout, width: int) -> Schedule:
    """Return the schedule where neighbouring threads have neighbouring outputs."""
    height = min(ceil_power(space.length), BLOCK // width)
    blocks = quotient(space.outputs, width)
    parts = min(_BLOCKS // blocks, quotient(space.length, 32 * height))
    slot, member = f"threadIdx.x % {width}u", f"threadIdx.x / {width}u"
    group = column_group(width, height) if height > 1 else lane_group(1)
    shared = width * height
    return Schedule(group, height, width, slot, member, shared, max(parts, 1))


def lanes(count: int) -> Schedule:
    """Return the schedule where so many lanes share an output."""
    slot, member = f"threadIdx.x / {count}u", f"threadIdx.x % {count}u"
    return Schedule(lane_group(count), count, BLOCK // count, slot, member, 1)


def fold_kernels(node: Node, fold: Fold, space: Layout) -> list[Kernel]:
    """Return the kernels that fold a node's input into its outputs."""
    if not space.outputs:
        return []
    plan = schedule(space)
    part = max(quotient(space.packs, plan.parts), 1)
    parts = max(quotient(space.packs, part), 1)
    dtype = node.inputs[0].tensor.dtype
    monoid = f"typedef {space.index} Index;\n{fold.text()}"
    text = monoid + walk(space, dtype) + plan.group
    source = f"const {stored_type(dtype)}* __restrict__ x"
    begin, end = "0", f"{space.packs}u"
    if parts > 1:
        begin = f"part * {part}u"
        end = f"(part == {parts - 1}u ? {end} : {begin} + {part}u)"
    walked = (
        f"walk(x + ({offset(space.kept, 'o')}), {begin} + ({plan.member}), {end}, "
        f"{plan.members}u)"
    )
    first = _Pass(plan, space.outputs, parts, walked)
    if parts == 1:
        return [_kernel(node, fold, text, source, first)]
    scratch = Workspace(space.outputs * parts * fold.state_bytes)
    second = lanes(min(ceil_power(parts), 32))
    merged = f"folded(x + o * {parts}u, {second.member}, {parts}u, {second.members}u)"
    again = monoid + _FOLDED + second.group
    return [
        _kernel(node, fold, text, source, first, scratch),
        _kernel(
            node,
            fold,
            again,
            "",
            _Pass(second, space.outputs, 1, merged),
            scratch,
        ),
    ]


_FOLDED = """\
__device__ __forceinline__ State folded(const State* __restrict__ x, Index first,
                                        Index end, Index step) {
  State s = nothing();
  for (Index r = first; r < end; r += step) s = merge(s, x[r]);
  return s;
}
"""


@dataclass(frozen=True, slots=True)
class _Pass:
    """A launch: what each thread folds, and in how many parts an output comes."""

    plan: Schedule
    outputs: int
    parts: int
    walked: str


def _kernel(
    node: Node,
    fold: Fold,
    text: str,
    source: str,
    run: _Pass,
    scratch: Workspace | None = None,
) -> Kernel:
    """Return the kernel of a pass: states go to the scratch where it has parts."""
    plan, last = run.plan, run.parts == 1
    types = [t.dtype for t in node.components] if last else []
    results = [f"{stored_type(t)}* __restrict__ y{k}" for k, t in enumerate(types)]
    states = ["State* __restrict__ states" if source else "const State* __restrict__ x"]
    parameters = [source] * bool(source) + results + states * (scratch is not None)
    stores = _stores(fold, types) if last else "states[o * PARTS + part] = s;"
    part = f"\n  const Index part = blockIdx.x % {run.parts}u;" * (run.parts > 1)
    body = f"""\
  __shared__ State shared[{plan.shared}];{part}
  const Index o = (Index)(blockIdx.x / {run.parts}u) * {plan.per_block}u + {plan.slot};
  State s = nothing();
  if (o < {run.outputs}u) s = {run.walked};
  s = together(s, shared);
  if (o < {run.outputs}u && {plan.member} == 0) {{
    {stores.replace("PARTS", f"{run.parts}u")}
  }}
"""
    dtypes = [n.tensor.dtype for n in node.inputs] if source else []
    name = f"{fold.name}_{node.inputs[0].tensor.dtype.name}"
    threads = plan.members * plan.per_block
    code, unique = assembled(
        name if last and source else f"{name}_{'parts' if source else 'merge'}",
        [*dtypes, *types],
        text,
        ", ".join(parameters),
        body,
        threads,
    )
    return Kernel(
        code,
        unique,
        (quotient(run.outputs, plan.per_block) * run.parts, 1, 1),
        (threads, 1, 1),
        [Operand(node.inputs[0])] if source else [],
        [Operand(node, k) for k in range(len(types))],
        [scratch] if scratch is not None else [],
    )


def _stores(fold: Fold, types: list[DType]) -> str:
    body = Body()
    lines = []
    for k, (value, dtype) in enumerate(zip(fold.finish, types, strict=True)):
        cast = f"({stored_type(dtype)})({value})"
        packed = cast if dtype.itemsize > 2 else body.pack(f"({value})", dtype)
        lines.append(f"y{k}[o] = {packed};")
    return "\n    ".join(lines)
