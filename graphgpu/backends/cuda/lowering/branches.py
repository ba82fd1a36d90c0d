"""Choices as kernels: those of both branches, each of which does nothing if not taken.

No host waits, and the choice can be recorded: every kernel of a branch reads the
predicate first, and returns at once if its branch is not taken.  Within a branch
there are choices, too: their kernels read several predicates, the outermost first,
since the inner ones are not computed in a branch that is not taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from graphgpu.backends.cuda.kernels.kernel import Call, Kernel, Operand
from graphgpu.backends.cuda.lowering.inlining import (
    Lower,
    inlined,
    made,
    part,
    written,
)
from graphgpu.backends.cuda.lowering.work import Mark, Work
from graphgpu.control import Cond
from graphgpu.errors import CompileError
from graphgpu.graph import Variable, describe
from graphgpu.nodes import Node

__all__ = ["both", "branched", "guarded"]

_FLAG = "gg_taken_"
_REST = re.compile(r"(?:\s|//[^\n]*\n|/\*.*?\*/)*", re.S)
"""What may be between a function's parameters and its body."""


def branched(node: Node, lower: Lower) -> Iterator[Work | Mark]:
    """Yield the kernels of a choice; ``lower`` returns those of nodes.

    These may be no library's calls.
    """
    operation = node.operation
    assert isinstance(operation, Cond)
    predicate, *inputs = node.inputs
    leaves: dict[Variable, Node] = {}
    for k, (_, branch) in enumerate(operation.branches):
        nodes, outputs = inlined(branch, inputs, node, leaves)
        pairs = [(value, part(node, j)) for j, value in enumerate(outputs)]
        works = written(nodes, pairs, node, lower)
        yield from guarded(works, predicate, node, taken=not k)


def guarded(
    works: Iterable[Work | Mark], flag: Node, of: Node, *, taken: bool = True
) -> Iterator[Work | Mark]:
    """Yield work that does nothing unless a flag is as it is to be."""
    for work in works:
        if not isinstance(work, Mark):
            checks = work.checks and work.checks._replace(guarded=True)
            kernel = _guarded(work, flag, taken)
            yield replace(work, kernel=kernel, checks=checks)
        elif work.flag is None:
            yield work
        else:  # which is not computed if nothing is
            found = made(of, None, [work.flag], work.flag.type)
            yield both(flag, work.flag, found, of, taken=taken)
            yield replace(work, flag=found)


def both(
    outer: Node, inner: Node, target: Node, of: Node, *, taken: bool = True
) -> Work:
    """Return what sets a flag if two are set; the second is read if the first is."""
    sign, name = ("", "both") if taken else ("!", "second_alone")
    text = f"""extern "C" __global__ void __launch_bounds__(256)
{name}(const unsigned char* __restrict__ x, const unsigned char* __restrict__ y,
    unsigned char* __restrict__ z) {{
  if (threadIdx.x == 0) z[0] = {sign}x[0] && y[0];
}}
"""
    operands = [Operand(outer), Operand(inner)], [Operand(target)]
    return Work((of,), Kernel(text, name, (1, 1, 1), (256, 1, 1), *operands))


def _guarded(work: Work, flag: Node, taken: bool) -> Kernel:
    """Return a kernel that reads a flag first, and returns if it is not as wanted.

    Raises
    ------
    CompileError
        It is not known where the kernel begins: in a user's source.
    """
    kernel = work.kernel
    assert not isinstance(kernel, Call), kernel
    number = 0
    while f"{_FLAG}{number}" in kernel.source:
        number += 1
    name = f"{_FLAG}{number}"
    wrong = f"{name}[0] == 0" if taken else f"{name}[0] != 0"
    source = _with_first(
        kernel.source,
        kernel.name,
        f"const unsigned char* __restrict__ {name}",
        f"  if ({wrong}) return;",
    )
    if source is None:
        raise CompileError(
            f"{describe(work.nodes[0].variable)} is computed in a branch of a gg.cond, "
            f"so its kernel must return at once if the branch is not taken; expected "
            f"'__global__ void {kernel.name}(...) {{' in its source"
        )
    reads: Sequence[Any] = [Operand(flag), *kernel.reads]
    return replace(kernel, source=source, reads=reads)


def _with_first(source: str, name: str, parameter: str, statement: str) -> str | None:
    """Return a kernel's source with one more first parameter and statement.

    None, if it is not seen where the kernel begins.
    """
    defined = False
    for found in reversed(list(re.finditer(rf"\b{re.escape(name)}\s*\(", source))):
        before = source[: found.start()]
        if "__global__" not in before[max(map(before.rfind, ";}#")) + 1 :]:
            continue
        first, close = found.end(), _closing(source, found.end())
        rest = _REST.match(source, close + 1)
        assert rest is not None
        start = rest.end()
        given = source[first:close]
        given = "" if given.strip() in ("", "void") else f", {given.lstrip()}"
        text = source[close : start + 1]
        if text.endswith("{"):
            text, defined = f"{text}\n{statement}", True
        source = f"{source[:first]}{parameter}{given}{text}{source[start + 1 :]}"
    return source if defined else None


def _closing(source: str, start: int) -> int:
    """Return where the bracket is closed that was opened just before."""
    depth = 1
    for place in range(start, len(source)):
        depth += {"(": 1, ")": -1}.get(source[place], 0)
        if depth == 0:
            return place
    return len(source)
