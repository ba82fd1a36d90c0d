"""Generated code in the making: functions of statements, and what they read.

A :class:`Body` is one function: a loop over blocks, a part that is split over
the lanes, or a serial part.  Rules (``rules/``) write the statements of nodes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import numpy as np

from graphgpu.backends.numpy.residence import is_view
from graphgpu.backends.numpy.storage import (
    BLOCK,
    Block,
    Buffer,
    Partition,
    Scope,
    View,
)
from graphgpu.backends.numpy.tiles.kernel import Need, TileKernel
from graphgpu.backends.numpy.translation import (
    Statement,
    Translation,
    Value,
    label_of,
    sized,
)
from graphgpu.dtypes import Array, DType
from graphgpu.nodes import Node
from graphgpu.ops.elementwise import Elementwise
from graphgpu.ops.shape import BroadcastTo, Reshape, Transpose
from graphgpu.ops.slicing import Slice, python_slices
from graphgpu.ops.tuples import Item
from graphgpu.types import TensorType

__all__ = ["Body"]

BodyKind: TypeAlias = Literal["tile", "rows", "flat", "split", "serial"]


class Body:
    """A function of generated code."""

    def __init__(
        self, whole: Translation, name: str, kind: BodyKind, cut: Partition | None
    ) -> None:
        self.whole = whole
        self.name = name
        self.kind = kind
        self.cut = cut
        self.enter: list[Statement] = []
        self.statements: list[Statement] = []
        self.views: dict[str, View] = {}
        self.objects: dict[str, Callable[[Block | None], Any]] = {}
        self.kernels: dict[str, dict[int, tuple[TileKernel, list[View]]]] = {}
        self.bindings: dict[str, tuple[Callable[[Block | None], Any], list[View]]] = {}
        self.node: Node | None = None
        self.nodes: frozenset[Node] = frozenset()
        self.last_reader: dict[Node, Node] = {}
        """Which node reads a value last, where nothing outside reads it."""
        self.start = whole.clock
        self.known: dict[Any, Any] = {}
        """Where costly parts of expressions are, by what they are computed of."""
        self._late: int | None = None
        self._before: Body | None = None
        self._local: dict[Node, tuple[Value, ...]] = {}
        self._names: dict[tuple[int, str, bool], str] = {}
        self._memo: dict[Any, Any] = {}
        self.touches: dict[Buffer, tuple[int, int]] = {}
        """The first and the last step at which a statement names each buffer."""
        self.begins = self.ends = whole.clock
        """The first and the last step of the phase's loops."""
        self._count = 0

    @property
    def in_blocks(self) -> bool:
        """Whether the body is run block by block."""
        return self.kind in ("tile", "rows", "flat")

    # --- statements

    def say(self, text: str, enter: bool = False, of: Node | None = None) -> None:
        """Add a statement; ``enter``: it is run once by each lane, before blocks."""
        node = of or self.node
        assert node is not None
        (self.enter if enter else self.statements).append(Statement(text, node))
        if self._late is None:
            self.whole.clock += 1

    def kernel(
        self,
        name: str,
        plan: Callable[[int], TileKernel],
        *arguments: Value | View | str,
    ) -> None:
        """Add the call of a kernel on tiles, planned for each size of block."""
        assert self.cut is not None
        kernels = {b.size: plan(b.size) for b in self.cut.blocks}
        scratch: dict[int, View] = {}
        bound: dict[int, tuple[TileKernel, list[View]]] = {}
        sizes = [k.needs() for k in kernels.values()]
        for place in range(max(map(len, sizes))):  # a small block may need fewer
            needs = [n[place] for n in sizes if place < len(n)]
            if not needs[0].zero:
                most = max(n.nbytes for n in needs)
                memory = self.scratch((most,), np.dtype(np.uint8), "work")
                scratch[place] = View(memory)
                self._touch(memory)
        for size, kernel in kernels.items():
            views = [
                self._zeros(kernel, place, need)
                if need.zero
                else scratch[place].then("as", _shaped(need))
                for place, need in enumerate(kernel.needs())
            ]
            bound[size] = kernel, views
        self.kernels[name] = bound
        self.say(f"{name}({', '.join(self.text(a) for a in arguments)})")

    def bound(
        self, name: str, make: Callable[[Block | None], Any], *operands: View
    ) -> None:
        """Add the call of an object that is bound to arrays of its own."""
        texts = [self.text(v) for v in operands]
        self.bindings[name] = make, list(operands)
        self.say(f"{name}({', '.join(texts)})")

    def _zeros(self, kernel: TileKernel, place: int, need: Need) -> View:
        """Return memory that is zeroed before the blocks; equal kernels share it."""

        def make() -> View:
            view = View(self.scratch(need.shape, need.dtype, "padded"))
            self.say(f"{self.text(view)}.fill(0)", enter=True)
            return view

        view: View = self.once((kernel, place), make)
        self._touch(view.buffer)
        return view

    @property
    def before(self) -> Body:
        """The serial part that is run before this body, which can still be added to."""
        assert self._before is not None
        return self._before

    def follows(self, before: Body) -> None:
        """Say which serial part comes before."""
        self._before = before

    def call(self, function: str, *arguments: Value | View | str, out: Any) -> None:
        """Add the call of a NumPy function that writes to ``out``."""
        texts = [self.text(a) for a in arguments]
        self.say(f"{function}({', '.join(texts)}, out={self.text(out)})")

    def copy(self, out: Value | View, value: Value | View | str) -> None:
        """Add a copy."""
        self.say(f"copyto({self.text(out)}, {self.text(value)})")

    def text(self, operand: Value | View | str) -> str:
        """Return the name of a view in the code."""
        if isinstance(operand, str):
            return operand
        view = operand.view if isinstance(operand, Value) else operand
        self._touch(view.buffer)
        key = (id(view.buffer), view.key, view.whole)
        if key not in self._names:
            suffix = re.sub(r"\W+", "_", view.key)
            name = f"{view.buffer.label}{suffix}"
            while name in self.views:
                name += "_"
            self._names[key] = name
            self.views[name] = view
        return self._names[key]

    def given(self, name: str, make: Callable[[Block | None], Any]) -> str:
        """Give the code an object, made for each size of block; return its name."""
        unique = name
        while unique in self.objects and self.objects[unique] is not make:
            unique += "_"
        self.objects[unique] = make
        return unique

    def constant(self, value: Any, dtype: DType) -> str:
        """Give the code a number; return its name."""
        array = np.asarray(value, dtype)
        key = (array.dtype.name, array.tobytes())
        if key not in self._memo:
            text = re.sub(r"\W", "_", str(value)).strip("_")
            self._memo[key] = self.given(f"number_{text}", lambda _: array)
        return str(self._memo[key])

    # --- memory

    def scratch(self, shape: tuple[int, ...], dtype: DType, label: str = "t") -> Buffer:
        """Return memory of the lane's own (of the serial part's, there)."""
        self._count += 1
        scope: Scope = "lane" if self.kind != "serial" else "whole"
        return self.whole.buffer(
            f"{label}{self._count}",
            shape,
            dtype,
            scope,
            cut=self.cut,
            variable=self.node.variable if self.node else None,
        )

    def output(self, node: Node, tile: bool | None = None) -> Value:
        """Return where the node's value goes: its home, or scratch memory."""
        (value,) = self.outputs(node, tile)
        return value

    def outputs(self, node: Node, tile: bool | None = None) -> tuple[Value, ...]:
        """Return where the components of the node's value go."""
        homes = self.whole.homes
        if node in homes and self._is_at_home(node):
            return homes[node]
        if tile is None:
            tile = self.kind == "tile" and node in self.whole.work.tiles
        made = tuple(
            self._made(node, k, t, tile) for k, t in enumerate(node.components)
        )
        if self.in_blocks:
            self._local[node] = made
        else:
            homes[node] = made
        return made

    def _is_at_home(self, node: Node) -> bool:
        """Whether this body is the one that writes a value to where it is kept."""
        return not self.in_blocks or self.whole.work.loop_of[node] is self._memo["loop"]

    def _made(self, node: Node, index: int, type_: TensorType, tile: bool) -> Value:
        shape: tuple[int, ...] = type_.shape  # type: ignore[assignment]
        if self.in_blocks:
            shape = (BLOCK, *shape[1:])
        if tile:
            b, c, h, w = shape
            shape = (h, b, w, c)
        reused = self._dying(node, shape, type_.dtype, tile)
        if reused is not None:
            return reused
        label = label_of(node, index)
        scope: Scope = "lane" if self.in_blocks else "whole"
        buffer = self.whole.buffer(
            label, shape, type_.dtype, scope, cut=self.cut, variable=node.variable
        )
        return Value(View(buffer), shape, tile)

    def _dying(
        self, node: Node, shape: tuple[int, ...], dtype: DType, tile: bool
    ) -> Value | None:
        """Return an operand that an elementwise operation may overwrite: read last."""
        if not isinstance(node.operation, Elementwise) or self.whole.plain:
            return None
        values = self._local if self.in_blocks else self.whole.homes
        for parent in node.inputs:
            if self.last_reader.get(parent) is not node or parent not in values:
                continue
            value = values[parent][0]
            buffer = value.view.buffer
            own = not value.view.makers and buffer.array is None
            scratch = buffer.scope == ("lane" if self.in_blocks else "whole")
            alike = (value.shape, value.dtype, value.tile) == (shape, dtype, tile)
            if own and scratch and alike and buffer.parent is None:
                return value
        return None

    def of_loop(self, loop: object) -> None:
        """Say which loop the body is of."""
        self._memo["loop"] = loop

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """Return what was made for the key in this body, or make it."""
        if key not in self._memo:
            self._memo[key] = make()
        return self._memo[key]

    def forget(self, buffer: Buffer) -> None:
        """Drop what is known of memory that has been written to."""
        for key in [k for k in self.known if any(b[0] is buffer for b in k[1])]:
            del self.known[key]

    def _touch(self, buffer: Buffer) -> None:
        time = self.whole.clock if self._late is None else self._late
        buffer.touch(time)
        first, last = self.touches.get(buffer, (time, time))
        self.touches[buffer] = min(first, time), max(last, time)

    def close(self) -> None:
        """End the function; a lane's scratch that blocks share lives through it."""
        end = max(self.start, self.whole.clock - 1)
        for buffer in self.touches:
            if buffer.scope == "lane" and BLOCK not in buffer.shape:
                buffer.touch(self.start)
                buffer.touch(end)
        self._late = self.whole.clock
        self.whole.clock += 1

    def stretch(self, start: int, end: int) -> None:
        """Let what all lanes see live through a phase."""
        self.begins, self.ends = start, end
        for buffer in self.touches:
            if buffer.scope != "lane":
                buffer.touch(start)
                buffer.touch(end)

    # --- values

    def value(self, node: Node, sliced: bool = True) -> Value:
        """Return a node's value as an operand: the block's images, or all."""
        (value,) = self.values(node, sliced)
        return value

    def values(self, node: Node, sliced: bool = True) -> tuple[Value, ...]:
        """Return the components of a node's value."""
        cut = sliced and self.in_blocks
        batched = self.whole.work.is_batched(node)
        if cut and node in self._local:
            return self._local[node]
        found: tuple[Value, ...]
        if node.operation is not None and is_view(node, self.whole.work.tiles):
            found = (self._seen(node, cut and batched),)
        else:
            found = self.whole.homes[node]
            if batched and not cut:
                found = tuple(
                    Value(v.view.all_images(), (self.whole.work.count, *v.shape[1:]))
                    for v in found
                )
        if cut and (not batched or node.operation is None):
            found = tuple(Value(v.view.images(), (BLOCK, *v.shape[1:])) for v in found)
        if cut:
            self._local[node] = found
        return found

    def _seen(self, node: Node, cut: bool) -> Value:
        """Return the value of a node that is its input's memory, seen another way."""
        operation: Any = node.operation
        source = node.inputs[0]
        if isinstance(operation, Item):
            return self.values(source, cut)[operation.index]
        value = self.value(source, cut).plain()
        shape = (BLOCK, *node.shape[1:]) if cut else node.shape
        key = label_of(node)
        view = value.view
        if isinstance(operation, Transpose):
            axes = operation.axes
            return Value(view.then(key, lambda a, _: a.transpose(axes)), shape)
        if isinstance(operation, Slice):
            slices = python_slices(operation)
            slices = (slice(None), *slices[1:]) if cut else slices
            return Value(view.then(key, lambda a, _: a[slices]), shape)
        if isinstance(operation, BroadcastTo):
            return Value(
                view.then(key, lambda a, b: np.broadcast_to(a, sized(shape, b))), shape
            )
        assert isinstance(operation, Reshape)
        reshaped = view.then(key, lambda a, b: _reshaped(a, sized(shape, b)), True)
        return Value(reshaped, shape)


def _reshaped(array: Array, shape: tuple[int, ...]) -> Array:
    result = array.reshape(shape)
    assert result.size == 0 or np.shares_memory(result, array), "a copy"
    return result


def _shaped(need: Need) -> Callable[[Array, Block | None], Array]:
    def shape(array: Array, _: Block | None) -> Array:
        return array[: need.nbytes].view(need.dtype).reshape(need.shape)

    return shape
