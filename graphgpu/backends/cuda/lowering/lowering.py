"""From nodes to kernels: regions, the rules of single operations, checks of indices."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TypeAlias

from graphgpu.backends.base import Task
from graphgpu.backends.cuda.kernels.kernel import Call, Kernel, Operand
from graphgpu.backends.cuda.lowering.branches import branched
from graphgpu.backends.cuda.lowering.fusion import Region, regions
from graphgpu.backends.cuda.lowering.in_place import GATE, split
from graphgpu.backends.cuda.lowering.inlining import Lower
from graphgpu.backends.cuda.lowering.iterations import Checked
from graphgpu.backends.cuda.lowering.loops import unrolled
from graphgpu.backends.cuda.lowering.region_order import ordered
from graphgpu.backends.cuda.lowering.repeats import is_unrolled, repeated
from graphgpu.backends.cuda.lowering.transposes import absorb_transposes
from graphgpu.backends.cuda.lowering.views import is_leaf, root
from graphgpu.backends.cuda.lowering.work import Mark, Work
from graphgpu.backends.cuda.rules import RULES
from graphgpu.backends.cuda.rules.checks import check, ranges
from graphgpu.backends.cuda.rules.cones import Cone
from graphgpu.backends.cuda.rules.elementwise import elementwise_kernel
from graphgpu.backends.cuda.rules.places import Assembled, is_placed
from graphgpu.backends.cuda.rules.products.epilogues import ended, may_end
from graphgpu.backends.cuda.rules.rows.programs import row_program
from graphgpu.backends.cuda.rules.rows.reductions import reductions
from graphgpu.control import Cond, Scan, WhileLoop
from graphgpu.errors import CompileError
from graphgpu.graph import CudaKernel, Operation, describe
from graphgpu.nodes import Node

__all__ = ["Chooser", "lowered"]

_MOST_READS = 6
"""Arrays that are read after a product at most."""

Chooser: TypeAlias = Callable[[Node, Sequence[Kernel | Call]], Sequence[Kernel | Call]]
"""Returns what computes a node, given it and its rule's kernels."""


def lowered(task: Task, choose: Chooser | None = None) -> Iterator[Work | Mark]:
    """Yield the kernels of a task in order, and where loops of the host are.

    Raises
    ------
    CompileError
        An operation has no kernels.
    """
    needed = {*task.outputs, *(value for _, value in task.updates)}
    nodes = [n for n in task.nodes if not is_leaf(n)]
    lowering = _Lowering(task.together, task.late, choose)
    if not task.together:
        yield from lowering.works(nodes, needed)
        return
    plan, last = split(lowering.plan(nodes, needed), task)
    yield from lowering.kernels(plan, needed)
    for x in last:
        given = x.region.nodes, x.region.outputs, x.targets
        kernel = elementwise_kernel(*given, GATE)
        yield Work(tuple(x.region.nodes), kernel, last=True)


class _Lowering:
    """Yields the kernels of nodes, each check of indices once."""

    def __init__(
        self, fused: bool, late: Collection[Node], choose: Chooser | None
    ) -> None:
        self._fused = fused
        self._late = late
        self._choose = choose
        self._checked: Checked = set()

    def works(
        self, nodes: Sequence[Node], needed: Collection[Node]
    ) -> Iterator[Work | Mark]:
        """Yield the kernels of nodes; the needed ones are in memory then."""
        yield from self.kernels(self.plan(nodes, needed), needed)

    def _apart(self, choose: Chooser | None) -> Lower:
        """Return what yields the kernels of nodes that may not be computed.

        What they check is checked again by others.
        """

        def lower(
            nodes: Sequence[Node], needed: Collection[Node]
        ) -> Iterator[Work | Mark]:
            inner = _Lowering(self._fused, self._late, choose)
            inner._checked |= self._checked
            yield from inner.works(nodes, needed)

        return lower

    def plan(self, nodes: Sequence[Node], needed: Collection[Node]) -> list[Region]:
        """Return the regions of nodes, in order."""
        if not self._fused:
            return [Region([n], [n], alone=True) for n in nodes]
        nodes = absorb_transposes(nodes, needed)
        return ordered(regions(nodes, needed, self._late), needed)

    def kernels(
        self, plan: Sequence[Region], needed: Collection[Node]
    ) -> Iterator[Work | Mark]:
        """Yield the kernels of regions, products together with what they become."""
        ends = _ends(plan, needed) if self._fused else {}
        products = {id(made) for made, _ in ends.values()}
        for region in plan:
            if region.view or id(region) in products:
                continue
            if id(region) in ends:
                yield from self._ended(region, *ends[id(region)])
                continue
            yield from self._checks(region)
            written_out = self._written_out(region.computed[0])
            if written_out is not None:
                yield from written_out
                continue
            for kernel in _kernels(region, self._choose):
                yield Work(_computed(region), kernel)

    def _written_out(self, node: Node) -> Iterator[Work | Mark] | None:
        """Return the kernels of a node that has bodies; None if it has none.

        A library's calls do not look whether they are to do anything.
        """
        if isinstance(node.operation, Scan):
            return unrolled(node, self._apart(self._choose), self._checked)
        if isinstance(node.operation, Cond):
            return branched(node, self._apart(None))
        if isinstance(node.operation, WhileLoop):
            choose = None if is_unrolled(node) else self._choose
            return repeated(node, self._apart(choose))
        return None

    def _ended(self, region: Region, made: Region, seen: Node) -> Iterator[Work]:
        """Yield the kernels of a product and of a region that alone reads it."""
        (product,) = made.nodes
        chosen = _kernels(made, self._choose)
        kernels = ended(product, chosen, seen, region.nodes, region.outputs[0])
        if kernels is not None:
            for kernel in kernels:
                yield Work((product, *region.nodes), kernel)
            return
        for part in (made, region):
            for launch in chosen if part is made else _kernels(part, self._choose):
                yield Work(tuple(part.computed), launch)

    def _checks(self, region: Region) -> Iterator[Work]:
        for wanted in (r for node in region.computed for r in ranges(node)):
            if wanted.key not in self._checked and wanted.indices.nbytes:
                self._checked.add(wanted.key)
                yield Work(tuple(region.computed), check(wanted), wanted)


def _computed(region: Region) -> tuple[Node, ...]:
    """Return the nodes of a region, and what it writes parts of."""
    placed = [n for n in region.outputs if is_placed(n)]
    return *region.computed, *dict.fromkeys(n.readers[0] for n in placed)


def _ends(
    plan: Sequence[Region], needed: Collection[Node]
) -> dict[int, tuple[Region, Node]]:
    """Return the products that are computed with the one region that reads them.

    By the identity of that region, which writes one array: the product's region, and
    the product as it is seen there, itself or reshaped.
    """
    kept = {root(n, 0)[0] for n in needed}
    of = {r.nodes[0]: r for r in plan if r.alone and may_end(r.nodes[0])}
    readers: dict[Node, list[Region]] = {}
    for region in plan:
        for node in region.reads:
            if not region.view:
                readers.setdefault(root(node, 0)[0], []).append(region)
    found = {}
    for region in plan:
        if region.alone or region.folds or len(region.outputs) != 1:
            continue
        if is_placed(region.outputs[0]):
            continue
        seen = {root(n, 0)[0]: n for n in region.reads if n.shape == region.shape}
        products = [
            node
            for node, view in seen.items()
            if node in of
            and node not in kept
            and node.nbytes == view.nbytes
            and readers[node] == [region]
        ]
        if products and len(region.reads) <= _MOST_READS:
            last = max(products, key=lambda n: of[n].place)
            found[id(region)] = of[last], seen[last]
    return found


def _kernels(region: Region, choose: Chooser | None) -> Sequence[Kernel | Call]:
    """Return what computes a region.

    Raises
    ------
    CompileError
        There are no kernels for it.
    """
    if region.rows is not None:
        return row_program(region.rows, region.program, region.outputs)
    if region.folds:
        wanted = [n.inputs[0] for n in region.folds]
        cone = Cone(region.shape, region.nodes, region.outputs, wanted)
        return reductions(region.folds, cone)
    if not region.alone:
        return [elementwise_kernel(region.nodes, region.outputs)]
    (node,) = region.nodes
    assert node.operation is not None
    if isinstance(node.operation, Assembled):  # of parts that have been written
        return []
    rule = RULES.find(node.operation)
    if rule is None:
        return [_users(node, node.operation)]
    return rule(node) if choose is None else choose(node, rule(node))


def _users(node: Node, operation: Operation) -> Kernel:
    """Return the kernel that a user's operation has itself."""
    made = operation.cuda(*(n.type for n in node.inputs))
    if made is not None and not isinstance(made, CudaKernel):
        raise CompileError(
            f"{describe(node.variable)} expected a gg.CudaKernel of its method cuda, "
            f"or None; got {made!r}"
        )
    if made is None:
        kind = type(operation).__name__
        raise CompileError(
            f"{describe(node.variable)} has no CUDA kernel; give {kind} the method "
            'cuda, or have it return one for these types, or compile with device="cpu"'
        )
    reads = [Operand(n, k) for n in node.inputs for k in range(len(n.components))]
    writes = [Operand(node, k) for k in range(len(node.components))]
    shape = made.grid, made.block
    shared = made.shared_bytes
    return Kernel(made.source, made.name, *shape, reads, writes, shared_bytes=shared)
