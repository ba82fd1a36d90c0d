"""Products of Jacobians and Hessians with vectors, which need no matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphgpu.errors import GradientError
from graphgpu.gradient.algorithm import gradients
from graphgpu.graph import Operand, Variable, as_variable, describe
from graphgpu.ops.creation import zeros_like

__all__ = ["hessian_vector_product", "jvp", "vjp"]


def vjp(
    outputs: Sequence[Variable],
    wrt: Sequence[Variable],
    cotangents: Sequence[Operand],
) -> list[Variable]:
    """Return the vector-Jacobian products Σ_i cotangent_i ∂output_i/∂wrt.

    A variable that the outputs do not depend on has the product zero.

    >>> import graphgpu as gg
    >>> x = gg.placeholder("x", (2,))
    >>> (product,) = gg.vjp([gg.exp(x)], [x], [[2.0, 3.0]])
    >>> gg.evaluate(product, {x: [0.0, 0.0]})
    array([2., 3.], dtype=float32)

    Raises
    ------
    GradientError
        There is not one cotangent for each output, of its type.
    """
    pairs = _pairs(outputs, cotangents, "cotangent")
    return gradients(None, wrt, known=_summed(pairs), disconnected="zero")


def jvp(
    outputs: Sequence[Variable],
    wrt: Sequence[Variable],
    tangents: Sequence[Operand],
) -> list[Variable]:
    """Return the Jacobian-vector products Σ_j ∂output/∂wrt_j tangent_j.

    The vector-Jacobian product is linear in its cotangent u; differentiating
    it with respect to u once more, along the tangents, gives the product from
    the other side (J. Townsend, "A new trick for calculating Jacobian vector
    products", 2017).  What depended on u alone is dropped as unused.

    >>> import graphgpu as gg
    >>> x = gg.placeholder("x", ())
    >>> (y,) = gg.jvp([gg.exp(x)], [x], [2.0])
    >>> float(gg.evaluate(y, {x: 0.0}))
    2.0

    Raises
    ------
    GradientError
        There is not one tangent for each variable, of its type.
    """
    pairs = _pairs(wrt, tangents, "tangent")
    dummies = [zeros_like(v) for v in outputs]
    products = vjp(outputs, wrt, dummies)
    known = _summed([(p, t) for p, (_, t) in zip(products, pairs, strict=True)])
    return gradients(None, dummies, known=known, disconnected="zero")


def hessian_vector_product(
    cost: Variable, wrt: Sequence[Variable], vectors: Sequence[Operand]
) -> list[Variable]:
    """Return Hv, the Hessian of a scalar cost times a vector (a list of arrays).

    Hx = ∇[(∇cost)ᵀ v] (Christianson, 1992; *Deep Learning*, section 6.5.10).

    >>> import graphgpu as gg
    >>> x = gg.placeholder("x", (2,))
    >>> (hv,) = gg.hessian_vector_product(gg.sum(x * x * x), [x], [[1.0, 10.0]])
    >>> gg.evaluate(hv, {x: [1.0, 2.0]})
    array([  6., 120.], dtype=float32)

    Raises
    ------
    GradientError
        There is not one vector for each variable, of its type.
    """
    pairs = _pairs(wrt, vectors, "vector")
    slopes = gradients(cost, wrt, disconnected="zero")
    known = _summed([(s, v) for s, (_, v) in zip(slopes, pairs, strict=True)])
    return gradients(None, wrt, known=known, disconnected="zero")


def _pairs(
    variables: Sequence[Variable], vectors: Sequence[Operand], name: str
) -> list[tuple[Variable, Variable]]:
    """Pair variables with vectors of their types."""
    lone: Any
    for lone in (variables, vectors):
        if isinstance(lone, Variable):
            raise GradientError(
                f"expected a list of variables and a list with a {name} for each; "
                f"got {describe(lone)} alone"
            )
    if len(variables) != len(vectors):
        raise GradientError(
            f"expected one {name} for each of {len(variables)} variables; "
            f"got {len(vectors)}"
        )
    pairs: list[tuple[Variable, Variable]] = []
    for variable, value in zip(variables, vectors, strict=True):
        if not isinstance(variable, Variable):
            raise GradientError(f"expected a variable; got {variable!r}")
        vector = as_variable(value, variable.tensor)
        if variable.type != vector.type:
            raise GradientError(
                f"{name} of {describe(variable)} expected type {variable.type}; "
                f"got {vector.type}"
            )
        pairs.append((variable, vector))
    return pairs


def _summed(pairs: Sequence[tuple[Variable, Variable]]) -> dict[Variable, Variable]:
    """Return the pairs as a mapping; the vectors of one variable are added up."""
    table: dict[Variable, Variable] = {}
    for variable, vector in pairs:
        table[variable] = table[variable] + vector if variable in table else vector
    return table
