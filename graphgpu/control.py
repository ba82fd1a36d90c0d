"""Control flow: operations that own closed subgraphs.

``map`` applies a function to each element of some sequences.  Its gradient is a
map over the gradient of the function's graph, so that it can be differentiated
any number of times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, overload

import numpy as np

from graphgpu.dims import Size
from graphgpu.dtypes import Array, accumulator, is_floating
from graphgpu.errors import ComputeError, DTypeError, GraphError, ShapeError
from graphgpu.gradient import gradients
from graphgpu.graph import (
    RUN_KEY,
    Constant,
    Operand,
    Operation,
    Subgraph,
    Variable,
    ancestors,
    apply,
    as_variable,
    describe,
    located,
    placeholder,
    substitute,
)
from graphgpu.ops.markers import WithStateUpdate
from graphgpu.ops.tuples import item
from graphgpu.types import Guard, Guards, TensorType, TupleType, Type

__all__ = ["map"]

Function: TypeAlias = "Callable[..., Variable | Sequence[Variable]]"
Bindings: TypeAlias = "dict[Variable, Variable]"


@dataclass(frozen=True, slots=True)
class Map(Operation):
    """y[i] = f(x[i], c) for i below ``length``; and z = Σ_i g(x[i], c).

    The body computes the f, ``stacked`` of them, and then the g from an element of
    each of the first inputs, the sequences x, and from the others, c, as they are.
    If its last input is the run key, iteration i has the iteration number
    ``outer * length + i`` there, so that each has random numbers of its own.
    """

    body: Subgraph
    length: Size
    sequences: int
    stacked: int

    def infer(self, guards: Guards, *inputs: TensorType) -> Type:
        """Require what the body was built for; the body's guards are the map's."""
        wanted = self.body.input_types
        if len(inputs) != len(wanted):
            raise ShapeError(f"expected {len(wanted)} inputs; got {len(inputs)}")
        for place, (given, want) in enumerate(zip(inputs, wanted, strict=True)):
            what = f"input {place}"
            if place < self.sequences:
                element = _element(guards, given, self.length, f"sequence {place}")
                _match(guards, element, want, what)
            else:
                _match(guards, given, want, what)
        for variable in self.body.variables:
            within = f"(within the map: {describe(variable).rstrip(',')})"
            for guard in variable.guards:
                guards.append(Guard(guard.left, guard.right, f"{guard.what} {within}"))
        types = tuple(
            TensorType(t.dtype, (self.length, *t.shape)) if j < self.stacked else t
            for j, t in enumerate(self.body.output_types)
        )
        return types[0] if len(types) == 1 else TupleType(types)

    def numpy(self, *inputs: Any) -> Any:
        """Loop; sums of halves are formed in float32."""
        length: Any = self.length
        types = self.body.output_types
        results: list[Array] = []
        for j, type_ in enumerate(types):
            shape: Any = (length, *type_.shape) if j < self.stacked else type_.shape
            wide = type_.dtype if j < self.stacked else accumulator(type_.dtype)
            results.append(np.zeros(shape, wide))
        for i in range(length):
            for j, value in enumerate(self._iteration(i, inputs)):
                if j < self.stacked:
                    results[j][i] = value
                else:
                    results[j] += value
        arrays = [
            r.astype(t.dtype, copy=False) for r, t in zip(results, types, strict=True)
        ]
        return arrays[0] if len(arrays) == 1 else tuple(arrays)

    def bprop(
        self,
        inputs: tuple[Variable, ...],
        output: Variable,
        grad: Variable | tuple[Variable | None, ...],
        wanted: tuple[bool, ...],
    ) -> list[Variable | None]:
        """Map the gradient of the body; what all iterations share is summed.

        The gradient of a stacked output is one more sequence; that of a sum is the
        same in every iteration.
        """
        body = self.body
        places = list(enumerate(zip(body.inputs, inputs, strict=True)))
        elements = {p: v for j, (p, v) in places if j < self.sequences}
        shared = {p: v for j, (p, v) in places if j >= self.sequences}
        known: dict[Variable, Variable] = {}
        parts = grad if isinstance(grad, tuple) else (grad,)
        for j, (result, part) in enumerate(zip(body.outputs, parts, strict=True)):
            if part is None or not is_floating(result.dtype):
                continue
            slot = placeholder(f"grad{j}", result.shape, result.dtype)
            (elements if j < self.stacked else shared)[slot] = part
            known[result] = known[result] + slot if result in known else slot
        targets = [p for p, want in zip(body.inputs, wanted, strict=True) if want]
        if not known or not targets:
            return [None] * len(inputs)
        built = gradients(None, targets, known=known, disconnected="none")
        slopes = {p: s for p, s in zip(targets, built, strict=True) if s is not None}
        each = [p for p in slopes if p in elements]
        total = [p for p in slopes if p in shared]
        if not slopes:
            return [None] * len(inputs)
        used = set(ancestors(slopes.values()))
        results = _components(
            _map(
                {p: v for p, v in elements.items() if p in used},
                {p: v for p, v in shared.items() if p in used},
                [slopes[p] for p in each],
                [slopes[p] for p in total],
                self.length,
            )
        )
        answer = dict(zip([*each, *total], results, strict=True))
        return [answer.get(p) for p in body.inputs]

    def connects(self, index: int) -> bool:
        """Whether the body depends differentiably on its input."""
        return self.body.connected[index]

    def flops(self, inputs: Sequence[TensorType], output: Type) -> Size:
        """Those of the body, ``length`` times."""
        total: Size = 0
        for variable in self.body.variables:
            if variable.operation and variable not in self.body.inputs:
                types: Any = [v.type for v in variable.inputs]
                total = total + variable.operation.flops(types, variable.type)
        return total * self.length

    def _iteration(self, i: int, inputs: Sequence[Any]) -> tuple[Any, ...]:
        """Evaluate the body for element i."""
        arrays = [x[i, ...] for x in inputs[: self.sequences]]
        arrays += inputs[self.sequences :]
        if RUN_KEY in self.body.inputs:
            seed, step, outer = (int(part) for part in arrays[-1])
            iteration = (outer * self.length + i) % 2**64
            arrays[-1] = np.array([seed, step, iteration], np.uint64)
        try:
            return self.body.evaluate(*arrays)
        except ComputeError as error:
            where = f"in iteration {i} of a map of {self.length}"
            raise ComputeError(f"{error}, {where}") from error


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
        There is no sequence; the function returns something else, or updates a
        state, which a map cannot do.
    """
    variables = [as_variable(s) for s in sequences]
    try:
        if not variables:
            raise GraphError("expected at least one sequence")
        guards = Guards()
        for place, variable in enumerate(variables):
            if variable.ndim == 0:
                raise ShapeError(f"expected a first axis in sequence {place}")
        length = variables[0].shape[0]
        for place, variable in enumerate(variables[1:], 1):
            what = f"length of sequence 0, length of sequence {place}"
            length = guards.equal(length, variable.shape[0], what)
    except GraphError as error:
        raise located(error, "map", variables) from None
    elements: Bindings = {
        placeholder(f"element{place}", v.shape[1:], v.dtype): v
        for place, v in enumerate(variables)
    }
    result = function(*elements)
    outputs = [result] if isinstance(result, Variable) else result
    _check_outputs(outputs)
    shared, closed = _closed(elements, outputs)
    components = _components(_map(elements, shared, closed, [], length))
    return components[0] if isinstance(result, Variable) else components


def _map(
    elements: Mapping[Variable, Variable],
    shared: Mapping[Variable, Variable],
    each: Sequence[Variable],
    total: Sequence[Variable],
    length: Size,
) -> Variable:
    """Apply the map whose body has these inputs, bound to these variables."""
    shared = {p: v for p, v in shared.items() if p is not RUN_KEY}
    outputs = [*each, *total]
    inputs = {**elements, **shared}
    if RUN_KEY in ancestors(outputs, stop=inputs):
        inputs[RUN_KEY] = RUN_KEY
    body = Subgraph(list(inputs), outputs)
    return apply(Map(body, length, len(elements), len(each)), *inputs.values())


def _components(result: Variable) -> tuple[Variable, ...]:
    if not isinstance(result.type, TupleType):
        return (result,)
    return tuple(item(result, j) for j in range(len(result.type.components)))


class _CreatedBefore:
    """The variables that were there before another one."""

    def __init__(self, variable: Variable) -> None:
        self._serial = variable.serial

    def __contains__(self, variable: object) -> bool:
        return isinstance(variable, Variable) and variable.serial < self._serial


def _closed(
    elements: Mapping[Variable, Variable], outputs: Sequence[Variable]
) -> tuple[Bindings, list[Variable]]:
    """Return the outputs as a closed graph, and what its new inputs stand for.

    A new input stands for each variable that does not depend on an element and is
    used by one that does.  A random node inside varies with the iteration.
    """
    outside = _CreatedBefore(next(iter(elements)))
    varying: set[Variable] = set(elements)
    border: dict[Variable, None] = {}
    for variable in ancestors(outputs, stop=outside):
        if variable in outside or variable in varying:
            continue
        depends = RUN_KEY in variable.inputs or not varying.isdisjoint(variable.inputs)
        if not depends:
            continue
        if isinstance(variable.operation, WithStateUpdate):
            error = GraphError("the function updates a state, once for each element")
            raise located(error, "map", (variable,))
        varying.add(variable)
        border.update(dict.fromkeys(variable.inputs))
    border.update(dict.fromkeys(outputs))
    captured = [v for v in border if v not in varying and not _is_constant(v)]
    shared: Bindings = {
        placeholder(f"shared{place}", v.shape, v.dtype): v
        for place, v in enumerate(captured)
    }
    return shared, substitute(outputs, {v: p for p, v in shared.items()})


def _is_constant(variable: Variable) -> bool:
    """Whether a closed graph can contain it: numbers, or what is made from none."""
    if variable is RUN_KEY or isinstance(variable, Constant):
        return True
    return variable.operation is not None and not variable.inputs


def _check_outputs(outputs: Any) -> None:
    """Require variables, each an array."""
    listed = outputs if isinstance(outputs, list | tuple) else [outputs]
    try:
        if not listed:
            raise GraphError("expected the function to return at least one variable")
        for output in listed:
            if not isinstance(output, Variable):
                raise DTypeError(
                    "expected the function to return a variable or a tuple of "
                    f"variables; got {output!r}"
                )
            if isinstance(output.type, TupleType):
                raise DTypeError("expected arrays; read a tuple's parts with gg.item")
    except GraphError as error:
        raise located(error, "map") from None


def _element(guards: Guards, given: TensorType, length: Size, what: str) -> TensorType:
    """Return the type of an element of a sequence."""
    if given.ndim == 0:
        raise ShapeError(f"expected a first axis in {what}")
    guards.equal(given.shape[0], length, f"length of {what}, length of the map")
    return TensorType(given.dtype, given.shape[1:])


def _match(guards: Guards, given: TensorType, want: TensorType, what: str) -> None:
    """Require the type that the body was built for."""
    if given.dtype != want.dtype or given.ndim != want.ndim:
        raise DTypeError(f"expected {want} as {what} of the body; got {given}")
    sizes: Iterable[tuple[Size, Size]] = zip(given.shape, want.shape, strict=True)
    for axis, (left, right) in enumerate(sizes):
        guards.equal(left, right, f"axis {axis} of {what}, that of the body")
