"""From nodes to generated code: loops and serial parts, statement by statement."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from math import prod

from graphgpu.backends.numpy.body import Body
from graphgpu.backends.numpy.checks import write_checks
from graphgpu.backends.numpy.families import Family, find_families
from graphgpu.backends.numpy.flat import PlacedFamily, place_family, safe_value
from graphgpu.backends.numpy.loops import Loop, Phase, Work, divide
from graphgpu.backends.numpy.lowering import lower
from graphgpu.backends.numpy.pairs import image_and_kernels
from graphgpu.backends.numpy.readers import last_readers
from graphgpu.backends.numpy.residence import is_view, settle
from graphgpu.backends.numpy.reuse import reuse_blocks
from graphgpu.backends.numpy.rules import finish, write
from graphgpu.backends.numpy.staging import Staging
from graphgpu.backends.numpy.storage import BLOCK, Buffer, Partition, View, partition
from graphgpu.backends.numpy.translation import Translation, Value, label_of
from graphgpu.graph import Constant, Placeholder, Stored
from graphgpu.nodes import Node
from graphgpu.ops.convolution_operations import ConvolutionFamily
from graphgpu.ops.matrix_product import Matmul
from graphgpu.types import TensorType

__all__ = ["Code", "translate"]

LANES = 2
_CACHE = 1_800_000
"""Bytes that the expanded rows of a block may take: they should stay in cache."""
_CHAIN = 2**18
"""Bytes of the widest rows of a block where only elementwise operations follow."""
_PRODUCT = 2**22
"""The same where there are matrix products, which like many rows."""
_SMALL = 4e-4
"""Seconds of work below which lanes cost more than they save."""
_LONG = 1.5e-2
"""Seconds of work from which lanes share loops, too: two processes gain by it."""
_FEW = 400
"""Operations that take about as long to call."""


@dataclass(eq=False)
class Code:
    """A program in statements: for each phase the lanes' bodies and the serial one."""

    whole: Translation
    seconds: float = 0.0
    """About how long the work takes; 0 where operations are computed one by one."""
    phases: list[tuple[list[Body], Body]] = field(default_factory=list)
    staged: dict[Node, Buffer] = field(default_factory=dict)
    """Where the inputs of a call are copied to."""
    results: dict[Node, Value] = field(default_factory=dict)
    needed: frozenset[Node] = frozenset()
    """What is read after everything has been computed."""
    families: list[Family] = field(default_factory=list)
    windows: list[tuple[int, int]] = field(default_factory=list)
    """The first and the last step of the loops of each phase."""
    packs: list[Buffer] = field(default_factory=list)
    """Stored values that lie end to end; they are moved there first."""
    commit: tuple[list[Body], Body] | None = None
    """What replaces stored values, when everything has been computed."""

    def bodies(self) -> Iterator[Body]:
        """Yield the functions of the program in the order in which they are run."""
        phases = [*self.phases, *([self.commit] if self.commit else [])]
        for bodies, serial in phases:
            yield from bodies
            yield serial


def translate(
    nodes: Sequence[Node],
    outputs: Collection[Node],
    updates: Sequence[tuple[Node, Node]] = (),
    *,
    fused: bool = True,
    late: Collection[Node] = (),
    checked: bool = False,
) -> Code:
    """Write the program that computes outputs, and then writes updates.

    ``updates`` are pairs of a stored leaf and its new value.  Where it is not
    ``fused``, every operation's ``numpy`` is called, one after the other; else the
    batch is cut into blocks, if there is one and enough work to share.  Where it
    is ``checked``, which is never fused, every value is to be finite.
    """
    fused = fused and not checked
    seconds = _seconds(nodes) if fused else 0.0
    small = _SMALL * max(1.0, len(nodes) / _FEW)
    count = batch_size(nodes) if seconds > small else None
    families = find_families(updates, outputs) if fused else []
    apart = {n for f in families for m in f.members for n in m.cone}
    nodes = [n for n in nodes if n not in apart]
    done = {m.stored[k] for f in families for m in f.members for k, _ in m.targets}
    others = [(t, v) for t, v in updates if t not in done]
    given = [n for f in families for m in f.members for n in m.given]
    wanted = [*outputs, *given, *(v for _, v in others)]
    if count:
        nodes = lower(nodes, wanted)
    share = LANES if count and seconds >= _LONG else 1
    work = divide(nodes, count, late, share)
    residence = settle(work, wanted)
    cuts = _cuts(work, nodes)
    lanes = LANES if count else 1
    whole = Translation(work, residence, cuts, lanes, plain=not fused, late=late)
    code = Code(whole, seconds)
    code.families = families
    code.needed = frozenset([*outputs, *given, *(v for _, v in others)])
    _place_leaves(code, nodes)
    _place_kept(code, nodes)
    placed = [place_family(code.whole, f) for f in families]
    for number, phase in enumerate(work.phases):
        _write_phase(code, number, phase, nodes if checked else ())
    serial = code.phases[-1][1]
    for node in outputs:
        code.results[node] = serial.value(node, sliced=False).plain()
        serial.text(code.results[node])
    for family in placed:
        family.gather(serial)
    reuse_blocks(code.whole, [bodies for bodies, _ in code.phases])
    code.packs = [b for family in placed for b in family.stored]
    _write_commit(code, placed, others)
    return code


def _write_commit(
    code: Code, families: Sequence[PlacedFamily], others: Sequence[tuple[Node, Node]]
) -> None:
    """Write what replaces stored values, after everything else has been computed."""
    before = code.phases[-1][1]
    bodies = []
    serial = Body(code.whole, "commit", "serial", None)
    start = code.whole.clock
    for number, family in enumerate(families):
        if code.whole.lanes == 1:
            family.write(serial, before)
            continue
        body = Body(code.whole, f"update_{number}", "flat", family.cut)
        body.follows(before)
        family.write(body, before)
        body.close()
        bodies.append(body)
    for body in bodies:
        body.stretch(start, code.whole.clock)
    if bodies:
        code.windows.append((start, code.whole.clock))
    for target, value in others:
        old = safe_value(before, value)
        serial.node = value
        serial.copy(serial.value(target, sliced=False), old)
    serial.close()
    code.commit = (bodies, serial)


def batch_size(nodes: Sequence[Node]) -> int | None:
    """Return the first size of the largest input; None if there is no such axis."""
    inputs = [
        n for n in nodes if isinstance(n.variable, Placeholder) and n.tensor.ndim > 0
    ]
    largest = max(inputs, key=lambda n: prod(n.shape), default=None)
    return largest.shape[0] or None if largest else None


def _seconds(nodes: Sequence[Node]) -> float:
    """Return about how long the work takes: to tell the small from the large."""
    total = 0.0
    for node in nodes:
        if node.operation is None:
            continue
        total += 1e-9 * sum(prod(_shape(t)) for t in node.components)
        types = [n.type for n in node.inputs]
        if all(isinstance(t, TensorType) for t in types):
            flops = node.operation.flops(types, node.type)  # type: ignore[arg-type]
            if isinstance(flops, int):
                total += flops * 2e-11
    return total


def _shape(type_: TensorType) -> tuple[int, ...]:
    return type_.shape  # type: ignore[return-value]


def _cuts(work: Work, nodes: Sequence[Node]) -> dict[str, Partition]:
    """Cut the batch for loops over images, and for those over rows."""
    if not work.count:
        return {}
    share = -(-work.count // LANES)
    bytes_each = max(
        (_expanded(n) for n in nodes if isinstance(n.operation, ConvolutionFamily)),
        default=1,
    )
    images = max(1, min(16, _CACHE // bytes_each, share))
    rows = max(1, min(_block_of_rows(work), share))
    return {
        "tile": partition(work.count, LANES, images),
        "rows": partition(work.count, LANES, rows),
        "split": partition(LANES, LANES, 1),
    }


def _block_of_rows(work: Work) -> int:
    """Return how many rows to take at a time in loops without images."""
    nodes = [
        n
        for n in work.relations
        if n not in work.tiles and work.is_batched(n) and n.operation is not None
    ]
    widest = max(
        (prod(_shape(t)[1:]) * t.dtype.itemsize for n in nodes for t in n.components),
        default=1,
    )
    products = any(isinstance(n.operation, Matmul) for n in nodes)
    return (_PRODUCT if products else _CHAIN) // max(1, widest)


def _expanded(node: Node) -> int:
    """Return the bytes of an image's expanded rows in a convolution."""
    image, kernels = image_and_kernels(node)
    channels = max(kernels[0], kernels[1])
    size = prod(image[2:]) * channels * kernels[-1] * node.tensor.dtype.itemsize
    return max(1, size)


# --- where values are


def _place_leaves(code: Code, nodes: Sequence[Node]) -> None:
    """Give leaves their homes: outside the arena."""
    staging = Staging(code.whole)
    for node in nodes:
        if node.operation is not None:
            continue
        leaf = node.variable
        type_ = node.tensor
        buffer = Buffer(label_of(node), node.shape, type_.dtype, variable=leaf)
        if isinstance(leaf, Constant):
            buffer.array = lambda leaf=leaf: leaf.value
        elif isinstance(leaf, Stored):
            buffer.array = lambda leaf=leaf: leaf.storage.array
        else:
            staging.add(buffer)
            code.staged[node] = buffer
        code.whole.homes[node] = (Value(View(buffer), node.shape),)


def _place_kept(code: Code, nodes: Sequence[Node]) -> None:
    """Give homes to values that outlive their loop."""
    whole = code.whole
    for node in nodes:
        if node not in whole.residence.kept:
            continue
        tile = node in whole.work.tiles and node not in whole.residence.flat
        homes = []
        for index, type_ in enumerate(node.components):
            shape = (BLOCK, *_shape(type_)[1:])
            if tile:
                shape = (shape[2], BLOCK, shape[3], shape[1])
            buffer = whole.buffer(
                label_of(node, index),
                shape,
                type_.dtype,
                "batch",
                cut=whole.cuts["tile"],
                variable=node.variable,
            )
            homes.append(Value(View(buffer), shape, tile))
        whole.homes[node] = tuple(homes)


# --- statements


def _write_phase(
    code: Code, number: int, phase: Phase, checked: Sequence[Node] = ()
) -> None:
    """Write the loops of a phase and its serial part.

    Nodes that are ``checked`` are to be finite.
    """
    before = code.phases[-1][1] if code.phases else None
    start = code.whole.clock
    bodies = [
        _write_loop(code, f"phase_{number}_{place}_{loop.kind}", loop, before)
        for place, loop in enumerate(phase.loops)
    ]
    bodies = [b for b in bodies if b.statements]  # a loop may have nothing but views
    for body in bodies:
        body.stretch(start, code.whole.clock - 1)
    if bodies:
        code.windows.append((start, code.whole.clock - 1))
    serial = Body(code.whole, f"phase_{number}_serial", "serial", None)
    for loop in phase.loops:
        for node in loop.nodes:
            if code.whole.work.total(node):
                finish(serial, node)
    serial.last_reader = _private_readers(code, phase.serial)
    if number == 0:
        write_checks(serial, [n for n in checked if n.operation is None and n.readers])
    for node in phase.serial:
        if not is_view(node, code.whole.work.tiles):
            write(serial, node)
            write_checks(serial, [node] if checked else ())
    serial.close()
    code.phases.append((bodies, serial))


def _private_readers(code: Code, nodes: Sequence[Node]) -> dict[Node, Node]:
    """Return the last readers of values that nothing outside a serial part reads."""
    tiles = code.whole.work.tiles
    inside, found = set(nodes), last_readers(nodes, tiles)
    shared = set(code.needed)
    for node in reversed(nodes):
        if node in shared or any(r not in inside for r in node.readers):
            shared.add(node)
        if node in shared and is_view(node, tiles):
            shared.add(node.inputs[0])
    return {n: r for n, r in found.items() if n in inside and n not in shared}


def _write_loop(code: Code, name: str, loop: Loop, before: Body | None) -> Body:
    """Write a loop over blocks, or a part that is split."""
    whole = code.whole
    body = Body(whole, name, loop.kind, whole.cuts[loop.kind])
    nodes = whole.residence.bodies[loop]
    body.of_loop(loop)
    body.nodes = frozenset(nodes)
    body.last_reader = last_readers(nodes, whole.work.tiles)
    assert before is not None
    body.follows(before)
    for node in nodes:
        if not is_view(node, whole.work.tiles):
            write(body, node)
    body.close()
    return body
