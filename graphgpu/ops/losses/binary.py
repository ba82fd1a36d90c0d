"""Losses of two classes, whose target is a probability or a sign."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphgpu.graph import Operand, Variable, as_variable
from graphgpu.ops.activations.sigmoidal import sigmoid, softplus
from graphgpu.ops.arithmetic import maximum
from graphgpu.ops.elementwise import Binary, Pull, binary
from graphgpu.ops.exponential import log, log1p
from graphgpu.ops.losses.reductions import (
    Reduction,
    elementwise_loss,
    floating_pair,
)
from graphgpu.ops.requirements import widened

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "soft_margin_loss",
]


@dataclass(frozen=True, slots=True)
class BinaryCrossEntropy(Binary):
    """-y log x - (1 - y) log(1 - x) of a probability x, its logarithms at least -100.

    So the loss of a certain x that is wrong is 100, and not infinite.  The slope
    is that of the unclamped loss, with 1 / x and 1 / (1 - x) at most 10¹²: it leads
    out of x = 0, where that of the clamped logarithm would be 0.
    """

    expression = "y * minimum(-log(x), 100) + (1 - y) * minimum(-log1p(-x), 100)"
    lowest_kind = 2

    def pulls(
        self, inputs: tuple[Variable, ...], output: Variable, grad: Variable
    ) -> Sequence[Pull]:
        """∂/∂x = (1 - y) / (1 - x) - y / x, ∂/∂y = log(1 - x) - log x."""
        x, y = inputs

        def pull_x() -> Variable:
            wrong = (1 - y) / maximum(1 - x, 1e-12)
            return grad * (wrong - y / maximum(x, 1e-12))

        def pull_y() -> Variable:
            return grad * (maximum(log1p(-x), -100) - maximum(log(x), -100))

        return pull_x, pull_y


@dataclass(frozen=True, slots=True)
class BinaryCrossEntropyWithLogits(Binary):
    """-y log σ(x) - (1 - y) log(1 - σ(x)) = (1 - y) x⁺ + y x⁻ + log(1 + e^(-|x|)).

    With x⁺ = max(x, 0) and x⁻ = max(-x, 0).  Nothing large is subtracted, as in
    x⁺ - x y, so a loss keeps its digits where y is 0, 1, or almost.
    """

    expression = "(1 - y) * maximum(x, 0) + y * maximum(-x, 0) + log1p(exp(-abs(x)))"
    lowest_kind = 2

    def pulls(
        self, inputs: tuple[Variable, ...], output: Variable, grad: Variable
    ) -> Sequence[Pull]:
        """∂/∂x = σ(x) - y, ∂/∂y = -x."""
        x, y = inputs
        return (lambda: grad * (sigmoid(x) - y)), (lambda: -(grad * x))


def binary_cross_entropy(
    x: Operand,
    target: Operand,
    weight: Operand | None = None,
    reduction: Reduction = "mean",
    mask: Operand | None = None,
) -> Variable:
    """Return -w [y log x + (1 - y) log(1 - x)] for probabilities x and targets y.

    Logarithms are at least -100, as in torch, so that one probability that is 0 or 1
    and wrong costs 100 and does not make a mean infinite; 1 / x and 1 / (1 - x) in
    the slope are at most 10¹², so that it is finite.  Everywhere else both are exact,
    the slope at x = y = 0, which is 1, too.  Where x is the sigmoid of z,
    :func:`binary_cross_entropy_with_logits` of z needs none of that.

    Parameters
    ----------
    x, target
        Of one shape; x from 0 to 1, and NaN comes of what is beyond.
    weight
        A weight for each element, broadcast; the mean divides by their number.
    reduction
        ``"mean"``, ``"sum"`` or ``"none"``.
    mask
        Which elements count, broadcast.

    Raises
    ------
    ShapeError
        The shapes of x and target differ.

    Properties
    ----------
    formula : -(y * log(x) + (1 - y) * log(1 - x))
    derivative : (x - y) / (x * (1 - x))
    range : [0, 100]
    minimum : x == y
    convex : yes
    symmetry : f(1 - x, 1 - y) == f(x, y)
    shift : none
    scale : none
    saturates : none
    kinks : none

    Examples
    --------
    >>> import graphgpu as gg
    >>> certain = gg.constant([1.0, 1.0])
    >>> gg.evaluate(gg.binary_cross_entropy(certain, [1, 0], reduction="none"))
    array([  0., 100.], dtype=float32)
    """

    def loss(left: Variable, right: Variable) -> Variable:
        return binary(BinaryCrossEntropy(), left, right)

    name = "binary_cross_entropy"
    return elementwise_loss(
        name, loss, x, target, reduction, weight, mask, "count", neutral=0.5
    )


def binary_cross_entropy_with_logits(
    logits: Operand,
    target: Operand,
    weight: Operand | None = None,
    reduction: Reduction = "mean",
    pos_weight: Operand | None = None,
    mask: Operand | None = None,
) -> Variable:
    """Return -w [q y log σ(x) + (1 - y) log(1 - σ(x))] for logits x and targets y.

    Of y = 0 or 1 and q = 1 it is ζ((1 - 2y) x) with the softplus ζ (*Deep Learning*,
    equation 6.26), so it saturates only where x is already right.  No finite logit
    overflows, and for y = 0 or 1 the loss keeps its digits however small it is.

    Parameters
    ----------
    logits, target
        Of one shape; the targets are probabilities of the positive class.
    weight
        The weight w of each loss, broadcast; the mean divides by their number.
    reduction
        ``"mean"``, ``"sum"`` or ``"none"``.
    pos_weight
        The weight q of the positive class, for each class; broadcast.
    mask
        Which elements count, broadcast.

    Raises
    ------
    ShapeError
        The shapes of logits and target differ.

    Properties
    ----------
    formula : -(y * log(sigmoid(x)) + (1 - y) * log(1 - sigmoid(x)))
    derivative : sigmoid(x) - y
    range : (0, inf)
    minimum : x == log(y / (1 - y))
    convex : yes
    symmetry : f(-x, 1 - y) == f(x, y)
    shift : none
    scale : none
    saturates : where (2 * y - 1) * x is large
    kinks : none

    Examples
    --------
    >>> import graphgpu as gg
    >>> loss = gg.binary_cross_entropy_with_logits(gg.constant([-1e4, 1e4]), [1.0, 1.0])
    >>> float(gg.evaluate(loss))
    5000.0
    """
    name = "binary_cross_entropy_with_logits"
    scores, _ = floating_pair(name, logits, target)

    def loss(x: Variable, y: Variable) -> Variable:
        if pos_weight is None:
            return binary(BinaryCrossEntropyWithLogits(), x, y)
        positive = widened(as_variable(pos_weight, scores.tensor)) * y
        return positive * softplus(-x) + (1 - y) * softplus(x)

    return elementwise_loss(
        name, loss, logits, target, reduction, weight, mask, "count"
    )


def soft_margin_loss(
    x: Operand,
    target: Operand,
    reduction: Reduction = "mean",
    weight: Operand | None = None,
    mask: Operand | None = None,
) -> Variable:
    """Return ζ(-x y) = log(1 + e^(-x y)) for scores x and signs y = -1 or 1.

    The cross-entropy of logits with signs in place of classes, a smooth
    :func:`hinge_loss`; no finite score overflows.  The other parameters and the
    errors are those of :func:`mse`.

    Properties
    ----------
    formula : log(1 + exp(-x * y))
    derivative : -y * sigmoid(-x * y)
    range : (0, inf)
    minimum : none
    convex : yes
    symmetry : f(-x, -y) == f(x, y)
    shift : none
    scale : none
    saturates : where x * y is large
    kinks : none

    Examples
    --------
    >>> import graphgpu as gg
    >>> gg.evaluate(gg.soft_margin_loss(gg.constant([-1e4, 1e4]), [1, 1], "none"))
    array([10000.,     0.], dtype=float32)
    """

    def loss(left: Variable, right: Variable) -> Variable:
        return softplus(-(left * right))

    return elementwise_loss(
        "soft_margin_loss", loss, x, target, reduction, weight, mask
    )
