"""Operations that move elements to places known beforehand.

Every element of the output is one of the input, or a number.  Writes are
coalesced; where neighbours in the output are far apart in the input and the
other way round, a tile passes through shared memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from math import prod

from graphgpu.backends.cuda.kernels.kernel import Kernel, Operand
from graphgpu.backends.cuda.rules.coordinates import (
    BLOCK,
    affine,
    index_type,
    per_word,
    repeated,
    strides_of,
    word_type,
    written,
)
from graphgpu.backends.cuda.rules.registry import Rules
from graphgpu.nodes import Node
from graphgpu.ops.diagonals import Diagonal, OnDiagonal
from graphgpu.ops.joining import Concat
from graphgpu.ops.padding import PaddingIndex
from graphgpu.ops.repeating import Roll
from graphgpu.ops.shape import BroadcastTo, Transpose
from graphgpu.ops.slicing import Slice, Unslice
from graphgpu.ops.triangular import LowerTriangle, UpperTriangle

__all__ = ["RULES"]

RULES = Rules()
_TILED = 8
"""From this size of both axes on, a transpose goes through shared memory."""
_JOINED = 32
"""How many arrays one kernel joins."""


@RULES.of(Transpose)
def transpose(node: Node) -> list[Kernel]:
    """Permute the strides."""
    operation = node.operation
    assert isinstance(operation, Transpose)
    strides = strides_of(node.inputs[0].shape)
    return _strided(node, [strides[a] for a in operation.axes])


@RULES.of(BroadcastTo)
def broadcast_to(node: Node) -> list[Kernel]:
    """Set strides to zero."""
    shape = node.inputs[0].shape
    strides = [
        0 if size == 1 else stride
        for size, stride in zip(shape, strides_of(shape), strict=True)
    ]
    return _strided(node, [0] * (len(node.shape) - len(shape)) + strides)


@RULES.of(Slice)
def slice_(node: Node) -> list[Kernel]:
    """Multiply the strides by the steps."""
    operation = node.operation
    assert isinstance(operation, Slice)
    strides = strides_of(node.inputs[0].shape)
    starts: Sequence[int] = operation.starts  # type: ignore[assignment]
    steps = [a * b for a, b in zip(strides, operation.steps, strict=True)]
    offset = sum(a * b for a, b in zip(strides, starts, strict=True))
    return _strided(node, steps, offset)


@RULES.of(Diagonal)
def diagonal(node: Node) -> list[Kernel]:
    """Add the strides of the last two axes."""
    operation = node.operation
    assert isinstance(operation, Diagonal)
    *rest, down, across = strides_of(node.inputs[0].shape)
    offset = max(-operation.offset, 0) * down + max(operation.offset, 0) * across
    return _strided(node, [*rest, down + across], offset)


def merged(sizes: Sequence[int], strides: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return fewer axes that are walked alike: none of size 1, neighbours joined.

    >>> merged((2, 1, 3, 4), (24, 0, 8, 2))
    ([24], [2])
    """
    found: list[tuple[int, int]] = []
    for size, stride in zip(sizes, strides, strict=True):
        if size == 1:
            continue
        if found and found[-1][1] == stride * size:
            found[-1] = (found[-1][0] * size, stride)
        else:
            found.append((size, stride))
    return [s for s, _ in found] or [1], [s for _, s in found] or [0]


def _strided(node: Node, strides: Sequence[int], offset: int = 0) -> list[Kernel]:
    """Return the kernels of y[c] = x[offset + Σ strideᵢ cᵢ]."""
    assert node.operation is not None
    if 0 in node.shape:
        return []
    sizes, strides = merged(node.shape, strides)
    itemsize = node.tensor.dtype.itemsize
    if abs(strides[-1]) > 1 and sizes[-1] >= _TILED and 1 in strides:
        axis = strides.index(1)
        if sizes[axis] >= _TILED:
            return [_tiled(node, sizes, strides, offset, axis)]
    count = 1
    if strides[-1] == 1:
        count = per_word(itemsize, sizes[-1], offset, *strides[:-1])
        sizes[-1] //= count
        strides = [*(s // count for s in strides[:-1]), 1]
    place = affine(offset // count, strides, [f"c{k}" for k in range(len(sizes))])
    word = word_type(itemsize * count)
    return written(
        node.operation.kind(),
        node,
        sizes,
        f"value = x0[{place}];",
        [(Operand(node.inputs[0]), word)],
        word=word,
        largest=prod(node.inputs[0].shape),
    )


def _tiled(
    node: Node, sizes: Sequence[int], strides: Sequence[int], offset: int, axis: int
) -> Kernel:
    """Return the kernel that reads tiles along ``axis`` and writes along the last."""
    itemsize = node.tensor.dtype.itemsize
    word = word_type(itemsize)
    across, along = sizes[axis], sizes[-1]
    edge = 64 if itemsize <= 2 and min(across, along) > 32 else 32
    tiles = (-(-across // edge), -(-along // edge))
    outer = [a for a in range(len(sizes) - 1) if a != axis]
    out = strides_of(sizes)
    index = index_type(prod(node.inputs[0].shape), prod(sizes))
    names = [f"c{a}" for a in outer]
    apart = "".join(
        f"  const {index} c{a} = rest % {sizes[a]}u; rest /= {sizes[a]}u;\n"
        for a in reversed(outer)
    )
    source = affine(offset, [strides[a] for a in outer], names)
    target = affine(0, [out[a] for a in outer], names)
    text = f"""extern "C" __global__ void __launch_bounds__({BLOCK})
transpose_tiles(const {word}* __restrict__ x, {word}* __restrict__ y) {{
  __shared__ {word} tile[{edge}][{edge + max(4 // itemsize, 1)}];
  unsigned rest = blockIdx.x;
  const {index} right = rest % {tiles[1]}u * {edge}; rest /= {tiles[1]}u;
  const {index} down = rest % {tiles[0]}u * {edge}; rest /= {tiles[0]}u;
{apart}  const {index} source = {source};
  const {index} target = {target};
  const int column = threadIdx.x % {edge}, row = threadIdx.x / {edge};
#pragma unroll
  for (int k = row; k < {edge}; k += {BLOCK // edge})
    if (down + column < {across} && right + k < {along})
      tile[k][column] = x[source + down + column + (right + k) * {strides[-1]}];
  __syncthreads();
#pragma unroll
  for (int k = row; k < {edge}; k += {BLOCK // edge})
    if (down + k < {across} && right + column < {along})
      y[target + (down + k) * {out[axis]} + right + column] = tile[column][k];
}}
"""
    blocks = prod(tiles) * prod(sizes[a] for a in outer)
    reads, writes = [Operand(node.inputs[0])], [Operand(node)]
    return Kernel(text, "transpose_tiles", (blocks, 1, 1), (BLOCK, 1, 1), reads, writes)


@RULES.of(Unslice)
def unslice(node: Node) -> list[Kernel]:
    """Read where the slice is, and take the value elsewhere."""
    operation = node.operation
    assert isinstance(operation, Unslice)
    axes: list[tuple[int, int, int, int]] = []
    fields = (operation.shape, operation.starts, operation.lengths, operation.steps)
    for size, start, length, step in zip(*fields, strict=True):
        assert isinstance(size, int)
        assert isinstance(start, int)
        assert isinstance(length, int)
        whole = length == size and step == 1
        if axes and whole and axes[-1][3] == 1:
            sizes = (size * n for n in axes[-1][:3])
            axes[-1] = (*sizes, 1)  # type: ignore[assignment]
        else:
            axes.append((size, start, length, step if length > 1 else 1))
    size, start, length, step = axes.pop() if axes else (1, 0, 1, 1)
    dtype, count = node.tensor.dtype, 1
    if step == 1:
        count = per_word(dtype.itemsize, size, start, length)
    axes.append((size // count, start // count, length // count, step))
    conditions, places = [], []
    for axis, (size, start, length, step) in enumerate(axes):
        ahead = f"c{axis} - {start}" if step > 0 else f"{start} - c{axis}"
        place = f"({ahead}) / {abs(step)}" if abs(step) > 1 else f"({ahead})"
        places.append(place)
        if length != size or step != 1:
            conditions.append(f"{ahead} >= 0 && {place} < {length}")
        if abs(step) > 1:
            conditions.append(f"({ahead}) % {abs(step)} == 0")
    place = affine(0, strides_of([a[2] for a in axes]), places)
    fill = repeated(operation.value, dtype, count)
    return _chosen(node, [a[0] for a in axes], conditions, place, fill, count)


def _chosen(
    node: Node,
    sizes: Sequence[int],
    conditions: Sequence[str],
    place: str,
    fill: str,
    count: int = 1,
) -> list[Kernel]:
    """Return the kernels of y[c] = x[place] where all conditions hold, else a word."""
    assert node.operation is not None
    word = word_type(node.tensor.dtype.itemsize * count)
    condition = " && ".join(conditions)
    text = f"value = {fill};"
    if prod(node.inputs[0].shape):
        text = f"value = x0[{place}];"
        if condition:
            text = f"if ({condition}) value = x0[{place}];\n    else value = {fill};"
    reads = [(Operand(node.inputs[0]), word)]
    return written(node.operation.kind(), node, sizes, text, reads, word=word)


@RULES.of(LowerTriangle, UpperTriangle)
def triangle(node: Node) -> list[Kernel]:
    """Read on one side of a diagonal."""
    operation = node.operation
    assert isinstance(operation, LowerTriangle | UpperTriangle)
    *rest, rows, columns = node.shape
    sign = "<=" if isinstance(operation, LowerTriangle) else ">="
    condition = f"c2 {sign} c1 + ({operation.offset}ll)"
    return _chosen(node, [prod(rest), rows, columns], [condition], "o", "0")


@RULES.of(OnDiagonal)
def on_diagonal(node: Node) -> list[Kernel]:
    """Read on the diagonal."""
    operation = node.operation
    assert isinstance(operation, OnDiagonal)
    length = node.inputs[0].shape[-1]
    row, column = max(-operation.offset, 0), max(operation.offset, 0)
    conditions = [
        f"c1 - {row}ll == c2 - {column}ll",
        f"c1 >= {row}ll",
        f"c1 - {row}ll < {length}",
    ]
    place = f"c0 * {length} + c1 - {row}ll"
    sizes = [prod(node.shape[:-2]), *node.shape[-2:]]
    return _chosen(node, sizes, conditions, place, "0")


@RULES.of(Roll)
def roll(node: Node) -> list[Kernel]:
    """Read what stands ``shift`` before, counted around the axis."""
    operation = node.operation
    assert isinstance(operation, Roll)
    if 0 in node.shape:
        return []
    total = [0] * len(node.shape)
    for axis, shift in zip(operation.axes, operation.shifts, strict=True):
        total[axis] += shift
    axes: list[tuple[int, int]] = []
    for size, shift in zip(node.shape, total, strict=True):
        if axes and shift % size == 0:
            axes[-1] = (axes[-1][0] * size, axes[-1][1] * size)
        else:
            axes.append((size, shift % size))
    itemsize = node.tensor.dtype.itemsize
    axes = axes or [(1, 0)]
    count = per_word(itemsize, *axes[-1])
    axes[-1] = (axes[-1][0] // count, axes[-1][1] // count)
    places = []
    for axis, (size, shift) in enumerate(axes):
        c = f"c{axis}"
        back = f"({c} < {shift} ? {c} + {size - shift} : {c} - {shift})"
        places.append(back if shift else c)
    place = affine(0, strides_of([size for size, _ in axes]), places)
    word = word_type(itemsize * count)
    sizes = [size for size, _ in axes]
    reads = [(Operand(node.inputs[0]), word)]
    return written("roll", node, sizes, f"value = x0[{place}];", reads, word=word)


@RULES.of(Concat)
def concat(node: Node) -> list[Kernel]:
    """Read from the array that the place falls into."""
    operation = node.operation
    assert isinstance(operation, Concat)
    rows = prod(node.shape[: operation.axis])
    inputs = [n for n in node.inputs if 0 not in n.shape]
    if rows == 0 or not inputs:
        return []
    itemsize = node.tensor.dtype.itemsize
    widths = [prod(n.shape[operation.axis :]) for n in inputs]
    count = per_word(itemsize, *widths)
    widths = [w // count for w in widths]
    ends = list(accumulate(widths))
    word = word_type(itemsize * count)
    kernels = []
    for first in range(0, len(inputs), _JOINED):
        group = range(first, min(first + _JOINED, len(inputs)))
        start = ends[first] - widths[first]
        branches = []
        for k in group:
            ahead = f"c1 - {ends[k] - widths[k] - start}"
            choice = f"if (c1 < {ends[k] - start}) " if k != group[-1] else ""
            place = f"c0 * {widths[k]} + {ahead}"
            branches.append(f"{choice}value = x{k - first}[{place}];")
        target = f"c0 * {ends[-1]} + {start} + c1"
        kernels += written(
            "concat",
            node,
            [rows, ends[group[-1]] - start],
            "\n    else ".join(branches),
            [(Operand(inputs[k]), word) for k in group],
            word=word,
            target=target if len(inputs) > _JOINED else "o",
            largest=prod(node.shape),
        )
    return kernels


@RULES.of(PaddingIndex)
def padding_index(node: Node) -> list[Kernel]:
    """Count, and fold back."""
    operation = node.operation
    assert isinstance(operation, PaddingIndex)
    size, before, mode = operation.size, operation.before, operation.mode
    assert isinstance(size, int)
    period = {"wrap": size, "symmetric": 2 * size, "reflect": 2 * (size - 1)}
    text = f"value = (long long)o - {before};\n    "
    if mode == "edge":
        text += f"value = value < 0 ? 0 : value < {size} ? value : {size - 1};"
    else:
        around = max(period[mode], 1)
        text += f"value = (value % {around} + {around}) % {around};"
    if mode in ("symmetric", "reflect"):
        last = period[mode] - (mode == "symmetric")
        text += f"\n    if (value > {last} - value) value = {last} - value;"
    return written("padding_index", node, node.shape, text, [], word="long long")
