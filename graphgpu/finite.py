"""NaN and infinities: which node made the first, and from what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, final

import numpy as np

from graphgpu.control.loop import Scan
from graphgpu.dtypes import Array, is_floating
from graphgpu.errors import NonFiniteError
from graphgpu.graph import (
    Constant,
    Operation,
    Parameter,
    Subgraph,
    Variable,
    describe,
)

__all__ = ["Range", "blame", "blame_in_loop", "blame_leaf", "labelled"]


@final
@dataclass(frozen=True, slots=True)
class Range:
    """The least and the greatest finite element of a value, and what is not finite.

    ``least`` and ``greatest`` are None where no element is finite.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    least: float | None
    greatest: float | None
    nans: int
    infinities: int

    @staticmethod
    def of(name: str, value: Any) -> Range:
        """Return the range of an array; of a tuple of arrays, that of all."""
        arrays = list(value) if isinstance(value, tuple) else [value]
        finite = [a[np.isfinite(a)] if is_float(a) else a.reshape(-1) for a in arrays]
        known = [a for a in finite if a.size]
        floats = [a for a in arrays if is_float(a)]
        return Range(
            name,
            arrays[0].dtype.name,
            arrays[0].shape,
            min((float(a.min()) for a in known), default=None),
            max((float(a.max()) for a in known), default=None),
            sum(int(np.isnan(a).sum()) for a in floats),
            sum(int(np.isinf(a).sum()) for a in floats),
        )

    def __str__(self) -> str:
        what = f"{self.name} {self.dtype}[{','.join(map(str, self.shape))}]"
        counts = f"{self.nans} NaN, {self.infinities} infinite"
        if self.least is None:
            return f"{what}: no finite element, {counts}"
        return f"{what}: min {self.least:.6g}, max {self.greatest:.6g}, {counts}"


def is_float(array: Array) -> bool:
    """Whether an array's elements can be NaN."""
    return is_floating(array.dtype)


def labelled(variable: Variable) -> str:
    """Return a node's path and its line, as the names of inputs in errors."""
    trace = variable.trace
    return f"{variable.path} ({PurePath(trace.filename).name}:{trace.line})"


def blame(
    variable: Variable,
    operation: Operation,
    outputs: Sequence[Array],
    inputs: Sequence[tuple[str, Any]],
) -> NonFiniteError | None:
    """Return the error that names a node whose value is not finite as it should be.

    A NaN is always an error; an infinity is none where an input holds one already,
    or where there is no input: then it was meant.  ``inputs`` are names and values
    of what the node was computed from; a value may be a tuple.
    """
    outputs = [a for a in outputs if is_float(a)]
    ranges = tuple(Range.of(name, value) for name, value in inputs)
    meant = not ranges or any(r.infinities for r in ranges)
    for array in outputs:
        bad = np.isnan(array) if meant else ~np.isfinite(array)
        if bad.any():
            said = "; ".join(map(str, ranges)) or "it has none"
            given = f"its inputs: {said}"
            return _error(variable, operation, "computed", array, bad, given, ranges)
    return None


def blame_leaf(variable: Variable, array: Array) -> NonFiniteError | None:
    """Return the error for a leaf that is NaN, or a parameter that is infinite."""
    if not is_float(array):
        return None
    strict = isinstance(variable, Parameter)
    bad = ~np.isfinite(array) if strict else np.isnan(array)
    if not bad.any():
        return None
    rest = "it did so before the program ran"
    return _error(variable, None, "holds", array, bad, rest, ())


def blame_in_loop(loop: Scan, inputs: Sequence[Any]) -> NonFiniteError | None:
    """Return the error that names a node of a loop's body, and the iteration.

    The iterations are computed again, up to the first that is not finite.
    """
    for i, arrays in loop.replay(inputs):
        error = _blame_in_body(loop.body, arrays)
        if error is not None:
            where = f"in iteration {i} of a {loop.word} of {loop.length}"
            found = NonFiniteError(f"{error}, {where}")
            found.variable, found.index = error.variable, error.index
            found.inputs = error.inputs
            return found
    return None


def _blame_in_body(body: Subgraph, arrays: Sequence[Any]) -> NonFiniteError | None:
    numbers = [v for v in body.variables if isinstance(v, Constant)]
    values: dict[Variable, Any] = {v: v.value for v in numbers}
    values.update(zip(body.inputs, arrays, strict=True))
    with np.errstate(all="ignore"):
        for variable, operation, _ in body.steps:
            given = [values[v] for v in variable.inputs]
            value = values[variable] = operation.numpy(*given)
            outputs = value if isinstance(value, tuple) else (np.asarray(value),)
            named = [
                (labelled(v), g if isinstance(g, tuple) else np.asarray(g))
                for v, g in zip(variable.inputs, given, strict=True)
            ]
            error = blame(variable, operation, outputs, named)
            if error is not None and isinstance(operation, Scan):
                error = blame_in_loop(operation, given) or error
            if error is not None:
                return error
    return None


def _error(
    variable: Variable,
    operation: Operation | None,
    verb: str,
    array: Array,
    bad: Array,
    rest: str,
    ranges: tuple[Range, ...],
) -> NonFiniteError:
    place = tuple(int(i) for i in np.unravel_index(int(bad.argmax()), bad.shape))
    found = Range.of("", array)
    counts = (
        f"{found.nans} NaN and {found.infinities} infinite of {array.size} elements"
    )
    first = f"the first is {float(array[place])} at {list(place)}"
    made = describe(variable)
    if operation is not None and operation != variable.operation:
        made = f"{operation}, for {made}"
    error = NonFiniteError(
        f"check_finite: {made} {verb} {counts}; {first}; {rest}; no state was changed"
    )
    error.variable, error.index, error.inputs = variable, place, ranges
    return error
