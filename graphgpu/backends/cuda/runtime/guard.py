"""check_finite on a device: kernels that look for NaN and infinities.

After every node a kernel adds to a word of its value what it holds: a NaN, an
infinity.  The host reads the words when the step is done and before anything is
written, finds the first value that is not as it should be, computes up to there once
more, and reads what the node was computed from.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np

from graphgpu.backends.base import Task
from graphgpu.backends.cuda.drivers.driver import Function
from graphgpu.backends.cuda.kernels.kernel import Kernel
from graphgpu.backends.cuda.kernels.text import includes, stored_type
from graphgpu.backends.cuda.lowering.views import Slot, is_leaf, is_view, offset, root
from graphgpu.backends.cuda.runtime.context import Context
from graphgpu.backends.cuda.runtime.link import Linked
from graphgpu.backends.cuda.runtime.status import complaint
from graphgpu.backends.cuda.runtime.step import Step
from graphgpu.backends.cuda.translate import Place
from graphgpu.dtypes import Array, DType, is_floating
from graphgpu.errors import GraphGPUError
from graphgpu.finite import blame, blame_leaf, labelled
from graphgpu.graph import Parameter
from graphgpu.nodes import Node
from graphgpu.types import TupleType

__all__ = ["Guard"]

_THREADS = 256
_BLOCKS = 4096
_NAN, _INFINITE = 1, 2


@dataclass(frozen=True, eq=False, slots=True)
class _Value:
    """An array that may hold NaN: where it lies, and the number of its word."""

    place: Place
    dtype: DType
    count: int
    number: int


def _kernel(dtype: DType) -> Kernel:
    """Return the kernel that looks at arrays of a dtype, a block's."""
    name, type_ = f"note_not_finite_{dtype.name}", stored_type(dtype)
    value = "double" if dtype.itemsize == 8 else "float"
    source = f"""{includes([dtype])}extern "C" __global__ void
__launch_bounds__({_THREADS}) {name}(const {type_}* __restrict__ x,
    unsigned int* __restrict__ word, long long count) {{
  const long long step = (long long)gridDim.x * {_THREADS};
  unsigned int found = 0;
  for (long long o = (long long)blockIdx.x * {_THREADS} + threadIdx.x; o < count;
       o += step) {{
    const {value} v = ({value})x[o];
    if (v - v != 0) found |= v != v ? {_NAN}u : {_INFINITE}u;
  }}
  if (found) atomicOr(word, found);
}}
"""
    return Kernel(source, name, (1, 1, 1), (_THREADS, 1, 1), [], [])


@final
class Guard:
    """The checks of a program's values, node by node."""

    def __init__(self, task: Task, linked: Linked, context: Context) -> None:
        self._nodes = task.nodes
        self._linked = linked
        self._driver = context.driver
        self._stream = context.stream
        self._input_place = 0
        self._places: dict[Slot, Place] = {}
        self._values: dict[Slot, _Value] = {}
        self._first: dict[Node, int] = {}
        """The first launch of each node, and the last one."""
        self._last: dict[Node, int] = {}
        self._after: dict[int, list[_Value]] = defaultdict(list)
        """The values that are there after a launch; -1: before the first."""
        for node in task.nodes:
            if is_leaf(node):
                self._add((node, 0), Place(node), -1)
        for k, launch in enumerate(linked.code.launches):
            node = launch.nodes[-1]  # in bodies come those that they are written for
            self._first.setdefault(node, k)
            self._last[node] = k
        self._find_results()
        count = max(1, len(self._values))
        self._words = self._driver.allocate(4 * count)
        self._functions: dict[DType, Function] = {}
        for dtype in {v.dtype for v in self._values.values()}:
            kernel = _kernel(dtype)
            self._functions[dtype] = self._driver.compile(kernel.source, kernel.name)

    def _find_results(self) -> None:
        """Note after which launch each node's values are there."""
        last: dict[Slot, int] = {}
        for k, launch in enumerate(self._linked.code.launches):
            kernel = launch.kernel
            operands = [*kernel.reads, *kernel.writes]
            for operand, place in zip(operands, launch.places, strict=False):
                start = replace(place, offset=place.offset - offset(operand.node))
                self._places[root(operand.node, operand.component)] = start
            last |= {root(o.node, o.component): k for o in kernel.writes}
        for slot, k in last.items():
            self._add(slot, self._places[slot], k)

    def _add(self, slot: Slot, place: Place, after: int) -> None:
        node, component = slot
        type_ = node.components[component]
        shape: tuple[int, ...] = type_.shape  # type: ignore[assignment]
        count = int(np.prod(shape, dtype=np.int64))
        if is_floating(type_.dtype) and count:
            value = _Value(place, type_.dtype, count, len(self._values))
            self._values[slot] = value
            self._after[after].append(value)

    def run(self, step: Step, input_place: int) -> None:
        """Do a step up to its copies; raise if a value is not as it should be.

        Raises
        ------
        NonFiniteError
            A value is not finite.
        ComputeError
            A check of the program's own has found something before that.
        """
        self._input_place = input_place
        self._driver.fill(self._words.address, 0, self._words.nbytes, self._stream)
        step.begin()
        self._look(-1)
        for k in step.walk():
            step.launch(step.launches[k])
            self._look(k)
        words = np.empty(max(1, len(self._values)), np.uint32)
        self._driver.download(self._words.address, words, self._stream)
        errors: list[tuple[int, GraphGPUError]] = []
        found = self._linked.watch.found() if self._linked.watch else []
        for launch, word in found[:1]:
            at = self._linked.code.launches.index(launch)
            errors.append((at, complaint(launch, word)))
        if words.any() and (node := self._first_bad(words)) is not None:
            at = self._first.get(node, -1)
            if not errors or at < errors[0][0]:
                error = self._blame(node, step)
                errors = [(at, error)] if error is not None else errors
        if errors:
            raise errors[0][1]

    def _look(self, after: int) -> None:
        for value in self._after.get(after, ()):
            blocks = min(_BLOCKS, -(-value.count // (4 * _THREADS)))
            arguments = [
                np.uint64(self._at(value.place)),
                np.uint64(self._words.address + 4 * value.number),
                np.int64(value.count),
            ]
            function, block = self._functions[value.dtype], (_THREADS, 1, 1)
            self._driver.launch(
                function, (blocks, 1, 1), block, arguments, self._stream
            )

    def _first_bad(self, words: Array) -> Node | None:
        """Return the first node whose value is not finite and not meant to be so."""
        for node in self._nodes:
            word = self._word(node, words)
            if is_view(node) or not word:
                continue
            meant = not isinstance(node.variable, Parameter)
            if node.inputs:
                meant = any(self._word(n, words) & _INFINITE for n in node.inputs)
            if word & (_NAN if meant else _NAN | _INFINITE):
                return node
        return None

    def _word(self, node: Node, words: Array) -> int:
        values = [self._values.get(s) for s in _slots(node)]
        return int(np.bitwise_or.reduce([0, *(words[v.number] for v in values if v)]))

    def _blame(self, node: Node, step: Step) -> GraphGPUError | None:
        """Return the error that names a node."""
        if node not in self._first:
            (value,) = self._read(node)
            if node.operation is None:
                return blame_leaf(node.variable, value)
            return blame(node.variable, node.operation, [value], [])
        first, last = self._first[node], self._last[node]
        given: list[tuple[str, Any]] | None = None
        for k in step.walk():
            if k > last:
                break
            if k >= first and given is None:
                given = self._given(node)
            step.launch(step.launches[k])
        assert node.operation is not None
        assert given is not None
        return blame(node.variable, node.operation, self._read(node), given)

    def _given(self, node: Node) -> list[tuple[str, Any]]:
        """Return the names and values of what a node is computed from."""
        given: list[tuple[str, Any]] = []
        for parent in node.inputs:
            arrays = self._read(parent)
            is_tuple = isinstance(parent.type, TupleType)
            found: Any = tuple(arrays) if is_tuple else arrays[0]
            given.append((labelled(parent.variable), found))
        return given

    def _read(self, node: Node) -> list[Array]:
        """Return the arrays of a node as they are now."""
        arrays = []
        for slot, type_ in zip(_slots(node), node.components, strict=True):
            shape: tuple[int, ...] = type_.shape  # type: ignore[assignment]
            arrays.append(np.empty(shape, type_.dtype))
            address = self._at(self._places.get(slot, Place(slot[0])))
            if arrays[-1].size:
                self._driver.download(address, arrays[-1], self._stream)
        return arrays

    def _at(self, place: Place) -> int:
        return self._linked.at(place, self._input_place)


def _slots(node: Node) -> Sequence[Slot]:
    """Return the arrays that a value is in."""
    return [root(node, k) for k in range(len(node.components))]
