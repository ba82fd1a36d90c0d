"""map: a function of each element of some sequences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import overload

from graphgpu.control.closing import (
    Bindings,
    CreatedBefore,
    Function,
    called,
    close,
    components,
    require_arrays,
    subgraph,
)
from graphgpu.control.loop import Scan
from graphgpu.dims import Size
from graphgpu.errors import GraphError, ShapeError
from graphgpu.graph import (
    Operand,
    Variable,
    apply,
    as_variable,
    located,
    placeholder,
)
from graphgpu.types import Guards

__all__ = ["map", "common_length"]


@overload
def map(function: Callable[..., Variable], *sequences: Operand) -> Variable: ...


@overload
def map(
    function: Callable[..., Sequence[Variable]], *sequences: Operand
) -> tuple[Variable, ...]: ...


def map(function: Function, *sequences: Operand) -> Variable | tuple[Variable, ...]:
    """Return the function of each element of the sequences, stacked.

    The sequences have the same length along their first axis, which may be a named
    size, or 0.  The function is called once, with a variable for an element of
    each, and returns a variable or a tuple of variables; so does ``map``, with one
    more axis in front.  It may use variables from outside, parameters say, and is
    differentiated with respect to them too; what does not depend on the elements
    is computed once, outside.  Random numbers differ from element to element.

    The elements are computed one after the other: where an operation takes a whole
    batch, that is faster.

    >>> import graphgpu as gg
    >>> x = gg.placeholder("x", ("n", 2, 2))
    >>> gg.map(gg.inv, x).type
    float32[n,2,2]
    >>> w = gg.parameter("w", [1.0, 2.0])
    >>> gg.evaluate(gg.map(lambda row, b: gg.sum(w * row) + b, [[1.0, 1.0]], [0.5]))
    array([3.5], dtype=float32)

    Raises
    ------
    ShapeError
        A sequence has no axis, or the lengths differ.
    GraphError
        There is no sequence; the function takes other arguments, returns something
        else, or updates a state, which a map cannot do.
    """
    variables = [as_variable(s) for s in sequences]
    try:
        if not variables:
            raise GraphError("expected at least one sequence")
        length = common_length(variables, Guards())
    except GraphError as error:
        raise located(error, "map", variables) from None
    outside = CreatedBefore()
    elements: Bindings = {
        placeholder(f"element{place}", v.shape[1:], v.dtype): v
        for place, v in enumerate(variables)
    }
    takes = "an element of each sequence"
    result = called(function, list(elements), "map", "function", takes)
    require_arrays(result, "map")
    outputs = [result] if isinstance(result, Variable) else result
    shared, closed = close(elements, outputs, outside, "map")
    body, inputs = subgraph({**elements, **shared}, closed)
    scan = Scan(body, length, 0, len(elements), scale=length)
    found = components(apply(scan, *inputs))
    return found[0] if isinstance(result, Variable) else found


def common_length(sequences: Sequence[Variable], guards: Guards) -> Size:
    """Return the length of all sequences along their first axis.

    Raises
    ------
    ShapeError
        A sequence has no axis, or the lengths surely differ.
    """
    for place, variable in enumerate(sequences):
        if variable.ndim == 0:
            raise ShapeError(f"expected a first axis in sequence {place}")
    length = sequences[0].shape[0]
    for place, variable in enumerate(sequences[1:], 1):
        what = f"length of sequence 0, length of sequence {place}"
        length = guards.equal(length, variable.shape[0], what)
    return length
