"""Sums and products of all elements so far, and the product of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphgpu.dims import Size, product
from graphgpu.dtypes import Array, DType, accumulator
from graphgpu.errors import DTypeError, ShapeError
from graphgpu.graph import Operand, Operation, Variable, apply, as_variable
from graphgpu.ops.elementwise import cast
from graphgpu.ops.reduction import Axis, Reduction, axes_of, total_dtype
from graphgpu.ops.shape import axis_of
from graphgpu.types import Guards, Shape, TensorType, Type

__all__ = ["cumprod", "cumsum", "prod"]


class Cumulation(Operation):
    """An operation along one axis whose output depends on what came so far. Abstract.

    With ``reverse`` it begins at the end of the axis.
    """

    axis: int
    reverse: bool

    def infer(self, guards: Guards, *inputs: TensorType) -> TensorType:
        """Keep the shape; bools and integers become 64 bits wide."""
        x = inputs[0]
        if not 0 <= self.axis < x.ndim:
            raise ShapeError(f"axis {self.axis} is out of range")
        return TensorType(total_dtype(x.dtype), x.shape)

    def forward(self, x: Array) -> Array:
        """Return a view of x with the axis first, and from its beginning."""
        moved = np.moveaxis(x, self.axis, 0)
        return moved[::-1] if self.reverse else moved

    def flops(self, inputs: Sequence[TensorType], output: Type) -> Size:
        """One operation an element."""
        return inputs[0].size


@dataclass(frozen=True, slots=True)
class Cumsum(Cumulation):
    """y_i = Σ_j x_j over j ≤ i; over j < i if exclusive."""

    axis: int
    exclusive: bool = False
    reverse: bool = False

    def numpy(self, x: Array) -> Array:
        """Add up; halves in float32."""
        result = np.zeros(x.shape, total_dtype(x.dtype))
        first = 1 if self.exclusive else 0
        terms = self.forward(x)[: x.shape[self.axis] - first]
        sums = np.cumsum(terms, axis=0, dtype=accumulator(result.dtype))
        self.forward(result)[first:] = sums
        return result

    def bprop(
        self,
        inputs: tuple[Variable, ...],
        output: Variable,
        grad: Variable,
        wanted: tuple[bool, ...],
    ) -> list[Variable | None]:
        """Add the gradient up from the other end."""
        return [apply(Cumsum(self.axis, self.exclusive, not self.reverse), grad)]


@dataclass(frozen=True, slots=True)
class ProductBefore(Cumulation):
    """y_i = Π_j x_j over j < i."""

    axis: int
    reverse: bool = False

    def numpy(self, x: Array) -> Array:
        """Multiply up; halves in float32."""
        result = np.ones(x.shape, total_dtype(x.dtype))
        factors = self.forward(x)[: x.shape[self.axis] - 1]
        products = np.cumprod(factors, axis=0, dtype=accumulator(result.dtype))
        self.forward(result)[1:] = products
        return result

    def bprop(
        self,
        inputs: tuple[Variable, ...],
        output: Variable,
        grad: Variable,
        wanted: tuple[bool, ...],
    ) -> list[Variable | None]:
        """∂/∂x_i = y_i Σ_k G_k Π_j x_j over i < j < k: a recurrence from the end."""
        after = apply(StateBefore(self.axis, not self.reverse), inputs[0], grad)
        return [output * after]


@dataclass(frozen=True, slots=True)
class StateBefore(Cumulation):
    """y_0 = 0, y_{i+1} = a_i y_i + b_i: a linear recurrence.

    With respect to b its adjoint is the same recurrence from the other end, so
    derivatives of any order are built of it; nothing is ever divided, and
    zeros among the a are numbers like others.
    """

    axis: int
    reverse: bool = False

    def infer(self, guards: Guards, *inputs: TensorType) -> TensorType:
        """Require one dtype and shape."""
        a, b = inputs
        if a.dtype != b.dtype or a.ndim != b.ndim:
            raise DTypeError("expected operands of one dtype and rank")
        for axis, (left, right) in enumerate(zip(a.shape, b.shape, strict=True)):
            guards.equal(left, right, f"size of axis {axis}")
        return Cumulation.infer(self, guards, a)

    def numpy(self, a: Array, b: Array) -> Array:
        """Step along the axis; halves in float32."""
        wide = accumulator(a.dtype)
        factors, terms = self.forward(a), self.forward(b)
        result = np.zeros(a.shape, a.dtype)
        steps = self.forward(result)
        state = np.zeros(steps.shape[1:], wide)
        for i in range(1, len(steps)):
            state = factors[i - 1].astype(wide) * state + terms[i - 1].astype(wide)
            steps[i] = state
        return result

    def bprop(
        self,
        inputs: tuple[Variable, ...],
        output: Variable,
        grad: Variable,
        wanted: tuple[bool, ...],
    ) -> list[Variable | None]:
        """λ_{i-1} = a_i λ_i + G_i from the end; ∂/∂b_i = λ_i, ∂/∂a_i = λ_i y_i."""
        back = apply(StateBefore(self.axis, not self.reverse), inputs[0], grad)
        return [back * output if wanted[0] else None, back]


@dataclass(frozen=True, slots=True)
class Prod(Reduction):
    """Π x over the axes."""

    axes: tuple[int, ...]
    keepdims: bool = False

    def result_dtype(self, operand: DType) -> DType:
        """Multiply bools and small integers in 64 bits."""
        return total_dtype(operand)

    def numpy(self, x: Array) -> Array:
        """Multiply; halves in float32."""
        result = self.result_dtype(x.dtype)
        total = np.prod(
            x, axis=self.axes, keepdims=self.keepdims, dtype=accumulator(result)
        )
        return np.asarray(total, result)

    def bprop(
        self,
        inputs: tuple[Variable, ...],
        output: Variable,
        grad: Variable,
        wanted: tuple[bool, ...],
    ) -> list[Variable | None]:
        """Multiply by the product of the others: those before times those after.

        Nothing is divided by x, so zeros do no harm.
        """
        x = inputs[0]
        kept = tuple(a for a in range(x.ndim) if a not in self.axes)
        order = (*kept, *self.axes)
        moved: Shape = tuple(x.shape[a] for a in order)
        length = product(moved[len(kept) :])
        last = len(kept)
        line = x.transpose(order).reshape((*moved[:last], length))
        others = apply(ProductBefore(last), line) * apply(
            ProductBefore(last, reverse=True), line
        )
        back = sorted(range(x.ndim), key=order.__getitem__)
        return [
            self.spread(grad, x.shape) * others.reshape(moved).transpose(back),
        ]


def cumsum(
    x: Operand, axis: int | None = None, exclusive: bool = False, reverse: bool = False
) -> Variable:
    """Return the sums of all elements up to each, along an axis.

    Without an axis x is flattened first.  ``exclusive`` leaves the element
    itself out, so that the first sum is 0; ``reverse`` begins at the end.
    Bools and integers are added in 64 bits, halves in float32.

    >>> import graphgpu as gg
    >>> x = gg.constant([1, 2, 3])
    >>> gg.evaluate(gg.cumsum(x)), gg.evaluate(gg.cumsum(x, exclusive=True))
    (array([1, 3, 6]), array([0, 1, 3]))

    Raises
    ------
    ShapeError
        The axis is out of range.
    """
    variable, place = _line("cumsum", x, axis)
    return apply(Cumsum(place, bool(exclusive), bool(reverse)), variable)


def cumprod(
    x: Operand, axis: int | None = None, exclusive: bool = False, reverse: bool = False
) -> Variable:
    """Return the products of all elements up to each, along an axis.

    Without an axis x is flattened first.  ``exclusive`` leaves the element
    itself out, so that the first product is 1; ``reverse`` begins at the end.
    Gradients are right where elements are zero, too.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.cumprod(gg.constant([1, 2, 3, 4]), reverse=True))
    array([24, 24, 12,  4])

    Raises
    ------
    ShapeError
        The axis is out of range.
    """
    variable, place = _line("cumprod", x, axis)
    wide = cast(variable, accumulator(total_dtype(variable.dtype)))
    result = apply(ProductBefore(place, bool(reverse)), wide)
    if not exclusive:
        result = result * wide
    return cast(result, total_dtype(variable.dtype))


def prod(x: Operand, axis: Axis = None, keepdims: bool = False) -> Variable:
    """Return Π x over the axes given, or over all; 1 of nothing.

    Bools and integers are multiplied in 64 bits; float16 and bfloat16 in
    float32, then rounded.  Gradients are right where elements are zero, too.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.prod(gg.constant([[1, 2], [3, 4]]), axis=0))
    array([3, 8])

    Raises
    ------
    ShapeError
        An axis is out of range or named twice.
    """
    variable = as_variable(x)
    return apply(Prod(axes_of("prod", variable, axis), bool(keepdims)), variable)


def _line(name: str, x: Operand, axis: int | None) -> tuple[Variable, int]:
    """Return the variable, flattened if no axis is given, and the axis."""
    variable = as_variable(x)
    if axis is None:
        return variable if variable.ndim == 1 else variable.reshape((-1,)), 0
    return variable, axis_of(name, variable, axis)
