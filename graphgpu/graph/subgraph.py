"""Closed subgraphs, and graphs rebuilt with some variables replaced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, final

import numpy as np

from graphgpu.errors import GraphError, ShapeError
from graphgpu.graph.graph import ancestors
from graphgpu.graph.leaves import Constant
from graphgpu.graph.node import Variable, describe, rebuild
from graphgpu.graph.operation import Operation
from graphgpu.types import TensorType, Type

__all__ = ["Subgraph", "substitute"]


def substitute(
    outputs: Sequence[Variable], replacements: Mapping[Variable, Variable]
) -> list[Variable]:
    """Return the outputs with variables replaced; what does not change is shared."""
    table: dict[Variable, Variable] = dict(replacements)
    for variable in ancestors(outputs, stop=replacements):
        if variable in table:
            continue
        inputs = tuple(table[v] for v in variable.inputs)
        changed = any(a is not b for a, b in zip(inputs, variable.inputs, strict=True))
        table[variable] = rebuild(variable, inputs) if changed else variable
    return [table[v] for v in outputs]


@final
class Subgraph:
    """A function as a graph: what operations such as ``map`` own.

    It is closed: its only leaves are its inputs and constants, so it can be
    saved, differentiated and run apart from the graph around it.

    Raises
    ------
    GraphError
        A leaf of the outputs is not among the inputs.
    """

    def __init__(
        self,
        inputs: Sequence[Variable],
        outputs: Sequence[Variable],
        sizes: Mapping[str, int] | None = None,
    ) -> None:
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.sizes = dict(sizes or {})
        self.variables = tuple(ancestors(self.outputs, stop=set(self.inputs)))
        given = set(self.inputs)
        for variable in self.variables:
            if variable.operation or variable in given:
                continue
            if not isinstance(variable, Constant):
                raise GraphError(
                    f"a closed subgraph reads {describe(variable)} which is not "
                    "among its inputs"
                )

    def __str__(self) -> str:
        inputs = ", ".join(str(v.type) for v in self.inputs)
        outputs = ", ".join(str(v.type) for v in self.outputs)
        return f"<{inputs} -> {outputs}, {len(self.variables)} variables>"

    def specialize(self, sizes: Mapping[str, int]) -> Subgraph:
        """Return the subgraph for given sizes."""
        return Subgraph(self.inputs, self.outputs, {**self.sizes, **sizes})

    @property
    def output_types(self) -> tuple[Type, ...]:
        """The types of the outputs."""
        return tuple(v.type for v in self.outputs)

    @property
    def input_types(self) -> tuple[TensorType, ...]:
        """The types of the inputs."""
        return tuple(v.tensor for v in self.inputs)

    @cached_property
    def _steps(self) -> list[tuple[Variable, Operation]]:
        given = set(self.inputs)
        for variable in self.variables:
            for guard in variable.guards:
                if not guard.holds(self.sizes):
                    raise ShapeError(
                        f"{describe(variable)} requires {guard.what}: "
                        f"{guard.left} and {guard.right} differ for {self.sizes}"
                    )
        return [
            (v, v.operation.specialize(self.sizes))
            for v in self.variables
            if v.operation and v not in given
        ]

    def evaluate(self, *arrays: Any) -> tuple[Any, ...]:
        """Compute the outputs with NumPy, operation by operation."""
        values: dict[Variable, Any] = {
            v: v.value for v in self.variables if isinstance(v, Constant)
        }
        values.update(zip(self.inputs, arrays, strict=True))
        with np.errstate(all="ignore"):
            for variable, operation in self._steps:
                values[variable] = operation.numpy(
                    *[values[v] for v in variable.inputs]
                )
        return tuple(values[v] for v in self.outputs)
