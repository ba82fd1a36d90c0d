"""Jacobians and Hessians, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import numpy as np

from graphgpu.errors import GradientError
from graphgpu.gradient.algorithm import gradients
from graphgpu.gradient.products import vjp
from graphgpu.graph import Variable, constant, describe
from graphgpu.ops.joining import stack

__all__ = ["hessian", "jacobian"]


@overload
def jacobian(output: Variable, wrt: Variable) -> Variable: ...
@overload
def jacobian(output: Variable, wrt: Sequence[Variable]) -> list[Variable]: ...
def jacobian(
    output: Variable, wrt: Variable | Sequence[Variable]
) -> Variable | list[Variable]:
    """Return ∂output/∂wrt in numerator layout: rows are outputs.

    The shape is that of the output followed by that of the variable.  There is
    a vector-Jacobian product for each element of the output, so its sizes must
    be known; those of ``wrt`` too.  A variable that the output does not depend
    on has the Jacobian zero.

    >>> import graphgpu as gg
    >>> x = gg.placeholder("x", (3,))
    >>> A = gg.constant([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    >>> gg.evaluate(gg.jacobian(A @ x, x), {x: [0, 0, 0]})
    array([[1., 2., 3.],
           [4., 5., 6.]], dtype=float32)

    Raises
    ------
    GradientError
        A size is not known until a program is called; something is an integer.
    """
    targets = [wrt] if isinstance(wrt, Variable) else list(wrt)
    for variable in (output, *targets):
        if not variable.tensor.is_static:
            names = ", ".join(sorted(variable.tensor.symbols()))
            raise GradientError(
                f"{describe(variable)} has the size {names}, but a Jacobian's sizes "
                "must be known; use gg.vjp or gg.jvp, or give the placeholder ints"
            )
    count = output.tensor.size
    assert isinstance(count, int)
    directions = np.eye(count, dtype=output.dtype).reshape(count, *output.shape)
    rows = [vjp([output], targets, [constant(d)]) for d in directions]
    results = [
        _stacked([row[place] for row in rows], output, target)
        for place, target in enumerate(targets)
    ]
    return results[0] if isinstance(wrt, Variable) else results


def hessian(cost: Variable, wrt: Variable) -> Variable:
    """Return the Hessian ∂²cost/∂x∂xᵀ, of the shape of x twice over.

    >>> import graphgpu as gg
    >>> x = gg.placeholder("x", (2,))
    >>> gg.evaluate(gg.hessian(x[0] * x[0] * x[1], x), {x: [1.0, 2.0]})
    array([[4., 2.],
           [2., 0.]], dtype=float32)

    Raises
    ------
    GradientError
        The cost is no scalar, or a size is not known.
    """
    (slope,) = gradients(cost, [wrt])
    return jacobian(slope, wrt)


def _stacked(rows: list[Variable], output: Variable, target: Variable) -> Variable:
    shape = (*output.shape, *target.shape)
    if not rows:
        return constant(np.zeros(shape, target.dtype))
    return stack(rows).reshape(shape)
