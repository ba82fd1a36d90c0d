"""Diagonals of matrices: reading one, and a matrix that has one.

The two operations are each other's gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphgpu.dims import Size, maximum_size, minimum_size
from graphgpu.dtypes import Array
from graphgpu.errors import ShapeError
from graphgpu.graph import Operand, Operation, Variable, apply, as_variable
from graphgpu.types import Guards, TensorType, Type

__all__ = ["diagonal", "trace"]


class Placement(Operation):
    """An operation that computes nothing. Abstract."""

    def flops(self, inputs: Sequence[TensorType], output: Type) -> Size:
        """None."""
        return 0


@dataclass(frozen=True, slots=True)
class Diagonal(Placement):
    """y[..., i] = x[..., i + max(-offset, 0), i + max(offset, 0)]."""

    offset: int

    outputs_alias = True

    def infer(self, guards: Guards, x: TensorType) -> TensorType:
        """Require a matrix; the length is where both indices stay inside."""
        if x.ndim < 2:
            raise ShapeError("expected a matrix or a stack of matrices")
        length = _length(x.shape[-2], x.shape[-1], self.offset)
        return TensorType(x.dtype, (*x.shape[:-2], length))

    def numpy(self, x: Array) -> Array:
        """Add the strides: a view."""
        return np.diagonal(x, self.offset, -2, -1)

    def bprop(
        self,
        inputs: tuple[Variable, ...],
        output: Variable,
        grad: Variable,
        wanted: tuple[bool, ...],
    ) -> list[Variable | None]:
        """Put the gradient on the diagonal of zeros."""
        rows, columns = inputs[0].shape[-2:]
        return [apply(OnDiagonal(self.offset, rows, columns), grad)]


@dataclass(frozen=True, slots=True)
class OnDiagonal(Placement):
    """The matrix that has x on a diagonal and zeros elsewhere."""

    offset: int
    rows: Size
    columns: Size

    def infer(self, guards: Guards, x: TensorType) -> TensorType:
        """Require the diagonal's length."""
        length = _length(self.rows, self.columns, self.offset)
        guards.equal(x.shape[-1], length, "elements given, length of the diagonal")
        return TensorType(x.dtype, (*x.shape[:-1], self.rows, self.columns))

    def numpy(self, x: Array) -> Array:
        """Write the diagonal of zeros."""
        y = np.zeros((*x.shape[:-1], self.rows, self.columns), x.dtype)
        index = np.arange(x.shape[-1])
        y[..., index + max(-self.offset, 0), index + max(self.offset, 0)] = x
        return y

    def bprop(
        self,
        inputs: tuple[Variable, ...],
        output: Variable,
        grad: Variable,
        wanted: tuple[bool, ...],
    ) -> list[Variable | None]:
        """Read the diagonal."""
        return [diagonal(grad, self.offset)]


def diagonal(x: Operand, offset: int = 0) -> Variable:
    """Return the diagonal of a matrix, or of each matrix of a stack.

    ``offset`` counts to the right of the main diagonal, below 0 to the left.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.diagonal(gg.constant([[1, 2, 3], [4, 5, 6]]), 1))
    array([2, 6])

    Raises
    ------
    ShapeError
        x has fewer than two axes.
    """
    return apply(Diagonal(int(offset)), as_variable(x))


def trace(x: Operand, offset: int = 0) -> Variable:
    """Return the sum of the diagonal of a matrix, or of each matrix of a stack.

    >>> import graphgpu as gg
    >>> float(gg.evaluate(gg.trace(gg.constant([[1.0, 2.0], [3.0, 4.0]]))))
    5.0

    Raises
    ------
    ShapeError
        x has fewer than two axes.
    """
    return diagonal(x, offset).sum(-1)


def _length(rows: Size, columns: Size, offset: int) -> Size:
    shorter = minimum_size(rows + min(offset, 0), columns - max(offset, 0))
    return maximum_size(shorter, 0)
