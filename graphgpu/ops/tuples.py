"""Reading a component of an operation that computes several values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from graphgpu.errors import DTypeError, ShapeError
from graphgpu.graph import Operation, Variable, apply
from graphgpu.types import Guards, TensorType, TupleType, Type

__all__ = ["item"]


@dataclass(frozen=True, slots=True)
class Item(Operation):
    """A component of a tuple variable; the gradient algorithm knows it."""

    index: int

    outputs_alias = True

    def infer(self, guards: Guards, x: Type) -> TensorType:
        """Return the component's type."""
        if not isinstance(x, TupleType):
            raise DTypeError("expected a tuple variable")
        if not 0 <= self.index < len(x.components):
            raise ShapeError(f"expected an index below {len(x.components)}")
        return x.components[self.index]

    def numpy(self, x: tuple[Any, ...]) -> Any:
        """Return the component."""
        return x[self.index]


def item(x: Variable, index: int) -> Variable:
    """Return a component of a tuple variable."""
    return apply(Item(index), x)
