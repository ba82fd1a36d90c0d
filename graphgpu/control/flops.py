"""How many floating-point operations a subgraph takes."""

from __future__ import annotations

from typing import Any

from graphgpu.dims import Size, evaluate_size
from graphgpu.graph import Subgraph

__all__ = ["body_flops"]


def body_flops(body: Subgraph) -> Size:
    """Return the floating-point operations of one evaluation."""
    total: Size = 0
    given = set(body.inputs)
    for variable in body.variables:
        if variable.operation and variable not in given:
            types: Any = [v.type for v in variable.inputs]
            total = total + variable.operation.flops(types, variable.type)
    return evaluate_size(total, body.sizes) if body.sizes else total
