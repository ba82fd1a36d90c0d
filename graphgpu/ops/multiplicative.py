"""Products of inputs with each other: bilinear and quadratic forms."""

from __future__ import annotations

from graphgpu.errors import ShapeError
from graphgpu.graph import Operand, Variable, as_variable, located
from graphgpu.ops.einsum import einsum
from graphgpu.ops.elementwise import cast, operands_of
from graphgpu.ops.requirements import Naming, floating, of_shape, widened

__all__ = ["bilinear", "quadratic_form"]


def bilinear(
    input1: Operand, input2: Operand, weight: Operand, bias: Operand | None = None
) -> Variable:
    """Return y_k = Σ_ij x1_i W_kij x2_j + b_k: each input gates the other.

    A multiplicative module: with one input held fixed it is linear in the other,
    and one input may be seen as the weights for the other.  A bilinear form is
    linear in each; the quadratic one, of x with itself, is
    :func:`quadratic_form`.

    Parameters
    ----------
    input1, input2
        Of shapes (..., I) and (..., J), with the same leading axes, or such as
        broadcast.
    weight
        Of shape (K, I, J).
    bias
        Of shape (K,).

    Raises
    ------
    ShapeError
        The weight has not three axes, or sizes differ.
    DTypeError
        The operands are not floating-point.

    Examples
    --------
    >>> import graphgpu as gg
    >>> y = gg.bilinear(gg.constant([1.0, 2.0]), [3.0, 4.0], [[[0.0, 1.0], [0.0, 0.0]]])
    >>> gg.evaluate(y)
    array([4.], dtype=float32)
    """
    name = "bilinear"
    left, right, mixing = operands_of(name, input1, input2, weight)
    floating(name, left)
    if mixing.ndim != 3 or not left.ndim or not right.ndim:
        error = ShapeError("expected inputs (..., I) and (..., J), a weight (K, I, J)")
        raise located(error, name, (left, right, mixing))
    wide = (widened(left), widened(mixing), widened(right))
    with Naming(name, (left, right, mixing)):
        total = einsum("...i,kij,...j->...k", *wide)
    if bias is not None:
        offset = cast(as_variable(bias, left.tensor), total.dtype)
        total = total + of_shape(name, "a bias", offset, (mixing.shape[0],))
    return cast(total, left.dtype)


def quadratic_form(x: Operand, matrix: Operand) -> Variable:
    """Return xᵀ A x = Σ_ij x_i A_ij x_j, of the vectors along the last axis.

    The gradient by x is (A + Aᵀ) x, and so 2 A x where A is symmetric (*Deep
    Learning*, section 2.7).

    Parameters
    ----------
    x
        Of shape (..., n); the result is (...).
    matrix
        Of shape (n, n), or (..., n, n): one for each vector.

    Raises
    ------
    ShapeError
        x is a scalar, the matrix is none, or sizes differ.
    DTypeError
        The operands are not floating-point.

    Examples
    --------
    >>> import graphgpu as gg
    >>> float(gg.evaluate(gg.quadratic_form(gg.constant([1.0, 2.0]), [[1, 1], [0, 1]])))
    7.0
    """
    name = "quadratic_form"
    vector, form = operands_of(name, x, matrix)
    floating(name, vector)
    if not vector.ndim or form.ndim < 2:
        error = ShapeError("expected vectors (..., n) and a matrix (..., n, n)")
        raise located(error, name, (vector, form))
    wide = widened(vector)
    subscripts = "...i,ij,...j->..." if form.ndim == 2 else "...i,...ij,...j->..."
    with Naming(name, (vector, form)):
        return cast(einsum(subscripts, wide, widened(form), wide), vector.dtype)
