"""How operations become statements: one family a file."""

from graphgpu.backends.numpy.body import Body
from graphgpu.backends.numpy.rules import (
    classes,
    copies,
    elementwise,
    gathering,
    images,
    loops,
    pooling,
    sums,
)
from graphgpu.backends.numpy.rules.registry import Rules, slot
from graphgpu.nodes import Node

__all__ = ["finish", "write"]


def write(body: Body, node: Node) -> None:
    """Write the statements that compute a node."""
    assert node.operation is not None
    body.node = node
    rule = None if body.whole.plain else RULES.find(node.operation)
    if rule is None or not rule(body, node):
        slot(body, node)


def finish(body: Body, node: Node) -> None:
    """Write the statements that make a sum over the batch of its parts."""
    assert node.operation is not None
    body.node = node
    rule = FINISH.find(node.operation)
    assert rule is not None, node
    rule(body, node)


RULES = Rules(
    {
        **elementwise.RULES.table,
        **sums.RULES.table,
        **images.RULES.table,
        **pooling.RULES.table,
        **classes.RULES.table,
        **copies.RULES.table,
        **gathering.RULES.table,
        **loops.rules(write).table,
    }
)
FINISH = Rules({**sums.FINISH.table, **images.FINISH.table})
