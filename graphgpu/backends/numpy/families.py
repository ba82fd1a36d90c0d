"""Updates of the same form, done together: the whole optimiser in a few calls.

The new values of a parameter and of its optimiser's state are elementwise
functions of them, of a gradient and of a few numbers.  Parameters whose updates
have the same form are a *family*: their values, laid end to end, are updated as
one long vector, and so are those of their states; the gradients are computed to
where they lie end to end as well.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any, TypeAlias

from graphgpu.backends.numpy.shared_memory import Directory, memory
from graphgpu.dtypes import Array, DType
from graphgpu.graph import Constant, Storage, Stored
from graphgpu.nodes import Node
from graphgpu.ops.elementwise import Cast, Elementwise
from graphgpu.types import TensorType

__all__ = ["LINE", "Family", "Member", "find_families", "pack"]

LINE = 64
"""Elements to whole multiples of which each member's length is rounded up."""


@dataclass(frozen=True, eq=False)
class Member:
    """The updates of a parameter and its state: what is written, read, computed.

    ``cone`` are the elementwise nodes between, in order; ``targets`` the storages
    with the places of their new values in the cone.
    """

    stored: tuple[Node, ...]
    given: tuple[Node, ...]
    cone: tuple[Node, ...]
    targets: tuple[tuple[int, int], ...]
    """Pairs of a place in ``stored`` and a place in ``cone``."""
    form: Any
    size: int


@dataclass(frozen=True, eq=False)
class Family:
    """Members of one form, end to end."""

    members: tuple[Member, ...]

    @property
    def offsets(self) -> tuple[int, ...]:
        """Where each member begins, in elements."""
        return offsets([m.size for m in self.members])

    @property
    def size(self) -> int:
        """The length of the vector of all members."""
        return self.offsets[-1] + self.members[-1].size

    def storages(self, role: int) -> list[Storage]:
        """Return the storages of a role: all parameters, or all velocities."""
        return [storage_of(m.stored[role]) for m in self.members]

    def is_scattered(self) -> bool:
        """Whether another program has laid the members end to end in another way."""
        roles = range(len(self.members[0].stored))
        return any(_is_scattered(self.storages(r)) for r in roles)


def offsets(sizes: Sequence[int]) -> tuple[int, ...]:
    """Return where vectors that are laid end to end begin, on whole lines."""
    places = [0]
    for size in sizes[:-1]:
        places.append(places[-1] + rounded(size))
    return tuple(places)


def rounded(size: int) -> int:
    """Round a length up to whole lines."""
    return -(-size // LINE) * LINE


def storage_of(node: Node) -> Storage:
    """Return the storage of a leaf."""
    leaf = node.variable
    assert isinstance(leaf, Stored)
    return leaf.storage


def find_families(
    updates: Sequence[tuple[Node, Node]], outputs: Collection[Node]
) -> list[Family]:
    """Return the families among pairs of a stored leaf and its new value."""
    new = {value: target for target, value in updates}
    if len(new) != len(updates):
        return []
    forms: dict[Any, list[Member]] = {}
    for group in _groups(updates, set(outputs)):
        member = _member(group)
        if member is not None:
            forms.setdefault(member.form, []).append(member)
    return [f for members in forms.values() for f in _runs(members)]


Update: TypeAlias = tuple[Node, Node, list[Node]]
"""A stored leaf, its new value, and the nodes of its cone."""


def _groups(
    updates: Sequence[tuple[Node, Node]], outputs: Collection[Node]
) -> list[list[Update]]:
    """Group updates that read the same stored values or share steps."""
    leaders: dict[Node, Node] = {}

    def leader(node: Node) -> Node:
        while leaders.setdefault(node, node) is not node:
            node = leaders[node]
        return node

    cones = [(t, v, _cone(t, v)) for t, v in updates]
    targets = {target for target, _ in updates}
    for target, _, cone in cones:
        for node in cone:
            for near in (node, *(n for n in node.inputs if n in targets)):
                leaders[leader(near)] = leader(target)
    groups: dict[Node, list[Update]] = {}
    for update in cones:
        groups.setdefault(leader(update[0]), []).append(update)
    return [g for g in groups.values() if _is_private(g, outputs)]


def _cone(target: Node, value: Node) -> list[Node]:
    """Return the elementwise nodes of the target's shape that make the new value."""
    found: list[Node] = []
    stack = [value]
    while stack:
        node = stack.pop()
        if node in found or not _is_step(node, target):
            continue
        found.append(node)
        stack += node.inputs
    return found


def _is_step(node: Node, target: Node) -> bool:
    elementwise = isinstance(node.operation, Elementwise | Cast)
    return (
        elementwise and isinstance(node.type, TensorType) and node.shape == target.shape
    )


def _is_private(group: Sequence[Update], outputs: Collection[Node]) -> bool:
    """Whether nothing else reads what is computed between."""
    inside = {n for _, _, cone in group for n in cone}
    values = {value for _, value, _ in group}
    return (
        all(
            node not in outputs and all(r in inside for r in node.readers)
            for node in inside
        )
        and values <= inside
    )


def _member(group: Sequence[Update]) -> Member | None:
    """Return the group in a form that does not name it; None if it does not fit."""
    ordered = sorted(group, key=lambda u: u[0].index)
    shape = ordered[0][0].shape
    stored = [target for target, _, _ in ordered]
    if any(s.shape != shape for s in stored):
        return None
    cone = sorted({n for _, _, c in ordered for n in c}, key=lambda n: n.index)
    place = {node: f"step {k}" for k, node in enumerate(cone)}
    place |= {node: f"stored {k}" for k, node in enumerate(stored)}
    given: list[Node] = []
    steps = []
    for node in cone:
        reads = []
        for parent in node.inputs:
            if parent in place:
                reads.append(place[parent])
            elif prod(parent.shape) == 1 and (
                shape != parent.shape or isinstance(parent.variable, Constant)
            ):
                reads.append(f"number {parent.index}")
            elif parent.shape == shape and not isinstance(parent.variable, Stored):
                place[parent] = f"given {len(given)}"
                given.append(parent)
                reads.append(place[parent])
            else:
                return None
        steps.append((node.operation, tuple(reads), node.tensor.dtype))
    targets = tuple((k, cone.index(value)) for k, (_, value, _) in enumerate(ordered))
    dtypes = tuple(n.tensor.dtype for n in (*stored, *given))
    return Member(
        tuple(stored),
        tuple(given),
        tuple(cone),
        targets,
        (tuple(steps), targets, dtypes),
        prod(shape),
    )


# --- memory


def _runs(members: Sequence[Member]) -> list[Family]:
    """Cut members into runs that lie, or can be laid, end to end."""
    loose = [m for m in members if all(storage_of(s).home is None for s in m.stored)]
    families = [Family(tuple(loose))] if loose else []
    run: list[Member] = []
    for member in members:
        if member in loose:
            continue
        if run and not _adjoins(run[-1], member):
            families.append(Family(tuple(run)))
            run = []
        if all(storage_of(s).home is not None for s in member.stored):
            run.append(member)
    return [*families, Family(tuple(run))] if run else families


def _adjoins(left: Member, right: Member) -> bool:
    """Whether the right one's values follow the left one's, in every role."""
    pairs = zip(left.stored, right.stored, strict=True)
    return all(_follows(storage_of(a), storage_of(b), left.size) for a, b in pairs)


def pack(storages: Sequence[Storage], dtype: DType, shared: bool) -> Array:
    """Return the vector in which storages lie end to end; move them if they do not.

    It is in shared memory if it is to be, or if any of them is.
    """
    if len(storages) == 1:
        return storages[0].array.reshape(-1)
    places = offsets([s.array.size for s in storages])
    size = places[-1] + storages[-1].array.size
    find = Directory().find
    are_shared = [find(s.array) is not None for s in storages]
    if not _end_to_end(storages) or (shared and not all(are_shared)):
        shared = shared or any(are_shared)
        flat = memory(size * dtype.itemsize, shared).view(dtype)
        flat.fill(0)
        for storage, place in zip(storages, places, strict=True):
            storage.move(flat[place : place + storage.array.size], (flat, place))
    assert storages[0].home is not None
    flat, offset = storages[0].home
    return flat[offset : offset + size]


def _is_scattered(storages: Sequence[Storage]) -> bool:
    """Whether storages lie end to end with others, which another program reads so."""
    return all(s.home is not None for s in storages) and not _end_to_end(storages)


def _end_to_end(storages: Sequence[Storage]) -> bool:
    return all(_follows(a, b, a.array.size) for a, b in pairwise(storages))


def _follows(left: Storage, right: Storage, size: int) -> bool:
    """Whether one lies in the same vector as another of a size, right after it."""
    here, there = left.home, right.home
    if here is None or there is None or here[0] is not there[0]:
        return False
    return here[1] + rounded(size) == there[1]
