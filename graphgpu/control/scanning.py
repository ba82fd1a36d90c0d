"""scan: a loop over sequences that hands carries from iteration to iteration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from graphgpu.control.blocks import in_blocks
from graphgpu.control.closing import (
    Bindings,
    CreatedBefore,
    called,
    close,
    components,
    listed,
    require_arrays,
    subgraph,
)
from graphgpu.control.loop import Scan
from graphgpu.control.mapping import common_length
from graphgpu.dims import Size
from graphgpu.dtypes import is_floating
from graphgpu.errors import DTypeError, GraphError, ShapeError
from graphgpu.graph import Operand, Variable, apply, located, placeholder
from graphgpu.ops.arithmetic import remainder
from graphgpu.ops.comparison import equal, greater, logical_and, where
from graphgpu.ops.creation import arange
from graphgpu.ops.markers import stop_gradient
from graphgpu.types import Guards, make_shape

__all__ = ["scan"]

Several: TypeAlias = "Variable | tuple[Variable, ...]"
Operands: TypeAlias = "Operand | Sequence[Operand]"


def scan(
    function: Callable[..., Any],
    init: Operands,
    sequences: Operands = (),
    *,
    length: Size | str | None = None,
    reverse: bool = False,
    truncate: int | None = None,
    checkpoint_every: int | None = None,
) -> tuple[Any, Any]:
    """Return c_T and the stacked y, where c_{t+1}, y_t = function(c_t, x_t).

    The loop is one node, and its gradient, back-propagation through time, another
    one, to any order.  The function is called once, with variables for the carry
    and for an element of each sequence, and returns the next carry and what is
    stacked.  It may use variables from outside, parameters say, and is
    differentiated with respect to them too; what depends neither on the carry nor
    on an element is computed once, outside.  Random numbers differ from iteration
    to iteration.

    Parameters
    ----------
    function
        Called as ``function(carry, *elements)``; returns ``(carry, outputs)``.
    init
        What the carry is first: a variable, or a tuple of variables, and so is the
        carry.  Its types stay the same.  An integer one has no gradient.
    sequences
        A variable or a tuple of variables of one length, along their first axis.
    length
        How many iterations, if no sequence says so; it may be a named size.
    reverse
        Whether to go from the last element to the first; outputs are where their
        elements are.
    truncate
        Truncated back-propagation through time: no gradient passes through the
        carry from one block of so many iterations to the block before.  Blocks are
        counted from the first iteration: with ``truncate=3``, 7 iterations are
        blocks of 3, 3 and 1, and the gradient of the last carry passes 1 of them.
    checkpoint_every
        Every how many iterations a carry is kept for the gradient, which then
        computes all else again: memory falls from T to k + T/k iterations.  As
        written (``passes=()``), the results and the gradients of ``init`` and
        ``sequences`` have the same bits; those of what all iterations share, weights
        say, are summed block by block, so that their last digits may differ.

    Returns
    -------
    carry, outputs
        The last carry; and a variable, a tuple of variables, or None, as the
        function returned, each with one more axis in front.

    Examples
    --------
    >>> import graphgpu as gg
    >>> x = gg.placeholder("x", ("n",))
    >>> total, sums = gg.scan(lambda c, e: (c + e, c + e), 0.0, x)
    >>> gg.evaluate([total, sums], {x: [1.0, 2.0, 3.0]})
    [array(6., dtype=float32), array([1., 3., 6.], dtype=float32)]
    >>> power, _ = gg.scan(lambda c: (c * 2, None), 1.0, length=10)
    >>> float(gg.evaluate(power))
    1024.0

    Raises
    ------
    ShapeError, DTypeError
        A carry changes its type, or is no array; a sequence has no axis, or the
        lengths differ.
    GraphError
        There is nothing to say how long the loop is, or nothing is computed; the
        function takes other arguments, returns something else, or updates a state,
        which a scan cannot do.

    Notes
    -----
    Goodfellow, Bengio & Courville, *Deep Learning*, section 10.2.2, derive the
    gradient.
    """
    alone, starts = listed(init, "scan", "init")
    _, variables = listed(sequences, "scan", "sequences")
    try:
        count = _length(variables, length)
        _check_counts(truncate=truncate, checkpoint_every=checkpoint_every)
    except GraphError as error:
        raise located(error, "scan", [*starts, *variables]) from None
    outside = CreatedBefore()
    carries: list[Variable] = [
        placeholder(f"carry{k}", v.shape, v.dtype) for k, v in enumerate(starts)
    ]
    elements: Bindings = {
        placeholder(f"element{place}", v.shape[1:], v.dtype): v
        for place, v in enumerate(variables)
    }
    given, arguments = list(carries), list(elements)
    if truncate is not None:
        first = placeholder("first", (), "bool")
        elements[first] = _firsts(count, truncate, reverse=reverse)
        given = [_cut(c, first) for c in carries]
    takes = "the carry" + " and an element of each sequence" * bool(variables)
    given_carry = given[0] if alone else tuple(given)
    answer = called(function, [given_carry, *arguments], "scan", "function", takes)
    after, outputs = _checked(answer, alone, starts)
    stacks = [outputs] if isinstance(outputs, Variable) else outputs or ()
    results = [*after, *stacks]
    shared, closed = close([*carries, *elements], results, outside, "scan")
    bound = {**dict(zip(carries, starts, strict=True)), **elements, **shared}
    body, inputs = subgraph(bound, closed)
    loop = Scan(body, count, len(carries), len(elements), reverse, scale=count)
    if checkpoint_every is None:
        found = components(apply(loop, *inputs))
    else:
        found = tuple(in_blocks(loop, inputs, checkpoint_every))
    last, stacked = found[: len(carries)], found[len(carries) :]
    rest: Any = None if outputs is None else stacked
    if isinstance(outputs, Variable):
        (rest,) = stacked
    return (last[0] if alone else last), rest


def _length(sequences: Sequence[Variable], length: Size | str | None) -> Size:
    """Return how many iterations there are."""
    guards = Guards()
    if length is None and not sequences:
        raise GraphError("expected a sequence, or the length")
    if length is None:
        return common_length(sequences, guards)
    (wanted,) = make_shape(length)
    if not sequences:
        return wanted
    what = "length of the sequences, length"
    return guards.equal(common_length(sequences, guards), wanted, what)


def _check_counts(**counts: int | None) -> None:
    """Require numbers of iterations to be at least 1."""
    for name, count in counts.items():
        if count is None:
            continue
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ShapeError(
                f"expected {name} to be a whole number of at least 1; got {count!r}"
            )


def _firsts(length: Size, block: int, *, reverse: bool) -> Variable:
    """Return which iterations are the first of a block, but not of all."""
    numbers = arange(length)
    if reverse:
        numbers = numbers[::-1]
    return logical_and(equal(remainder(numbers, block), 0), greater(numbers, 0))


def _cut(carry: Variable, first: Variable) -> Variable:
    """Return a carry through which no gradient flows where a block begins."""
    if not is_floating(carry.dtype):
        return carry
    return where(first, stop_gradient(carry), carry)


def _checked(
    answer: Any, alone: bool, starts: Sequence[Variable]
) -> tuple[list[Variable], Any]:
    """Return the next carries and the outputs; their types are right."""
    try:
        if not isinstance(answer, tuple | list) or len(answer) != 2:
            raise GraphError(
                "expected the function to return two things, the next carry and the "
                f"outputs or None; got {answer!r}"
            )
        carry, outputs = answer
        after = [carry] if alone else carry
        if not isinstance(after, tuple | list) or len(after) != len(starts):
            raise GraphError(
                f"expected the function to return a tuple of {len(starts)} carries, as "
                f"there are initial values; got {carry!r}"
            )
        if after:
            require_arrays(after, "scan", "the function's carry")
        if outputs is not None and not (isinstance(outputs, tuple) and not outputs):
            require_arrays(outputs, "scan")
        elif not after:
            raise GraphError("expected the function to return a carry or an output")
        for place, (value, start) in enumerate(zip(after, starts, strict=True)):
            _require_type(value, start, place)
    except GraphError as error:
        raise located(error, "scan") from None
    return list(after), outputs


def _require_type(value: Variable, start: Variable, place: int) -> None:
    """Require a carry to have the type of its initial value."""
    same = value.dtype == start.dtype and value.ndim == start.ndim
    for left, right in zip(value.shape, start.shape, strict=False):
        same = same and (left == right or not isinstance(left - right, int))
    if not same:
        kind = DTypeError if value.dtype != start.dtype else ShapeError
        raise kind(
            f"expected carry {place} to stay {start.type}, the type of its initial "
            f"value; the function returned {value.type}; cast or broadcast the one or "
            "the other"
        )
