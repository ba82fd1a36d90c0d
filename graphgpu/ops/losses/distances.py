"""Distances and angles between vectors, on which losses of pairs rest.

The slope at a zero vector is 0: there is none, and 0 is the middle of what a
convex distance has there.
"""

from __future__ import annotations

from graphgpu.graph import Operand, Variable
from graphgpu.ops.activations.requirements import at_least_zero
from graphgpu.ops.arithmetic import abs as absolute
from graphgpu.ops.comparison import equal, where
from graphgpu.ops.elementwise import cast
from graphgpu.ops.losses.reductions import floating_pair
from graphgpu.ops.norms import any_empty, norm, order_of, unit
from graphgpu.ops.random import number_of
from graphgpu.ops.reduction import max as largest_of
from graphgpu.ops.requirements import Naming, require, widened
from graphgpu.ops.shape import axis_of, broadcast_to
from graphgpu.types import Guards, broadcast

__all__ = ["cosine_similarity", "pairwise_distance"]


def cosine_similarity(
    x1: Operand, x2: Operand, axis: int = 1, eps: float = 1e-8
) -> Variable:
    """Return x₁ · x₂ / (max(‖x₁‖, ε) max(‖x₂‖, ε)) along an axis.

    Of a zero vector it is 0, and so is its slope, as there is no angle.

    Parameters
    ----------
    x1, x2
        Of shapes that broadcast together.
    axis
        Along which the vectors lie; of a single vector it is 0.
    eps
        The length that shorter vectors are given.

    Raises
    ------
    ShapeError
        The axis is out of range.

    Properties
    ----------
    formula : sum(x * y, axis=1) / sqrt(sum(x**2, axis=1) * sum(y**2, axis=1))
    range : [-1, 1]
    symmetry : f(x, y) == f(y, x)
    shift : none
    scale : f(a * x, y) == f(x, y)

    Examples
    --------
    >>> import graphgpu as gg
    >>> x = gg.constant([[1e20, 0.0], [3.0, 4.0]])
    >>> gg.evaluate(gg.cosine_similarity(x, gg.constant([[1.0, 1.0], [0.0, 0.0]])))
    array([0.70710677, 0.        ], dtype=float32)
    """
    name = "cosine_similarity"
    left, right = _together(name, x1, x2)
    axis = axis_of(name, left, 0 if left.ndim == 1 and axis == 1 else axis)
    least = at_least_zero(name, "eps", eps)
    units = [_direction(widened(v), axis, least) for v in (left, right)]
    return cast((units[0] * units[1]).sum(axis), left.dtype)


def pairwise_distance(
    x1: Operand,
    x2: Operand,
    p: float = 2.0,
    eps: float = 0.0,
    keepdims: bool = False,
    axis: int = -1,
) -> Variable:
    """Return ‖x₁ - x₂ + ε‖_p = (Σ |x₁ - x₂ + ε|^p)^(1/p) along an axis.

    The slope where the difference is zero is 0.  torch's ε, 1e-6, keeps its slope
    finite there; here it need not, and the distance of a vector from itself is 0.

    Parameters
    ----------
    x1, x2
        Of shapes that broadcast together.
    p
        A positive number, or infinity: the largest difference.
    eps
        What is added to each difference.
    keepdims
        Whether the axis stays, with size 1.
    axis
        Along which the vectors lie.

    Raises
    ------
    ShapeError
        The axis is out of range.
    GraphError
        p is not positive.

    Properties
    ----------
    formula : sum(abs(x - y) ** p, axis=-1) ** (1 / p)
    derivative : (x - y) / sum((x - y) ** 2, axis=-1, keepdims=True) ** 0.5
    range : [0, inf)
    minimum : x == y
    convex : yes
    symmetry : f(x, y) == f(y, x)
    shift : f(x + c, y + c) == f(x, y)
    scale : f(a * x, a * y) == a * f(x, y)
    saturates : none
    kinks : y (slope 0)

    Examples
    --------
    >>> import graphgpu as gg
    >>> x = gg.constant([[3e20, 4e20], [1.0, 1.0]])
    >>> gg.evaluate(gg.pairwise_distance(x, gg.constant([[0.0, 0.0], [1.0, 1.0]])))
    array([5.e+20, 0.e+00], dtype=float32)
    """
    name = "pairwise_distance"
    order = order_of(f"{name}({p=})", p)
    require(name, order > 0, f"{p=}", "a positive number, or infinity")
    left, right = _together(name, x1, x2)
    axis = axis_of(name, left, axis)
    difference = widened(left) - widened(right)
    if eps:
        difference = difference + number_of(f"{name}({eps=})", eps)
    return cast(norm(difference, order, (axis,), keepdims), left.dtype)


def _direction(x: Variable, axis: int, eps: float) -> Variable:
    """Return x / max(‖x‖, ε), and 0 with slope 0 of a zero vector."""
    if any_empty(x, (axis,)):
        return x
    zero = equal(largest_of(absolute(x), axis, keepdims=True), 0)
    return where(zero, 0, unit(where(zero, 1, x), 2, (axis,), eps))


def _together(name: str, x1: Operand, x2: Operand) -> tuple[Variable, Variable]:
    """Return floating-point operands of one dtype, broadcast to one shape."""
    left, right = floating_pair(name, x1, x2)
    if left.shape == right.shape:
        return left, right
    with Naming(name, (left, right)):
        shape = broadcast(Guards(), left.shape, right.shape)
    return broadcast_to(left, shape), broadcast_to(right, shape)
