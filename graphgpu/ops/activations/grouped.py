"""Functions of several units each: maxout and gated linear units."""

from __future__ import annotations

from graphgpu.dims import Size
from graphgpu.errors import GraphError, ShapeError
from graphgpu.graph import Operand, Variable, located
from graphgpu.ops.activations.requirements import made_floating
from graphgpu.ops.activations.sigmoidal import sigmoid
from graphgpu.ops.joining import split
from graphgpu.ops.reduction import max
from graphgpu.ops.shape import axis_of

__all__ = ["glu", "maxout"]


def maxout(x: Operand, k: int = 2, axis: int = 1) -> Variable:
    """Return y_i, the largest of x_ik, ..., x_(ik + k - 1): of each k units one.

    Goodfellow, Warde-Farley, Mirza, Courville and Bengio, "Maxout networks", 2013;
    *Deep Learning*, section 6.3.1.  With k linear pieces a unit can be any convex
    function of k pieces: of x and 0, max(x, 0); of x and -x, |x|.  Where several are
    largest they share the gradient equally.

    Parameters
    ----------
    x
        Of any shape, its axis of a size that k divides.
    k
        The number of pieces of a unit.
    axis
        The axis of the units; in the result it is k times shorter.

    Raises
    ------
    GraphError
        k is not an integer > 0.
    ShapeError
        The axis is out of range, or k does not divide its size.

    Examples
    --------
    >>> import graphgpu as gg
    >>> gg.evaluate(gg.maxout(gg.constant([[1.0, 2.0, -1.0, -5.0]])))
    array([[ 2., -1.]], dtype=float32)

    Properties
    ----------
    formula : max(x.reshape((-1, x.shape[1] // k, k)), 2)
    range : (-inf, inf)
    scale : f(a * x) == a * f(x)
    shift : f(x + c) == f(x) + c
    """
    variable = made_floating("maxout", x)
    name = f"maxout(k={k!r}, axis={axis!r})"
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise located(GraphError("expected k to be an int > 0"), name, (variable,))
    axis = axis_of("maxout", variable, axis)
    size: Size = variable.shape[axis]
    if isinstance(size, int) and size % k:
        error = ShapeError(f"axis {axis} of size {size} has no groups of {k}")
        raise located(error, name, (variable,))
    shape = (*variable.shape[:axis], size // k, k, *variable.shape[axis + 1 :])
    return max(variable.reshape(shape), axis + 1)


def glu(x: Operand, axis: int = -1) -> Variable:
    """Return a σ(b), where a and b are the two halves of x along an axis.

    Dauphin, Fan, Auli and Grangier, "Language modeling with gated convolutional
    networks", 2017.  In the result the axis is half as long.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.glu(gg.constant([3.0, 4.0, 0.0, 1e4])))
    array([1.5, 4. ], dtype=float32)

    Raises
    ------
    ShapeError
        The axis is out of range, or its size is odd.

    Properties
    ----------
    formula : split(x, 2, axis)[0] * sigmoid(split(x, 2, axis)[1])
    range : (-inf, inf)
    scale : none
    shift : none
    """
    variable = made_floating("glu", x)
    axis = axis_of("glu", variable, axis)
    size = variable.shape[axis]
    if isinstance(size, int) and size % 2:
        error = ShapeError(f"expected an axis of even size; axis {axis} has {size}")
        raise located(error, "glu", (variable,))
    value, gate = split(variable, 2, axis)
    return value * sigmoid(gate)
