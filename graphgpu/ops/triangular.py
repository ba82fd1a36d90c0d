"""The triangles of matrices, and matrices made of their diagonals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphgpu.dims import Size
from graphgpu.dtypes import Array
from graphgpu.errors import ShapeError
from graphgpu.graph import Operand, Operation, Variable, apply, as_variable, located
from graphgpu.ops.diagonals import OnDiagonal, diagonal
from graphgpu.types import Guards, TensorType, Type

__all__ = ["diag", "tril", "triu"]


class Triangle(Operation):
    """A triangle of each matrix of a stack, zeros in the other. Abstract.

    It is linear and its own adjoint.
    """

    offset: int

    def infer(self, guards: Guards, x: TensorType) -> TensorType:
        """Require a matrix."""
        if x.ndim < 2:
            raise ShapeError("expected a matrix or a stack of matrices")
        return x

    def bprop(
        self,
        inputs: tuple[Variable, ...],
        output: Variable,
        grad: Variable,
        wanted: tuple[bool, ...],
    ) -> list[Variable | None]:
        """Take the same triangle of the gradient."""
        return [apply(self, grad)]

    def flops(self, inputs: Sequence[TensorType], output: Type) -> Size:
        """None."""
        return 0


@dataclass(frozen=True, slots=True)
class LowerTriangle(Triangle):
    """y_ij = x_ij if j ≤ i + offset, else 0."""

    offset: int

    def numpy(self, x: Array) -> Array:
        """Choose by a mask."""
        return np.tril(x, self.offset)


@dataclass(frozen=True, slots=True)
class UpperTriangle(Triangle):
    """y_ij = x_ij if j ≥ i + offset, else 0."""

    offset: int

    def numpy(self, x: Array) -> Array:
        """Choose by a mask."""
        return np.triu(x, self.offset)


def tril(x: Operand, k: int = 0) -> Variable:
    """Return x_ij where j ≤ i + k and 0 elsewhere, of each matrix of a stack.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.tril(gg.constant([[1, 2], [3, 4]])))
    array([[1, 0],
           [3, 4]])

    Raises
    ------
    ShapeError
        x has fewer than two axes.
    """
    return apply(LowerTriangle(int(k)), as_variable(x))


def triu(x: Operand, k: int = 0) -> Variable:
    """Return x_ij where j ≥ i + k and 0 elsewhere, of each matrix of a stack.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.triu(gg.constant([[1, 2], [3, 4]])))
    array([[1, 2],
           [0, 4]])

    Raises
    ------
    ShapeError
        x has fewer than two axes.
    """
    return apply(UpperTriangle(int(k)), as_variable(x))


def diag(x: Operand, k: int = 0) -> Variable:
    """Return the matrix that has a vector on its diagonal, or a matrix's diagonal.

    ``k`` counts to the right of the main diagonal, below 0 to the left.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.diag(gg.constant([1, 2])))
    array([[1, 0],
           [0, 2]])

    Raises
    ------
    ShapeError
        x is neither a vector nor a matrix.
    """
    variable = as_variable(x)
    if variable.ndim == 2:
        return diagonal(variable, k)
    if variable.ndim != 1:
        error = ShapeError("expected a vector or a matrix; see also gg.diagonal")
        raise located(error, f"diag(k={k})", (variable,))
    side = variable.shape[0] + abs(int(k))
    return apply(OnDiagonal(int(k), side, side), variable)
