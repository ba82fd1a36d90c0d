"""What the rules' left sides ask and their right sides are made of."""

from __future__ import annotations

from math import copysign
from typing import Any

import numpy as np

from graphgpu.dtypes import DType, bfloat16, is_floating
from graphgpu.graph import Constant, Operation, Variable
from graphgpu.ops.creation import Full
from graphgpu.ops.shape import BroadcastTo, Reshape
from graphgpu.types import Shape

__all__: list[str] = []

_REPEATING = (BroadcastTo, Reshape)

_FLOAT_BITS = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53}


def made_by(variable: Variable, *classes: type[Operation]) -> bool:
    """Whether an operation of one of the classes computes the variable."""
    return variable.operation.__class__ in classes


def either_way(variable: Variable) -> tuple[tuple[Variable, ...], tuple[Variable, ...]]:
    """Return the operands (x, y) of a commutative operation, and (y, x)."""
    inputs = variable.inputs
    return inputs, inputs[::-1]


def number(variable: Variable) -> Any:
    """Return the number that every element is; None if that is not known."""
    operation = variable.operation
    while operation.__class__ in _REPEATING:
        (variable,) = variable.inputs
        operation = variable.operation
    if operation is None:
        one = isinstance(variable, Constant) and variable.value.size == 1
        return variable.value.item() if one else None  # type: ignore[attr-defined]
    if isinstance(operation, Full):
        return np.asarray(operation.value).astype(operation.dtype).item()
    return None


def is_number(variable: Variable, value: float) -> bool:
    """Whether every element surely is a number; 0 and -0 are told apart."""
    found = number(variable)
    if found is None or found != value:
        return False
    return value != 0 or copysign(1, found) == copysign(1, value)


def scalar(value: Any, dtype: DType) -> Variable:
    """Return a number as a constant."""
    with np.errstate(all="ignore"):
        return Constant(np.asarray(value).astype(dtype))


def fit(x: Variable, like: Variable) -> Variable:
    """Return x with the shape of another, to which it broadcasts."""
    return x if x.shape == like.shape else x.broadcast_to(like.shape)


def holds_exactly(narrow: DType, wide: DType) -> bool:
    """Whether the wide dtype has every number of the narrow one."""
    if narrow == wide or narrow.kind == "b":
        return True
    if is_floating(narrow):
        return is_floating(wide) and (
            _FLOAT_BITS[narrow.name] < _FLOAT_BITS[wide.name]
            and (narrow, wide.name) != (bfloat16, "float16")
        )
    if is_floating(wide):
        # An unsigned or signed integer of n bits, -2^(n-1) being a power of two.
        bits = 8 * narrow.itemsize - (narrow.kind == "i")
        return bits <= _FLOAT_BITS[wide.name]
    return bool(np.can_cast(narrow, wide, "safe"))


def is_constant_along(variable: Variable, axes: tuple[int, ...], ndim: int) -> bool:
    """Whether an operand is the same all along axes of a result of ``ndim`` axes."""
    extra = ndim - variable.ndim
    return all(a < extra or variable.shape[a - extra] == 1 for a in axes)


def without_axes(variable: Variable, axes: tuple[int, ...], ndim: int) -> Variable:
    """Return an operand without those axes of a result, along which it has size 1."""
    extra = ndim - variable.ndim
    shape = tuple(s for a, s in enumerate(variable.shape) if a + extra not in axes)
    return variable.reshape(shape)


def elements(shape: Shape) -> int | None:
    """Return the number of elements where it is known."""
    total = 1
    for size in shape:
        if not isinstance(size, int):
            return None
        total *= size
    return total
