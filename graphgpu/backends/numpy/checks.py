"""Statements that look for NaN and infinities, node by node: ``check_finite``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias, final

import numpy as np

from graphgpu.backends.numpy.body import Body
from graphgpu.control.loop import Scan
from graphgpu.dtypes import Array, is_floating
from graphgpu.finite import blame, blame_in_loop, blame_leaf, labelled
from graphgpu.nodes import Node
from graphgpu.types import TupleType

__all__ = ["write_checks"]

Arrays: TypeAlias = tuple[Array, ...]


@final
class _Check:
    """Raises where the value of a node is not finite as it should be.

    Called with the arrays of the value and those of each input.
    """

    def __init__(self, node: Node) -> None:
        self._node = node

    def __call__(self, outputs: Arrays, *inputs: Arrays) -> None:
        if all(np.isfinite(a).all() for a in outputs if is_floating(a.dtype)):
            return
        node = self._node
        operation = node.operation
        if operation is None:
            error = blame_leaf(node.variable, outputs[0])
        else:
            given = [
                (labelled(parent.variable), _value(parent, arrays))
                for parent, arrays in zip(node.inputs, inputs, strict=True)
            ]
            error = blame(node.variable, operation, outputs, given)
            if error is not None and isinstance(operation, Scan):
                error = blame_in_loop(operation, [value for _, value in given]) or error
        if error is not None:
            raise error


def _value(node: Node, arrays: Arrays) -> Any:
    return arrays if isinstance(node.type, TupleType) else arrays[0]


def write_checks(body: Body, nodes: Iterable[Node]) -> None:
    """Write a check of each node that can be NaN; the body has their values."""
    for node in nodes:
        if not any(is_floating(t.dtype) for t in _types(node)):
            continue
        name = body.given(f"check_{node.index}", _made(_Check(node)))
        texts = [_text(body, n) for n in (node, *node.inputs)]
        body.say(f"{name}({', '.join(texts)})", of=node)


def _made(check: _Check) -> Callable[[object], _Check]:
    return lambda _: check


def _types(node: Node) -> Sequence[Any]:
    type_ = node.type
    return type_.components if isinstance(type_, TupleType) else (type_,)


def _text(body: Body, node: Node) -> str:
    """Return a node's value in the code: a tuple of arrays."""
    texts = [body.text(v.plain()) for v in body.values(node, sliced=False)]
    return f"({', '.join(texts)},)"
