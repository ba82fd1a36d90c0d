"""What activation functions require of their constants."""

from __future__ import annotations

from graphgpu.dtypes import is_floating
from graphgpu.errors import GraphError
from graphgpu.graph import Operand, Variable, located
from graphgpu.ops.elementwise import cast, operands_of
from graphgpu.ops.random import number_of

__all__ = ["at_least_zero", "made_floating", "positive"]


def made_floating(name: str, x: Operand) -> Variable:
    """Return a variable of floating-point numbers; of integers, of float32."""
    (variable,) = operands_of(name, x)
    return variable if is_floating(variable.dtype) else cast(variable, "float32")


def positive(name: str, parameter: str, value: object) -> float:
    """Return a finite number > 0, or an error that says whose it is."""
    given = f"{name}({parameter}={value!r})"
    number = number_of(given, value)
    if number <= 0:
        raise located(GraphError(f"expected {parameter} > 0"), given)
    return number


def at_least_zero(name: str, parameter: str, value: object) -> float:
    """Return a finite number >= 0, or an error that says whose it is."""
    given = f"{name}({parameter}={value!r})"
    number = number_of(given, value)
    if number < 0:
        raise located(GraphError(f"expected {parameter} >= 0"), given)
    return number
