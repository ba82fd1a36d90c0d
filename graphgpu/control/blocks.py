"""A scan in blocks, of which only the carries are kept.

A scan over the blocks, whose body is the scan of one, and a scan of what is left.
The iterations keep their numbers, and with them their random numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from graphgpu.control.closing import Bindings, components, subgraph
from graphgpu.control.loop import Scan
from graphgpu.dims import Size
from graphgpu.graph import RUN_KEY, Variable, apply, placeholder
from graphgpu.ops.joining import concat

__all__ = ["in_blocks"]


def in_blocks(scan: Scan, inputs: Sequence[Variable], size: int) -> list[Variable]:
    """Return the components of a scan of blocks of so many iterations."""
    length, carries = scan.length, scan.carries
    if isinstance(length, int) and length <= size:
        return list(components(apply(scan, *inputs)))
    count = length // size
    rest = length - count * size
    covered = length - rest
    begin: Size = rest if scan.reverse else 0
    values = list(inputs[:carries])
    first, last = carries, carries + scan.sequences
    sequences, shared = inputs[first:last], inputs[last:]
    parts = [x[begin : begin + covered] for x in sequences] if rest != 0 else sequences
    blocks = [
        x.reshape((count, size, *whole.shape[1:]))
        for x, whole in zip(parts, sequences, strict=True)
    ]
    outer = _over_blocks(scan, [*values, *blocks, *shared], count, size, begin)
    values = list(outer[:carries])
    stacked = [y.reshape((covered, *y.shape[2:])) for y in outer[carries:]]
    if rest == 0:
        return [*values, *stacked]
    begin = 0 if scan.reverse else covered
    parts = [x[begin : begin + rest] for x in sequences]
    remaining = replace(scan, length=rest, first=begin)
    found = components(apply(remaining, *values, *parts, *shared))
    joined = [
        concat([right, left] if scan.reverse else [left, right])
        for left, right in zip(stacked, found[carries:], strict=True)
    ]
    return [*found[:carries], *joined]


def _over_blocks(
    scan: Scan, inputs: Sequence[Variable], count: Size, size: int, begin: Size
) -> tuple[Variable, ...]:
    """Return the components of the scan whose body is the scan of a block."""
    first, last = scan.carries, scan.carries + scan.sequences
    bound: Bindings = {
        v
        if v is RUN_KEY
        else placeholder(
            f"block{place}",
            v.shape[1:] if first <= place < last else v.shape,
            v.dtype,
        ): v
        for place, v in enumerate(inputs)
    }
    inner = replace(scan, length=size, scale=1)
    body, given = subgraph(bound, components(apply(inner, *bound)))
    outer = replace(scan, body=body, length=count, keeps=False, first=begin, step=size)
    return components(apply(outer, *given))
