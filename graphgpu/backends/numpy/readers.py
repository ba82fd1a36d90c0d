"""Who reads a value last: from there on its memory is free."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from graphgpu.backends.numpy.pairs import partner_of
from graphgpu.backends.numpy.residence import is_view
from graphgpu.nodes import Node
from graphgpu.ops.convolution_operations import ConvolutionInputGradient

__all__ = ["last_readers"]


def last_readers(nodes: Sequence[Node], tiles: Collection[Node]) -> dict[Node, Node]:
    """Return for each value the node that reads it last, of nodes in order."""
    found: dict[Node, Node] = {}
    listed = set(nodes)
    for node in nodes:
        reads = list(node.inputs)
        if isinstance(node.operation, ConvolutionInputGradient):
            partner = partner_of(node, listed)
            reads += partner.inputs if partner else ()
        for read in reads:
            source = read
            found[source] = node
            while source.operation is not None and is_view(source, tiles):
                source = source.inputs[0]
                found[source] = node
    return found
