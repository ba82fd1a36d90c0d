"""Penalties on parameters, and targets that are less sure than one-hot ones."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add

from graphgpu.errors import GraphError
from graphgpu.graph import Operand, Variable, located
from graphgpu.ops.arithmetic import abs as absolute
from graphgpu.ops.arithmetic import square
from graphgpu.ops.creation import size_of
from graphgpu.ops.elementwise import cast
from graphgpu.ops.random import number_of
from graphgpu.ops.reduction import sum
from graphgpu.ops.requirements import Naming, floating, widened
from graphgpu.ops.shape import axis_of

__all__ = ["elastic_penalty", "l1_penalty", "l2_penalty", "smooth_labels"]


def l1_penalty(parameters: Sequence[Operand], strength: Operand = 1.0) -> Variable:
    """Return α Σ |w| over all elements of all parameters, with α the strength.

    *Deep Learning*, section 7.1.2: it makes parameters sparse.  Its gradient is
    α sign(w), 0 at w = 0.  The sum of halves is a float32, to be added to a loss of
    any dtype.

    >>> import graphgpu as gg
    >>> w, b = gg.parameter("w", [[1.0, -2.0]]), gg.parameter("b", [4.0])
    >>> float(gg.evaluate(gg.l1_penalty([w, b], 0.5)))
    3.5

    Raises
    ------
    GraphError
        There are no parameters.
    """
    return _penalty("l1_penalty", parameters, strength, squared=False)


def l2_penalty(parameters: Sequence[Operand], strength: Operand = 1.0) -> Variable:
    """Return α / 2 Σ w² over all elements of all parameters, with α the strength.

    *Deep Learning*, section 7.1.1, equation 7.1 and what follows, with the ½ of the
    book: its gradient is α w, so that plain gradient descent on a loss with it is
    that on the loss alone with ``weight_decay=α``.  The sum of halves is a float32.

    >>> import graphgpu as gg
    >>> w = gg.parameter("w", [1.0, -2.0])
    >>> float(gg.evaluate(gg.l2_penalty([w], 0.1)))
    0.25

    Raises
    ------
    GraphError
        There are no parameters.
    """
    return _penalty("l2_penalty", parameters, strength, squared=True)


def elastic_penalty(
    parameters: Sequence[Operand], l1: Operand = 1.0, l2: Operand = 1.0
) -> Variable:
    """Return l1 Σ |w| + l2 / 2 Σ w² over all parameters.

    Zou and Hastie, "Regularization and variable selection via the elastic net", 2005,
    with the ½ of :func:`l2_penalty`.

    >>> import graphgpu as gg
    >>> w = gg.parameter("w", [1.0, -2.0])
    >>> float(gg.evaluate(gg.elastic_penalty([w], 1, 2)))
    8.0
    """
    with Naming("elastic_penalty"):
        return l1_penalty(parameters, l1) + l2_penalty(parameters, l2)


def smooth_labels(targets: Operand, smoothing: float = 0.1, axis: int = 1) -> Variable:
    """Return (1 - ε) y + ε / K: targets mixed with the uniform ones of K classes.

    Targets, one-hot or any probabilities along the axis, of float dtype; ε is the
    smoothing (Szegedy et al., "Rethinking the inception architecture", 2016; as in
    PyTorch).  The axis of a vector is its only one.  *Deep Learning*, section 7.5.1,
    gives the right class 1 - ε and the others ε / (K - 1): that is this ε times
    (K - 1) / K.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.smooth_labels(gg.constant([[0.0, 1.0, 0.0, 0.0]]), 0.2))
    array([[0.05, 0.85, 0.05, 0.05]], dtype=float32)

    Raises
    ------
    GraphError
        The smoothing is not from 0 to 1.
    ShapeError
        There is no such axis.
    DTypeError
        The targets are not floating-point: class numbers are to be made one-hot.
    """
    y = floating("smooth_labels", targets)
    name = f"smooth_labels(smoothing={smoothing!r})"
    part = number_of(name, smoothing)
    if not 0 <= part <= 1:
        error = GraphError("expected a smoothing from 0 to 1")
        raise located(error, name, (y,))
    place = 0 if y.ndim == 1 and axis == 1 else axis_of("smooth_labels", y, axis)
    wide = widened(y)
    classes = size_of(wide, (place,), wide.dtype)
    return cast((1 - part) * wide + part / classes, y.dtype)


def _penalty(
    name: str, parameters: Sequence[Operand], strength: Operand, squared: bool
) -> Variable:
    """Return the strength times the sum of all |w|, or of all w² / 2."""
    given: object = parameters
    if isinstance(given, Variable):
        error = GraphError("expected a list of parameters; write [w] for one")
        raise located(error, name, (given,))
    each = [widened(floating(name, w)) for w in parameters]
    if not each:
        raise located(GraphError("expected one parameter or more"), name)
    total = reduce(add, (sum(square(w) if squared else absolute(w)) for w in each))
    with Naming(name):
        return (0.5 * total if squared else total) * strength
