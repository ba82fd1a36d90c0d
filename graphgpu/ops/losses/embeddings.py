"""Losses of vectors that are to lie near each other, or apart."""

from __future__ import annotations

from graphgpu.graph import Operand, Variable
from graphgpu.ops.activations.rectifiers import relu
from graphgpu.ops.arithmetic import minimum, square
from graphgpu.ops.comparison import where
from graphgpu.ops.elementwise import cast, operands_of
from graphgpu.ops.losses.distances import cosine_similarity, pairwise_distance
from graphgpu.ops.losses.reductions import (
    Reduction,
    counted,
    floating_pair,
    mask_of,
    reduced,
    require_among,
)
from graphgpu.ops.norms import order_of
from graphgpu.ops.random import number_of
from graphgpu.ops.requirements import of_shape, require, widened
from graphgpu.types import Shape

__all__ = ["contrastive_loss", "cosine_embedding_loss", "triplet_margin_loss"]

_ORDERS = "a positive number, or infinity"


def cosine_embedding_loss(
    x1: Operand,
    x2: Operand,
    target: Operand,
    margin: float = 0.0,
    reduction: Reduction = "mean",
    weight: Operand | None = None,
    mask: Operand | None = None,
) -> Variable:
    """Return 1 - cos(x₁, x₂) for pairs that are alike, else max(0, cos(x₁, x₂) - m).

    Parameters
    ----------
    x1, x2
        Vectors along the last axis, of one shape, (N, D) or (D,).
    target
        Of each pair 1 where it is alike and -1 where not; constants are checked,
        of other numbers those above 0 are taken for 1.
    margin
        From -1 to 1: pairs that are not alike with a smaller cosine cost nothing.
    reduction
        ``"mean"``, ``"sum"`` or ``"none"``.
    weight
        A weight for each pair, broadcast; the mean divides by their sum.
    mask
        Which pairs count, broadcast.

    Raises
    ------
    ShapeError
        The shapes do not fit.
    GraphError
        The margin is not from -1 to 1; a constant target holds other numbers.

    Properties
    ----------
    formula : where(z > 0,
        1 - sum(x * y, axis=-1) / sqrt(sum(x**2, axis=-1) * sum(y**2, axis=-1)),
        maximum(0, sum(x * y, axis=-1)
        / sqrt(sum(x**2, axis=-1) * sum(y**2, axis=-1)) - margin))
    range : [0, 2]
    symmetry : f(x, y, z) == f(y, x, z)
    shift : none
    scale : f(a * x, y, z) == f(x, y, z)

    Examples
    --------
    >>> import graphgpu as gg
    >>> x = gg.constant([[1.0, 0.0], [3.0, 0.0]])
    >>> y = gg.constant([[0.0, 2.0], [1.0, 0.0]])
    >>> gg.evaluate(gg.cosine_embedding_loss(x, y, [1, -1], reduction="none"))
    array([1., 1.], dtype=float32)
    """
    name = "cosine_embedding_loss"
    least = number_of(f"{name}({margin=})", margin)
    require(name, -1 <= least <= 1, f"{margin=}", "-1 to 1")
    (left, right), shape = _vectors(name, x1, x2)
    kept = mask_of(name, mask, shape)
    (signs,) = operands_of(name, target)
    require_among(name, signs, mask, {1: "alike", -1: "not alike"})
    alike = counted(kept, of_shape(name, "a target", signs, shape)) > 0
    first, second = (counted(kept, widened(v), axis=-1) for v in (left, right))
    cosine = cosine_similarity(first, second, -1)
    loss = where(alike, 1 - cosine, relu(cosine - least))
    return cast(reduced(name, loss, reduction, weight, kept), left.dtype)


def contrastive_loss(
    x1: Operand,
    x2: Operand,
    target: Operand,
    margin: float = 1.0,
    reduction: Reduction = "mean",
    weight: Operand | None = None,
    mask: Operand | None = None,
) -> Variable:
    """Return D²/2 for pairs that are alike, else max(0, m - D)²/2, of D = ‖x₁ - x₂‖.

    Hadsell, Chopra and LeCun, "Dimensionality reduction by learning an invariant
    mapping", 2006, equation 4.  The slope at D = 0 is 0.

    Parameters
    ----------
    x1, x2
        Vectors along the last axis, of one shape, (N, D) or (D,).
    target
        Of each pair 0 where it is alike and 1 where not, as in the paper;
        constants are checked, of other numbers all but 0 are taken for 1.
    margin
        The distance beyond which pairs that are not alike cost nothing; positive.
    reduction
        ``"mean"``, ``"sum"`` or ``"none"``.
    weight
        A weight for each pair, broadcast; the mean divides by their sum.
    mask
        Which pairs count, broadcast.

    Raises
    ------
    ShapeError
        The shapes do not fit.
    GraphError
        The margin is not positive; a constant target holds other numbers.

    Properties
    ----------
    formula : where(z == 0, sum((x - y) ** 2, axis=-1),
        maximum(0, margin - sum((x - y) ** 2, axis=-1) ** 0.5) ** 2) / 2
    range : [0, inf)
    symmetry : f(x, y, z) == f(y, x, z)
    shift : f(x + c, y + c, z) == f(x, y, z)
    scale : none
    kinks : y of pairs that are not alike (slope 0)

    Examples
    --------
    >>> import graphgpu as gg
    >>> x, y = gg.constant([[3.0, 4.0], [3.0, 4.0]]), gg.zeros((2, 2))
    >>> gg.evaluate(gg.contrastive_loss(x, y, [0, 1], margin=6, reduction="none"))
    array([12.5,  0.5], dtype=float32)
    """
    name = "contrastive_loss"
    reach = number_of(f"{name}({margin=})", margin)
    require(name, reach > 0, f"{margin=}", "a positive number")
    (left, right), shape = _vectors(name, x1, x2)
    kept = mask_of(name, mask, shape)
    (labels,) = operands_of(name, target)
    require_among(name, labels, mask, {0: "alike", 1: "not alike"})
    apart = counted(kept, of_shape(name, "a target", labels, shape))
    first, second = (counted(kept, widened(v), axis=-1) for v in (left, right))
    near = 0.5 * square(first - second).sum(-1)
    far = 0.5 * square(relu(reach - pairwise_distance(first, second)))
    loss = where(apart, far, near)
    return cast(reduced(name, loss, reduction, weight, kept), left.dtype)


def triplet_margin_loss(
    anchor: Operand,
    positive: Operand,
    negative: Operand,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 0.0,
    swap: bool = False,
    reduction: Reduction = "mean",
    weight: Operand | None = None,
    mask: Operand | None = None,
) -> Variable:
    """Return max(0, d(a, p) - d(a, n) + m): positives are to be nearer than negatives.

    Balntas et al., "Learning local feature descriptors with triplets and shallow
    convolutional neural networks", 2016.  With ``swap``, d(p, n) stands for d(a, n)
    where it is smaller.  Where two vectors are equal the slope of their distance is 0.

    Parameters
    ----------
    anchor, positive, negative
        Vectors along the last axis, of one shape, (N, D) or (D,).
    margin
        By how much nearer; positive.
    p, eps
        Of the distance, :func:`pairwise_distance`; ε is 1e-6 in torch.
    swap
        Whether the negative's distance is that from the nearer of anchor and positive.
    reduction
        ``"mean"``, ``"sum"`` or ``"none"``.
    weight
        A weight for each triplet, broadcast; the mean divides by their sum.
    mask
        Which triplets count, broadcast.

    Raises
    ------
    ShapeError
        The shapes differ.
    GraphError
        The margin or p is not positive.

    Properties
    ----------
    formula : maximum(0, sum(abs(x - y) ** p, axis=-1) ** (1 / p)
        - sum(abs(x - z) ** p, axis=-1) ** (1 / p) + margin)
    range : [0, inf)
    symmetry : none
    shift : f(x + c, y + c, z + c) == f(x, y, z)
    scale : none

    Examples
    --------
    >>> import graphgpu as gg
    >>> a, n = gg.zeros((1, 2)), gg.constant([[3.0, 4.0]])
    >>> float(gg.evaluate(gg.triplet_margin_loss(a, gg.ones((1, 2)), n, margin=4.5)))
    0.9142136573791504
    """
    name = "triplet_margin_loss"
    reach = number_of(f"{name}({margin=})", margin)
    require(name, reach > 0, f"{margin=}", "a positive number")
    require(name, order_of(f"{name}({p=})", p) > 0, f"{p=}", _ORDERS)
    (left, right), shape = _vectors(name, anchor, positive)
    _, other = floating_pair(name, left, negative)
    other = of_shape(name, "a negative", other, left.shape)
    kept = mask_of(name, mask, shape)
    a, near, far = (counted(kept, widened(v), axis=-1) for v in (left, right, other))
    wrong = pairwise_distance(a, far, p, eps)
    if swap:
        wrong = minimum(wrong, pairwise_distance(near, far, p, eps))
    loss = relu((pairwise_distance(a, near, p, eps) - wrong) + reach)
    return cast(reduced(name, loss, reduction, weight, kept), left.dtype)


def _vectors(
    name: str, x1: Operand, x2: Operand
) -> tuple[tuple[Variable, Variable], Shape]:
    """Return vectors along the last axis, and the shape of what is one for each."""
    left, right = floating_pair(name, x1, x2)
    right = of_shape(name, "a second operand", right, left.shape)
    require(name, left.ndim > 0, f"{left.type}", "vectors along the last axis")
    return (left, right), left.shape[:-1]
