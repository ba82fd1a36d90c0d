"""The code of an iteration, bound to memory and called for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from types import FunctionType
from typing import Any, Literal, NamedTuple, TypeAlias, final

import numpy as np

from graphgpu.backends.numpy.body import Body
from graphgpu.backends.numpy.calls import Call
from graphgpu.backends.numpy.runtime import FUNCTIONS
from graphgpu.backends.numpy.storage import Buffer, View
from graphgpu.backends.numpy.turns import Keys, Turns, located
from graphgpu.control.loop import Scan
from graphgpu.dtypes import Array
from graphgpu.graph import failure
from graphgpu.nodes import Node

__all__ = ["Part", "Plan", "Repetition", "Share"]

Row: TypeAlias = tuple[Any, ...]
_LINE = 64
_TEXT = "\0"
_MOST_VIEWS = 100_000
"""So many views of arrays are kept for the next call."""


class Part(NamedTuple):
    """Where a buffer of an iteration is.

    At a place among inputs or outputs, or in the scratch memory from a byte on.
    """

    kind: Literal["scratch", "constant", "key", "carry", "element", "shared", "output"]
    place: int


@final
@dataclass(eq=False)
class Plan:
    """The code of a loop, and where its iterations read and write."""

    scan: Scan
    body: Body
    parts: dict[Buffer, Part]
    sources: dict[int, int]
    """For a carry, the output where the iteration writes it."""
    sums: frozenset[int]
    """Carries that are added to where they are."""
    carried: list[tuple[int, ...]]
    """The shapes of the carries."""
    scratch: int
    """Bytes of the values of an iteration."""
    inner: Sequence[Plan] = ()
    """The loops in the body."""

    @property
    def length(self) -> int:
        """The number of iterations."""
        length: Any = self.scan.length
        return int(length)

    @property
    def nbytes(self) -> int:
        """Bytes of the loop's memory: of its iterations, carries, and run keys."""
        return self.key_offset + self.length * 24 * bool(self.keys)

    @property
    def keys(self) -> list[int]:
        """The place of the run key among the inputs, if it is there."""
        return [p.place for p in self.parts.values() if p.kind == "key"]

    @property
    def key_offset(self) -> int:
        """Where the keys of the iterations begin."""
        return _up(self.scratch) + 2 * sum(self.carry_bytes)

    @property
    def carry_bytes(self) -> list[int]:
        """The bytes of each carry that is handed on in memory of the loop."""
        sizes = []
        types = self.scan.body.input_types
        for k, shape in enumerate(self.carried):
            type_ = types[k]
            apart = k in self.sums or self.sources.get(k, 0) >= self.scan.carries
            needed = max(_LINE, _up(prod(shape) * type_.dtype.itemsize))
            sizes.append(0 if apart else needed)
        return sizes

    def text(self) -> str:
        """Return the source of the loop."""
        names = ", ".join(["i", *self.varying])
        lines = [f"def {self.function}(rows):", f"    for {names}, in rows:"]
        lines += [f"        {s.text}" for s in self.body.statements] or ["        pass"]
        return "\n".join(lines) + "\n"

    @property
    def function(self) -> str:
        """The name of the function that runs the iterations."""
        return f"each_{self.body.name}"

    def source(self) -> str:
        """Return the source of the loop, and of those in it."""
        return "\n\n".join([*(plan.source() for plan in self.inner), self.text()])

    @property
    def varying(self) -> dict[str, View]:
        """The views that differ from iteration to iteration."""
        kinds = ("key", "carry", "element", "output")
        return {
            name: view
            for name, view in self.body.views.items()
            if self._part(view).kind in kinds
        }

    @property
    def fixed(self) -> dict[str, View]:
        """The views that do not."""
        return {n: v for n, v in self.body.views.items() if n not in self.varying}

    def _part(self, view: View) -> Part:
        return self.parts[view.buffer]


@final
class Repetition:
    """A loop as a function of its inputs, its outputs and its memory."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._code = compile(plan.text(), f"<{plan.body.name}>", "exec")
        self._varying = plan.varying
        self._bound: dict[tuple[int, ...], _Bound] = {}

    @property
    def source(self) -> str:
        """The code, with that of loops within."""
        return self._plan.source()

    def __call__(self, inputs: list[Array], outputs: list[Array], work: Array) -> None:
        """Run all iterations.

        Raises
        ------
        ComputeError
            An operation failed; the message names it and the iteration.
        """
        key = tuple(a.__array_interface__["data"][0] for a in (*inputs, *outputs, work))
        bound = self._bound.get(key)
        if bound is None:
            bound = _Bound(self._plan, self._code, inputs, outputs, work)
            views = self._plan.length * len(self._varying)
            if views * (len(self._bound) + 1) <= _MOST_VIEWS:
                bound.keep()
                self._bound[key] = bound
        bound.run()


@final
class Share:
    """A lane's loop over its rows, which is bound to memory when it is linked."""

    def __init__(self, plan: Plan, inputs: int) -> None:
        self._plan = plan
        self._inputs = inputs
        self._code = compile(plan.text(), f"<{plan.body.name}>", "exec")

    def bind(self, *arrays: Array) -> Turns:
        """Return the loop on its inputs, its outputs and its memory."""
        inputs, outputs = arrays[: self._inputs], arrays[self._inputs : -1]
        work = arrays[-1]
        return _Bound(self._plan, self._code, inputs, outputs, work).turns()


@final
class _Bound:
    """A loop with its memory."""

    def __init__(
        self,
        plan: Plan,
        code: Any,
        inputs: Sequence[Array],
        outputs: Sequence[Array],
        work: Array,
    ) -> None:
        self._plan = plan
        self._inputs = inputs
        self._outputs = outputs
        self._work = work
        self._turns = self._pairs()
        self._keys = self._key_rows()
        names = dict(FUNCTIONS)
        for name, make in plan.body.objects.items():
            names[name] = made = make(None)
            if isinstance(made, np.ndarray):
                made.flags.writeable = False
        for name, view in plan.fixed.items():
            names[name] = _seen(self._array(view.buffer), view)
        exec(code, names)
        self._function: FunctionType = names[plan.function]
        self._rows: list[Row] | None = None

    def keep(self) -> None:
        """Keep the views of every iteration for the next call."""
        self._rows = list(self._each())

    def run(self) -> None:
        """Run all iterations, then copy carries to where they belong."""
        if self._keys is not None:
            self._numbers().number()
        plan = self._plan
        for k in plan.sums:
            np.copyto(self._outputs[k], self._inputs[k])
        try:
            self._function(self._each() if self._rows is None else self._rows)
        except Exception as error:
            raise self._located(error) from error
        for out, last in self._ends():
            np.copyto(out, last)

    def turns(self) -> Turns:
        """Return the same, with the views of every iteration."""
        plan = self._plan
        scan, name = plan.scan, plan.body.name
        return Turns(
            Call(self._function, list(self._each())),
            [(self._outputs[k], self._inputs[k]) for k in plan.sums],
            self._ends(),
            None if self._keys is None else self._numbers(),
            f"<{name}>",
            [_around(s.node) for s in plan.body.statements],
            f"of a {scan.word} of {scan.length}",
            plan.source(),
        )

    def _ends(self) -> list[tuple[Array, Array]]:
        """Return where each carry belongs, and where it is in the end."""
        plan = self._plan
        rest = [k for k in range(plan.scan.carries) if k not in plan.sums]
        found = [(self._outputs[k], self._carry(k, plan.length)) for k in rest]
        return [(out, last.reshape(out.shape)) for out, last in found]

    # --- where things are

    def _pairs(self) -> list[list[Array]]:
        """Return the two arrays that a carry is written to by turns."""
        start = _up(self._plan.scratch)
        found = []
        types = self._plan.scan.body.input_types
        for k, nbytes in enumerate(self._plan.carry_bytes):
            pair = []
            for _ in range(2 * bool(nbytes)):
                memory = self._work[start : start + nbytes]
                shape = self._plan.carried[k]
                count = prod(shape)
                pair.append(memory.view(types[k].dtype)[:count].reshape(shape))
                start += nbytes
            found.append(pair)
        return found

    def _key_rows(self) -> Array | None:
        if not self._plan.keys:
            return None
        memory = self._work[self._plan.key_offset : self._plan.nbytes]
        return memory.view(np.uint64).reshape(-1, 3)

    def _numbers(self) -> Keys:
        """Return what writes the run key of each iteration."""
        assert self._keys is not None
        (place,) = self._plan.keys
        scan: Any = self._plan.scan
        given = self._inputs[place]
        return Keys(self._keys, given, scan.scale, scan.first, scan.step)

    def _array(self, buffer: Buffer) -> Array:
        """Return the array of a buffer that is the same in all iterations."""
        if buffer.parent is not None:
            raise AssertionError(buffer.label)
        kind, place = self._plan.parts[buffer]
        if kind == "constant":
            assert buffer.array is not None
            constant = np.ascontiguousarray(buffer.array()).reshape(buffer.shape).view()
            constant.flags.writeable = False
            return constant
        if kind == "shared":
            return self._inputs[place]
        return buffer.at(self._work[place : place + buffer.nbytes(1)], None)

    def _each(self) -> Iterator[Row]:
        """Yield the number of each iteration, and what it reads and writes."""
        views = list(self._plan.varying.values())
        for turn, i in enumerate(self._plan.scan.order()):
            yield i, *(_seen(self._at(v.buffer, turn, i), v) for v in views)

    def _at(self, buffer: Buffer, turn: int, i: int) -> Array:
        """Return the array of a buffer in an iteration."""
        kind, place = self._plan.parts[buffer]
        found: Array
        if kind == "element":
            found = self._inputs[place][i, ...]
        elif kind == "key":
            assert self._keys is not None
            found = self._keys[i]
        elif kind == "carry":
            found = self._carry(place, turn)
        elif place >= self._plan.scan.carries:
            found = self._outputs[place][i, ...]
        else:
            found = self._carry(place, turn + 1)
        return found.reshape(buffer.shape)

    def _carry(self, k: int, turn: int) -> Array:
        """Return where a carry is before an iteration."""
        plan = self._plan
        if k in plan.sums:
            return self._outputs[k]
        if turn == 0:
            return self._inputs[k]
        place = plan.sources.get(k, k)
        if place >= plan.scan.carries:
            before = turn - 1
            i = plan.length - 1 - before if plan.scan.reverse else before
            return self._outputs[place][i, ...]
        return (
            self._turns[place][turn % 2]
            if self._turns[place]
            else self._carry(place, turn)
        )

    # --- errors

    def _located(self, error: Exception) -> Exception:
        """Return the error with the node and the iteration that raised it."""
        scan, body = self._plan.scan, self._plan.body
        messages = [_around(s.node) for s in body.statements]
        where = f"of a {scan.word} of {scan.length}"
        return located(error, f"<{body.name}>", messages, where)


def _around(node: Node) -> tuple[str, str]:
    """Return what comes before and after the text of an error of a node."""
    if node.operation is None:
        return "", ""
    given: Sequence[Any] = [n.type for n in node.inputs]
    text = failure(node.variable, node.operation, given, Exception(_TEXT))
    before, _, after = str(text).partition(_TEXT)
    return before, after


def _seen(array: Array, view: View) -> Array:
    for maker in view.makers:
        array = maker(array, None)
    return array


def _up(nbytes: int) -> int:
    return -(-nbytes // _LINE) * _LINE
