"""Elementwise operations: one expression, broadcasting, and the chain rule.

A family of elementwise operations derives from :class:`Elementwise` and gives
an element expression and, for each operand, the product of the incoming
gradient with the partial derivative (:meth:`Elementwise.pulls`); broadcasting,
dtypes and the sums that undo broadcasting are done once, here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, ClassVar, TypeAlias

import numpy as np

from graphgpu.dtypes import (
    Array,
    DType,
    accumulator,
    dtype,
    is_floating,
    kind,
    promote,
)
from graphgpu.errors import DTypeError, GradientError, GraphError
from graphgpu.graph import Operand, Operation, Variable, apply, as_variable, located
from graphgpu.ops.expression import numpy_function
from graphgpu.types import Guards, TensorType, broadcast

__all__ = ["Binary", "Elementwise", "Unary", "cast"]

Pull: TypeAlias = Callable[[], Variable | None]


class Elementwise(Operation):
    """An operation that does the same to every element. Abstract."""

    operands: ClassVar[tuple[str, ...]] = ("x",)
    expression: ClassVar[str]
    """What is done to one element, in the operands' and fields' names."""
    lowest_kind: ClassVar[int] = 0
    """0 takes bool, 1 takes numbers, 2 takes floating-point numbers."""

    def infer(self, guards: Guards, *inputs: TensorType) -> TensorType:
        """Broadcast the shapes; the operands must have one dtype."""
        first = inputs[0]
        if kind(first.dtype) < self.lowest_kind:
            wanted = ("", "an integer or floating-point", "a floating-point")
            raise DTypeError(
                f"expected {wanted[self.lowest_kind]} dtype; use gg.cast before it"
            )
        result = self.result_dtype(first.dtype)
        if all(t == first for t in inputs):
            return first if result == first.dtype else TensorType(result, first.shape)
        if any(t.dtype != first.dtype for t in inputs):
            raise DTypeError("expected operands of one dtype")
        return TensorType(result, broadcast(guards, *(t.shape for t in inputs)))

    def result_dtype(self, operand: DType) -> DType:
        """Return the output's dtype for that of the operands."""
        return operand

    def numpy(self, *inputs: Array) -> Array:
        """Evaluate the expression, halves in float32; every number in it is weak."""
        operand = inputs[-1].dtype
        wide = accumulator(operand)
        if wide != operand:
            inputs = tuple(x.astype(wide) if x.dtype == operand else x for x in inputs)
        names = _field_names(type(self))
        function = numpy_function(self.expression, self.operands + names)
        result = np.asarray(function(*inputs, *(getattr(self, n) for n in names)))
        return result.astype(self.result_dtype(operand), copy=False)

    def pulls(
        self, inputs: tuple[Variable, ...], output: Variable, grad: Variable
    ) -> Sequence[Pull]:
        """Return, for each operand, what builds ``grad`` times its partial derivative.

        The result has the output's shape; None is a gradient that is zero.
        """
        raise GradientError(f"{self}: this operation defines no derivative")

    def bprop(
        self,
        inputs: tuple[Variable, ...],
        output: Variable,
        grad: Variable,
        wanted: tuple[bool, ...],
    ) -> list[Variable | None]:
        """Apply the chain rule to each operand and undo its broadcasting."""
        gradients: list[Variable | None] = []
        pulls = self.pulls(inputs, output, grad)
        for variable, pull, want in zip(inputs, pulls, wanted, strict=True):
            pulled = pull() if want else None
            if pulled is not None and pulled.shape != variable.shape:
                pulled = pulled.sum_to(variable.shape)
            gradients.append(pulled)
        return gradients


class Unary(Elementwise):
    """An elementwise operation y = f(x). Abstract."""

    def derivative(self, x: Variable, y: Variable) -> Variable | None:
        """Return f'(x), where y is f(x); None where it is zero everywhere."""
        raise GradientError(f"{self}: this operation defines no derivative")

    def pulls(
        self, inputs: tuple[Variable, ...], output: Variable, grad: Variable
    ) -> Sequence[Pull]:
        """Multiply by the derivative."""

        def pull() -> Variable | None:
            derivative = self.derivative(inputs[0], output)
            return None if derivative is None else grad * derivative

        return (pull,)


class Binary(Elementwise):
    """An elementwise operation z = f(x, y). Abstract."""

    operands = ("x", "y")


def zero() -> None:
    """Return the gradient that is zero everywhere."""


@dataclass(frozen=True, slots=True)
class Cast(Operation):
    """The same numbers in another dtype."""

    dtype: DType

    def infer(self, guards: Guards, x: TensorType) -> TensorType:
        """Keep the shape."""
        return TensorType(self.dtype, x.shape)

    def numpy(self, x: Array) -> Array:
        """Convert as NumPy does: to integers by truncation."""
        return np.asarray(x).astype(self.dtype)

    def bprop(
        self,
        inputs: tuple[Variable, ...],
        output: Variable,
        grad: Variable,
        wanted: tuple[bool, ...],
    ) -> list[Variable | None]:
        """Cast the gradient back."""
        return [cast(grad, inputs[0].dtype)]


def cast(x: Operand, dtype: object) -> Variable:
    """Return the values in another dtype; the same variable if it has it.

    To bool, every number but 0 is True; to integers, numbers are truncated.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.cast(gg.constant([0.0, 2.5]), "int64"))
    array([0, 2])
    """
    variable = as_variable(x)
    target = _dtype(dtype)
    if variable.dtype == target:
        return variable
    return apply(Cast(target), variable)


def operands_of(name: str, *values: Operand) -> tuple[Variable, ...]:
    """Return variables of one dtype for the operands of an operation.

    Variables are promoted to their common dtype; other values are weak.

    Raises
    ------
    GraphError
        A value is no number, array or list of numbers.
    """
    variables = [v for v in values if isinstance(v, Variable)]
    try:
        if not variables:
            variables = [as_variable(v) for v in values]
            values = tuple(variables)
        common = variables[0].dtype
        for variable in variables[1:]:
            common = promote(common, variable.dtype)
        weak = TensorType(common, ())
        result = [as_variable(v, weak) for v in values]
    except GraphError as error:
        raise located(error, name) from None
    for variable in result:
        common = promote(common, variable.dtype)
    return tuple(v if v.dtype == common else cast(v, common) for v in result)


def unary(operation: Elementwise, x: Operand) -> Variable:
    """Apply an operation of one operand; integers become float32 where it must."""
    (variable,) = operands_of(operation.kind(), x)
    if operation.lowest_kind == 2 and not is_floating(variable.dtype):
        variable = cast(variable, "float32")
    return apply(operation, variable)


def binary(operation: Elementwise, x: Operand, y: Operand) -> Variable:
    """Apply an operation of two operands, brought to one dtype."""
    left, right = operands_of(operation.kind(), x, y)
    if operation.lowest_kind == 2 and not is_floating(left.dtype):
        left, right = cast(left, "float32"), cast(right, "float32")
    return apply(operation, left, right)


@cache
def _field_names(cls: Any) -> tuple[str, ...]:
    return tuple(f.name for f in fields(cls))


def _dtype(name: object) -> DType:
    return dtype(name)
