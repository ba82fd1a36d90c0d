"""What functions require of their operands before they build anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from graphgpu.dtypes import accumulator, is_floating
from graphgpu.errors import DTypeError, GraphError, ShapeError
from graphgpu.graph import Operand, Variable, located
from graphgpu.ops.elementwise import cast, operands_of
from graphgpu.types import Shape

__all__: list[str] = []


def require(name: str, holds: bool, given: str, expected: object) -> None:
    """Raise a ``GraphError`` about an argument unless what it requires holds."""
    if not holds:
        came = given.partition("=")[2] or given
        error = GraphError(f"expected {expected}; got {came}")
        raise located(error, f"{name}({given})")


@final
@dataclass(frozen=True, slots=True)
class Naming:
    """Errors of the operations that a function is made of name that function."""

    name: str
    operands: Sequence[Variable] = ()

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Raise an error about the graph again, as one of the function."""
        if isinstance(error, GraphError):
            reason = error.reason or str(error)
            operands = () if "; got " in reason else self.operands
            raise located(type(error)(reason), self.name, operands) from None


def floating(name: str, x: Operand) -> Variable:
    """Return a variable, which must hold floating-point numbers."""
    (variable,) = operands_of(name, x)
    if not is_floating(variable.dtype):
        raise located(DTypeError("expected a floating-point dtype"), name, (variable,))
    return variable


def of_shape(name: str, what: str, variable: Variable, shape: Shape) -> Variable:
    """Return a variable that has the shape; where it is not sure, it is checked.

    Sizes are not broadcast.
    """
    fits = len(shape) == variable.ndim and not any(
        isinstance(left - right, int) and left != right
        for left, right in zip(shape, variable.shape, strict=True)
    )
    if not fits:
        expected = f"expected {what} of shape {shape_text(shape)}"
        raise located(ShapeError(expected), name, (variable,))
    return variable.reshape(shape)


def shape_text(shape: Shape) -> str:
    """Return a shape as a type prints it: ``[batch,3]``."""
    return f"[{','.join(map(str, shape))}]"


def widened(x: Variable) -> Variable:
    """Return halves in float32, in which they are summed, and others as they are."""
    return cast(x, accumulator(x.dtype))
