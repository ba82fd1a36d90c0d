"""The code of a family's update: one long vector, in pieces that stay in cache."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any

from graphgpu.backends.numpy.body import Body
from graphgpu.backends.numpy.families import Family, pack
from graphgpu.backends.numpy.loops import Loop
from graphgpu.backends.numpy.residence import is_view
from graphgpu.backends.numpy.rules import write
from graphgpu.backends.numpy.slicing import Relation
from graphgpu.backends.numpy.storage import (
    BLOCK,
    Block,
    Buffer,
    Maker,
    Partition,
    View,
)
from graphgpu.backends.numpy.translation import Translation, Value, label_of
from graphgpu.dtypes import DType
from graphgpu.graph import Constant, Stored
from graphgpu.nodes import Node
from graphgpu.ops.shape import Reshape
from graphgpu.types import TensorType

__all__ = ["PlacedFamily", "place_family", "safe_value"]

_PIECE = 2**15
"""Elements of a piece: parameters, state and gradients stay in cache together."""


@dataclass(eq=False)
class PlacedFamily:
    """A family with its memory."""

    family: Family
    whole: Translation
    cut: Partition
    stored: list[Buffer] = field(default_factory=list)
    given: list[Buffer] = field(default_factory=list)
    missing: list[tuple[Node, Buffer]] = field(default_factory=list)
    """What is given and computed elsewhere, with where it is to be copied."""

    @property
    def size(self) -> int:
        """The length of the vector."""
        return self.cut.count

    def gather(self, serial: Body) -> None:
        """Copy what could not be computed in place."""
        for node, buffer in self.missing:
            serial.node = node if node.operation else self.family.members[0].cone[0]
            target = View(buffer).then("shape", shaped(node.shape))
            serial.copy(target, serial.value(node, sliced=False).plain())

    def write(self, body: Body, before: Body) -> None:
        """Write the update of the whole vector, in place where that is safe."""
        first = self.family.members[0]
        made: dict[Node, Node] = {}
        loop = Loop("rows")
        body.of_loop(loop)
        for role, leaf in enumerate(first.stored):
            made[leaf] = self._leaf(leaf, self.stored[role])
        for role, leaf in enumerate(first.given):
            made[leaf] = self._leaf(leaf, self.given[role])
        along = set(made)
        for number in {n for step in first.cone for n in step.inputs} - {*first.cone}:
            if number not in made and not isinstance(number.variable, Constant):
                made[number] = self._number(number, before)
        for step in first.cone:
            inputs = tuple(made.get(n, n) for n in step.inputs)
            cuts = tuple(n in along for n in step.inputs)
            along.add(step)
            made[step] = self._node(step, inputs)
            place = first.cone.index(step)
            steps = tuple(m.cone[place] for m in self.family.members)
            self.whole.together[made[step]] = steps
            if body.in_blocks:
                self.whole.work.relations[made[step]] = Relation(cuts)
                self.whole.work.loop_of[made[step]] = loop
        later = self._place_targets(body, made)
        body.nodes = frozenset(made.values())
        for step in first.cone:
            write(body, made[step])
        for target, step in later:
            body.node = made[step]
            body.copy(self._seen(body, target), body.value(made[step]))

    def _place_targets(
        self, body: Body, made: dict[Node, Node]
    ) -> list[tuple[Buffer, Node]]:
        """Let new values replace old ones that are not read later; return the rest."""
        first = self.family.members[0]
        later = []
        for role, place in first.targets:
            step, leaf = first.cone[place], first.stored[role]
            readers = [k for k, s in enumerate(first.cone) if leaf in s.inputs]
            twice = [p for _, p in first.targets].count(place) > 1
            if max(readers, default=-1) <= place and not twice:
                self.whole.homes[made[step]] = (self._seen(body, self.stored[role]),)
            else:
                later.append((self.stored[role], step))
        return later

    def _number(self, node: Node, before: Body) -> Node:
        """Return a leaf for a number, as it was before anything is replaced."""
        leaf = Node(node.index, node.variable, None, (), node.type)
        self.whole.homes[leaf] = (safe_value(before, node),)
        return leaf

    def _seen(self, body: Body, buffer: Buffer) -> Value:
        if body.in_blocks:
            return Value(View(buffer).images(), (BLOCK,))
        return Value(View(buffer), (self.size,))

    def _leaf(self, like: Node, buffer: Buffer) -> Node:
        type_ = TensorType(like.tensor.dtype, (self.size,))
        leaf = Node(like.index, like.variable, None, (), type_)
        self.whole.homes[leaf] = (Value(View(buffer), (self.size,)),)
        return leaf

    def _node(self, like: Node, inputs: tuple[Node, ...]) -> Node:
        type_ = TensorType(like.tensor.dtype, (self.size,))
        return Node(like.index, like.variable, like.operation, inputs, type_)


def shaped(shape: tuple[int, ...]) -> Maker:
    """Return what reshapes an array."""
    return lambda a, _: a.reshape(shape)


def place_family(whole: Translation, family: Family) -> PlacedFamily:
    """Give a family its memory, and what it is given homes in it."""
    size = family.size
    placed = PlacedFamily(family, whole, _pieces(family, whole.lanes))
    first = family.members[0]
    for role, leaf in enumerate(first.stored):
        buffer = Buffer(f"all_{label_of(leaf)}", (size,), leaf.tensor.dtype)
        buffer.array = _packed(placed, role, leaf.tensor.dtype)
        placed.stored.append(buffer)
    for role, leaf in enumerate(first.given):
        buffer = whole.buffer(
            f"all_{label_of(leaf)}", (size,), leaf.tensor.dtype, variable=leaf.variable
        )
        placed.given.append(buffer)
        for member, offset in zip(family.members, family.offsets, strict=True):
            _place_given(placed, member.given[role], buffer, offset)
    return placed


def _pieces(family: Family, lanes: int) -> Partition:
    """Deal the vector out to lanes: of a large member each has its own rows.

    The gradient of a large matrix is split over the lanes by rows, which are still
    in the cache of the one that computed them.
    """
    blocks: list[Block] = []

    def deal(start: int, stop: int) -> None:
        for lane in range(lanes):
            first = start + (stop - start) * lane // lanes
            length = start + (stop - start) * (lane + 1) // lanes - first
            count = -(-length // _PIECE)
            for piece in range(count):
                low, high = (first + length * p // count for p in (piece, piece + 1))
                blocks.append(Block(len(blocks), lane, low, high - low))

    begun = 0
    for member, offset in zip(family.members, family.offsets, strict=True):
        if member.size >= lanes * _PIECE:
            deal(begun, offset)
            deal(offset, offset + member.size)
            begun = offset + member.size
    deal(begun, family.size)
    return Partition(family.size, tuple(blocks))


def _packed(placed: PlacedFamily, role: int, dtype: DType) -> Any:
    storages = placed.family.storages
    return lambda: pack(storages(role), dtype, placed.whole.shared)


def _place_given(placed: PlacedFamily, node: Node, parent: Buffer, offset: int) -> None:
    """Let a node be computed to its place in the vector, or be copied there."""
    whole = placed.whole
    size = prod(node.shape)
    dtype = node.tensor.dtype
    part = Buffer(
        f"in_{parent.label}",
        (size,),
        dtype,
        variable=node.variable,
        parent=(parent, offset * dtype.itemsize),
    )
    source = node
    while isinstance(source.operation, Reshape) and is_view(source, whole.work.tiles):
        source = source.inputs[0]
    if (
        source.operation is None
        or source in whole.homes
        or (source in whole.work.relations and not whole.work.total(source))
        or is_view(source, whole.work.tiles)
        or not isinstance(source.type, TensorType)
    ):
        placed.missing.append((node, part))
        return
    home = Buffer(
        label_of(source),
        source.shape,
        dtype,
        variable=source.variable,
        parent=part.parent,
    )
    whole.homes[source] = (Value(View(home), source.shape),)


def safe_value(serial: Body, node: Node) -> Value:
    """Return a value as it was before anything is replaced: stored ones, copied."""
    source = node
    while source.operation is not None and is_view(source, serial.whole.work.tiles):
        source = source.inputs[0]
    value = serial.value(node, sliced=False).plain()
    if not isinstance(source.variable, Stored):
        return value

    def make() -> Value:
        buffer = serial.whole.buffer(
            f"old_{label_of(node)}", node.shape, value.dtype, variable=node.variable
        )
        serial.node = node
        serial.copy(View(buffer), value)
        return Value(View(buffer), node.shape)

    old: Value = serial.once(("old", node), make)
    return old
