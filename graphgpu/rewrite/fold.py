"""Constants computed at compile time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphgpu.errors import GraphError
from graphgpu.graph import Constant, Operation, Variable
from graphgpu.ops.creation import Arange, Extent, Eye, Full
from graphgpu.ops.shape import BroadcastTo
from graphgpu.rewrite.draft import Draft, Found
from graphgpu.rewrite.patterns import elements
from graphgpu.types import TensorType

__all__ = ["fold"]

_LARGEST = 2**16
"""Bytes up to which a constant may be larger than what it is computed from."""

_FROM_NOTHING = (Arange, Extent, Eye, Full)


def fold(draft: Draft) -> int:
    """Replace operations on constants by their values."""
    return draft.sweep("fold", _folded)


def _folded(variable: Variable) -> Found:
    """Return the value of an operation on constants.

    Random numbers are none: they read the run key.  An operation that fails is
    left to fail when the program runs, where the error is expected.
    """
    operation = variable.operation
    if operation is None:
        return None
    for parent in variable.inputs:
        if parent.__class__ is not Constant:
            return None
    if not variable.inputs and not isinstance(operation, _FROM_NOTHING):
        return None
    given: list[Any] = [v.value for v in variable.inputs if isinstance(v, Constant)]
    if not _is_small(variable, given):
        return None
    value = _value(operation, given, variable)
    if value is None:
        return None
    return Constant(value), "operations on constants"


def _is_small(variable: Variable, given: Sequence[Any]) -> bool:
    """Whether the value is worth keeping; a constant that is repeated is not."""
    if not isinstance(variable.type, TensorType):
        return False
    count = elements(variable.shape)
    if count is None:
        return False
    size, before = count * variable.dtype.itemsize, sum(a.nbytes for a in given)
    if (
        count > 1
        and size > before
        and isinstance(variable.operation, Full | BroadcastTo)
    ):
        return False
    return size <= _LARGEST or size <= before


def _value(operation: Operation, given: Sequence[Any], variable: Variable) -> Any:
    """Return a fresh array; None if there is none of the type that was inferred."""
    try:
        with np.errstate(all="ignore"):
            result = operation.specialize({}).numpy(*given)
    except (GraphError, ArithmeticError, ValueError, IndexError, TypeError, Warning):
        return None
    value = np.array(result, order="C")
    if value.dtype != variable.dtype or value.shape != variable.shape:
        return None
    return value
