"""One of two functions, chosen when the program runs: ``cond``.

The gradient of a choice is the choice between the gradients, so that it can be
differentiated any number of times.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from graphgpu.control.closing import (
    Bindings,
    CreatedBefore,
    Function,
    called,
    close,
    components,
    match_type,
    require_arrays,
    subgraph,
)
from graphgpu.control.flops import body_flops
from graphgpu.dims import Size, maximum_size
from graphgpu.dtypes import is_floating
from graphgpu.errors import ComputeError, DTypeError, GraphError, ShapeError
from graphgpu.gradient import gradients
from graphgpu.graph import (
    Operand,
    Operation,
    Subgraph,
    Variable,
    apply,
    as_variable,
    describe,
    located,
    placeholder,
    substitute,
)
from graphgpu.ops.creation import zeros_like
from graphgpu.types import Guard, Guards, TensorType, TupleType, Type

__all__ = ["Cond", "choose", "cond"]


@dataclass(frozen=True, slots=True)
class Cond(Operation):
    """y = f(x) where p is true, else g(x).

    The first input is p, the others are x: those of both branches, f and g.  If the
    last of them is the run key, the branches have random nodes.
    """

    then: Subgraph
    otherwise: Subgraph

    def infer(self, guards: Guards, *inputs: TensorType) -> Type:
        """Require what the branches were built for, and that they are alike.

        The guards of both branches are the choice's: sizes do not depend on it.
        """
        if not inputs or inputs[0] != TensorType(np.dtype(bool), ()):
            raise DTypeError("expected a predicate of type bool[]")
        for name, branch in self.branches:
            wanted = branch.input_types
            if len(inputs) - 1 != len(wanted):
                raise ShapeError(
                    f"expected {len(wanted)} operands; got {len(inputs) - 1}"
                )
            for place, (given, want) in enumerate(zip(inputs[1:], wanted, strict=True)):
                match_type(guards, given, want, f"operand {place}")
            for variable in branch.variables:
                within = f"(within {name}: {describe(variable).rstrip(',')})"
                for guard in variable.guards:
                    what = f"{guard.what} {within}"
                    guards.append(Guard(guard.left, guard.right, what))
        types = _alike(guards, self.then.output_types, self.otherwise.output_types)
        return types[0] if len(types) == 1 else TupleType(types)

    def numpy(self, predicate: Any, *inputs: Any) -> Any:
        """Evaluate the branch that is taken."""
        name, branch = self.branches[not predicate]
        try:
            results = branch.evaluate(*inputs)
        except ComputeError as error:
            raise ComputeError(f"{error}, in the branch {name} of a cond") from error
        arrays = tuple(map(np.array, results))  # which may be inputs
        return arrays[0] if len(arrays) == 1 else arrays

    def bprop(
        self,
        inputs: tuple[Variable, ...],
        output: Variable,
        grad: Variable | tuple[Variable | None, ...],
        wanted: tuple[bool, ...],
    ) -> list[Variable | None]:
        """Choose between the gradients of the branches; zero where one has none."""
        given: Bindings = dict(zip(self.then.inputs, inputs[1:], strict=True))
        slots: dict[int, Variable] = {}
        parts = grad if isinstance(grad, tuple) else (grad,)
        for place, part in enumerate(parts):
            if part is not None and is_floating(part.dtype):
                slots[place] = placeholder(f"grad{place}", part.shape, part.dtype)
                given[slots[place]] = part
        targets = [k for k, want in enumerate(wanted[1:]) if want]
        answer: list[Variable | None] = [None] * len(inputs)
        if not slots or not targets:
            return answer
        slopes = [_slopes(b, self.then.inputs, slots, targets) for b in self._both]
        found = [k for k in targets if any(branch[k] is not None for branch in slopes)]
        if not found:
            return answer
        built = []
        for branch in slopes:
            pairs = [(branch[k], self.then.inputs[k]) for k in found]
            built.append([zeros_like(p) if s is None else s for s, p in pairs])
        results = components(choose(inputs[0], given, *built))
        for k, result in zip(found, results, strict=True):
            answer[k + 1] = result
        return answer

    def connects(self, index: int) -> bool:
        """Whether a branch depends differentiably on the input."""
        return index > 0 and any(b.connected[index - 1] for b in self._both)

    def flops(self, inputs: Sequence[TensorType], output: Type) -> Size:
        """Those of the branch that takes more."""
        return maximum_size(body_flops(self.then), body_flops(self.otherwise))

    @property
    def branches(self) -> tuple[tuple[str, Subgraph], tuple[str, Subgraph]]:
        """Both, with their names; the one that is taken if p is true first."""
        return ("then", self.then), ("otherwise", self.otherwise)

    @property
    def _both(self) -> tuple[Subgraph, Subgraph]:
        return self.then, self.otherwise


@overload
def cond(
    predicate: Operand,
    then: Callable[..., Variable],
    otherwise: Callable[..., Variable],
    *operands: Operand,
) -> Variable: ...


@overload
def cond(
    predicate: Operand,
    then: Callable[..., Sequence[Variable]],
    otherwise: Callable[..., Sequence[Variable]],
    *operands: Operand,
) -> tuple[Variable, ...]: ...


def cond(
    predicate: Operand, then: Function, otherwise: Function, *operands: Operand
) -> Variable | tuple[Variable, ...]:
    """Return ``then(*operands)`` where the predicate is true, else ``otherwise``'s.

    y = f(x) where p, else g(x); the gradient is that of the branch that is taken,
    at the predicate's edge too.  ``predicate`` is a bool scalar.  Both functions are
    called once, while the graph is built, and return a variable or a tuple of
    variables, of the same types.  They may use variables from outside, parameters
    say, and are differentiated with respect to them too.

    Only the branch that is taken is computed when the program runs: what would fail
    in the other one, an index out of range say, does not.  What is computed outside
    is computed in any case; so is what ``gg.where`` chooses between, element by
    element.  Sizes must fit in both.  Random numbers differ between the branches.
    As ``jax.lax.cond``.  A GPU does not wait for the host: the kernels of both
    branches are launched, and those of the other one return at once.

    >>> import graphgpu as gg
    >>> x = gg.placeholder("x", ())
    >>> y = gg.cond(x > 0, gg.log, lambda x: x - 1, x)
    >>> (slope,) = gg.gradients(y, [x])
    >>> [a.item() for a in gg.evaluate([y, slope], {x: -2.0})]
    [-3.0, 1.0]

    Raises
    ------
    DTypeError
        The predicate is no bool scalar; the branches' dtypes differ.
    ShapeError
        The branches' shapes differ.
    GraphError
        A function is none, or takes other arguments; it returns something else, or
        not as many variables as the other; or updates a state, which a cond cannot.
    """
    chosen, values = as_variable(predicate), [as_variable(v) for v in operands]
    if chosen.type != TensorType(np.dtype(bool), ()):
        error: GraphError = DTypeError(
            "expected a predicate of type bool[]; compare numbers, and reduce an array "
            "with gg.any or gg.all"
        )
        raise located(error, "cond", [chosen])
    outside = CreatedBefore()
    own: Bindings = {
        placeholder(f"operand{k}", v.shape, v.dtype): v for k, v in enumerate(values)
    }
    takes = "one for each operand" if own else "as there are no operands"
    functions = {"then": then, "otherwise": otherwise}
    results = [called(f, list(own), "cond", n, takes) for n, f in functions.items()]
    for result, name in zip(results, functions, strict=True):
        require_arrays(result, "cond", name)
    left, right = ([r] if isinstance(r, Variable) else list(r) for r in results)
    try:
        if len({isinstance(r, Variable) for r in results}) > 1:
            raise GraphError("expected both functions to return a tuple, or neither")
        _alike(Guards(), *([v.tensor for v in side] for side in (left, right)))
    except GraphError as error:
        raise located(error, "cond") from None
    shared, closed = close(own, [*left, *right], outside, "cond", hoist=False)
    inputs = {**own, **shared}
    branches = closed[: len(left)], closed[len(left) :]
    outputs = components(choose(chosen, inputs, *branches))
    return outputs[0] if isinstance(results[0], Variable) else outputs


def choose(
    predicate: Variable,
    inputs: Mapping[Variable, Variable],
    then: Sequence[Variable],
    otherwise: Sequence[Variable],
) -> Variable:
    """Apply the choice between two lists of closed outputs of the inputs."""
    both, values = subgraph(inputs, [*then, *otherwise])
    used = set(both.variables)
    kept = {p: v for p, v in zip(both.inputs, values, strict=True) if p in used}
    branches = [Subgraph(list(kept), outputs) for outputs in (then, otherwise)]
    return apply(Cond(*branches), predicate, *kept.values())


def _slopes(
    branch: Subgraph,
    inputs: Sequence[Variable],
    slots: Mapping[int, Variable],
    targets: Sequence[int],
) -> dict[int, Variable | None]:
    """Return the gradients with respect to the targets, inputs by number.

    They are computed from ``inputs`` and the slots, the gradients of the outputs.
    """
    known: dict[Variable, Variable] = {}
    for place, slot in slots.items():
        result = branch.outputs[place]
        known[result] = known[result] + slot if result in known else slot
    wrt = [branch.inputs[k] for k in targets]
    built = gradients(None, wrt, known=known, disconnected="none")
    there = [v for v in built if v is not None]
    renamed = {a: b for a, b in zip(branch.inputs, inputs, strict=True) if a is not b}
    answers = iter(substitute(there, renamed) if renamed else there)
    return {
        k: None if v is None else next(answers)
        for k, v in zip(targets, built, strict=True)
    }


def _alike(
    guards: Guards, left: Sequence[TensorType], right: Sequence[TensorType]
) -> tuple[TensorType, ...]:
    """Return the types of what both branches return.

    Raises
    ------
    GraphError
        They are not as many.
    DTypeError
        A dtype or a number of axes differs.
    ShapeError
        A size differs.
    """
    if len(left) != len(right):
        raise GraphError(
            "expected both functions to return as many variables; "
            f"then returns {len(left)}, otherwise {len(right)}"
        )
    types = []
    for place, (one, other) in enumerate(zip(left, right, strict=True)):
        what = f"output {place} of then and of otherwise"
        if one.dtype != other.dtype or one.ndim != other.ndim:
            raise DTypeError(f"{what}: expected equal types; got {one} and {other}")
        shape = tuple(
            guards.equal(a, b, f"{what}, axis {axis}")
            for axis, (a, b) in enumerate(zip(one.shape, other.shape, strict=True))
        )
        types.append(TensorType(one.dtype, shape))
    return tuple(types)
