"""The meaning of a graph: each operation's ``numpy``, one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphgpu.dtypes import Array
from graphgpu.graph import RUN_KEY, Constant, Graph, Stored, Variable
from graphgpu.types import TensorType

__all__ = ["reference_value"]


def reference_value(output: Variable, given: Mapping[Variable, Array]) -> Array:
    """Return a value computed node by node, by the operations' ``numpy`` alone.

    Raises
    ------
    AssertionError
        An operation wrote to its input, or computed another type than it inferred.
    """
    values: dict[Variable, Any] = dict(given)
    for variable in Graph(output).variables:
        if isinstance(variable, Constant | Stored):
            values[variable] = variable.value
        elif variable is RUN_KEY:
            values[variable] = np.zeros(3, np.uint64)
        elif variable.operation is not None:
            values[variable] = _compute(variable, [values[v] for v in variable.inputs])
    result: Array = values[output]
    return result


def _compute(variable: Variable, inputs: Sequence[Any]) -> Any:
    """Return what an operation computes from inputs that cannot be written to."""
    operation = variable.operation
    assert operation is not None
    given = [_read_only(x) if isinstance(x, np.ndarray) else x for x in inputs]
    try:
        with np.errstate(all="ignore"):
            value = operation.numpy(*given)
    except ValueError as error:
        if "read-only" not in str(error):
            raise
        raise AssertionError(f"{operation}: an input was written to") from None
    if not isinstance(variable.type, TensorType):
        return value
    array = np.asarray(value)
    if TensorType(array.dtype, array.shape) != variable.type:
        raise AssertionError(
            f"{operation}: inferred {variable.type}, computed "
            f"{array.dtype.name}{list(array.shape)}"
        )
    return array


def _read_only(array: Array) -> Array:
    view = array.view()
    view.setflags(write=False)
    return view
