"""The operation that repeats a closed subgraph: what ``scan`` and ``map`` make."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from graphgpu.control.backward import Backward, backward
from graphgpu.control.closing import components, match_type
from graphgpu.control.flops import body_flops
from graphgpu.dims import Size
from graphgpu.dtypes import Array
from graphgpu.errors import ComputeError, ShapeError
from graphgpu.graph import RUN_KEY, Operation, Subgraph, Variable, apply, describe
from graphgpu.types import Guard, Guards, TensorType, TupleType, Type

__all__ = ["Scan"]


@dataclass(frozen=True, slots=True)
class Scan(Operation):
    """c, y[i] = f(c, x[i], s) for i from 0 below ``length``; or down to 0.

    The first inputs are what the carries c begin with, ``carries`` of them, then the
    ``sequences`` x, then what all iterations share, s; the body has an element of
    each sequence instead.  It computes the next carries, and then the y; the scan,
    the last carries, and then the y, stacked.

    If the body's last input is the run key, it has the number ``outer * scale +
    first + step * i`` there, so that each iteration has random numbers of its own.
    Unless it ``keeps``, its gradient reads nothing but the carries of each
    iteration, and computes the rest again.
    """

    body: Subgraph
    length: Size
    carries: int
    sequences: int
    reverse: bool = False
    keeps: bool = True
    scale: Size = 0
    first: Size = 0
    step: Size = 1

    @property
    def word(self) -> str:
        """What messages call it."""
        return "scan" if self.carries else "map"

    def __str__(self) -> str:
        back = ", reverse" if self.reverse else ""
        return f"{self.word}(body={self.body}, length={self.length}{back})"

    def infer(self, guards: Guards, *inputs: TensorType) -> Type:
        """Require what the body was built for; the body's guards are the loop's."""
        body, carries = self.body, self.carries
        wanted = body.input_types
        if len(inputs) != len(wanted):
            raise ShapeError(f"expected {len(wanted)} inputs; got {len(inputs)}")
        for place, (given, want) in enumerate(zip(inputs, wanted, strict=True)):
            type_ = given
            if carries <= place < carries + self.sequences:
                type_ = self._element(guards, given, place - carries)
            match_type(guards, type_, want, f"input {place}")
        for place in range(carries):
            match_type(
                guards, body.output_types[place], wanted[place], f"carry {place}"
            )
        for variable in body.variables:
            within = f"(within the {self.word}: {describe(variable).rstrip(',')})"
            for guard in variable.guards:
                guards.append(Guard(guard.left, guard.right, f"{guard.what} {within}"))
        types = (
            *wanted[:carries],
            *(
                TensorType(t.dtype, (self.length, *t.shape))
                for t in body.output_types[carries:]
            ),
        )
        return types[0] if len(types) == 1 else TupleType(types)

    def numpy(self, *inputs: Any) -> Any:
        """Repeat the body, operation by operation."""
        length: Any = self.length
        first = self.carries + self.sequences
        values = list(inputs[: self.carries])
        stacked: list[Array] = []
        for type_ in self.body.output_types[self.carries :]:
            shape: Any = (length, *type_.shape)
            stacked.append(np.empty(shape, type_.dtype))
        for i in self.order():
            elements = [x[i, ...] for x in inputs[self.carries : first]]
            results = self._iteration(i, [*values, *elements, *inputs[first:]])
            values = list(results[: self.carries])
            for array, value in zip(stacked, results[self.carries :], strict=True):
                array[i] = value
        arrays = [*(np.array(v) for v in values), *stacked]
        return arrays[0] if len(arrays) == 1 else tuple(arrays)

    def replay(self, inputs: Sequence[Any]) -> Iterator[tuple[int, list[Any]]]:
        """Yield the number of each iteration in turn, and what its body is given."""
        first = self.carries + self.sequences
        values = list(inputs[: self.carries])
        for i in self.order():
            elements = [x[i, ...] for x in inputs[self.carries : first]]
            arrays = [*values, *elements, *inputs[first:]]
            if RUN_KEY in self.body.inputs:
                arrays[-1] = self.run_key(arrays[-1], i)
            yield i, arrays
            values = list(self.body.evaluate(*arrays)[: self.carries])

    def bprop(
        self,
        inputs: tuple[Variable, ...],
        output: Variable,
        grad: Variable | tuple[Variable | None, ...],
        wanted: tuple[bool, ...],
    ) -> list[Variable | None]:
        """Scan the gradient of the body the other way.

        Its carries are the gradients of the carries, and the sums of those of what
        all iterations share.  What it reads of an iteration, the same scan gives
        with more outputs; the original one is made one with that when rewritten.
        """
        parts = grad if isinstance(grad, tuple) else (grad,)
        made = backward(self, inputs, parts, wanted)
        if made is None:
            return [None] * len(inputs)
        given = components(self._extended(made, inputs, output))
        loop = made.closed([given[j] for j in made.places])
        scan = replace(
            self,
            body=loop.body,
            carries=loop.carries,
            sequences=loop.sequences,
            reverse=not self.reverse,
        )
        results = components(apply(scan, *loop.inputs)) if loop.body.outputs else ()
        return made.answers(results)

    def _extended(
        self, made: Backward, inputs: tuple[Variable, ...], output: Variable
    ) -> Variable:
        """Return the scan that gives, too, what its gradient reads."""
        if not made.extra:
            return output
        outputs = [*self.body.outputs, *made.extra]
        body = Subgraph(self.body.inputs, outputs, self.body.sizes)
        return apply(replace(self, body=body), *inputs)

    def connects(self, index: int) -> bool:
        """Whether the body depends differentiably on its input.

        A scan of no iterations returns what it was given.
        """
        if index < self.carries and not (isinstance(self.length, int) and self.length):
            return True
        return self.body.connected[index]

    def flops(self, inputs: Sequence[TensorType], output: Type) -> Size:
        """Those of the body, ``length`` times."""
        return body_flops(self.body) * self.length

    def order(self) -> Iterator[int]:
        """Yield the numbers of the iterations as they follow each other."""
        length: Any = self.length
        numbers = range(length)
        yield from reversed(numbers) if self.reverse else numbers

    def run_key(self, key: Array, i: int) -> Array:
        """Return the run key of an iteration."""
        seed, step, outer = (int(part) for part in key)
        number = (outer * self.scale + self.first + self.step * i) % 2**64
        return np.array([seed, step, number], np.uint64)

    def _iteration(self, i: int, arrays: list[Any]) -> tuple[Any, ...]:
        """Evaluate the body once."""
        if RUN_KEY in self.body.inputs:
            arrays[-1] = self.run_key(arrays[-1], i)
        try:
            return self.body.evaluate(*arrays)
        except ComputeError as error:
            where = f"in iteration {i} of a {self.word} of {self.length}"
            raise ComputeError(f"{error}, {where}") from error

    def _element(self, guards: Guards, given: TensorType, place: int) -> TensorType:
        """Return the type of an element of a sequence."""
        what = f"sequence {place}"
        if given.ndim == 0:
            raise ShapeError(f"expected a first axis in {what}")
        lengths = f"length of {what}, length of the {self.word}"
        guards.equal(given.shape[0], self.length, lengths)
        return TensorType(given.dtype, given.shape[1:])
