"""Closed subgraphs as nodes: bodies of operations that are written out.

What a body computes is written where its results belong, if it can be; or else it
is copied there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import gcd
from typing import TypeAlias

from graphgpu.backends.cuda.kernels.kernel import Kernel, Operand
from graphgpu.backends.cuda.kernels.text import Body, literal, stored_type
from graphgpu.backends.cuda.lowering.views import Part, is_leaf, is_view, offset
from graphgpu.backends.cuda.lowering.work import Mark, Work
from graphgpu.backends.cuda.rules.coordinates import BLOCK, word_type
from graphgpu.control import Cond, Scan, WhileLoop
from graphgpu.graph import Constant, Operation, Subgraph, Variable
from graphgpu.nodes import Node
from graphgpu.ops.creation import Full
from graphgpu.types import Type

__all__ = [
    "ALIGNED",
    "Lower",
    "copied",
    "inlined",
    "leaf",
    "made",
    "part",
    "writes_out",
    "written",
]

Lower: TypeAlias = Callable[[Sequence[Node], Collection[Node]], Iterable[Work | Mark]]
"""Returns the kernels of nodes, some of which are needed in memory then."""
ALIGNED = 16
"""Bytes at whose multiples kernels expect arrays to begin."""
_WRITTEN_OUT = Cond, Scan, WhileLoop


def writes_out(node: Node) -> bool:
    """Whether a node's kernels are those of a body, which write parts of its value."""
    return isinstance(node.operation, _WRITTEN_OUT)


def made(
    of: Node, operation: Operation | None, inputs: Sequence[Node], type_: Type
) -> Node:
    """Return a node that is made to compute another one."""
    return Node(of.index, of.variable, operation, tuple(inputs), type_, of.tf32)


def leaf(of: Node, value: Constant) -> Node:
    """Return a constant."""
    return Node(of.index, value, None, (), value.type, of.tf32)


def part(array: Node, component: int, start: int = 0) -> Node:
    """Return a component of a value, from some byte on."""
    type_ = array.components[component]
    return made(array, Part(component, start, type_), [array], type_)


def inlined(
    body: Subgraph,
    inputs: Sequence[Node],
    of: Node,
    leaves: dict[Variable, Node],
    before: Sequence[Node] = (),
) -> tuple[list[Node], list[Node]]:
    """Return the nodes that compute a body, and its outputs.

    ``leaves`` are those that there are already, to which others are added, and
    ``before`` the nodes that the inputs are computed by.
    """
    for variable in body.variables:
        if isinstance(variable, Constant) and variable not in leaves:
            leaves[variable] = leaf(of, variable)
    values = {**leaves, **dict(zip(body.inputs, inputs, strict=True))}
    nodes = [*before]
    for variable, operation, _ in body.steps:
        if variable in leaves:
            continue
        given = tuple(values[v] for v in variable.inputs)
        type_ = variable.type.at(body.sizes)
        node = Node(of.index, variable, operation, given, type_, of.tf32)
        values[variable] = node
        if is_leaf(node):
            leaves[variable] = node
        else:
            nodes.append(node)
    _connect(nodes)
    return nodes, [values[v] for v in body.outputs]


def _connect(nodes: Sequence[Node]) -> None:
    """Tell nodes who reads them."""
    among = set(nodes)
    for node in nodes:
        for parent in dict.fromkeys(node.inputs):
            if parent in among:
                parent.readers.append(node)


def written(
    nodes: Sequence[Node], results: Sequence[tuple[Node, Node]], of: Node, lower: Lower
) -> Iterator[Work | Mark]:
    """Yield the kernels of nodes; of pairs the first is where the second is, then."""
    computed = set(nodes)
    instead: dict[Node, Node] = {}
    rest = []
    for value, target in results:
        apart = [value, *value.readers]  # which see, read or write parts of it
        seen = any(is_view(node) or writes_out(node) for node in apart)
        aligned = offset(target) % ALIGNED == 0
        if aligned and value in computed and not seen and value not in instead:
            instead[value] = target
        else:
            rest.append((target, value))
    needed = {value for value, _ in results} & computed
    for work in lower(nodes, needed):
        yield work if isinstance(work, Mark) else _moved(work, instead, of)
    for target, value in rest:
        yield copied(target, instead.get(value, value), of)


def _moved(work: Work, instead: Mapping[Node, Node], of: Node) -> Work:
    """Return work that reads and writes values where they belong."""

    def moved(operands: Sequence[Operand]) -> list[Operand]:
        return [Operand(instead[o.node]) if o.node in instead else o for o in operands]

    kernel = work.kernel
    kernel = replace(kernel, reads=moved(kernel.reads), writes=moved(kernel.writes))
    return replace(work, nodes=(*work.nodes, of), kernel=kernel)


def copied(target: Node, source: Node, of: Node) -> Work:
    """Return the copy of an array's bytes, in words as long as both allow.

    What is one number throughout is not read.
    """
    if isinstance(source.operation, Full):
        return _filled(target, source.operation, of)
    nbytes = gcd(ALIGNED, target.nbytes, offset(target), offset(source))
    count = target.nbytes // nbytes
    word, name = word_type(nbytes), f"copy_by_{nbytes}"
    parameters = f"const {word}* __restrict__ x, {word}* __restrict__ y"
    operands = [Operand(source)], [Operand(target)]
    return _each("", name, parameters, "x[i]", count, *operands, of)


def _filled(target: Node, full: Full, of: Node) -> Work:
    """Return what sets every element to one number."""
    dtype, body = target.tensor.dtype, Body()
    number = body.pack(literal(full.value, dtype), dtype)
    count = target.nbytes // dtype.itemsize
    parameters = f"{stored_type(dtype)}* __restrict__ y"
    name, ahead = f"fill_{dtype.name}", body.preamble([dtype])
    return _each(ahead, name, parameters, number, count, [], [Operand(target)], of)


def _each(
    ahead: str,
    name: str,
    parameters: str,
    value: str,
    count: int,
    reads: Sequence[Operand],
    writes: Sequence[Operand],
    of: Node,
) -> Work:
    """Return what sets the words y[i]."""
    text = f"""{ahead}extern "C" __global__ void __launch_bounds__({BLOCK})
{name}({parameters}) {{
  const long long i = (long long)blockIdx.x * {BLOCK} + threadIdx.x;
  if (i < {count}) y[i] = {value};
}}
"""
    grid = -(-count // BLOCK), 1, 1
    return Work((of,), Kernel(text, name, grid, (BLOCK, 1, 1), reads, writes))
