"""Determinants, and their logarithms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphgpu.dims import Size
from graphgpu.dtypes import Array
from graphgpu.graph import Operand, Operation, Variable, apply
from graphgpu.ops.linalg import (
    Inv,
    OfSquareMatrix,
    check_square,
    matrices,
    narrow,
    wide,
)
from graphgpu.ops.matrix_product import matmul
from graphgpu.ops.shape import expand_dims, matrix_transpose
from graphgpu.ops.tuples import item
from graphgpu.types import Guards, TensorType, TupleType, Type

__all__ = ["det", "slogdet"]

Inputs = tuple[Variable, ...]
Wanted = tuple[bool, ...]
Gradients = list[Variable | None]


@dataclass(frozen=True, slots=True)
class Det(OfSquareMatrix):
    """The determinant of A."""

    def infer(self, guards: Guards, a: TensorType) -> TensorType:
        """Drop the matrix's axes."""
        check_square(guards, a)
        return TensorType(a.dtype, a.shape[:-2])

    def numpy(self, a: Array) -> Array:
        """Multiply the pivots of A = P L U."""
        return narrow(np.linalg.det(wide(a)), a)

    def bprop(
        self, inputs: Inputs, output: Variable, grad: Variable, wanted: Wanted
    ) -> Gradients:
        """G times the cofactors."""
        return [expand_dims(grad, (-2, -1)) * apply(Cofactor(), inputs[0])]


@dataclass(frozen=True, slots=True)
class Cofactor(OfSquareMatrix):
    """The gradient of the determinant: det(A) A⁻ᵀ, and its limit for singular A."""

    def numpy(self, a: Array) -> Array:
        """Return det(U Vᵀ) U C Vᵀ, where A = U S Vᵀ and C are the cofactors of S.

        The cofactors of a product are the product of the cofactors, and those of
        an orthogonal matrix are the matrix times its determinant, 1 or -1.
        """
        u, s, vt = np.linalg.svd(wide(a))
        ones = np.ones_like(s[..., :1])
        before = np.cumprod(np.concatenate([ones, s], axis=-1), axis=-1)
        after = np.cumprod(np.concatenate([ones, s[..., ::-1]], axis=-1), axis=-1)
        others = before[..., :-1] * after[..., -2::-1]
        sign = np.rint(np.linalg.det(u) * np.linalg.det(vt))
        return narrow(u * (sign[..., None] * others)[..., None, :] @ vt, a)

    def bprop(
        self, inputs: Inputs, output: Variable, grad: Variable, wanted: Wanted
    ) -> Gradients:
        """⟨G, A⁻ᵀ⟩ C - A⁻ᵀ Gᵀ C: here A must be invertible."""
        inverse = matrix_transpose(apply(Inv(), inputs[0]))
        along = (grad * inverse).sum((-2, -1), keepdims=True)
        across = matmul(inverse, matmul(matrix_transpose(grad), output))
        return [along * output - across]


@dataclass(frozen=True, slots=True)
class Slogdet(Operation):
    """The sign of the determinant of A and the logarithm of its absolute value."""

    def infer(self, guards: Guards, a: TensorType) -> TupleType:
        """Drop the matrix's axes, twice."""
        check_square(guards, a)
        scalar = TensorType(a.dtype, a.shape[:-2])
        return TupleType((scalar, scalar))

    def numpy(self, a: Array) -> tuple[Array, Array]:
        """Sum the logarithms of the pivots of A = P L U."""
        sign, logarithm = np.linalg.slogdet(wide(a))
        return narrow(sign, a), narrow(logarithm, a)

    def bprop(
        self,
        inputs: Inputs,
        output: Variable,
        grad: tuple[Variable | None, ...],
        wanted: Wanted,
    ) -> Gradients:
        """A⁻ᵀ for the logarithm; the sign is constant."""
        if grad[1] is None:
            return [None]
        inverse = matrix_transpose(apply(Inv(), inputs[0]))
        return [expand_dims(grad[1], (-2, -1)) * inverse]

    def flops(self, inputs: Sequence[TensorType], output: Type) -> Size:
        """About n³ for each matrix."""
        return inputs[0].size * inputs[0].shape[-1]


def det(a: Operand) -> Variable:
    """Return the determinant of a matrix.

    The gradient, the cofactors, is right for singular matrices too; the second
    derivative needs an invertible one.

    >>> import graphgpu as gg
    >>> float(gg.evaluate(gg.det(gg.constant([[2.0, 1.0], [4.0, 3.0]]))))
    2.0
    """
    return apply(Det(), matrices("det", a))


def slogdet(a: Operand) -> tuple[Variable, Variable]:
    """Return the sign of the determinant and the logarithm of its absolute value.

    Of a singular matrix these are 0 and -inf; the gradient needs an invertible one.

    >>> import graphgpu as gg
    >>> sign, logarithm = gg.slogdet(gg.constant([[0.0, 1.0], [1.0, 0.0]]))
    >>> float(gg.evaluate(sign)), float(gg.evaluate(logarithm))
    (-1.0, 0.0)
    """
    pair = apply(Slogdet(), matrices("slogdet", a))
    return item(pair, 0), item(pair, 1)
