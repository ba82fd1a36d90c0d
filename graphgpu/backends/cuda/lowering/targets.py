"""Where the results of a loop's iterations belong.

Of an iteration, what is stacked belongs where its element is, and carries nowhere,
but at the end.  Where the carries before each iteration are stacked, as a gradient
reads them, an iteration writes the next ones to the next element, once more if they
are stacked themselves: nothing is copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from graphgpu.backends.cuda.lowering.inlining import made
from graphgpu.backends.cuda.rules.rows.stages import is_pointwise
from graphgpu.nodes import Node
from graphgpu.ops.elementwise import Cast

__all__ = ["Target", "targets"]


@dataclass(frozen=True, slots=True)
class Target:
    """A value of the body belongs to a result of the loop.

    That is to the element of this iteration, or of the next one, or, in the last
    iteration, to all of it.
    """

    value: Node
    result: int
    when: Literal["here", "next", "end"]


def targets(
    results: Sequence[Node], heads: Sequence[Node], nodes: list[Node], *, twice: bool
) -> tuple[list[Target], bool]:
    """Return where results belong, the carries among them first.

    ``heads`` stand for the carries before.  If values may be written ``twice``, nodes
    are added that do, and it is returned whether there are any.
    """
    found, later, added = [], [], False
    final = dict(enumerate(results[: len(heads)]))
    taken = {*results[len(heads) :]}
    for j, value in enumerate(results[len(heads) :], len(heads)):
        k = heads.index(value) if value in heads else -1
        after = results[k]
        if k < 0 or after not in nodes or not is_pointwise(after):
            found.append(Target(value, j, "here"))
        elif after not in taken:
            taken.add(after)
            later.append(Target(after, j, "next"))
        elif twice:
            again = made(after, Cast(after.tensor.dtype), [after], after.type)
            after.readers.append(again)
            nodes.append(again)
            added, final[k] = True, again
            later.append(Target(again, j, "next"))
        else:
            found.append(Target(value, j, "here"))
    later += [Target(value, k, "end") for k, value in final.items()]
    return found + later, added
