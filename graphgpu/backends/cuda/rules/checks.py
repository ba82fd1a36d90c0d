"""Whether indices are inside: a kernel that notes the first that is not.

A kernel cannot raise.  It writes the place of the first wrong index to a word of
the step's status; new values are written only if all words are clear, and the
host raises when it next reads the status.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import NamedTuple

from graphgpu.backends.cuda.kernels.kernel import Kernel, Operand
from graphgpu.backends.cuda.kernels.text import stored_type
from graphgpu.backends.cuda.lowering.views import offset, root
from graphgpu.backends.cuda.rules.places import Among, Chosen
from graphgpu.nodes import Node
from graphgpu.ops.gather import (
    AddAlongAxis,
    Gather,
    PutAlongAxis,
    ScatterAdd,
    TakeAlongAxis,
)
from graphgpu.ops.indexing import OneHot
from graphgpu.ops.losses.classes import ClassIndex

__all__ = ["Range", "check", "ranges"]

_THREADS = 256


class Range(NamedTuple):
    """Indices that must be from ``low`` to ``high`` - 1, or ``ignored``.

    Those that are ``guarded`` may not be read at all.
    """

    indices: Node
    low: int
    high: int
    ignored: int | None = None
    guarded: bool = False

    @property
    def key(self) -> tuple[object, ...]:
        """What is equal for checks of the same memory."""
        index = self.indices
        return (*root(index, 0), offset(index), index.nbytes, *self[1:])

    def complaint(self, place: int) -> str:
        """Return what is wrong with the index at a place in C order."""
        text = f"an index (number {place} of {self.indices.shape}) is not from "
        text += f"{self.low} to {self.high - 1}"
        return text + (f", nor {self.ignored}" if self.ignored is not None else "")


def ranges(node: Node) -> Iterator[Range]:
    """Yield the ranges that a node's indices must be in."""
    operation = node.operation
    if isinstance(operation, ClassIndex):
        classes = operation.classes
        assert isinstance(classes, int)
        yield Range(node.inputs[0], 0, classes, operation.ignore_index)
    elif isinstance(operation, OneHot):
        yield Range(node.inputs[0], 0, node.shape[-1])
    elif isinstance(operation, Gather | ScatterAdd):
        shape = node.shape if isinstance(operation, ScatterAdd) else _shape(node)
        for index, axis in zip(node.inputs[1:], operation.axes, strict=True):
            yield from _indices(index, shape[axis])
    elif isinstance(operation, TakeAlongAxis):
        yield from _indices(node.inputs[1], _shape(node)[operation.axis])
    elif isinstance(operation, Among | Chosen):
        yield from _indices(node.inputs[0], prod(node.inputs[1].shape))
    elif isinstance(operation, AddAlongAxis | PutAlongAxis):
        yield from _indices(node.inputs[1], node.shape[operation.axis])


def _shape(node: Node) -> tuple[int, ...]:
    return node.inputs[0].shape


def _indices(index: Node, size: int) -> Iterator[Range]:
    """Yield the range of indices that may count from the end."""
    source, _ = root(index, 0)
    if not isinstance(source.operation, ClassIndex):  # which has been checked
        yield Range(index, -size, size)


def check(wanted: Range) -> Kernel:
    """Return the kernel that checks a range; its status word is given last."""
    index, low, high, ignored, _ = wanted
    count, dtype = prod(index.shape), index.tensor.dtype
    type_ = stored_type(dtype)
    inside = f"i >= {low} && i < {high}"
    if dtype.kind == "u":
        inside = f"i >= 0 && i < {high}"
    if ignored is not None:
        inside = f"{inside} || i == {ignored}"
    bounds = f"{low}_{high}_{ignored}".replace("-", "m")
    name = f"check_{dtype.name}_{count}_{bounds}"
    source = f"""extern "C" __global__ void __launch_bounds__({_THREADS})
{name}(const {type_}* __restrict__ x, unsigned long long* __restrict__ status) {{
  const long long o = (long long)blockIdx.x * {_THREADS} + threadIdx.x;
  if (o >= {count}) return;
  const long long i = (long long)x[o];
  if (!({inside})) atomicMin(status, (unsigned long long)o);
}}
"""
    grid = (-(-count // _THREADS), 1, 1)
    block = (_THREADS, 1, 1)
    return Kernel(source, name, grid, block, [Operand(index)], [], status=True)
