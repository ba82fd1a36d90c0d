"""Batch normalisation folded into the convolution before it, for inference.

What follows a convolution channel by channel, ((conv(x, w) + b) - μ) s + t with
numbers that depend on parameters and state alone, is conv(x, w s) + T.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from graphgpu.graph import RUN_KEY, Placeholder, Variable, revised
from graphgpu.ops.arithmetic import Add, Divide, Multiply, Subtract
from graphgpu.ops.convolution_operations import Convolution
from graphgpu.rewrite.draft import Draft, Found
from graphgpu.rewrite.patterns import fit, made_by

__all__ = ["fold_batch_norm"]


@dataclass(frozen=True, slots=True)
class Link:
    """A step of a chain: which operand is what was computed before."""

    variable: Variable
    place: int


def fold_batch_norm(draft: Draft) -> int:
    """Fold chains of scales and shifts by channel into convolutions.

    The convolution and what lies between are read by nothing else, so by no
    gradient either.
    """
    chains: dict[Variable, list[Link]] = {}
    convolutions = [v for v in draft.order if isinstance(v.operation, Convolution)]
    if convolutions:
        readers, varying = _single_readers(draft), _varying(draft)
        for convolution in convolutions:
            chain = _chain(convolution, readers, varying)
            if sum(made_by(link.variable, Multiply, Divide) for link in chain):
                chains[chain[-1].variable] = chain
    if not chains:
        return 0

    def offer(variable: Variable) -> Found:
        chain = chains.pop(draft.written(variable), None)
        if chain is None:
            return None
        return _folded(variable, chain), "conv(x, w) s + t = conv(x, w s) + t"

    return draft.sweep("fold_batch_norm", offer)


def _chain(
    convolution: Variable, readers: dict[Variable, Variable], varying: set[Variable]
) -> list[Link]:
    """Return the longest chain of scales and shifts by channel that starts here."""
    chain: list[Link] = []
    last = convolution
    while True:
        reader = readers.get(last)
        if reader is None or not made_by(reader, Add, Subtract, Multiply, Divide):
            return chain
        place = 0 if reader.inputs[0] is last else 1
        if place and not made_by(reader, Add, Multiply):
            return chain
        other = reader.inputs[1 - place]
        if other in varying or not _is_by_channel(other, convolution):
            return chain
        if reader.type != convolution.type:
            return chain
        chain.append(Link(reader, place))
        last = reader


def _folded(last: Variable, chain: list[Link]) -> Variable:
    """Return the convolution with its scaled kernels, and the sum of the shifts."""
    scale: Variable | None = None
    shift: Variable | None = None
    links: list[Variable] = []
    for link in reversed(chain):  # as the inputs of the chain are by now
        links.append(last)
        last = last.inputs[link.place]
    x, weight = last.inputs
    for variable, link in zip(reversed(links), chain, strict=True):
        c = _aligned(variable.inputs[1 - link.place], last.ndim)
        match variable.operation:
            case Add():
                shift = c if shift is None else shift + c
            case Subtract():
                shift = -c if shift is None else shift - c
            case Multiply():
                scale = c if scale is None else scale * c
                shift = None if shift is None else shift * c
            case Divide():
                scale = 1 / c if scale is None else scale / c
                shift = None if shift is None else shift / c
    assert scale is not None
    by_kernel = scale.reshape((scale.shape[1], *[1] * (weight.ndim - 1)))
    result = revised(last, (x, weight * by_kernel))
    return fit(result if shift is None else result + shift, links[0])


def _is_by_channel(c: Variable, z: Variable) -> bool:
    """Whether c has one number for all elements of a channel of z, axis 1."""
    extra = z.ndim - c.ndim
    return all(s == 1 or a + extra == 1 for a, s in enumerate(c.shape))


def _aligned(c: Variable, ndim: int) -> Variable:
    """Return c with as many axes as the result of the convolution."""
    return c.reshape((*[1] * (ndim - c.ndim), *c.shape))


def _single_readers(draft: Draft) -> dict[Variable, Variable]:
    """Return the reader of each variable that is read once, and is no output."""
    readers: dict[Variable, Any] = {}
    for variable in draft.order:
        for parent in variable.inputs:
            readers[parent] = None if parent in readers else variable
    readers.update(dict.fromkeys(draft.outputs))
    return readers


def _varying(draft: Draft) -> set[Variable]:
    """Return the variables that depend on an input of the program or are random."""
    varying: set[Variable] = set()
    for variable in draft.order:
        given = variable in draft.given or variable is RUN_KEY
        given = given or isinstance(variable, Placeholder)
        if given or not varying.isdisjoint(variable.inputs):
            varying.add(variable)
    return varying
