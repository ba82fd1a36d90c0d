"""The matrix product, of stacks of matrices too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphgpu.dims import Size
from graphgpu.dtypes import Array, accumulator
from graphgpu.errors import ShapeError
from graphgpu.graph import Operand, Operation, Variable, apply, located
from graphgpu.ops.elementwise import operands_of
from graphgpu.ops.shape import expand_dims, matrix_transpose, squeeze
from graphgpu.types import Guards, TensorType, Type, broadcast

__all__ = ["matmul", "vecdot"]


@dataclass(frozen=True, slots=True)
class Matmul(Operation):
    """Σ_k x[..., i, k] y[..., k, j]; leading axes broadcast."""

    def infer(self, guards: Guards, x: TensorType, y: TensorType) -> TensorType:
        """Require equal inner sizes."""
        if x.ndim < 2 or y.ndim < 2:
            raise ShapeError("expected at least two axes in each operand")
        guards.equal(x.shape[-1], y.shape[-2], "columns of the left, rows of the right")
        stack = broadcast(guards, x.shape[:-2], y.shape[:-2])
        return TensorType(x.dtype, (*stack, x.shape[-2], y.shape[-1]))

    def numpy(self, x: Array, y: Array) -> Array:
        """Multiply; halves in float32."""
        wide = accumulator(x.dtype)
        product: Array = np.matmul(
            x.astype(wide, copy=False), y.astype(wide, copy=False)
        )
        return product.astype(x.dtype, copy=False)

    def bprop(
        self,
        inputs: tuple[Variable, ...],
        output: Variable,
        grad: Variable,
        wanted: tuple[bool, ...],
    ) -> list[Variable | None]:
        """∂/∂X: G Yᵀ; ∂/∂Y: Xᵀ G (Deep Learning, section 6.5.6)."""
        x, y = inputs
        left = matmul(grad, matrix_transpose(y)) if wanted[0] else None
        right = matmul(matrix_transpose(x), grad) if wanted[1] else None
        return [
            left.sum_to(x.shape) if left is not None else None,
            right.sum_to(y.shape) if right is not None else None,
        ]

    def flops(self, inputs: Sequence[TensorType], output: Type) -> Size:
        """One multiplication and one addition a term."""
        assert isinstance(output, TensorType)
        return 2 * output.size * inputs[0].shape[-1]


def matmul(x: Operand, y: Operand) -> Variable:
    """Return the matrix product x @ y.

    Leading axes are stacks of matrices and broadcast; a vector on the left is
    a row, on the right a column, and its axis is dropped from the result.

    >>> import graphgpu as gg
    >>> X = gg.placeholder("X", ("batch", 4, 3))
    >>> (X @ gg.placeholder("W", (3, 5))).type
    float32[batch,4,5]

    Raises
    ------
    ShapeError
        The inner sizes differ, or an operand is a scalar.
    """
    left, right = operands_of("matmul", x, y)
    if left.ndim == 0 or right.ndim == 0:
        error = ShapeError("expected vectors or matrices; use * for scalars")
        raise located(error, "matmul", (left, right))
    row, column = left.ndim == 1, right.ndim == 1
    result = apply(
        Matmul(),
        expand_dims(left, 0) if row else left,
        expand_dims(right, 1) if column else right,
    )
    dropped = ([-2] if row else []) + ([-1] if column else [])
    return squeeze(result, dropped) if dropped else result


def vecdot(x: Operand, y: Operand) -> Variable:
    """Return the inner product over the last axis; leading axes broadcast."""
    left, right = operands_of("vecdot", x, y)
    return (left * right).sum(-1)
