"""Formulas that overflow or lose digits, replaced by those that do not.

Both sides agree wherever the left one is finite and right.  What is written with
the stable functions (``cross_entropy``, ``softplus``, ``log_softmax``) needs none
of this.
"""

from __future__ import annotations

from graphgpu.graph import Variable, apply
from graphgpu.ops.activations.normalized import (
    LogSoftmax,
    Softmax,
    log_softmax,
    softmax,
)
from graphgpu.ops.activations.sigmoidal import (
    Sigmoid,
    sigmoid,
    softplus,
)
from graphgpu.ops.arithmetic import (
    Abs,
    Add,
    Divide,
    Multiply,
    Negative,
    Reciprocal,
    Sqrt,
    Square,
    Subtract,
)
from graphgpu.ops.exponential import Exp, Log, Log1p, expm1, log1p
from graphgpu.ops.reduction import Max, Sum, logsumexp
from graphgpu.ops.shape import Reshape
from graphgpu.rewrite.draft import Draft
from graphgpu.rewrite.patterns import either_way, fit, is_number, made_by, scalar
from graphgpu.rewrite.rules import Rules

__all__ = ["stabilise"]

stabilise = Rules(
    "stabilise", about=(Exp, Log, Log1p, Sqrt, Sigmoid, Softmax, LogSoftmax)
)


def one_plus(v: Variable) -> Variable | None:
    """Return x where v is 1 + x."""
    if made_by(v, Add):
        for x, y in either_way(v):
            if is_number(y, 1) and x.shape == v.shape:
                return x
    return None


def one_minus(v: Variable) -> Variable | None:
    """Return x where v is 1 - x."""
    if made_by(v, Subtract) and is_number(v.inputs[0], 1):
        x = v.inputs[1]
        return x if x.shape == v.shape else None
    return None


# --- logarithms


@stabilise.on(Log)
def log_of_softmax(v: Variable) -> Variable | None:
    """log softmax x = log_softmax x."""
    (y,) = v.inputs
    operation = y.operation
    if not isinstance(operation, Softmax):
        return None
    return log_softmax(y.inputs[0], operation.axis)


@stabilise.on(Log)
def log_of_sigmoid(v: Variable) -> Variable | None:
    """log σ(x) = -ζ(-x), log(1 - σ(x)) = -ζ(x), ζ being the softplus."""
    (y,) = v.inputs
    if made_by(y, Sigmoid):
        return -softplus(-y.inputs[0])
    inner = one_minus(y)
    if inner is not None and made_by(inner, Sigmoid):
        return -softplus(inner.inputs[0])
    return None


@stabilise.on(Log)
def log_of_one_plus(v: Variable) -> Variable | None:
    """log(1 + x) = log1p(x), log(1 - x) = log1p(-x)."""
    (y,) = v.inputs
    x = one_plus(y)
    if x is not None:
        return log1p(x)
    x = one_minus(y)
    if x is None or made_by(x, Sigmoid):
        return None
    return log1p(-x)


@stabilise.on(Log1p)
def log_of_one_plus_exp(v: Variable) -> Variable | None:
    """log(1 + eˣ) = ζ(x), log(1 - σ(x)) = -ζ(x)."""
    (y,) = v.inputs
    if made_by(y, Exp):
        return softplus(y.inputs[0])
    if made_by(y, Negative) and made_by(y.inputs[0], Sigmoid):
        return -softplus(y.inputs[0].inputs[0])
    return None


@stabilise.on(Log)
def log_of_sum_of_exp(v: Variable) -> Variable | None:
    """log Σ eˣ = logsumexp x."""
    (total,) = v.inputs
    operation = total.operation
    if not isinstance(operation, Sum) or not made_by(total.inputs[0], Exp):
        return None
    x = total.inputs[0].inputs[0]
    return logsumexp(x, operation.axes, operation.keepdims)


# --- differences


@stabilise.on(Subtract)
def exp_less_one(v: Variable) -> Variable | None:
    """eˣ - 1 = expm1(x), 1 - eˣ = -expm1(x)."""
    x, y = v.inputs
    if made_by(x, Exp) and is_number(y, 1):
        return fit(expm1(x.inputs[0]), v)
    if made_by(y, Exp) and is_number(x, 1):
        return fit(-expm1(y.inputs[0]), v)
    return None


@stabilise.on(Add)
def exp_plus_minus_one(v: Variable) -> Variable | None:
    """eˣ + (-1) = expm1(x)."""
    for x, y in either_way(v):
        if made_by(x, Exp) and is_number(y, -1):
            return fit(expm1(x.inputs[0]), v)
    return None


# --- roots and quotients


@stabilise.on(Sqrt)
def root_of_square(v: Variable) -> Variable | None:
    """√x² = |x|."""
    (y,) = v.inputs
    return apply(Abs(), y.inputs[0]) if made_by(y, Square) else None


@stabilise.on(Reciprocal, Divide)
def logistic(v: Variable, graph: Draft) -> Variable | None:
    """1 / (1 + e^(-x)) = σ(x), eˣ / (1 + eˣ) = σ(x)."""
    e = one_plus(v.inputs[-1])
    if e is None or not made_by(e, Exp):
        return None
    (x,) = e.inputs
    if made_by(v, Divide) and v.inputs[0] is e:
        return sigmoid(x)
    if graph.readers(e) > 1:  # the exponential is needed anyway, as by gradients
        return None
    if made_by(v, Reciprocal) or is_number(v.inputs[0], 1):
        return fit(sigmoid(-x), v)
    return None


def softmax_of(e: Variable, total: Variable) -> Variable | None:
    """Return softmax x where e is eˣ and the total is its sum along one axis."""
    operation = total.operation
    if not isinstance(operation, Sum) or total.inputs[0] is not e:
        return None
    if not made_by(e, Exp) or len(operation.axes) != 1:
        return None
    return softmax(e.inputs[0], operation.axes[0])


@stabilise.on(Divide)
def normalised_exp(v: Variable, graph: Draft) -> Variable | None:
    """eˣ / Σ eˣ = softmax x, along one axis."""
    e, total = v.inputs
    if total.ndim != e.ndim or graph.readers(e) > 2:
        return None
    return softmax_of(e, total)


@stabilise.on(Multiply)
def scaled_exp(v: Variable) -> Variable | None:
    """eˣ (c / Σ eˣ) = c softmax x, the gradient of log Σ eˣ."""
    for e, part in either_way(v):
        quotient = part.inputs[0] if made_by(part, Reshape) else part
        if not made_by(e, Exp) or not made_by(quotient, Divide, Reciprocal):
            continue
        y = softmax_of(e, quotient.inputs[-1])
        if y is None or part.ndim != e.ndim:
            continue
        if made_by(quotient, Reciprocal):
            return fit(y, v)
        c, total = quotient.inputs
        return fit(y * fit(c, total).reshape(part.shape), v)
    return None


# --- gradients of logarithms: y is positive, however small it is rounded


def is_positive(y: Variable) -> bool:
    """Whether y is positive in exact arithmetic."""
    if made_by(y, Exp, Sigmoid, Softmax):
        return True
    inner = one_minus(y)
    return inner is not None and made_by(inner, Sigmoid)


@stabilise.on(Multiply)
def divided_and_multiplied(v: Variable) -> Variable | None:
    """(g / y) y = g, (g / y) (y z) = g z, for y = eˣ, σ(x), 1 - σ(x) or softmax x."""
    for part, y in either_way(v):
        quotient = part.inputs[0] if made_by(part, Negative) else part
        if not made_by(quotient, Divide, Reciprocal):
            continue
        below = quotient.inputs[-1]
        if not is_positive(below):
            continue
        if y is below:
            rest: Variable | None = None
        elif made_by(y, Multiply) and below in y.inputs:
            rest = y.inputs[0] if y.inputs[1] is below else y.inputs[1]
        else:
            continue
        g = quotient.inputs[0] if made_by(quotient, Divide) else scalar(1, v.dtype)
        g = g if rest is None else g * rest
        return fit(-g if quotient is not part else g, v)
    return None


@stabilise.on(Multiply)
def difference_divided_and_multiplied(v: Variable) -> Variable | None:
    """((g / y) - c) y = g - c y, for the same y."""
    for difference, y in either_way(v):
        if not made_by(difference, Subtract) or not is_positive(y):
            continue
        quotient, c = difference.inputs
        if made_by(quotient, Divide) and quotient.inputs[1] is y:
            return fit(quotient.inputs[0] - c * y, v)
    return None


@stabilise.on(Softmax, LogSoftmax)
def of_shifted(v: Variable) -> Variable | None:
    """softmax(x - max x) = softmax x, and so of its logarithm."""
    (y,) = v.inputs
    operation = v.operation
    assert isinstance(operation, Softmax | LogSoftmax)
    if not made_by(y, Subtract):
        return None
    x, largest = y.inputs
    shift = largest.operation
    if not isinstance(shift, Max) or largest.inputs[0] is not x:
        return None
    if shift.axes != (operation.axis,) or not shift.keepdims:
        return None
    return apply(operation, x)
