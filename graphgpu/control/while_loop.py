"""A function repeated while a condition holds: ``while_loop``.

How often is not known when the graph is built.  With a bound there is a gradient: a
scan of as many steps as the bound says, of which those that were not taken do
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from graphgpu.control.closing import (
    Bindings,
    CreatedBefore,
    called,
    close,
    components,
    listed,
    match_type,
    require_arrays,
    subgraph,
)
from graphgpu.control.cond import cond
from graphgpu.control.flops import body_flops
from graphgpu.control.scanning import scan
from graphgpu.dims import Size
from graphgpu.dtypes import Array, is_floating
from graphgpu.errors import (
    ComputeError,
    DTypeError,
    GradientError,
    GraphError,
    ShapeError,
)
from graphgpu.gradient import gradients
from graphgpu.graph import (
    RUN_KEY,
    Operand,
    Operation,
    Subgraph,
    Variable,
    apply,
    describe,
    located,
    placeholder,
    rebuild,
    substitute,
)
from graphgpu.interrupts import raise_if_stopped
from graphgpu.ops.creation import arange
from graphgpu.types import Guard, Guards, TensorType, TupleType, Type

__all__ = ["WhileLoop", "while_loop"]

_SPREAD = 0x9E3779B97F4A7C15
"""2^64 / φ, odd: run keys of loops within loops without a bound differ by it."""
_BOOL = TensorType(np.dtype(bool), ())
_COUNT = TensorType(np.dtype(np.int64), ())


@dataclass(frozen=True, slots=True)
class WhileLoop(Operation):
    """c ← f(c, s) while p(c, s), ``max_iterations`` times at most; and how often.

    The first inputs are what the carries c begin with, ``carries`` of them, the
    others are s; those of the condition p and of the body f are the same.  If the
    last of them is the run key, iteration i has the number ``outer * scale + i``.
    """

    condition: Subgraph
    body: Subgraph
    carries: int
    max_iterations: int | None = None

    def infer(self, guards: Guards, *inputs: TensorType) -> Type:
        """Require what condition and body were built for; their guards are its own."""
        wanted = self.body.input_types
        if self.condition.input_types != wanted:
            raise ShapeError("expected a condition and a body with the same inputs")
        if len(inputs) != len(wanted):
            raise ShapeError(f"expected {len(wanted)} inputs; got {len(inputs)}")
        for place, (given, want) in enumerate(zip(inputs, wanted, strict=True)):
            match_type(guards, given, want, f"input {place}")
        if self.condition.output_types != (_BOOL,):
            raise DTypeError("expected a condition that computes one bool[]")
        carries = wanted[: self.carries]
        for place, pair in enumerate(zip(self.body.output_types, carries, strict=True)):
            match_type(guards, *pair, f"carry {place}")
        for name, part in (("condition", self.condition), ("body", self.body)):
            for variable in part.variables:
                within = f"(within the {name}: {describe(variable).rstrip(',')})"
                for guard in variable.guards:
                    what = f"{guard.what} {within}"
                    guards.append(Guard(guard.left, guard.right, what))
        return TupleType((*carries, _COUNT))

    def numpy(self, *inputs: Any) -> Any:
        """Repeat the body, operation by operation."""
        carries = list(inputs[: self.carries])
        shared, most = inputs[self.carries :], self.max_iterations
        taken = 0
        while most is None or taken < most:
            arrays = [*carries, *shared]
            if RUN_KEY in self.body.inputs:
                arrays[-1] = self._run_key(arrays[-1], taken)
            try:
                if not self.condition.evaluate(*arrays)[0]:
                    break
                carries = list(self.body.evaluate(*arrays))
            except ComputeError as error:
                where = f"in iteration {taken} of a while_loop"
                raise ComputeError(f"{error}, {where}") from error
            taken += 1
            raise_if_stopped()
        return (*map(np.array, carries), np.array(taken, np.int64))

    def bprop(
        self,
        inputs: tuple[Variable, ...],
        output: Variable,
        grad: Variable | tuple[Variable | None, ...],
        wanted: tuple[bool, ...],
    ) -> list[Variable | None]:
        """Differentiate a scan of as many steps as the bound says."""
        if self.max_iterations is None:
            raise GradientError(
                "a while_loop has a gradient only if a bound of its iterations is "
                "known: give it max_iterations, or wrap its inputs in "
                "gg.stop_gradient"
            )
        assert isinstance(grad, tuple)
        own: Bindings = {
            p: v if p is RUN_KEY else placeholder(f"input{k}", v.shape, v.dtype)
            for k, (p, v) in enumerate(zip(self.body.inputs, inputs, strict=True))
        }
        given: Bindings = dict(zip(own.values(), inputs, strict=True))
        count = placeholder("taken", (), _COUNT.dtype)
        given[count] = components(output)[-1]
        last = self._scanned(own, count)
        known: dict[Variable, Variable] = {}
        for place, (result, part) in enumerate(zip(last, grad[:-1], strict=True)):
            if part is not None and is_floating(result.dtype):
                slot = placeholder(f"grad{place}", part.shape, part.dtype)
                known[result], given[slot] = slot, part
        targets = [p for p, want in zip(own.values(), wanted, strict=True) if want]
        if not known or not targets:
            return [None] * len(inputs)
        built = gradients(None, targets, known=known, disconnected="none")
        there = {p: s for p, s in zip(targets, built, strict=True) if s is not None}
        outside = substitute(list(there.values()), given)
        answer = dict(zip(there, outside, strict=True))
        return [answer.get(p) for p in own.values()]

    def connects(self, index: int) -> bool:
        """Whether the result depends differentiably on the input.

        It is what the loop was given, if the body is never computed.
        """
        return index < self.carries or self.body.connected[index]

    def flops(self, inputs: Sequence[TensorType], output: Type) -> Size:
        """Those of as many iterations as there may be; of one, if that is not known."""
        times = 1 if self.max_iterations is None else self.max_iterations
        return (body_flops(self.condition) + body_flops(self.body)) * times

    @property
    def scale(self) -> int:
        """What the iteration number of the loop around is multiplied by."""
        return _SPREAD if self.max_iterations is None else self.max_iterations

    def _run_key(self, key: Array, i: int) -> Array:
        """Return the run key of an iteration."""
        seed, step, outer = (int(part) for part in key)
        return np.array([seed, step, (outer * self.scale + i) % 2**64], np.uint64)

    def _scanned(self, own: Bindings, taken: Variable) -> tuple[Variable, ...]:
        """Return the last carries, by a scan; ``own`` are the inputs of the body."""
        inputs = list(own.values())
        first, shared = inputs[: self.carries], inputs[self.carries :]

        def body(*carries: Variable) -> list[Variable]:
            return _copied(self.body, [*carries, *shared])

        def keep(*carries: Variable) -> list[Variable]:
            return list(carries)

        def step(carries: Any, i: Any) -> Any:
            return cond(i < taken, body, keep, *carries), None

        assert self.max_iterations is not None
        last, _ = scan(step, tuple(first), arange(self.max_iterations, dtype="int64"))
        result: tuple[Variable, ...] = last
        return result


@overload
def while_loop(
    condition: Callable[[Any], Variable],
    body: Callable[[Any], Variable],
    init: Operand,
    *,
    max_iterations: int | None = None,
) -> Variable: ...


@overload
def while_loop(
    condition: Callable[[Any], Variable],
    body: Callable[[Any], Sequence[Variable]],
    init: tuple[Operand, ...],
    *,
    max_iterations: int | None = None,
) -> tuple[Variable, ...]: ...


def while_loop(
    condition: Callable[[Any], Variable],
    body: Callable[[Any], Any],
    init: Any,
    *,
    max_iterations: int | None = None,
) -> Variable | tuple[Variable, ...]:
    """Return ``init`` after the body was applied to it while the condition holds.

    c₀ = ``init``; cᵢ₊₁ = body(cᵢ) while condition(cᵢ); the result is the first cᵢ for
    which the condition does not hold.  The carry c is a variable or a tuple of
    variables, which both functions are called with, once, while the graph is built;
    the condition returns a bool scalar, the body a carry of the same types.  They
    may use variables from outside; what does not depend on the carry is computed
    once, before the loop.  Random numbers differ from iteration to iteration.  As
    ``jax.lax.while_loop``.

    With ``max_iterations`` = k the loop ends after k iterations at the latest, which
    is no error, and has a gradient, to any order: that of the iterations that were
    taken.  It takes the memory of k iterations, and the time of k tests.  Without
    it there is no gradient, and a loop may never end: interrupt it.

    On a GPU, a loop of at most 8 iterations is launched whole, and those that are not
    taken return at once.  Of any other the host reads the condition before every
    iteration, and so waits for the device each time: such a loop is for bodies that
    take longer than that, and its program is not one recorded graph.

    >>> import graphgpu as gg
    >>> a = gg.placeholder("a", ())  # the root of a, by Newton's iteration
    >>> root = gg.while_loop(
    ...     lambda x: gg.abs(x * x - a) > 1e-5 * a,
    ...     lambda x: (x + a / x) / 2,
    ...     gg.ones(()),
    ...     max_iterations=20,
    ... )
    >>> (slope,) = gg.gradients(root, [a])
    >>> [round(r.item(), 4) for r in gg.evaluate([root, slope], {a: 4.0})]
    [2.0, 0.25]

    Raises
    ------
    DTypeError
        The condition returns no bool scalar, the body a carry of another dtype.
    ShapeError
        The body returns a carry of another shape.
    GraphError
        The body returns not as many variables as it is given; ``max_iterations`` is
        no whole number; a function updates a state, which a loop cannot do.
    """
    _check_bound(max_iterations)
    alone, values = listed(init, "while_loop", "init")
    outside = CreatedBefore()
    own: Bindings = {
        placeholder(f"carry{k}", v.shape, v.dtype): v for k, v in enumerate(values)
    }
    carry: Any = next(iter(own)) if alone else tuple(own)
    functions = {"condition": condition, "body": body}
    more, result = (
        called(function, [carry], "while_loop", name, "the carry")
        for name, function in functions.items()
    )
    require_arrays(result, "while_loop", "the body")
    after = [result] if isinstance(result, Variable) else list(result)
    try:
        _check_types(list(own), more, result, alone)
    except GraphError as error:
        raise located(error, "while_loop") from None
    shared, closed = close(list(own), [more, *after], outside, "while_loop")
    both, given = subgraph({**own, **shared}, closed)
    first, rest = (Subgraph(both.inputs, part) for part in (closed[:1], closed[1:]))
    loop = WhileLoop(first, rest, len(own), max_iterations)
    results = components(apply(loop, *given))[:-1]
    return results[0] if alone else results


def _copied(body: Subgraph, inputs: Sequence[Variable]) -> list[Variable]:
    """Return the outputs for other inputs, nothing shared: random nodes vary anew."""
    table = dict(zip(body.inputs, inputs, strict=True))
    for variable in body.variables:
        if variable in table:
            continue
        given = tuple(table[v] for v in variable.inputs)
        table[variable] = rebuild(variable, given) if variable.operation else variable
    return [table[v] for v in body.outputs]


def _check_bound(bound: Any) -> None:
    whole = isinstance(bound, int) and not isinstance(bound, bool)
    if bound is not None and not (whole and bound >= 0):
        error = GraphError(
            f"expected max_iterations to be a whole number from 0 on, or None; "
            f"got {bound!r}"
        )
        raise located(error, "while_loop")


def _check_types(
    carries: Sequence[Variable], more: Any, result: Any, alone: bool
) -> None:
    """Require a condition that is a bool scalar, and a carry like the one before."""
    if not isinstance(more, Variable) or more.type != _BOOL:
        raise DTypeError(
            f"expected the condition to return a variable of type bool[]; got "
            f"{getattr(more, 'type', more)}; reduce an array with gg.any or gg.all, "
            "and compare with gg.equal or gg.not_equal"
        )
    if isinstance(result, Variable) != alone:
        wanted = "a variable" if alone else "a tuple"
        raise GraphError(f"expected the body to return {wanted}, as init is one")
    after = [result] if alone else list(result)
    if len(after) != len(carries):
        raise GraphError(
            f"expected the body to return {len(carries)} variables, as many as init "
            f"has; got {len(after)}"
        )
    for place, (new, old) in enumerate(zip(after, carries, strict=True)):
        if new.dtype != old.dtype or new.ndim != old.ndim:
            raise DTypeError(
                f"carry {place}: expected the body to return the type of init, "
                f"{old.type}; got {new.type}; use gg.cast on one of them"
            )
        for axis, (size, want) in enumerate(zip(new.shape, old.shape, strict=True)):
            Guards().equal(size, want, f"carry {place}, axis {axis}, body and init")
