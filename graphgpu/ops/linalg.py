"""Linear equations, inverses and Cholesky factors of matrices.

All take stacks of matrices along leading axes; halves are computed in float32.
The gradients are M. B. Giles, "Collected matrix derivative results for forward
and reverse mode algorithmic differentiation", 2008, and I. Murray,
"Differentiation of the Cholesky decomposition", 2016.  They are graph, of the
operations here, and so can be differentiated again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphgpu.dims import Size
from graphgpu.dtypes import Array, accumulator, is_floating
from graphgpu.errors import DTypeError, ShapeError
from graphgpu.graph import Operand, Operation, Variable, apply, as_variable, located
from graphgpu.ops.elementwise import cast, operands_of
from graphgpu.ops.matrix_product import matmul
from graphgpu.ops.shape import expand_dims, matrix_transpose, squeeze
from graphgpu.ops.triangular import tril, triu
from graphgpu.types import Guards, TensorType, Type, broadcast

__all__ = ["cholesky", "inv", "solve", "solve_triangular"]

Inputs = tuple[Variable, ...]
Wanted = tuple[bool, ...]
Gradients = list[Variable | None]


class OfSquareMatrix(Operation):
    """An operation on square matrices, of n³ steps. Abstract."""

    def infer(self, guards: Guards, a: TensorType) -> TensorType:
        """Require floating-point square matrices."""
        check_square(guards, a)
        return a

    def flops(self, inputs: Sequence[TensorType], output: Type) -> Size:
        """About n³ for each matrix."""
        return inputs[0].size * inputs[0].shape[-1]


class LinearEquations(Operation):
    """X with f(A) X = B, for stacks that broadcast. Abstract."""

    def infer(self, guards: Guards, a: TensorType, b: TensorType) -> TensorType:
        """Require as many rows in B as in A."""
        check_square(guards, a)
        if b.dtype != a.dtype:
            raise DTypeError("expected operands of one dtype")
        if b.ndim < 2:
            raise ShapeError("expected at least two axes in the right-hand side")
        guards.equal(a.shape[-1], b.shape[-2], "rows of a, rows of b")
        stack = broadcast(guards, a.shape[:-2], b.shape[:-2])
        return TensorType(a.dtype, (*stack, *b.shape[-2:]))

    def flops(self, inputs: Sequence[TensorType], output: Type) -> Size:
        """About n³ for each matrix, and 2 n for each number of the solution."""
        assert isinstance(output, TensorType)
        rows = inputs[0].shape[-1]
        return inputs[0].size * rows + 2 * output.size * rows


@dataclass(frozen=True, slots=True)
class Solve(LinearEquations):
    """X with A X = B."""

    def numpy(self, a: Array, b: Array) -> Array:
        """Factor A = P L U and substitute."""
        return narrow(np.linalg.solve(wide(a), wide(b)), a)

    def bprop(
        self, inputs: Inputs, output: Variable, grad: Variable, wanted: Wanted
    ) -> Gradients:
        """∂/∂B: A⁻ᵀ G; ∂/∂A: -(A⁻ᵀ G) Xᵀ (Giles)."""
        a, b = inputs
        right = apply(Solve(), matrix_transpose(a), grad)
        left = -matmul(right, matrix_transpose(output)) if wanted[0] else None
        return [
            left.sum_to(a.shape) if left is not None else None,
            right.sum_to(b.shape) if wanted[1] else None,
        ]


@dataclass(frozen=True, slots=True)
class SolveTriangular(LinearEquations):
    """X with T X = B, or Tᵀ X = B; T is a triangle of A, the rest is not read."""

    lower: bool
    transpose: bool
    unit_diagonal: bool

    def numpy(self, a: Array, b: Array) -> Array:
        """Substitute backwards.

        Elimination with pivots changes nothing in an upper triangle, so that
        what is left of it is the substitution; a lower one is read from its end.
        """
        t, b = wide(a), wide(b)
        t = np.tril(t) if self.lower else np.triu(t)
        if self.unit_diagonal:
            t = np.where(np.eye(t.shape[-1], dtype=bool), t.dtype.type(1), t)
        if self.transpose:
            t = np.matrix_transpose(t)
        if self.lower == self.transpose:
            return narrow(np.linalg.solve(t, b), a)
        backwards = np.linalg.solve(t[..., ::-1, ::-1], b[..., ::-1, :])
        return narrow(np.ascontiguousarray(backwards[..., ::-1, :]), a)

    def bprop(
        self, inputs: Inputs, output: Variable, grad: Variable, wanted: Wanted
    ) -> Gradients:
        """As for :class:`Solve`, in the triangle alone."""
        a, b = inputs
        back = SolveTriangular(self.lower, not self.transpose, self.unit_diagonal)
        right = apply(back, a, grad)
        left = None
        if wanted[0]:
            pair = (output, right) if self.transpose else (right, output)
            left = -matmul(pair[0], matrix_transpose(pair[1]))
            beside = int(self.unit_diagonal)
            left = tril(left, -beside) if self.lower else triu(left, beside)
            left = left.sum_to(a.shape)
        return [left, right.sum_to(b.shape) if wanted[1] else None]

    def flops(self, inputs: Sequence[TensorType], output: Type) -> Size:
        """One multiplication and one addition for each element of the triangle."""
        assert isinstance(output, TensorType)
        return output.size * inputs[0].shape[-1]


@dataclass(frozen=True, slots=True)
class Cholesky(OfSquareMatrix):
    """The lower triangle L with positive diagonal and L Lᵀ = A, for symmetric A."""

    def numpy(self, a: Array) -> Array:
        """Factor; a matrix that is not positive definite is an error."""
        return narrow(np.linalg.cholesky(wide(a)), a)

    def bprop(
        self, inputs: Inputs, output: Variable, grad: Variable, wanted: Wanted
    ) -> Gradients:
        """Return (S + Sᵀ) / 2 with S = L⁻ᵀ Φ(Lᵀ G) L⁻¹ (Murray).

        Φ takes the lower triangle and halves the diagonal.
        """
        back = SolveTriangular(lower=True, transpose=True, unit_diagonal=False)
        product = matmul(matrix_transpose(output), grad)
        phi = 0.5 * (tril(product) + tril(product, -1))
        half = apply(back, output, phi)
        s = apply(back, output, matrix_transpose(half))
        return [0.5 * (s + matrix_transpose(s))]


@dataclass(frozen=True, slots=True)
class Inv(OfSquareMatrix):
    """A⁻¹."""

    def numpy(self, a: Array) -> Array:
        """Solve A X = I."""
        return narrow(np.linalg.inv(wide(a)), a)

    def bprop(
        self, inputs: Inputs, output: Variable, grad: Variable, wanted: Wanted
    ) -> Gradients:
        """-A⁻ᵀ G A⁻ᵀ."""
        back = matrix_transpose(output)
        return [-matmul(matmul(back, grad), back)]


def solve(a: Operand, b: Operand) -> Variable:
    """Return x with a x = b, for a square matrix a and a vector or matrix b.

    As in NumPy 2, b is a vector if it has one axis and else a stack of matrices;
    stacks broadcast.  A singular matrix raises :class:`ComputeError` when run.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.solve(gg.constant([[2.0, 0.0], [0.0, 4.0]]), [1.0, 1.0]))
    array([0.5 , 0.25], dtype=float32)

    Raises
    ------
    ShapeError
        a is not square, or b has not as many rows.
    """
    return _equations("solve", Solve(), a, b)


def solve_triangular(
    a: Operand,
    b: Operand,
    lower: bool = True,
    transpose: bool = False,
    unit_diagonal: bool = False,
) -> Variable:
    """Return x with t x = b, t being the lower or upper triangle of a.

    The other triangle is not read, and with ``unit_diagonal`` the diagonal
    neither: it is taken as 1.  With ``transpose`` it is tᵀ x = b.  Shapes are
    those of :func:`solve`.

    >>> import graphgpu as gg
    >>> a = gg.constant([[2.0, 9.0], [1.0, 4.0]])
    >>> gg.evaluate(gg.solve_triangular(a, [2.0, 5.0]))
    array([1., 1.], dtype=float32)

    Raises
    ------
    ShapeError
        a is not square, or b has not as many rows.
    """
    operation = SolveTriangular(bool(lower), bool(transpose), bool(unit_diagonal))
    return _equations("solve_triangular", operation, a, b)


def cholesky(a: Operand, upper: bool = False) -> Variable:
    """Return the lower triangle L with L Lᵀ = a, or the upper U with Uᵀ U = a.

    ``a`` is positive definite; of one that is not symmetric the symmetric part is
    taken, so that the gradient is symmetric.  A matrix that is not positive
    definite raises :class:`ComputeError` when run.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.cholesky(gg.constant([[4.0, 2.0], [2.0, 10.0]])))
    array([[2., 0.],
           [1., 3.]], dtype=float32)

    Raises
    ------
    ShapeError
        a is not square.
    """
    variable = matrices("cholesky", a)
    half = 0.5 * variable
    factor = apply(Cholesky(), half + matrix_transpose(half))
    return matrix_transpose(factor) if upper else factor


def inv(a: Operand) -> Variable:
    """Return the inverse of a matrix; to solve equations, :func:`solve` is better.

    A singular matrix raises :class:`ComputeError` when run.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.inv(gg.constant([[2.0, 0.0], [0.0, 4.0]])))
    array([[0.5 , 0.  ],
           [0.  , 0.25]], dtype=float32)
    """
    return apply(Inv(), matrices("inv", a))


def check_square(guards: Guards, a: TensorType) -> None:
    """Require floating-point square matrices.

    Raises
    ------
    ShapeError, DTypeError
        They are not.
    """
    if not is_floating(a.dtype):
        raise DTypeError("expected a floating-point dtype")
    if a.ndim < 2:
        raise ShapeError("expected a matrix or a stack of matrices")
    guards.equal(a.shape[-2], a.shape[-1], "rows and columns of a square matrix")


def _equations(
    name: str, operation: LinearEquations, a: Operand, b: Operand
) -> Variable:
    """Apply to a vector as to a matrix of one column."""
    left, right = operands_of(name, a, b)
    if not is_floating(left.dtype):
        left, right = cast(left, "float32"), cast(right, "float32")
    if right.ndim == 0:
        error = ShapeError("expected a vector or a matrix on the right-hand side")
        raise located(error, name, (left, right))
    if right.ndim == 1:
        return squeeze(apply(operation, left, expand_dims(right, 1)), -1)
    return apply(operation, left, right)


def matrices(name: str, a: Operand) -> Variable:
    """Return a floating-point variable: integers become float32."""
    variable = as_variable(a)
    return variable if is_floating(variable.dtype) else cast(variable, "float32")


def wide(a: Array) -> Array:
    """Return it in the dtype that it is computed in."""
    return a.astype(accumulator(a.dtype), copy=False)


def narrow(result: Array, a: Array) -> Array:
    """Return a result in the dtype of the operand."""
    return np.asarray(result, a.dtype)
